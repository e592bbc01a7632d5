"""Rollbacks that are in force although the store does not know of them yet: one small file.

A rollback waits for nobody: the plan tells the workers at once, and the store hears of it when it answers.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from records.store import Act
from records.whole_file import write_whole
from routing import transitions
from routing.plan import State

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pulled:
    """One rollback: of which run, who pulled the candidate back, when and why, what stood then (a `Why` as
    JSON: a shape that another version does not know must not cost the rollback), and the state before it."""

    run: int
    act: Act
    why: Mapping[str, Any] | None = None
    before: State | None = None

    def over(self, state: State) -> State:
        """The state under this rollback; unchanged if that run is over, or the state has no way there."""
        if state.run != self.run or "rollback" not in transitions.legal(state):
            return state
        return transitions.rollback(state, reason=self.act.reason, now=self.act.at)


class PulledBack:
    """Which canaries are pulled back and not stored so, by name. Without a file it does not outlive us. Safe
    for several threads."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._changing = threading.Lock()
        self._waiting: dict[str, Pulled] = _read(file) if file is not None else {}

    def __iter__(self) -> Iterator[tuple[str, Pulled]]:
        return iter(list(self._waiting.items()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def over(self, name: str, state: State) -> State:
        """The canary's state with its rollback, if one waits."""
        waiting = self._waiting.get(name)
        return state if waiting is None else waiting.over(state)

    def of(self, name: str) -> Pulled | None:
        """The canary's rollback that waits; None for none."""
        return self._waiting.get(name)

    def put(self, name: str, pulled: Pulled) -> None:
        """On disk when this returns, if the disk takes it; in force in any case."""
        with self._changing:
            self._waiting[name] = pulled
            self._write()

    def settled(self, name: str, pulled: Pulled) -> None:
        """The store knows of this one."""
        with self._changing:
            if self._waiting.get(name) is pulled:
                del self._waiting[name]
                self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            write_whole(self._file, msgspec.json.encode(self._waiting))
        except OSError as error:
            log.error("rollback.not_on_disk", file=str(self._file), problem=str(error))


def _read(file: Path) -> dict[str, Pulled]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Pulled])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        log.error("rollback.unreadable", file=str(file), problem=str(error))
        return {}
