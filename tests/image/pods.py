"""A pod of the chart as `docker run`: what a kubelet does with a Deployment's template, without a cluster.

The volumes are as a kubelet's: an emptyDir belongs to root with the pod's group, the keys of a ConfigMap or
Secret are links into a folder that is replaced whole. There are no services, policies, scaling, scheduling.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.deploy.chart import the
from tests.image.engine import Engine


class Pod:
    """The first pod of a Deployment. It has a folder for its volumes."""

    def __init__(self, docker: Engine, objects: Sequence[dict[str, Any]], name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self._docker = docker
        self.objects = objects
        self._spec: dict[str, Any] = the([*objects], "Deployment", name)["spec"]["template"]["spec"]
        (self.container,) = self._spec["containers"]

    def start(self, network: str) -> None:
        """Lay its volumes, and start its container in the network under the pod's name."""
        for volume in self._spec["volumes"]:
            self.lay(volume)
        image, args = self.container["image"], self.container["args"]
        placed = ("--name", self.name, "--network", network)
        self._docker("run", "--detach", *placed, *self._identity(), *self._surroundings(), image, *args)

    def lay(self, volume: Mapping[str, Any]) -> None:
        """One volume, or its newest content: the files of an object's keys appear together, by one rename."""
        place = self.folder / volume["name"]
        place.mkdir(exist_ok=True)
        group = self._spec["securityContext"]["fsGroup"]
        if "emptyDir" in volume:
            os.chown(place, 0, group)
            place.chmod(0o2777)
            return
        files, mode = self._files(volume)
        version = place / f"..version-{len(list(place.iterdir()))}"
        version.mkdir()
        for name, text in files.items():
            file = version / name
            file.write_text(text)
            os.chown(file, 0, group)
            file.chmod(mode | 0o040)
        fresh = place / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.replace(place / "..data")
        for name in files:
            if not (place / name).is_symlink():
                (place / name).symlink_to(f"..data/{name}")

    def probes(self, address: str) -> Iterator[tuple[str, str]]:
        """Each HTTP probe's kind and URL."""
        ports = {each["name"]: each["containerPort"] for each in self.container["ports"]}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = self.container[kind]["httpGet"]
            yield kind, f"http://{address}:{ports[asked['port']]}{asked['path']}"

    def address(self) -> str:
        """In its network."""
        return self._docker(
            "inspect", self.name, "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        )

    def volume(self, name: str) -> dict[str, Any]:
        """One of the pod's volumes by its name."""
        (found,) = [each for each in self._spec["volumes"] if each["name"] == name]
        return dict(found)

    def end(self) -> None:
        """Remove container and volumes."""
        self._docker.tried("rm", "--force", "--volumes", self.name)
        shutil.rmtree(self.folder)

    def _files(self, volume: Mapping[str, Any]) -> tuple[dict[str, str], int]:
        if "configMap" in volume:
            return the([*self.objects], "ConfigMap", volume["configMap"]["name"])["data"], 0o644
        named = volume["secret"]
        return the([*self.objects], "Secret", named["secretName"])["stringData"], named["defaultMode"]

    def _identity(self) -> list[str]:
        pod, own = self._spec["securityContext"], self.container["securityContext"]
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
        dropped = [f"--cap-drop={each}" for each in own["capabilities"]["drop"]]
        user = f"--user={pod['runAsUser']}:{pod['runAsGroup']}"
        return [
            "--read-only",
            "--security-opt=no-new-privileges",
            *dropped,
            user,
            f"--group-add={pod['fsGroup']}",
        ]

    def _surroundings(self) -> list[str]:
        variables = {each["name"]: each["value"] for each in self.container["env"]}
        for source in self.container["envFrom"]:
            variables |= the([*self.objects], "Secret", source["secretRef"]["name"])["stringData"]
        mounts = [
            f"--volume={self.folder / each['name']}:{each['mountPath']}" + ":ro" * each.get("readOnly", False)
            for each in self.container["volumeMounts"]
        ]
        memory = self.container["resources"]["limits"]["memory"].removesuffix("i").lower()
        return [
            f"--memory={memory}",
            *mounts,
            *(f"--env={name}={value}" for name, value in variables.items()),
        ]
