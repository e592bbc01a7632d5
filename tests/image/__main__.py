"""`python -m tests.image`, for `make test-image`: the image is built and run by a Docker engine of its own.

As root, on Debian 13 (amd64), with the packages that the Makefile names. Two steps, each in mount and process
namespaces of its own: the first builds, in this machine's network; the second has a network with nothing but
loopback and what Docker makes, and runs the tests of this folder in it. Everything is in one folder, which
is deleted at the end; a folder given as the argument stays, and the next run finds images and layers there.
`python -m tests.image possible` asks whether this machine can do it: ends with 0, or with 2 and why not.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.image.build import build
from tests.image.traces import Traces

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
TESTS = str(Path(__file__).parent)


def main(words: Sequence[str]) -> int:
    """0 when all tests passed and nothing was left behind; prints how long it took."""
    if words[:1] == ["build"]:
        return build(Path(words[1]))
    if needed := obstacle():
        sys.stderr.write(f"make test-image starts a Docker engine of its own: it needs {needed}\n")
        return 2
    if words[:1] == ["possible"]:
        return 0
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(
            words[0] if words else stack.enter_context(tempfile.TemporaryDirectory(prefix="image-"))
        )
        folder.mkdir(exist_ok=True)
        traces = Traces(folder)
        code = _build_and_test(folder.resolve())
    left = traces.left(folder_stays=bool(words))
    sys.stderr.write("".join(f"left behind: {each}\n" for each in left))
    print(f"make test-image: {time.monotonic() - began:.0f} s", flush=True)
    return code or int(bool(left))


def obstacle() -> str:
    """What the tests need and this machine or user does not have; empty where they can run."""
    debian = Path("/etc/debian_version")
    if not (debian.exists() and debian.read_text().startswith("13")):
        return "Debian 13"
    if platform.machine() != "x86_64":
        return "an amd64 machine, as the package with Helm is for amd64"
    if os.geteuid() != 0:
        return "root"
    if subprocess.run([*NAMESPACES, "--net", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        return "the right to make namespaces (CAP_SYS_ADMIN), which an unprivileged container does not have"
    return ""


def _build_and_test(folder: Path) -> int:
    python = (sys.executable, "-m")
    code = subprocess.run([*NAMESPACES, *python, "tests.image", "build", str(folder)]).returncode
    if code:
        return code
    tests = ("pytest", "-q", "-p", "no:cacheprovider", "-m", "image", TESTS)
    environment = {**os.environ, "TEST_IMAGE_FOLDER": str(folder)}
    return subprocess.run([*NAMESPACES, "--net", *python, *tests], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
