"""The plan file: how the states flow down to a machine's workers. Written by one process, polled by many.

A refresh is a rewrite with a new `refreshed_at`. Its age is measured by the reader's own monotonic clock from
the moment the reader saw it, so that a stepped clock neither kills a fresh plan nor keeps a dead one alive;
only for a plan found at start is there nothing better than the difference of UTC times.
"""

import os
from dataclasses import replace
from pathlib import Path

import msgspec

from records.whole_file import Stamp, file_stamp, write_whole
from routing.plan import NO_PLAN, STALE_AFTER_S, Plan

_DECODER = msgspec.json.Decoder(Plan)


def write(path: Path, plan: Plan) -> None:
    """Replace the plan, whole or not at all. It never waits for an fsync: a rollback must not.

    A power cut may lose the newest plan; the store is the truth.
    """
    write_whole(path, msgspec.json.encode(plan), durable=False)


def read(path: Path) -> Plan | None:
    """The plan in a file; None when there is none, or no whole one."""
    try:
        return _DECODER.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


class PlanWatch:
    """One process's view of the plan file: the highest version seen, and whether it is still refreshed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Stamp | None = None
        self._plan = NO_PLAN
        self._without_shares = NO_PLAN
        self._refreshed_mono: float | None = None

    def poll(self, now_utc: float, mono: float) -> Plan:
        """The plan now; one stat() unless the file was replaced.

        A torn or older file is ignored. After 15 min without a refresh every share in it is 0; without any
        plan there are no states at all. `now_utc` and `mono` are seconds of the two clocks.
        """
        plan = self._replacement()
        if plan is not None and plan.version >= self._plan.version:
            self._take(plan, now_utc, mono)
        if self._refreshed_mono is None:
            return NO_PLAN
        return self._without_shares if mono - self._refreshed_mono >= STALE_AFTER_S else self._plan

    def _replacement(self) -> Plan | None:
        try:
            seen = file_stamp(self._path)
            if seen == self._seen:
                return None
            plan = _DECODER.decode(_read_unnoted(self._path))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None  # gone or torn: what we have ages, and falls to share 0 by itself
        self._seen = seen
        return plan

    def _take(self, plan: Plan, now_utc: float, mono: float) -> None:
        if self._refreshed_mono is None:
            self._refreshed_mono = mono - max(0.0, now_utc - plan.refreshed_at)
        elif (plan.version, plan.refreshed_at) != (self._plan.version, self._plan.refreshed_at):
            self._refreshed_mono = mono
        self._plan = plan
        stopped = {name: replace(state, share=0.0) for name, state in plan.states.items()}
        self._without_shares = replace(plan, states=stopped)


def _read_unnoted(path: Path) -> bytes:
    """A file's bytes. Noting when it was read would be a write, which waits for a disk that hangs (ADR 8)."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME), "rb") as file:
        return file.read()
