"""One incident per canary at a time: when to page, what to say, when to resolve. Sends nothing.

A rule *calls* while its action is page, hold or rollback.

    state     event                                             → state     notice
    none      a rule calls                                      → open      page
    open      another rule calls; the rollback took effect      → open      update
    open      no rule calls, or the canary is rolled back       → clearing  (update on a rollback)
    clearing  a rule calls, and the canary is not rolled back   → open      update if the rule is new
    clearing  30 minutes have passed                            → resolved  resolved
    any       the canary was resumed: a new run                 → resolved  resolved
    any       the canary was removed from the config (`over`)   → resolved  resolved
    resolved  as none, but a rolled back canary does not page until the next run

Each incident pages exactly once. The owner stores a resolved incident too, so that a rollback does not page
twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from alerts import wording
from alerts.incidents.notice import EventName, Notice, Offer
from alerts.incidents.rollback import RollbackEvidence
from alerts.rules.places import CandidateError
from alerts.rules.rule import OF_METRICS, OF_SESSIONS, GuardrailStatus, ServiceRule
from alerts.wording import Trouble
from common.clock import Utc
from common.concentration import FailingPart
from common.numbers import set_percent

RESOLVE_AFTER_S = 1800.0

_WAITS, _ROLLING_BACK = "the canary has not started: it waits", "the candidate is being rolled back"
_KEEPS = "the candidate keeps its share until it is rolled back"
_SERVES = "requests are served as before"

_ALONE = "no other model answers: nothing is tried"
NO_RUN, UNTRIED = -1, -2
"""Stand for the run in an incident of a baseline beside which nothing is tried: of a standing canary, and of
one that waits or was rolled back."""

IncidentState = Literal["open", "clearing", "resolved"]
TroubleOf = Callable[[GuardrailStatus], Trouble]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An incident of one canary. Times are UTC seconds.

    `rules` are in the order in which they joined. `details` holds each rule's last sentence. `where` are the
    parts of the traffic in which the candidate fails, as the first rule that names some counted them.
    `provider_error` is what the candidate's provider said. `trouble` is what the leading rule sees now: the
    first one that calls, or the one that rolls back; `requests` and `users` are the candidate's outcomes and
    affected users, as that rule counts them. After a rollback all are as it was then. `end` says what is
    true once it is resolved. `owner` is who decided about the canary when it opened.
    """

    id: str
    canary: str
    run: int
    opened_at: Utc
    state: IncidentState = "open"
    sequence: int = 0
    rules: tuple[str, ...] = ()
    trouble: Trouble | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    where: tuple[FailingPart, ...] = ()
    provider_error: CandidateError | None = None
    requests: int | None = None
    users: int | None = None
    done: str = ""
    since: Utc | None = None
    rolled_back_at: Utc | None = None
    end: str = ""
    owner: str = ""

    def headline(self, now: Utc, *, quoting: bool = True) -> str:
        """The sentence on call at UTC second `now`; without `quoting` it has no words of a provider."""
        if self.state == "resolved" or self.trouble is None:
            return f"{self.end} {wording.was(self.trouble)}" if self.trouble is not None else self.end
        return wording.on_call(self._dated(self.trouble), self._did(now), now, quoting=quoting)

    def title(self, now: Utc) -> str:
        """The same in at most 120 characters, without a provider's words."""
        if self.state == "resolved" or self.trouble is None:
            return wording.cut(self.end)
        return wording.title(self._dated(self.trouble), self._did(now), now)

    def _dated(self, trouble: Trouble) -> Trouble:
        return trouble if trouble.since is not None else replace(trouble, since=self.opened_at)

    def _did(self, now: Utc) -> str:
        """What canary did, as the last part of the sentence."""
        if self.rolled_back_at is None:
            return self.done
        return f"Rolled back at {wording.clock(self.rolled_back_at, now)}"

    @property
    def dedup_key(self) -> str:
        """The key by which receivers recognize this incident."""
        return f"canary:{self.canary}:{self.id}"

    @property
    def page(self) -> str:
        """The path of its page in the console: of why it was rolled back, of the canary, or "" of all."""
        if self._is_service:
            return ""
        undone = self.rolled_back_at is not None or self.done == _ROLLING_BACK
        return f"canaries/{self.canary}/why?run={self.run}" if undone else f"canaries/{self.canary}"

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What a message about it links to: orders while the candidate has users, then the report."""
        alone = self._is_service or self.run == UNTRIED
        if alone or self.state == "resolved" or self.done in (_WAITS, _ROLLING_BACK):
            return ()
        return ("rollback", "pause") if self.rolled_back_at is None else ("report",)

    @property
    def _is_service(self) -> bool:
        return "/" in self.canary or self.run == NO_RUN


def trouble_of(status: GuardrailStatus) -> Trouble:
    """What a status alone says of a trouble."""
    return Trouble(
        rule=status.rule,
        own=status.sentence,
        category=status.category,
        segment=status.segment,
        value=status.value,
        threshold=status.threshold,
        numbers=status.evidence,
    )


def step(
    incident: Incident | None,
    statuses: Sequence[GuardrailStatus],
    *,
    canary: str,
    run: int,
    now: Utc,
    rolled_back: bool,
    why: RollbackEvidence | None = None,
    provider_error: CandidateError | None = None,
    trouble: TroubleOf = trouble_of,
    share: float | None = None,
    owner: str = "",
) -> tuple[Incident | None, list[Notice]]:
    """The next incident and its notices, from the guardrails' statuses at UTC second `now`.

    `rolled_back` is True while the canary's state is `rolled_back`, by a rule or a person. `why` is the
    evidence of a rule's rollback, given once, in the step after it. `provider_error` is what the candidate's
    provider said last; an incident carries what it said when it opened, or later if it was silent then.
    `trouble` makes the sentence's values of a status. `share`: the candidate's now, None if unknown.
    `owner`: who decides about the canary, named by an incident that opens.
    """
    notices: list[Notice] = []
    if incident is not None and incident.state != "resolved" and incident.run != run:
        incident, notices = _resolve(incident, now, f"{canary} was resumed, and a new run began")
    calling = _calling(incident, statuses, run, rolled_back)
    if incident is None or incident.state == "resolved":
        if not calling:
            return incident, notices
        incident, page = _open(calling, canary, run, now, provider_error, trouble, owner)
        notices = [*notices, page]
    elif incident.provider_error is None:
        incident = replace(incident, provider_error=provider_error)
    changed = any(status.key not in incident.rules for status in calling)
    incident = _join(incident, calling, trouble)
    if incident.rolled_back_at is None:
        incident = _with_figures_of(incident, statuses)
    incident, more = _advance(incident, calling, now, rolled_back, why, changed=changed, share=share)
    return incident, notices + more


def over(incident: Incident | None, now: Utc, end: str = "") -> list[Notice]:
    """The notices when what it is about is no longer watched, at UTC second `now`; none if already resolved.
    `end` says why; without it, the canary has left the config."""
    if incident is None or incident.state == "resolved":
        return []
    return _resolve(incident, now, end or f"{incident.canary} has left the config")[1]


def _calling(
    incident: Incident | None, statuses: Sequence[GuardrailStatus], run: int, rolled_back: bool
) -> list[GuardrailStatus]:
    """The statuses that call for a person. After a rollback only its own, until its notice was sent."""
    calling = [status for status in statuses if status.action in ("page", "hold", "rollback")]
    if not rolled_back:
        return calling
    if incident is not None and incident.run == run and incident.rolled_back_at is not None:
        return []
    return [status for status in calling if status.action == "rollback"]


def _open(
    calling: Sequence[GuardrailStatus],
    canary: str,
    run: int,
    now: Utc,
    provider_error: CandidateError | None,
    trouble: TroubleOf,
    owner: str,
) -> tuple[Incident, Notice]:
    opened = Incident(
        id=datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ"),
        canary=canary,
        run=run,
        opened_at=now,
        provider_error=provider_error,
        owner=owner,
    )
    incident = _join(opened, calling, trouble)
    return incident, _notice(incident, "page", now)


def _advance(
    incident: Incident,
    calling: Sequence[GuardrailStatus],
    now: Utc,
    rolled_back: bool,
    why: RollbackEvidence | None,
    *,
    changed: bool,
    share: float | None,
) -> tuple[Incident, list[Notice]]:
    """The next state of an open or clearing incident, and its notices. `changed`: a rule has joined."""
    if rolled_back and incident.rolled_back_at is None:
        incident = _undone(replace(incident, rolled_back_at=now, done=_rollback_text(why)), why)
        changed = True
    incident, notices = _update(incident, now) if changed else (incident, [])
    if calling and not rolled_back:
        return replace(incident, state="open", since=None), notices
    if incident.state == "open" or incident.since is None:
        return replace(incident, state="clearing", since=now), notices
    if now - incident.since >= RESOLVE_AFTER_S:
        incident, resolved = _resolve(incident, now, _true_now(incident, now, share))
        return incident, notices + resolved
    return incident, notices


def _join(incident: Incident, calling: Sequence[GuardrailStatus], trouble: TroubleOf) -> Incident:
    """The incident with what the rules that call see now."""
    if not calling:
        return incident
    leading = _leading(incident, calling)
    new = tuple(status.key for status in calling if status.key not in incident.rules)
    seen = trouble(leading)
    return replace(
        incident,
        rules=incident.rules + new,
        details={**incident.details, **{status.key: status.sentence for status in calling}},
        where=next((each.where.parts for each in calling if each.where.parts), incident.where),
        trouble=seen,
        requests=_requests(seen.rule, seen.numbers),
        users=_whole(seen.numbers.get("adverse_units")),
        done=incident.done if incident.rolled_back_at is not None else _done_text(calling, incident),
    )


def _with_figures_of(incident: Incident, statuses: Sequence[GuardrailStatus]) -> Incident:
    """The incident with the present sentences of its rules, also of those that do not call any more."""
    now = {status.key: status.sentence for status in statuses if status.key in incident.details}
    return replace(incident, details={**incident.details, **now})


def _requests(rule: str, numbers: Mapping[str, float]) -> int | None:
    """How many requests a rule has counted; None for one that counts sessions, or users who rate."""
    others = rule in (*OF_SESSIONS, *OF_METRICS) or "higher_is_better" in numbers
    return None if others else _whole(numbers.get("outcomes"))


def _leading(incident: Incident, calling: Sequence[GuardrailStatus]) -> GuardrailStatus:
    """The rule that the sentence is about: one that rolls back, else the one that has called longest."""
    return min(
        calling,
        key=lambda each: (
            each.action != "rollback",
            incident.rules.index(each.key) if each.key in incident.rules else len(incident.rules),
        ),
    )


def _done_text(calling: Sequence[GuardrailStatus], incident: Incident) -> str:
    if "/" in incident.canary:
        return _SERVES
    if any(status.rule == "preflight_failed" for status in calling):
        return _WAITS
    if incident.run in (NO_RUN, UNTRIED):
        return _ALONE
    actions = {status.action for status in calling}
    if "rollback" in actions:
        return _ROLLING_BACK
    if "hold" in actions:
        return "the ramp holds"
    return incident.done or _KEEPS


def _rollback_text(why: RollbackEvidence | None) -> str:
    if why is None:
        return "the candidate was rolled back"
    before, after = set_percent(why.share_before), set_percent(why.share_after)
    return f"the candidate was rolled back: share {before} → {after}"


def _undone(incident: Incident, why: RollbackEvidence | None) -> Incident:
    """The incident of a rollback, with the figures of its moment."""
    rule = why.convicting if why is not None else None
    if why is None or rule is None:
        return incident
    then = {each.rule: each.sentence for each in why.rules if each.rule in incident.rules}
    numbers = why.trouble.numbers if why.trouble is not None else rule.evidence
    return replace(
        incident,
        trouble=why.trouble or incident.trouble,
        details={**incident.details, **then},
        where=why.where.parts or incident.where,
        requests=_requests(rule.rule.partition("[")[0], numbers),
        users=_whole(numbers.get("adverse_units")),
    )


def _true_now(incident: Incident, now: Utc, share: float | None) -> str:
    """What is true once nothing has called for half an hour."""
    trouble = incident.trouble or Trouble(rule="", own="")
    if incident.rolled_back_at is not None:
        at = wording.clock(incident.rolled_back_at, now)
        return f"{trouble.candidate} was rolled back at {at}, and everybody gets {trouble.baseline}"
    since = wording.clock(now if incident.since is None else incident.since, now)
    called = f"nothing has called since {since}"
    return called if share is None else f"{called}; the share of {trouble.candidate} is {set_percent(share)}"


def _update(incident: Incident, now: Utc) -> tuple[Incident, list[Notice]]:
    incident = replace(incident, sequence=incident.sequence + 1)
    return incident, [_notice(incident, "update", now)]


def _resolve(incident: Incident, now: Utc, end: str) -> tuple[Incident, list[Notice]]:
    """The incident over; `end` says what is true now."""
    end = f"Over: {end}."
    incident = replace(
        incident, state="resolved", sequence=incident.sequence + 1, since=now, end=end, done=end
    )
    return incident, [_notice(incident, "resolved", now)]


def _notice(incident: Incident, event: EventName, now: Utc) -> Notice:
    return Notice(
        event=event,
        dedup_key=incident.dedup_key,
        sequence=incident.sequence,
        at=now,
        canary=incident.canary,
        incident=incident.id,
        opened_at=incident.opened_at,
        headline=incident.headline(now),
        title=incident.title(now),
        rules=incident.rules,
        details=incident.details,
        done=incident.done,
        requests=incident.requests,
        users=incident.users,
        where=incident.where,
        provider_error=incident.provider_error,
        page=incident.page,
        offers=incident.offers,
        rolled_back=incident.rolled_back_at is not None,
        owner=incident.owner,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def to_document(incident: Incident | None) -> dict[str, Any] | None:
    """The incident for the owner's checkpoint, JSON-able."""
    document: dict[str, Any] | None = msgspec.to_builtins(incident, str_keys=True)
    return document


