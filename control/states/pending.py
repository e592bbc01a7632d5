"""Rollbacks that are in force before the store knows of them: one small file.

A rollback waits for nothing: the plan tells the workers at once, and the rollback is stored when the store
answers.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from records.shared.whole_file import sync_whole, write_whole
from records.store import Act
from routing import transitions
from routing.states import State

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PendingRollback:
    """One rollback: of which run, who ordered it, when and why, its evidence, the state before it, and
    whether it is `hard`.

    `why` is a `RollbackEvidence` as JSON: a rollback must survive a shape that this version does not know.
    """

    run: int
    act: Act
    why: Mapping[str, Any] | None = None
    before: State | None = None
    hard: bool = False

    def over(self, state: State) -> State:
        """The state under this rollback; unchanged if that run is over, or the state has no way there."""
        if state.run != self.run or "rollback" not in transitions.legal(state):
            return state
        return transitions.rollback(state, reason=self.act.reason, now=self.act.at, hard=self.hard)


class PendingRollbacks:
    """The rollbacks that are in force and not stored yet, by canary. Without a file, a restart forgets them.

    Safe for several threads. No lock is held during an fsync: `put` is on a rollback's way.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._changing = threading.Lock()
        self._waiting: dict[str, PendingRollback] = _read(file) if file is not None else {}

    def __iter__(self) -> Iterator[tuple[str, PendingRollback]]:
        return iter(list(self._waiting.items()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def over(self, name: str, state: State) -> State:
        """The canary's state with its rollback, if one waits."""
        waiting = self._waiting.get(name)
        return state if waiting is None else waiting.over(state)

    def of(self, name: str) -> PendingRollback | None:
        """The canary's rollback that waits; None for none."""
        return self._waiting.get(name)

    def put(self, name: str, pending: PendingRollback) -> None:
        """Take in a rollback. When this returns it survives `kill -9`; a power cut, after `sync`."""
        with self._changing:
            self._waiting[name] = pending
            self._write()

    def settled(self, name: str, pending: PendingRollback) -> None:
        """The store knows of this one."""
        with self._changing:
            if self._waiting.get(name) is pending:
                del self._waiting[name]
                self._write()

    def sync(self) -> None:
        """Make what was put survive a power cut. Waits for the disk."""
        if self._file is not None and self._waiting:
            self._log_refusal(sync_whole)

    def _write(self) -> None:
        if self._file is not None:
            data = msgspec.json.encode(self._waiting)
            self._log_refusal(lambda file: write_whole(file, data, durable=False))

    def _log_refusal(self, act: Callable[[Path], None]) -> None:
        assert self._file is not None  # noqa: S101
        try:
            act(self._file)
        except OSError as error:
            log.error("rollback.not_on_disk", file=str(self._file), problem=str(error))


def _read(file: Path) -> dict[str, PendingRollback]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, PendingRollback])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        log.error("rollback.unreadable", file=str(file), problem=str(error))
        return {}
