"""Measures parts of a program one after the other: CPU seconds, and instructions when it runs in callgrind.

`instructions` runs a module in callgrind, which counts the same however busy the machine is. There the parts'
CPU times say nothing.
"""

import ctypes
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import thread_time

from benchmarks.build import library

_LIBRARY = "CANARY_CALLGRIND"
_PART = re.compile(r"^desc: Trigger: Client Request: (.+)$", re.MULTILINE)
_TOTAL = re.compile(r"^totals: (\d+)$", re.MULTILINE)


class PartCosts:
    """The cost of each part so far. A part may be entered many times, but not after another one began."""

    def __init__(self, *, measures: bool = True) -> None:
        """`measures` False: count no instructions, to warm up."""
        self.cpu_s: dict[str, float] = {}
        path = os.environ.get(_LIBRARY) if measures else None
        self._callgrind = ctypes.CDLL(path) if path else None
        self._last = ""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add what happens inside to this part."""
        if name != self._last:
            self.end()
            self._last = name
        began = thread_time()
        if self._callgrind is not None:
            self._callgrind.toggle()
        try:
            yield
        finally:
            if self._callgrind is not None:
                self._callgrind.toggle()
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + thread_time() - began

    def end(self) -> None:
        """Leave the last part."""
        if self._callgrind is not None and self._last:
            self._callgrind.dump(self._last.encode())
        self._last = ""


def instructions(module: str, arguments: Sequence[str] = ()) -> dict[str, int]:
    """Run `python -m module` in callgrind, and return the instructions of each of its parts."""
    with tempfile.TemporaryDirectory(prefix="canary-callgrind-") as folder:
        place = Path(folder)
        command = [
            "valgrind",
            "--tool=callgrind",
            "--collect-atstart=no",
            f"--callgrind-out-file={place}/out",
        ]
        done = subprocess.run(
            [*command, sys.executable, "-m", module, *arguments],
            env=os.environ | {_LIBRARY: str(library(place, "callgrind")), "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{module} failed in callgrind:\n{done.stderr[-3000:]}")
        return dict(_counted(each.read_text()) for each in place.glob("out.*"))


def _counted(dump: str) -> tuple[str, int]:
    part, total = _PART.search(dump), _TOTAL.search(dump)
    if part is None or total is None:
        raise RuntimeError(f"not a part's dump of callgrind: {dump[:300]}")
    return part[1], int(total[1])
