"""Runs a module of this package once more in a process of its own, with canary compiled or not."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def output(module: str, *args: str, compiled: Path | None, under: tuple[str, ...] = ()) -> str:
    """What the module writes. `compiled`: an unpacked wheel, which comes before these sources. `under`: a
    command that runs it, such as valgrind. Raises CalledProcessError."""
    paths = [str(path) for path in (compiled and compiled.resolve(), ROOT) if path]
    env = {**os.environ, "PYTHONPATH": ":".join(paths), "PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0"}
    command = [*under, sys.executable, "-m", module, *args]
    return subprocess.run(command, env=env, check=True, text=True, stdout=subprocess.PIPE).stdout
