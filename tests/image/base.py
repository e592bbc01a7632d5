"""The Dockerfile's base image without a registry: Debian by debootstrap, under the official image's name.

It differs from the official one: Debian's own Python in /usr/bin instead of one in /usr/local, and this
machine's settings of apt and pip, which say where packages come from here.
"""

import re
import shutil
import subprocess
from pathlib import Path

from tests.image.engine import Engine

NAME = "python:3.13-slim-trixie"
PACKAGES = "ca-certificates,netbase,tzdata,python3.13,python3.13-venv,python3.13-dev"
PATHS = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
SETTINGS = ("/etc/apt/sources.list.d/debian.sources", "/etc/pip.conf", AUTHORITIES)
"""Of this machine, copied where they exist."""


def import_base(docker: Engine, folder: Path) -> None:
    """Make the image, unless the engine has it. `folder` is for the tree meanwhile."""
    if docker.tried("image", "inspect", NAME).returncode == 0:
        return
    root = folder / "root"
    with (folder / "debootstrap.log").open("wb") as log:
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "trixie", str(root), mirror()]
        subprocess.run(command, check=True, stdout=log, stderr=log, timeout=600)
    _settle(root)
    changes = [f"ENV PATH={PATHS}", f"ENV PIP_CERT={AUTHORITIES}", 'CMD ["python3"]']
    options = [word for change in changes for word in ("--change", change)]
    archive = folder / "root.tar"
    subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True, timeout=300)
    docker("import", *options, str(archive), NAME)
    shutil.rmtree(root)
    archive.unlink()


def mirror() -> str:
    """Where this machine has Debian from."""
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(each.read_text() for each in sources if each.is_file())
    found = re.search(r"^(?:URIs:|deb(?: \[[^]]*\])?) *(https?://\S+)", text, re.MULTILINE)
    assert found, "apt names no mirror of Debian"
    return found[1]


def _settle(root: Path) -> None:
    """`python` as in the official image, this machine's settings, and no package lists."""
    for name in ("python", "python3"):
        (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3.13")
    settings = [*map(Path, SETTINGS), *Path("/etc/apt/apt.conf.d").glob("99*")]
    for each in settings:
        if each.is_file():
            shutil.copy(each, root / each.relative_to("/"))
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    for lists in ("var/lib/apt/lists", "var/cache/apt"):
        shutil.rmtree(root / lists)
        (root / lists).mkdir()
