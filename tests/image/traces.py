"""What an engine could leave on a machine: processes, mounts, interfaces, control groups, its folder."""

from contextlib import suppress
from pathlib import Path

from tests.serving import eventually

GROUPS = Path("/sys/fs/cgroup")


class Traces:
    """The machine as it was; `folder` is the engine's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._interfaces = _interfaces()
        self._groups = _groups()
        self._processes = _processes(str(folder))

    def left(self, *, folder_stays: bool) -> list[str]:
        """A line for each thing that is there now and was not, after empty control groups were removed."""
        name = str(self._folder)
        with suppress(AssertionError):
            eventually(lambda: not _processes(name) - self._processes)  # killed, they take a moment
        for group in sorted(_groups() - self._groups, key=lambda each: -len(each.parts)):
            with suppress(OSError):
                group.rmdir()
        found = [f"process {pid}" for pid in sorted(_processes(name) - self._processes)]
        found += [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]
        found += [f"interface {each}" for each in sorted(_interfaces() - self._interfaces)]
        found += [f"control group {each}" for each in sorted(_groups() - self._groups)]
        return found + ([name] if self._folder.exists() and not folder_stays else [])


def _interfaces() -> set[str]:
    return {each.name for each in Path("/sys/class/net").iterdir()}


def _groups() -> set[Path]:
    """Docker's control groups: directly below the root, or below each controller (version 1)."""
    tops = [*GROUPS.glob("docker"), *GROUPS.glob("*/docker"), *GROUPS.glob("*/buildkit")]
    return {each for top in tops for each in [top, *top.rglob("*")] if each.is_dir()}


def _processes(name: str) -> set[str]:
    """Those whose command line has the name."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if name.encode() in (process / "cmdline").read_bytes():
                found.add(process.name)
    return found
