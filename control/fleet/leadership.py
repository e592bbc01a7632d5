"""Which of several admins leads. Only the leader ramps, rolls back, pages, and refreshes the states.

The truth is a row in the store (`records/store/leader.py`; why not in Redis: ADR 5). As one admin sees it:

    state     what happened                                                → state
    standby   the lease was given back, or is ours from before a restart   → leading, by compare-and-set
    standby   it stood still for 5 s, in which the store answered          → leading, by compare-and-set
    leading   renewed, each second                                         → leading
    leading   not renewed for 4 s: the store does not answer               → unsure
    unsure    renewed after all                                            → leading
    unsure    for 6 s, in which no other admin published                   → alone
    alone     renewed after all                                            → leading
    any       the lease is another's, or another refreshes the states      → standby

Four is less than five: an earlier leader has stopped before the next one begins, whatever their clocks say,
for each of them only measures how long something lasts. A store that is down for everybody makes no leader;
then the last one goes on watching *alone*, and may only lower exposure: a rollback goes out by Redis.
"""

import threading
from collections.abc import Callable
from typing import Literal

import structlog

from records.errors import StoreDown
from records.store.leader import NOBODY, LeaderLease, LeaderLeases

log = structlog.get_logger()

UNSURE_AFTER_S = 4.0
TAKEN_AFTER_S = 5.0
ALONE_AFTER_S = 6.0

Standing = Literal["standby", "leading", "unsure", "alone"]


class SoleLeader:
    """The leadership on a single machine: always ours, with nothing to renew or to give back."""

    is_shared = False
    term = 0

    def turn(self) -> None:
        """As `Leadership`."""

    def standing(self) -> Standing:
        """As `Leadership`."""
        return "leading"

    def heard_other(self) -> None:
        """As `Leadership`."""

    def resign(self) -> None:
        """As `Leadership`."""


class Leadership:
    """One admin's view of the lease. Only `turn` and `resign` block on the store: they need a thread."""

    is_shared = True

    def __init__(
        self, leases: LeaderLeases, holder: str, *, utc: Callable[[], float], mono: Callable[[], float]
    ) -> None:
        """`holder` names this admin's data folder. A lease of that name was ours before a restart."""
        self._leases, self._holder, self._utc, self._mono = leases, holder, utc, mono
        self._lock = threading.Lock()
        self._mine: LeaderLease | None = None
        self._renewed_mono = 0.0
        self._seen: LeaderLease | None = None
        self._seen_mono = 0.0

    @property
    def lease(self) -> LeaderLease | None:
        """Our lease, also while it cannot be renewed; None in standby."""
        return self._mine

    @property
    def term(self) -> int | None:
        """The term of our lease; None in standby."""
        mine = self._mine
        return None if mine is None else mine.term

    def standing(self) -> Standing:
        """Where this admin stands now."""
        with self._lock:
            if self._mine is None:
                return "standby"
            silent_s = self._mono() - self._renewed_mono
            if silent_s < UNSURE_AFTER_S:
                return "leading"
            return "unsure" if silent_s < UNSURE_AFTER_S + ALONE_AFTER_S else "alone"

    def turn(self) -> None:
        """Renew the lease, or look whether it is free. Call it each second."""
        asked = self._mono()
        try:
            lease = self._renew() if self._mine is not None else self._look(asked)
        except StoreDown:
            self._seen = None  # it must stand still while the store answers: a dead store renews nobody's
            return
        with self._lock:
            if (lease is None) != (self._mine is None):
                log.info("leader.changed", leading=lease is not None, term=lease.term if lease else None)
            self._mine, self._renewed_mono = lease, asked

    def heard_other(self) -> None:
        """Another admin refreshed the states. If we cannot renew our lease, we stand back."""
        if self.standing() in ("unsure", "alone"):
            with self._lock:
                log.info("leader.stands_back", term=self._mine.term if self._mine else None)
                self._mine = self._seen = None

    def resign(self) -> None:
        """Lead no more, and let the next one lead at once. Blocks on the store; may raise StoreDown."""
        with self._lock:
            mine, self._mine = self._mine, None
        if mine is not None:
            self._leases.give_back(mine)

    def _renew(self) -> LeaderLease | None:
        assert self._mine is not None  # noqa: S101
        renewed = self._leases.renew(self._mine, self._utc())
        self._seen = None
        return renewed

    def _look(self, asked: float) -> LeaderLease | None:
        found = self._leases.read()
        if found != self._seen:
            self._seen, self._seen_mono = found, asked
        free = found.holder in (NOBODY, self._holder) or asked - self._seen_mono >= TAKEN_AFTER_S
        return self._leases.take(self._holder, found, self._utc()) if free else None
