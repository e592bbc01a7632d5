"""Which Python code runs as canary: its own rooms, wherever it is started and whatever else is installed.

The rooms are top-level packages with names that anybody may use (`bench`, `pages`). The working folder and
PYTHONPATH are the user's: programs that canary starts look into neither. Where another package still comes
first, the rooms are moved before it.
"""

import os
import site
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

ROOMS = (
    "canary", "console", "pages", "control", "judge", "proxy", "alerts", "verdict", "bench", "records",
    "routing", "common", "demo",
)  # fmt: skip
ROOT = str(Path(__file__).parents[1])
"""The folder that holds them."""


def program(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours, without the working folder on its path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What such a program is started with. Rooms that are not installed (a checkout, an unpacked wheel) are
    named to it: it must run the same ones."""
    kept = {name: value for name, value in given.items() if name != "PYTHONPATH"}
    installed = ROOT in (*site.getsitepackages(), site.getusersitepackages())
    return kept if installed else {**kept, "PYTHONPATH": ROOT}


def shadows(path: Sequence[str]) -> dict[str, str]:
    """Rooms before which `path` has another module of the same name, and the folder that one is in."""
    found: dict[str, str] = {}
    for room in ROOMS:
        spec = PathFinder.find_spec(room, path)
        if spec is not None and spec.origin is not None:
            place = Path(spec.origin).parent
            folder = str(place.parent if spec.submodule_search_locations else place)
            if folder != ROOT:
                found[room] = folder
    return found


def put_rooms_first() -> None:
    """Have the rooms found before any other module of the same name."""
    if shadows(sys.path):
        sys.path.insert(0, ROOT)


def leave_working_folder() -> None:
    """Take the working folder off the path, where `python -m` puts it; not where the rooms are in it."""
    with suppress(OSError, ValueError):  # it is gone, or was not on the path
        if (folder := str(Path.cwd())) != ROOT:
            sys.path.remove(folder)