def from_document(document: Mapping[str, Any] | None) -> Incident | None:
    """The incident from a checkpoint. Raises msgspec.ValidationError for a document of another shape."""
    return msgspec.convert(document, Incident | None)


LEAST_ROOM_BYTES = 64 << 10
"""With less room than this in the spool, the next records may not fit."""

SPOOL_FULL = (
    "the spool is full, and guardrails see nothing new: "
    "free disk space, or find out why the store takes no records"
)
DROPPED_WITHIN_S = 60.0
LAGS_AFTER_S = 300.0
MANY_WAITING = 10_000
REFUSED_FOR_S = 60.0
"""So long a config may be refused before somebody is told: who edits it sees it sooner."""

DROPPED: ServiceRule = "records_dropped"
LAGS: ServiceRule = "shipping_lags"
REFUSED: ServiceRule = "config_refused"
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

    incidents: dict[str, Incident | None] = field(
        default_factory=lambda: {DROPPED: None, LAGS: None, REFUSED: None}
    )
    statuses: tuple[GuardrailStatus, ...] = ()
    _dropped: int = 0
    _dropped_at: float = float("-inf")
    _late_since: float | None = None
    _refused_since: float | None = None

    def decide(self, records: RecordState, *, now_utc: Utc, now_mono: float) -> list[Notice]:
        """Judge the state of the records. Returns the notices to send."""
        self.statuses = (self._drops(records, now_mono), self._lag(records, now_mono))
        return [notice for status in self.statuses for notice in self._step(status, now_utc)]

    def decide_config(self, refused: str, *, now_utc: Utc, now_mono: float) -> list[Notice]:
        """Judge why the config file is refused ("": it is in force). Returns the notices to send."""
        if not refused:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now_mono
        late_s = 0.0 if self._refused_since is None else now_mono - self._refused_since
        sentence = f"the config file is refused, and changes nothing: {refused}"
        return self._step(_status(REFUSED, sentence, late_s >= REFUSED_FOR_S, late_s, REFUSED_FOR_S), now_utc)

    def _step(self, status: GuardrailStatus, now: Utc) -> list[Notice]:
        self.incidents[status.rule], notices = step(
            self.incidents[status.rule],
            [status],
            canary=f"{_SERVICE}/{status.rule.partition('_')[0]}",
            run=1,
            now=now,
            rolled_back=False,
        )
        return notices

    @property
    def troubles(self) -> list[str]:
        """The present problems, in words."""
        return [status.sentence for status in self.statuses if status.state == "firing"]

    def snapshot(self) -> Mapping[str, Any]:
        """The incidents, JSON-able."""
        return {rule: to_document(incident) for rule, incident in self.incidents.items()}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Continue from a snapshot, which may be empty."""
        for rule, incident in document.items():
            if rule in self.incidents:
                self.incidents[rule] = from_document(incident)

    def _drops(self, records: RecordState, now: float) -> GuardrailStatus:
        if records.dropped:
            recent = now - self._dropped_at < DROPPED_WITHIN_S
            self._dropped = records.dropped + (self._dropped if recent else 0)
            self._dropped_at = now
        recent = now - self._dropped_at < DROPPED_WITHIN_S
        dropped = self._dropped if recent else 0
        full = records.room_bytes is not None and records.room_bytes < LEAST_ROOM_BYTES
        sentence = SPOOL_FULL if full else f"{dropped} records were dropped in the last minute"
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
