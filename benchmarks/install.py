"""Installs other gateways into a cache folder outside the project. They are never dependencies of canary.

Uses the ordinary package clients with this machine's configuration, pinned versions, and no install scripts.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

WITHIN_S = 900


class NotInstalledError(RuntimeError):
    """A peer could not be installed. The message says why."""


def cache() -> Path:
    """The cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "canary-bench"


def venv(requirement: str) -> Path:
    """The bin folder of a venv for one package, created if missing."""
    folder = cache() / requirement.replace("[", "-").replace("]", "")
    if not (folder / "installed").exists():
        _begin(folder)
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        _run([*pip, "install", "--only-binary", ":all:", requirement])
        (folder / "installed").touch()
    return folder / "bin"


def node_package(name: str, version: str) -> Path:
    """The folder of an npm package, installed if missing."""
    folder = cache() / f"{name.rpartition('/')[2]}@{version}"
    if not (folder / "installed").exists():
        if shutil.which("npm") is None:
            raise NotInstalledError("there is no npm here")
        _begin(folder)
        quiet = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        _run(["npm", "install", *quiet, "--prefix", str(folder), f"{name}@{version}"])
        (folder / "installed").touch()
    return folder / "node_modules" / name


def _begin(folder: Path) -> None:
    sys.stderr.write(f"installing {folder.name} into {folder.parent}\n")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
            cwd=cache(),
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NotInstalledError(f"not installed: {exc}") from exc
    if done.returncode:
        raise NotInstalledError(f"not installed: {(done.stderr or done.stdout)[-500:]}")
