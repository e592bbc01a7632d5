"""The file that carries the states to the workers of a machine (`plan.json`): one writer, many polling
readers.

The writer refreshes them by rewriting them with a new `refreshed_at`. A reader measures their age on
its own monotonic clock from the moment it saw the refresh, so clock steps do not matter. Only the age of
states found at startup comes from UTC times.
"""

from dataclasses import replace
from pathlib import Path

import msgspec

from common.whole_file import FileWatch, write_whole
from records.shared import held_units
from records.shared.held_units import NAME, NOBODY_KNOWN, HeldUnits, has_unknown_holds
from routing.states import NO_STATES, STALE_AFTER_S, States

_decode = msgspec.json.Decoder(States).decode


SPARE = b" " * 8192
"""At the file's end: room for the next states where the disk is full, so that a rollback gets through."""


def write(path: Path, states: States) -> None:
    """Replace the file atomically, without fsync, so that a rollback does not wait for the disk.

    A power cut may lose the newest states; the store still has them.
    """
    write_whole(path, msgspec.json.encode(states) + SPARE, durable=False)


class StatesWatch:
    """One process's view of the file: the newest states and the time of their last refresh."""

    def __init__(self, path: Path) -> None:
        self._file = FileWatch(path, _decode)
        self._units_file = FileWatch(path.with_name(NAME), held_units.decode)
        self.held: HeldUnits = NOBODY_KNOWN
        """The units that keep an earlier state, as last polled."""
        self._states = NO_STATES
        self._without_shares = NO_STATES
        self._holds = False
        self._refreshed_mono: float | None = None

    @property
    def has_unknown_holds(self) -> bool:
        """True while a share has changed and it is not known yet who keeps the state before."""
        return self._holds and has_unknown_holds(self._states, self.held)

    def poll(self, now_utc: float, mono: float) -> States:
        """Return the current states. Costs one stat() unless the file was replaced.

        The units are looked at only while a state holds some. Unreadable files and older versions are
        ignored. After 15 min without a refresh every share is 0;
        before the first ones the result is NO_STATES. `now_utc` and `mono` are seconds.
        """
        states = self._file.replacement()
        if states is not None and states.version >= self._states.version:
            self._take(states, now_utc, mono)
        if self._holds:
            self.held = self._units_file.replacement() or self.held
        if self._refreshed_mono is None:
            return NO_STATES
        return self._states if self.is_fresh(mono) else self._without_shares

    def is_fresh(self, mono: float) -> bool:
        """True while the states have been refreshed in the last 15 min."""
        return self._refreshed_mono is not None and mono - self._refreshed_mono < STALE_AFTER_S

    def _take(self, states: States, now_utc: float, mono: float) -> None:
        if self._refreshed_mono is None:
            self._refreshed_mono = mono - max(0.0, now_utc - states.refreshed_at)
        elif (states.version, states.refreshed_at) != (self._states.version, self._states.refreshed_at):
            self._refreshed_mono = mono
        self._states = states
        self._holds = any(state.holds for state in states.states.values())
        stopped = {
            name: replace(state, share=0.0, hard=True, holds=()) for name, state in states.states.items()
        }
        self._without_shares = replace(states, states=stopped)
