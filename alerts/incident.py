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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from alerts.candidate_error import CandidateError
from alerts.notice import EventName, Notice
from alerts.order_links import Offer
from alerts.rollback_evidence import RollbackEvidence
from alerts.status import GuardrailStatus
from records.concentration import FailingPart

RESOLVE_AFTER_S = 1800.0

_WAITS, _ROLLING_BACK = "the canary has not started: it waits", "the candidate is being rolled back"

IncidentState = Literal["open", "clearing", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An incident of one canary. Times are UTC seconds.

    `rules` are in the order in which they joined. `details` holds each rule's last sentence. `where` are the
    parts of the traffic in which the candidate fails, as the first rule that names some counted them.
    `provider_error` is what the candidate's provider said. `requests` and `users` are the candidate's
    outcomes and affected users, as the first rule counted them, and after a rollback the rule of that.
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
    where: tuple[FailingPart, ...] = ()
    provider_error: CandidateError | None = None
    requests: int | None = None
    users: int | None = None
    done: str = ""
    since: float | None = None
    rolled_back_at: float | None = None

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
        if self._is_service or self.state == "resolved" or self.done in (_WAITS, _ROLLING_BACK):
            return ()
        return ("rollback", "pause") if self.rolled_back_at is None else ("report",)

    @property
    def _is_service(self) -> bool:
        return "/" in self.canary


def step(
    incident: Incident | None,
    statuses: Sequence[GuardrailStatus],
    *,
    canary: str,
    run: int,
    now: float,
    rolled_back: bool,
    why: RollbackEvidence | None = None,
    provider_error: CandidateError | None = None,
) -> tuple[Incident | None, list[Notice]]:
    """The next incident and its notices, from the guardrails' statuses at UTC second `now`.

    `rolled_back` is True while the canary's state is `rolled_back`, by a rule or a person. `why` is the
    evidence of a rule's rollback, given once, in the step after it. `provider_error` is what the candidate's
    provider said last; an incident carries what it said when it opened, or later if it was silent then.
    """
    notices: list[Notice] = []
    if incident is not None and incident.state != "resolved" and incident.run != run:
        incident, notices = _resolve(incident, now)
    calling = _calling(incident, statuses, run, rolled_back)
    if incident is None or incident.state == "resolved":
        if not calling:
            return incident, notices
        incident, page = _open(calling, canary, run, now, provider_error)
        notices = [*notices, page]
    elif incident.provider_error is None:
        incident = replace(incident, provider_error=provider_error)
    incident, more = _advance(incident, calling, now, rolled_back, why)
    return incident, notices + more


def over(incident: Incident | None, now: float) -> list[Notice]:
    """The notices when a canary is no longer watched, at UTC second `now`; none if already resolved."""
    if incident is None or incident.state == "resolved":
        return []
    return _resolve(incident, now)[1]


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
    now: float,
    provider_error: CandidateError | None,
) -> tuple[Incident, Notice]:
    first = max(calling, key=lambda status: status.action == "rollback")
    incident = _join(
        Incident(
            id=datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ"),
            canary=canary,
            run=run,
            opened_at=now,
            headline=f"{canary}: {first.key}: {first.sentence}",
            requests=_whole(first.evidence.get("outcomes")),
            users=_whole(first.evidence.get("adverse_units")),
            provider_error=provider_error,
        ),
        calling,
    )
    return incident, _notice(incident, "page", now)


def _advance(
    incident: Incident,
    calling: Sequence[GuardrailStatus],
    now: float,
    rolled_back: bool,
    why: RollbackEvidence | None,
) -> tuple[Incident, list[Notice]]:
    """The next state of an open or clearing incident, and its notices."""
    changed = any(status.key not in incident.rules for status in calling)
    incident = _join(incident, calling)
    if rolled_back and incident.rolled_back_at is None:
        incident = _undone(replace(incident, rolled_back_at=now, done=_rollback_text(why)), why)
        changed = True
    incident, notices = _update(incident, now) if changed else (incident, [])
    if calling and not rolled_back:
        return replace(incident, state="open", since=None), notices
    if incident.state == "open" or incident.since is None:
        return replace(incident, state="clearing", since=now), notices
    if now - incident.since >= RESOLVE_AFTER_S:
        incident, resolved = _resolve(incident, now)
        return incident, notices + resolved
    return incident, notices


def _join(incident: Incident, calling: Sequence[GuardrailStatus]) -> Incident:
    if not calling:
        return incident
    new = tuple(status.key for status in calling if status.key not in incident.rules)
    return replace(
        incident,
        rules=incident.rules + new,
        details={**incident.details, **{status.key: status.sentence for status in calling}},
        where=next((each.where.parts for each in calling if each.where.parts), incident.where),
        done=incident.done if incident.rolled_back_at is not None else _done_text(calling, incident.done),
    )


def _done_text(calling: Sequence[GuardrailStatus], before: str) -> str:
    if any(status.rule == "preflight_failed" for status in calling):
        return _WAITS
    actions = {status.action for status in calling}
    if "rollback" in actions:
        return _ROLLING_BACK
    if "hold" in actions:
        return "the ramp holds"
    return before or "nothing yet: the candidate keeps its share until a guardrail or a person rolls it back"


def _rollback_text(why: RollbackEvidence | None) -> str:
    if why is None:
        return "the candidate was rolled back"
    return f"the candidate was rolled back: share {why.share_before:.1%} → {why.share_after:.1%}"


def _undone(incident: Incident, why: RollbackEvidence | None) -> Incident:
    """The incident of a rollback, with the figures of its moment."""
    headline, rule = f"{incident.canary} was rolled back", why.convicting if why is not None else None
    if why is None or rule is None:
        return replace(incident, headline=headline)
    then = {each.rule: each.sentence for each in why.rules if each.rule in incident.rules}
    return replace(
        incident,
        headline=f"{headline}: {rule.rule}: {rule.sentence}",
        details={**incident.details, **then},
        where=why.where.parts or incident.where,
        requests=_whole(rule.evidence.get("outcomes")),
        users=_whole(rule.evidence.get("adverse_units")),
    )


def _update(incident: Incident, now: float) -> tuple[Incident, list[Notice]]:
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
        where=incident.where,
        provider_error=incident.provider_error,
        page=incident.page,
        offers=incident.offers,
        rolled_back=incident.rolled_back_at is not None,
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
