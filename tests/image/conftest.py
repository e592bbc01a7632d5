"""An engine with the built images in this network, and a provider that its containers reach.

Without `make test-image`, which says where the engine's folder is, these tests are not collected.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.provider.server import LocalProvider
from tests.image.container import GATEWAY
from tests.image.engine import Engine, engine
from tests.serving import ProviderThread

FOLDER = os.environ.get("TEST_IMAGE_FOLDER")
collect_ignore_glob = [] if FOLDER else ["test_*.py"]


@pytest.fixture(scope="session")
def folder() -> Path:
    """The engine's."""
    assert FOLDER
    return Path(FOLDER)


@pytest.fixture(scope="session")
def docker(folder: Path) -> Iterator[Engine]:
    """Running, with the images, and with no container, volume or network of an earlier run."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with engine(folder) as docker:
        for kind in ("container", "volume", "network"):
            docker(kind, "prune", "--force", *(["--all"] if kind == "volume" else []))
        yield docker
        for name in docker("ps", "--all", "--quiet").split():
            docker("rm", "--force", "--volumes", name)


@pytest.fixture
def provider(docker: Engine) -> Iterator[ProviderThread]:
    """A demo provider at `GATEWAY`, where every container finds it."""
    with ProviderThread(LocalProvider(host=GATEWAY)) as running:
        yield running
