"""One incident per canary at a time: when a person is told, what, and when it is over. Sends nothing.

    state     what happened                                            → state     notice
    none      a rule wants a person (page, hold, rollback)             → open      page
    open      another rule wants one; the rollback took effect         → open      update
    open      nothing wants a person any more, or it is rolled back    → clearing  (update on a rollback)
    clearing  a rule wants a person again, and it is not rolled back   → open      update if it is a new rule
    clearing  30 minutes have passed                                   → resolved  resolved
    any       the canary was resumed: another run                      → resolved  resolved
    any       the canary has left the config (`over`)                  → resolved  resolved
    resolved  as none; but what was rolled back stays quiet until the next run

There is exactly one page per incident. "none" is no incident at all; a resolved one is kept by the owner, so
that a rollback whose page has been sent is not paged again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from alerts.rollback_evidence import RollbackEvidence
from alerts.status import GuardrailStatus

RESOLVE_AFTER_S = 1800.0

IncidentState = Literal["open", "clearing", "resolved"]
EventName = Literal["page", "update", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What went wrong with one canary. Times are UTC seconds.

    `rules` in the order in which they joined; `details` is what each of them said last, in words; `requests`
    and `users` are the candidate's outcomes looked at and its users in trouble, as the first rule counted
    them.
    """

    id: str
    canary: str
    run: int
    opened_at: float
    state: IncidentState = "open"
    sequence: int = 0
    rules: tuple[str, ...] = ()
    headline: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    requests: int | None = None
    users: int | None = None
    done: str = ""
    since: float | None = None
    rolled_back_at: float | None = None

    @property
    def dedup_key(self) -> str:
        """The key under which every receiver keeps this incident as one."""
        return f"canary:{self.canary}:{self.id}"

    @property
    def page(self) -> str:
        """The console's page about it, as a path; "" for its first page."""
        service = "/" in self.canary
        return "" if service else f"canaries/{self.canary}/why?run={self.run}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to tell the receivers. (dedup_key, sequence) is unique; times are UTC seconds; `page` is the
    console's page about it, as a path."""

    event: EventName
    dedup_key: str
    sequence: int
    at: float
    canary: str
    incident: str
    opened_at: float
    headline: str
    rules: tuple[str, ...]
    details: Mapping[str, str]
    done: str
    requests: int | None = None
    users: int | None = None
    page: str = ""


def step(
    incident: Incident | None,
    statuses: Sequence[GuardrailStatus],
    *,
    canary: str,
    run: int,
    now: float,
    rolled_back: bool,
    why: RollbackEvidence | None = None,
) -> tuple[Incident | None, list[Notice]]:
    """The next incident and what to tell, from the guardrails' statuses at UTC second `now`.

    `rolled_back` is True while the canary's stored state is `rolled_back`, whoever did it; `why` is given
    with the step after a rollback that a rule asked for, to say what was done.
    """
    notices: list[Notice] = []
    if incident is not None and incident.state != "resolved" and incident.run != run:
        incident, notices = _resolve(incident, now)
    wanting = _wanting(incident, statuses, run, rolled_back)
    if incident is None or incident.state == "resolved":
        if not wanting:
            return incident, notices
        incident, page = _open(wanting, canary, run, now)
        notices = [*notices, page]
    incident, more = _advance(incident, wanting, now, rolled_back, why)
    return incident, notices + more


def over(incident: Incident | None, now: float) -> list[Notice]:
    """What to tell at UTC second `now` once nobody watches the canary any more; nothing if it is resolved."""
    if incident is None or incident.state == "resolved":
        return []
    return _resolve(incident, now)[1]


def _wanting(
    incident: Incident | None, statuses: Sequence[GuardrailStatus], run: int, rolled_back: bool
) -> list[GuardrailStatus]:
    """The statuses that a person must hear of; after a rollback only a conviction nobody was told about."""
    wanting = [status for status in statuses if status.action in ("page", "hold", "rollback")]
    if not rolled_back:
        return wanting
    if incident is not None and incident.run == run and incident.rolled_back_at is not None:
        return []
    return [status for status in wanting if status.action == "rollback"]


