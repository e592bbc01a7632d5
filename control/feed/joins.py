"""Joins feedback about a session or unit to its last exchange before it: within 60 s, from memory or from
the store.

    that exchange is remembered               → joined at once
    else                                      → waits; the store is asked every few seconds
    still unknown after 60 s                  → passed on as it came, without an arm

Where several replicas write one store, another one may have the newer exchange: all values wait for the
store, and the newer of both answers counts.

A value that got no arm may still be about an exchange: one outside a trial, of an earlier run, or of last
week. It is a stranger's only where every exchange of the day before it is known, and none had its id.
"""

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec
import structlog
from msgspec import structs

from control.feed.events import WorkerEvents
from records.errors import StoreDown
from records.outcome import Feedback, Outcome
from records.store import Store
from records.store.last_exchanges import (
    ArmStretch,
    LastExchange,
    StoredStretches,
    last_before,
    last_exchange,
    stored_stretches,
)

log = structlog.get_logger()

LOOK_EVERY_S = 5.0
WAIT_S = 55.0
"""From then on a value is not asked about again."""
MOST_KNOWN = 50_000
MOST_WAITING = 20_000
MOST_ASKED = 4_000
"""Values for which the store is asked at once."""

_DAY_S = 86_400.0
_BITS = 1 << 22

_Waiting = tuple[float, Feedback]
"""(UTC second at which the value is given up, the value)."""


class SeenIds:
    """The ids of sessions and units that exchanges had today and yesterday: a bit for all ids of one hash, so
    an id may look seen that was not. `since`: UTC seconds from which on every exchange is known."""

    def __init__(self) -> None:
        self.since = float("-inf")
        self._days: dict[int, bytearray] = {}

    def add(self, outcome: Outcome) -> None:
        """Remember an exchange's ids."""
        day = int(outcome.at // _DAY_S)
        bits = self._days.get(day)
        if bits is None:
            bits = self._days[day] = bytearray(_BITS >> 3)
            self._days = {each: kept for each, kept in self._days.items() if each >= max(self._days) - 1}
        for place in (_place(name) for name in (outcome.session, outcome.unit) if name):
            bits[place >> 3] |= 1 << (place & 7)

    def lack(self, feedback: Feedback) -> bool:
        """True when no exchange of the day before the value had its id."""
        place = _place(feedback.session or feedback.unit)
        seen = any(bits[place >> 3] >> (place & 7) & 1 for bits in self._days.values())
        return not seen and self.since <= feedback.at - _DAY_S


def _place(name: str) -> int:
    return zlib.crc32(name.encode()) % _BITS


class FeedbackJoins:
    """Knows the last exchanges, and the values that wait for one. Belongs to the event loop's thread."""

    def __init__(self, store: Store, *, shared: bool = False) -> None:
        """`shared`: other replicas write the store, too."""
        self._store, self._shared = store, shared
        self._sessions: dict[str, ArmStretch] = {}
        self._units: dict[str, ArmStretch] = {}
        self._waiting: deque[_Waiting] = deque()
        self._seen = SeenIds()

    def join(self, events: WorkerEvents) -> WorkerEvents:
        """The events with the arms of the feedback that can be joined at once, without what has to wait."""
        for outcome in events.outcomes:
            self._remember(outcome)
            self._seen.add(outcome)
        if not any(_lacks_arm(each) for each in events.feedback):
            return events
        records: list[Outcome | Feedback] = []
        for record in events.records:
            if type(record) is not Feedback or not _lacks_arm(record):
                records.append(record)
            elif not self._shared and (last := self._known(record)) is not None:
                records.append(_joined(record, last))
            else:
                self._waiting.append((time.time() + WAIT_S, record))
        return replace(events, records=records)

    async def look(self) -> list[Feedback]:
        """The values that wait no longer, in the order in which they came: joined, or given up."""
        done = [self._waiting.popleft()[1] for _ in range(len(self._waiting) - MOST_WAITING)]
        asked = list(islice(self._waiting, MOST_ASKED))
        if not asked:
            return done
        stored = await self._stored([each for _, each in asked])
        now = time.time()
        for until, each in asked:
            self._waiting.popleft()  # not before the store has answered, or a checkpoint would lack it
            found = (stored.before(each), self._known(each))
            last = max((at for at in found if at is not None), default=None)
            if last is None and now < until:
                self._waiting.append((until, each))
            else:
                done.append(each if last is None else _joined(each, last))
        return done

    def is_stranger(self, feedback: Feedback) -> bool:
        """True for a value without an arm whose id no exchange had. Another replica's are not known here."""
        return _lacks_arm(feedback) and not self._shared and self._seen.lack(feedback)

    def snapshot(self) -> Mapping[str, Any]:
        """The values that wait. The last exchanges are in the store, too."""
        return {"joins": list(self._waiting)}

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None) -> None:
        """Continue from a snapshot."""
        waiting = msgspec.convert(document.get("joins", []), list[_Waiting])
        self._waiting = deque(waiting)
        self._seen.since = time.time()

    async def _stored(self, about: Sequence[Feedback]) -> StoredStretches:
        sessions = {each.session for each in about if each.session}
        units = {each.unit for each in about if not each.session}
        try:
            return await asyncio.to_thread(stored_stretches, self._store, sessions=sessions, units=units)
        except StoreDown as problem:
            log.warning("feedback.not_looked_up", problem=str(problem))
            return StoredStretches()

    def _remember(self, outcome: Outcome) -> None:
        last = last_exchange(outcome)
        if last is None:
            return
        _keep(self._units, outcome.unit, last)
        if outcome.session:
            _keep(self._sessions, outcome.session, last)

    def _known(self, feedback: Feedback) -> LastExchange | None:
        known = self._sessions.get(feedback.session) if feedback.session else self._units.get(feedback.unit)
        return None if known is None else last_before([known], feedback.at)


def _lacks_arm(feedback: Feedback) -> bool:
    return feedback.arm is None and not feedback.exchange_id


def _joined(feedback: Feedback, last: LastExchange) -> Feedback:
    return structs.replace(
        feedback, canary=last.canary, run=last.run, phase=last.phase, arm=last.arm, unit=last.unit
    )


def _keep(known: dict[str, ArmStretch], name: str, last: LastExchange) -> None:
    """Remember the newest exchanges of a name in one arm, and forget the name heard of longest ago."""
    before = known.pop(name, None)
    known[name] = ArmStretch(last.at, last) if before is None else _grown(before, last)
    if len(known) > MOST_KNOWN:
        del known[next(iter(known))]


def _grown(stretch: ArmStretch, last: LastExchange) -> ArmStretch:
    """The stretch with one exchange more, which need not be the newest. One of another arm, run or canary
    begins a new stretch, or leaves of this one what is known to be later."""
    newest = max(stretch.last, last)
    if stretch.last[1:] == last[1:]:
        return ArmStretch(stretch.first_at, newest)
    return ArmStretch(max(stretch.first_at, newest.at), newest) if last.at >= stretch.first_at else stretch
