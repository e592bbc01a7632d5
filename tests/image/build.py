"""Builds everything that the tests run: base image, canary's image, the services' stand-ins, Helm."""

import json
import time
from pathlib import Path

from tests.image.base import NAME, import_base
from tests.image.engine import NO_NETWORK, Engine, engine
from tests.image.helm import download_helm

ROOT = Path(__file__).parents[2]
SERVICES = Path(__file__).parent / "services"
STAND_INS = {
    "postgres": "postgres:17-trixie",
    "redis": "redis:7.4-alpine",
    "prometheus": "prom/prometheus:v3.5.0",
    "alertmanager": "prom/alertmanager:v0.28.1",
}
SIZES = "sizes.json"
"""In the engine's folder: bytes of the base, of the image above it, and of the layer with canary's code."""


def build(folder: Path) -> int:
    """0 once all is built; AssertionError with Docker's words where something is not."""
    began = time.monotonic()

    def said(what: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {what}", flush=True)

    with engine(folder, *NO_NETWORK) as docker:
        import_base(docker, folder)
        said("base image")
        docker("build", "--network=host", "--tag=canary", "--tag=canary:local", str(ROOT), within_s=1200)
        sizes = {"base": _size(docker, NAME), "above": _size(docker, "canary") - _size(docker, NAME)}
        sizes["code"] = _layer(docker, "canary", "/program")
        (folder / SIZES).write_text(json.dumps(sizes))
        said(", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items()))
        for stage, image in STAND_INS.items():
            named = (f"--target={stage}", f"--tag={image}", f"--file={SERVICES / 'Containerfile'}")
            docker("build", "--network=host", *named, str(SERVICES), within_s=600)
    said("services")
    download_helm(folder)
    said("Helm")
    return 0


def _size(docker: Engine, image: str) -> int:
    return int(docker("image", "inspect", image, "--format={{.Size}}"))


def _layer(docker: Engine, image: str, said: str) -> int:
    """Bytes of the one layer whose instruction in the history contains `said`."""
    lines = docker("history", "--human=false", "--format={{.Size}}\t{{.CreatedBy}}", image).splitlines()
    (found,) = [line for line in lines if said in line]
    return int(found.partition("\t")[0])
