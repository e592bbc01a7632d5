"""`python -m tests.wheel` installs the built wheel in three ways, each with an empty HOME, and tries it.

    pip     into a venv; then the demo is kept up, and its page, files and commands are asked for
    uv      `uv tool run --from WHEEL canary demo`
    pipx    `pipx install WHEEL`, then `canary demo`

Nothing but the wheel brings canary: the working folder is empty, and no variable names the checkout.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.wheel.kept_demo import check_kept_demo

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PYTHON = str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))
PIPX = "pipx==1.18.4"
OURS = ("CANARY_", "PYTHON", "VIRTUAL_ENV", "XDG_", "PIPX_")
"""What begins like this could lead to the checkout, or out of the empty HOME."""


def main() -> int:
    """0 when every way works. The figures are printed."""
    with tempfile.TemporaryDirectory(prefix="canary-wheel-") as name:
        wheel = _built(Path(name, "dist"))
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB", flush=True)
        for way in (_by_pip, _by_uv, _by_pipx):
            home = Path(name, way.__name__)
            home.mkdir()
            began = time.monotonic()
            way(wheel, home)
            print(f"{way.__name__.removeprefix('_')}: {time.monotonic() - began:.0f} s in all", flush=True)
    return 0


def _built(folder: Path) -> Path:
    run([str(BIN / "python"), "-m", "pip", "--quiet", "wheel", "--no-build-isolation", "--no-deps",
          "--wheel-dir", str(folder), str(ROOT)], ROOT, os.environ)  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    return wheel


def _by_pip(wheel: Path, home: Path) -> None:
    environment = empty(home)
    run([PYTHON, "-m", "venv", str(home / "venv")], home, environment)
    _timed("pip install", [str(home / "venv/bin/pip"), "--quiet", "install", str(wheel)], home, environment)
    check_kept_demo(home / "venv/bin/canary", _work(home), environment)


def _by_uv(wheel: Path, home: Path) -> None:
    command = [str(BIN / "uv"), "tool", "run", "--python", PYTHON, "--from", str(wheel), "canary", "demo"]
    _timed("uv tool run canary demo", command, _work(home), empty(home))


def _by_pipx(wheel: Path, home: Path) -> None:
    pipx = [str(BIN / "uv"), "tool", "run", "--python", PYTHON, PIPX]
    _timed("pipx install", [*pipx, "install", "--python", PYTHON, str(wheel)], _work(home), empty(home))
    _timed("canary demo", [str(home / ".local/bin/canary"), "demo"], _work(home), empty(home))


def empty(home: Path) -> dict[str, str]:
    """The environment of somebody with nothing in HOME, who reaches the package index as we do."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**kept, "HOME": str(home), "UV_SYSTEM_CERTS": "1"}


def _work(home: Path) -> Path:
    (home / "empty").mkdir(exist_ok=True)
    return home / "empty"


def _timed(what: str, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    began = time.monotonic()
    run(command, folder, environment)
    print(f"  {what}: {time.monotonic() - began:.0f} s", flush=True)


def run(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Raises SystemExit with what the command said, unless it ends with 0."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