def _open(wanting: Sequence[GuardrailStatus], canary: str, run: int, now: float) -> tuple[Incident, Notice]:
    first = max(wanting, key=lambda status: status.action == "rollback")
    incident = _join(
        Incident(
            id=datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ"),
            canary=canary,
            run=run,
            opened_at=now,
            headline=f"{canary}: {first.key}: {first.sentence}",
            requests=_whole(first.evidence.get("outcomes")),
            users=_whole(first.evidence.get("adverse_units")),
        ),
        wanting,
    )
    return incident, _notice(incident, "page", now)


def _advance(
    incident: Incident,
    wanting: Sequence[GuardrailStatus],
    now: float,
    rolled_back: bool,
    why: RollbackEvidence | None,
) -> tuple[Incident, list[Notice]]:
    """An open or clearing incident, one look later."""
    changed = any(status.key not in incident.rules for status in wanting)
    incident = _join(incident, wanting)
    if rolled_back and incident.rolled_back_at is None:
        incident = replace(incident, rolled_back_at=now, done=_undone(why))
        changed = True
    incident, told = _tell(incident, now) if changed else (incident, [])
    if wanting and not rolled_back:
        return replace(incident, state="open", since=None), told
    if incident.state == "open" or incident.since is None:
        return replace(incident, state="clearing", since=now), told
    if now - incident.since >= RESOLVE_AFTER_S:
        incident, over = _resolve(incident, now)
        return incident, told + over
    return incident, told


def _join(incident: Incident, wanting: Sequence[GuardrailStatus]) -> Incident:
    if not wanting:
        return incident
    new = tuple(status.key for status in wanting if status.key not in incident.rules)
    return replace(
        incident,
        rules=incident.rules + new,
        details={**incident.details, **{status.key: status.sentence for status in wanting}},
        done=incident.done if incident.rolled_back_at is not None else _asked(wanting, incident.done),
    )


def _asked(wanting: Sequence[GuardrailStatus], before: str) -> str:
    actions = {status.action for status in wanting}
    if "rollback" in actions:
        return "the candidate is being rolled back"
    if "hold" in actions:
        return "the ramp holds"
    return before or "nothing so far; the guardrails keep watching"


def _undone(why: RollbackEvidence | None) -> str:
    if why is None:
        return "the candidate was rolled back"
    return f"the candidate was rolled back: share {why.share_before:.1%} → {why.share_after:.1%}"


def _tell(incident: Incident, now: float) -> tuple[Incident, list[Notice]]:
    incident = replace(incident, sequence=incident.sequence + 1)
    return incident, [_notice(incident, "update", now)]


def _resolve(incident: Incident, now: float) -> tuple[Incident, list[Notice]]:
    incident = replace(incident, state="resolved", sequence=incident.sequence + 1, since=now)
    return incident, [_notice(incident, "resolved", now)]


def _notice(incident: Incident, event: EventName, now: float) -> Notice:
    return Notice(
        event=event,
        dedup_key=incident.dedup_key,
        sequence=incident.sequence,
        at=now,
        canary=incident.canary,
        incident=incident.id,
        opened_at=incident.opened_at,
        headline=incident.headline,
        rules=incident.rules,
        details=incident.details,
        done=incident.done,
        requests=incident.requests,
        users=incident.users,
        page=incident.page,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def to_document(incident: Incident | None) -> dict[str, Any] | None:
    """The incident, JSON-able, for the owner's checkpoint."""
    document: dict[str, Any] | None = msgspec.to_builtins(incident, str_keys=True)
    return document


def from_document(document: Mapping[str, Any] | None) -> Incident | None:
    """The incident of a checkpoint. Raises msgspec.ValidationError for a document of another shape."""
    return msgspec.convert(document, Incident | None)
