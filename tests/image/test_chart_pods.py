"""The chart's objects by Helm 3, and a pod of each role with volumes and rights as a kubelet gives them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.provider.server import LocalProvider
from tests.deploy.chart import ALL, CHART, CONFIG, LEAST, TOKENS, rendered
from tests.image.container import GATEWAY, chat, client, status
from tests.image.engine import Engine
from tests.image.pods import Pod
from tests.serving import ProviderThread, eventually

pytestmark = [pytest.mark.image, pytest.mark.timeout(600)]

MODEL = "gpt-5.6-terra"
STANDING = """\
  - name: next
    standing: true
    match: {models: [support-bot]}
    baseline: {provider: openai, model: gpt-old}
    candidate: {provider: openai}
    share: 50%
    start: manual
store:"""
STORES = {
    "DATABASE_URL": "postgresql://canary:a-password@postgres/canary",
    "REDIS_URL": "redis://redis:6379/0",
}


@pytest.mark.parametrize("values", [LEAST, ALL], ids=["least", "all"])
def test_helm_3_renders_the_objects_that_are_checked_at_every_change(
    folder: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    assert by_kind(helm(folder, tmp_path, values)) == by_kind(rendered(values))


def helm(folder: Path, given: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """`helm template` of Helm 3: the objects."""
    (given / "values.yaml").write_text(yaml.safe_dump(values))
    command = [str(folder / "helm"), "template", "canary", str(CHART), "--namespace=llm"]
    command += [f"--values={given / 'values.yaml'}", "--kube-version=1.31"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def by_kind(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each object by kind and name."""
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in objects}


@pytest.fixture(scope="module")
def pods(docker: Engine, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pod]]:
    """Both roles' pods, started, with PostgreSQL and Redis in their network."""
    place = tmp_path_factory.mktemp("pods")
    with ProviderThread(LocalProvider(host=GATEWAY)) as provider:
        config = CONFIG.replace("https://api.openai.com", provider.url)
        values = {"config": config, "tokens": {"values": TOKENS}, "environment": {"values": STORES}}
        values["image"] = {"repository": "canary", "tag": "latest"}
        objects = helm(folder, place, values)
        docker("network", "create", "cluster")
        database = [f"--env=POSTGRES_{name}=canary" for name in ("USER", "DB")]
        store = ("run", "--detach", "--network=cluster")
        docker(*store, "--name=redis", "redis:7.4-alpine", "redis-server", "--protected-mode", "no")
        docker(
            *store, "--name=postgres", "--user=postgres", *database, "--env=POSTGRES_PASSWORD=a-password",
            "--tmpfs=/var/run/postgresql:mode=1777", "postgres:17-trixie", "postgres",
        )  # fmt: skip
        found = {}
        for role in ("admin", "traffic"):
            (place / role).mkdir()
            found[role] = Pod(docker, objects, f"canary-{role}", place / role)
        try:
            eventually(
                lambda: docker.tried("exec", "postgres", "pg_isready", "--host=postgres").returncode == 0
            )
            for pod in found.values():
                pod.start("cluster")
            yield found
        finally:
            for pod in found.values():
                pod.end()
            docker("rm", "--force", "--volumes", "redis", "postgres")
            docker("network", "rm", "cluster")


def test_every_probe_of_both_roles_passes(pods: dict[str, Pod]) -> None:
    with client() as http:
        for pod in pods.values():
            for _, url in pod.probes(pod.address()):
                eventually(lambda url=url: status(http, url) == 200, within_s=120)  # type: ignore[misc]


def test_requests_are_answered_and_recorded(docker: Engine, pods: dict[str, Pod]) -> None:
    with client() as http:
        url = f"http://{pods['traffic'].address()}:8080"
        assert {chat(http, f"user-{number}", MODEL, url).status_code for number in range(20)} == {200}
        eventually(lambda: told(docker)["arms"]["baseline"]["requests"] > 0)


def test_a_changed_config_map_reaches_both_pods_without_a_restart(
    docker: Engine, pods: dict[str, Pod]
) -> None:
    assert told(docker)["share"] == 0.01
    for pod in pods.values():
        (config,) = [each for each in pod.objects if each["kind"] == "ConfigMap"]
        config["data"]["canary.yaml"] = config["data"]["canary.yaml"].replace("share: 1%", "share: 2%")
        pod.lay(pod.volume("config"))
    eventually(lambda: told(docker)["share"] == 0.02, within_s=120)


def test_a_model_is_begun_over_a_config_map_that_nobody_can_write(
    docker: Engine, pods: dict[str, Pod]
) -> None:
    (config,) = [each for each in pods["admin"].objects if each["kind"] == "ConfigMap"]
    config["data"]["canary.yaml"] = config["data"]["canary.yaml"].replace("\nstore:", f"\n{STANDING}")
    for pod in pods.values():
        pod.lay(pod.volume("config"))

    def begun() -> bool:
        words = ("canary", "begin", "next", "--model", "gpt-next")
        return docker.tried("exec", "canary-admin", *words).returncode == 0

    eventually(begun, within_s=120)
    docker("exec", "canary-admin", "canary", "start", "next-gpt-next")
    url = f"http://{pods['traffic'].address()}:8080"
    with client() as http:
        eventually(
            lambda: chat(http, "user-1", "support-bot", url).headers.get("x-canary-name") == "next-gpt-next"
        )
    for name in ("canary-admin", "canary-traffic"):
        assert docker("exec", name, "grep", " /etc/canary ", "/proc/mounts").split()[3].startswith("ro,")


def told(docker: Engine) -> dict[str, Any]:
    """The status of the one canary, asked in the admin pod."""
    (canary,) = json.loads(docker("exec", "canary-admin", "canary", "status", "-o", "json"))["canaries"]
    found: dict[str, Any] = canary
    return found
