"""Incidents of the service itself: records are dropped, or do not reach the store.

    records_dropped   records were dropped in the last minute, or the spool has no room for the next record
    shipping_lags     for five minutes the store has not answered, or more than 10,000 records have waited

Each is a separate incident with one page, resolved 30 minutes after its end. Pure: state in, notices out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alerts import incident as incidents
from alerts.incident import Incident
from alerts.notice import Notice
from alerts.status import GuardrailStatus, ServiceRule

LEAST_ROOM_BYTES = 64 << 10
"""With less room than this in the spool, the next records may not fit."""

DROPPED_WITHIN_S = 60.0
LAGS_AFTER_S = 300.0
MANY_WAITING = 10_000

DROPPED: ServiceRule = "records_dropped"
LAGS: ServiceRule = "shipping_lags"
_SERVICE = "service"
"""The canary field of these incidents is "service/…". A canary's name has no slash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordState:
    """`dropped`: records since the last state. `room_bytes`: left in the spool (None: unknown). `waiting`:
    records in the spool. `down`: why the store does not answer ("": it answers)."""

    dropped: int
    room_bytes: int | None
    waiting: int
    down: str


@dataclass(slots=True)
class RecordAlarm:
    """Opens and resolves the incidents. Times are CLOCK_MONOTONIC seconds, except in incidents."""

    incidents: dict[str, Incident | None] = field(default_factory=lambda: {DROPPED: None, LAGS: None})
    statuses: tuple[GuardrailStatus, ...] = ()
    _dropped: int = 0
    _dropped_at: float = float("-inf")
    _late_since: float | None = None

    def judge(self, records: RecordState, *, now_utc: float, now_mono: float) -> list[Notice]:
        """Judge the state of the records. Returns the notices to send."""
        self.statuses = (self._drops(records, now_mono), self._lag(records, now_mono))
        notices: list[Notice] = []
        for status in self.statuses:
            self.incidents[status.rule], new = incidents.step(
                self.incidents[status.rule],
                [status],
                canary=f"{_SERVICE}/{status.rule.partition('_')[0]}",
                run=1,
                now=now_utc,
                rolled_back=False,
            )
            notices += new
        return notices

    @property
    def troubles(self) -> list[str]:
        """The present problems, in words."""
        return [status.sentence for status in self.statuses if status.state == "firing"]

    def snapshot(self) -> Mapping[str, Any]:
        """The incidents, JSON-able."""
        return {rule: incidents.to_document(incident) for rule, incident in self.incidents.items()}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Continue from a snapshot, which may be empty."""
        for rule, incident in document.items():
            if rule in self.incidents:
                self.incidents[rule] = incidents.from_document(incident)

    def _drops(self, records: RecordState, now: float) -> GuardrailStatus:
        if records.dropped:
            recent = now - self._dropped_at < DROPPED_WITHIN_S
            self._dropped = records.dropped + (self._dropped if recent else 0)
            self._dropped_at = now
        recent = now - self._dropped_at < DROPPED_WITHIN_S
        dropped = self._dropped if recent else 0
        full = records.room_bytes is not None and records.room_bytes < LEAST_ROOM_BYTES
        if full:
            sentence = "the spool is full: free disk space, or find out why the store takes no records"
        else:
            sentence = f"{dropped} records were dropped in the last minute"
        return _status(DROPPED, sentence, full or recent, float(dropped), 0.0)

    def _lag(self, records: RecordState, now: float) -> GuardrailStatus:
        if not records.down and records.waiting <= MANY_WAITING:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        late_s = 0.0 if self._late_since is None else now - self._late_since
        why = f": the store does not answer: {records.down}" if records.down else ""
        sentence = f"{records.waiting} records have waited in the spool for {late_s:.0f} s{why}"
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
