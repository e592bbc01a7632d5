"""Puts a canary's prospect together: what a person gives, else what was recorded, else what is usual."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from records.errors import StoreDown
from records.facts.metric import JUDGED, Metric
from records.store import Store
from routing.canary import Canary, Step
from verdict.planner.assumptions import Assumptions
from verdict.planner.prospect import REQUESTS, SHARE, USERS, Expectation, Prospect, usual_days
from verdict.planner.recorded import Recorded, in_lane, recorded
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.plan import PLANNED_DAYS, default_days
from verdict.terms.rubric import Criterion


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person gives. `users` are those of both arms in the planned days, `days` if given."""

    users: int | None = None
    days: int | None = None
    share: float | None = None
    requests: float | None = None
    assumptions: Assumptions = field(default_factory=Assumptions)


def prospect_of(
    judged: JudgedCanary,
    steps: Sequence[Step],
    wanted: Wanted,
    seen: Recorded | None = None,
    *,
    lane: float = 1.0,
    unpriced: Iterable[str] = (),
) -> Prospect | None:
    """None for a canary without a rubric, or without a share at which both arms have users. `unpriced`: the
    arms without a known price. `lane`: the part of the assumed users that reach the canary.
    Rows on a judge's word are left out: people's labels decide about them."""
    waiting = tuple(row.metric for row in judged.criteria if row.metric in JUDGED)
    judged = _without(judged, waiting)
    given = (Step(share=wanted.share),) if wanted.share is not None else tuple(steps)
    if not judged.criteria or not any(0 < step.share < 1 for step in given):
        return None
    days = usual_days(judged) if wanted.days is None else wanted.days
    if wanted.days is not None and not judged.planned_days:
        judged = replace(judged, planned_days=days)
    return Prospect(
        judged=judged,
        days=days,
        steps=given,
        expected=_expected(wanted, seen, days, lane),
        assumptions=wanted.assumptions if seen is None else wanted.assumptions.over(seen.assumptions),
        shares_from="from the config" if wanted.share is None else "given",
        unpriced=frozenset(unpriced),
        waiting=waiting,
    )


def _without(judged: JudgedCanary, metrics: Collection[str]) -> JudgedCanary:
    return replace(judged, criteria=[row for row in judged.criteria if row.metric not in metrics])


def of_rubric(
    criteria: Sequence[Criterion],
    name: str,
    metrics: Mapping[str, Metric],
    judged: JudgedCanary | None = None,
) -> JudgedCanary:
    """A canary's terms with another rubric; without a canary, the usual terms."""
    if judged is not None:
        return replace(judged, criteria=criteria)
    found = JudgedCanary(name=name, criteria=criteria, metrics=metrics)
    return replace(found, planned_days=default_days(found.minimum_days, found.matures_days))


USUAL_STEPS = (Step(share=SHARE),)
"""The share of a rubric that no canary has."""


def recorded_of(store: Store, canary: Canary, judged: JudgedCanary, lane: float = 1.0) -> Recorded | None:
    """What an open store has of the canary's traffic. May raise StoreDown."""
    with store.reading() as connection:
        return recorded(connection, canary, _without(judged, JUDGED), now=time.time(), lane=lane)


def prospect_from_store(
    store: Store, canary: Canary, judged: JudgedCanary, unpriced: Iterable[str] = (), lane: float = 1.0
) -> Prospect | None:
    """The prospect as `prospect_of` makes it, from recorded traffic; all is assumed where the store does not
    answer."""
    try:
        seen = recorded_of(store, canary, judged, lane)
    except StoreDown:
        seen = None
    return prospect_of(judged, canary.steps, Wanted(), seen, lane=lane, unpriced=unpriced)


def _expected(wanted: Wanted, seen: Recorded | None, days: int, lane: float) -> Expectation:
    """Given users come in these days; recorded and assumed users have a daily rate, whatever the days."""
    too_short = seen.too_short if seen is not None else ""
    users, users_from = wanted.users, "given"
    per_day = users / days if users is not None else None
    if per_day is None and seen is not None:
        per_day, users_from = seen.users_per_day, seen.over
    if per_day is None:
        per_day, users_from = lane * USERS / PLANNED_DAYS, in_lane(f"assumed{too_short}", lane)
    requests, requests_from = wanted.requests, "given"
    if requests is None and seen is not None:
        requests, requests_from = seen.requests, seen.over
    if requests is None:
        requests, requests_from = REQUESTS, f"assumed{too_short}"
    return Expectation(
        users_per_day=per_day, requests=requests, users_from=users_from, requests_from=requests_from
    )
