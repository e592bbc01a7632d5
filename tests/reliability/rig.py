"""The rig of the reliability tests: the fault provider, and the real server before it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.stage import Stage
from tests.reliability.fault_provider import FaultProvider, Play
from tests.serving import MOST_LOG


@contextmanager
def rigged(
    folder: Path,
    config: str,
    plays: Mapping[str, Play],
    *,
    keeps_raw: bool = False,
    crash_free: bool = True,
    **options: Any,
) -> Iterator[Stage]:
    """Both, up; `stage.provider` is the FaultProvider. In `config`, `<DOOR>` stands for a door's address.

    `options` are `Running`'s. At the end the server must still live, and have logged no crash (`crash_free`).
    """
    with FaultProvider(plays, keeps_raw=keeps_raw) as provider:
        for door in plays:
            config = config.replace(f"<{door}>", provider.url(door))
        stage = Stage(folder, provider, config, **options)  # type: ignore[arg-type]
        try:
            yield stage
            alive = stage.server.process.poll() is None
        finally:
            stage.server.kill()
        assert alive, "the server ended by itself"
        found = crashes(stage) if crash_free else []
        assert not found, "\n".join([*found[:5], "The log:", stage.server.log_file.read_text()[-MOST_LOG:]])


def crashes(stage: Stage) -> list[str]:
    """The lines of the server's log that tell of a defect or of a child that ended; not of a slow machine."""
    signs = ("Traceback", "exception", "Exception", "crashed", '"level": "error"', "child.ended")
    lines = stage.server.log_file.read_text().splitlines()
    return [line for line in lines if any(sign in line for sign in signs) and "checkpoint.late" not in line]


def percentile(values: list[float], part: float) -> float:
    """The smallest value that at least `part` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
