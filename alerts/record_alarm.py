"""Are the records kept? What goes wrong with that is an incident of the service itself, of no canary.

    records_dropped   records were dropped in the last minute, or the spool has no room for the next one
    shipping_lags     for five minutes the store has not answered, or more than 10,000 records have waited

Each is an incident of its own, with one page, resolved 30 minutes after it was over. Pure: facts come in,
notices go out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alerts import incident as incidents
from alerts.incident import Incident, Notice
from alerts.status import GuardrailStatus, ServiceRule

LEAST_ROOM_BYTES = 64 << 10
"""With less room in the spool, the next records may not fit."""

DROPPED_WITHIN_S = 60.0
LAGS_AFTER_S = 300.0
MANY_WAITING = 10_000

DROPPED: ServiceRule = "records_dropped"
LAGS: ServiceRule = "shipping_lags"
_SERVICE = "service"
"""Stands where an incident names its canary; no canary's name has the slash behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordState:
    """`dropped` records since the last look, `room_bytes` left in the spool (None: unknown), `waiting`
    records in it, and why the store does not answer ("": it does)."""

    dropped: int
    room_bytes: int | None
    waiting: int
    down: str


@dataclass(slots=True)
class RecordAlarm:
    """Looks at the facts, time and again. Times are CLOCK_MONOTONIC seconds but for an incident's own."""

    incidents: dict[str, Incident | None] = field(default_factory=lambda: {DROPPED: None, LAGS: None})
    statuses: tuple[GuardrailStatus, ...] = ()
    _dropped: int = 0
    _dropped_at: float = float("-inf")
    _late_since: float | None = None

    def look(self, facts: RecordState, *, now_utc: float, now_mono: float) -> list[Notice]:
        """What to tell the receivers now."""
        self.statuses = (self._drops(facts, now_mono), self._lag(facts, now_mono))
        told: list[Notice] = []
        for status in self.statuses:
            self.incidents[status.rule], notices = incidents.step(
                self.incidents[status.rule],
                [status],
                canary=f"{_SERVICE}/{status.rule.partition('_')[0]}",
                run=1,
                now=now_utc,
                rolled_back=False,
            )
            told += notices
        return told

    @property
    def troubles(self) -> list[str]:
        """What is wrong at the moment, in words."""
        return [status.sentence for status in self.statuses if status.state == "firing"]

    def snapshot(self) -> Mapping[str, Any]:
        """The incidents, JSON-able."""
        return {rule: incidents.to_document(incident) for rule, incident in self.incidents.items()}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Go on from a snapshot, which may be empty."""
        for rule, kept in document.items():
            if rule in self.incidents:
                self.incidents[rule] = incidents.from_document(kept)

    def _drops(self, facts: RecordState, now: float) -> GuardrailStatus:
        if facts.dropped:
            lately = now - self._dropped_at < DROPPED_WITHIN_S
            self._dropped = facts.dropped + (self._dropped if lately else 0)
            self._dropped_at = now
        lately = now - self._dropped_at < DROPPED_WITHIN_S
        full = facts.room_bytes is not None and facts.room_bytes < LEAST_ROOM_BYTES
        if full:
            sentence = "the spool has no room: free its disk, or see why the store does not take the records"
        else:
            sentence = f"{self._dropped if lately else 0} records were dropped in the last minute"
        return _status(DROPPED, sentence, full or lately, float(self._dropped if lately else 0), 0.0)

    def _lag(self, facts: RecordState, now: float) -> GuardrailStatus:
        if not facts.down and facts.waiting <= MANY_WAITING:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        late_s = 0.0 if self._late_since is None else now - self._late_since
        why = f": the store does not answer: {facts.down}" if facts.down else ""
        sentence = f"{facts.waiting} records wait in the spool, {late_s:.0f} s behind{why}"
        return _status(LAGS, sentence, late_s >= LAGS_AFTER_S, late_s, LAGS_AFTER_S)


def _status(
    rule: ServiceRule, sentence: str, firing: bool, value: float, threshold: float
) -> GuardrailStatus:
    return GuardrailStatus(
        rule=rule,
        state="firing" if firing else "ok",
        action="page" if firing else None,
        value=value,
        threshold=threshold,
        sentence=sentence,
    )
