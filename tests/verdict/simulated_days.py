"""Worlds in which days differ: incidents, an outage of the baseline, a candidate gets worse, a novelty."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tests.verdict.simulated import (
    DAY_S,
    EQUAL,
    HALFWAY,
    TrueValues,
    Visits,
    World,
    as_planned,
    by_hour,
    failing,
    lasting,
    rating,
    usual,
    visits,
)
from tests.verdict.simulated_cases import FAILS_SELDOM, P95, P95_VS, README, good
from tests.verdict.simulated_looks import passes_by_users, row, without_refusals
from verdict.decision.plan_course import PlanCourse
from verdict.sample.outages import outside_outages
from verdict.sample.sample import Ratings
from verdict.statistics.types import Bools, Floats
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion

Rng = np.random.Generator
ERRORS, CSAT = README[1:], README[:1]


def _planned(rng: Rng, share: float) -> Visits:
    return visits(rng, usual(rng, 20_000, 3.0), share=share, days=14)


def _errors(rng: Rng, of: Visits, candidate: float) -> Floats:
    return failing(rng, of, (0.01, candidate), alike=0.4)


def _stars(rng: Rng, of: Visits, means: tuple[float, float]) -> Ratings:
    return rating(rng, of, means, alike=0.4, spread=1 / 9, answers=0.125)


def _mixed(usually: Ratings, then: Ratings, rows: Bools) -> Ratings:
    """The second's ratings in the visits marked, (visits,), the first's in the others."""
    one, other = usually.only(~rows[usually.row]), then.only(rows[then.row])
    row, value, at = (
        np.concatenate([getattr(each, name) for each in (one, other)]) for name in ("row", "value", "at")
    )
    order = np.argsort(row, kind="stable")
    return Ratings(row=row[order], value=value[order], at=at[order])


def incidents(rng: Rng, share: float, *, of_day: float, often: float) -> World:
    """1 % of errors, and at random days all the candidate's requests fail for a part of it: 6 % in the long
    run."""
    of = _planned(rng, share)
    down = rng.random(14) < often
    lost = rng.binomial(of.count, np.where(down[of.day] & of.candidate, of_day, 0.0))
    return World(visits=of, totals={"errors": np.minimum(_errors(rng, of, 0.01) + lost, of.count)})


def outage(rng: Rng, share: float) -> World:
    """csat is at its bound; the baseline is rated 2 on day 8."""
    of = _planned(rng, share)
    said = _mixed(_stars(rng, of, (4.0, 3.8)), _stars(rng, of, (2.0, 3.8)), of.day == 7)
    return World(visits=of, totals={"errors": _errors(rng, of, 0.01)}, said={"csat": said})


def down(rng: Rng, share: float, *, arms: str, csat: float = 4.0) -> World:
    """From noon to midnight of day 8 most requests of these arms fail, and the rest are rated 2."""
    of = by_hour(rng, _planned(rng, share))
    out = (of.day == 7) & (of.at % DAY_S >= DAY_S / 2)
    out &= (~of.candidate & ("baseline" in arms)) | (of.candidate & ("candidate" in arms))
    failed = np.where(out & (rng.random(len(out)) < 0.8), 1.0, _errors(rng, of, 0.01))
    said = _mixed(_stars(rng, of, (4.0, csat)), _stars(rng, of, (2.0, 2.0)), out)
    return World(visits=of, totals={"errors": failed}, said={"csat": said})


def worse(rng: Rng, share: float, *, errors: float = 0.01, csat: float = 4.0, day: int = 10) -> World:
    """An equal candidate that is worse from a day on."""
    of = _planned(rng, share)
    late = of.day >= day - 1
    failed = np.where(late, _errors(rng, of, errors), _errors(rng, of, 0.01))
    said = _mixed(_stars(rng, of, (4.0, 4.0)), _stars(rng, of, (4.0, csat)), late)
    return World(visits=of, totals={"errors": failed}, said={"csat": said})


def slower(rng: Rng, share: float, p95_s: float, *, day: int = 10) -> World:
    """The candidate answers as fast as the baseline, p95 1 s, and from a day on at this p95."""
    of = _planned(rng, share)
    before, after = lasting(rng, of, (1.0, 1.0)), lasting(rng, of, (1.0, p95_s))
    return World(visits=of, duration=np.where(of.day[of.whose] >= day - 1, after, before))


def novelty(rng: Rng, share: float) -> World:
    """Users who return for two weeks like the candidate for their first three days; then it is 10 % worse."""
    of = visits(rng, usual(rng, 8_000, 7.0), share=share, days=14, came=[1.0] * 7 + [0.0] * 7, returning=14)
    first = np.full(of.users, 99)
    np.minimum.at(first, of.user, of.day)
    said = _mixed(_stars(rng, of, (4.0, 4.4)), _stars(rng, of, (4.0, 3.6)), of.day - first[of.user] >= 3)
    return World(visits=of, totals={"errors": _errors(rng, of, 0.01)}, said={"csat": said})


def failing_late(rng: Rng, share: float) -> World:
    """Users return for two weeks. Of the candidate's requests 1 % fail, 10 % from a user's fifth day on."""
    of = visits(rng, usual(rng, 8_000, 7.0), share=share, days=14, returning=14)
    first = np.full(of.users, 99)
    np.minimum.at(first, of.user, of.day)
    late = of.day - first[of.user] >= 4
    errors = np.where(late, _errors(rng, of, 0.1), _errors(rng, of, 0.01))
    return World(visits=of, totals={"errors": errors})


def returning(rng: Rng, share: float) -> World:
    """An equal candidate; users return for two weeks."""
    of = visits(rng, usual(rng, 16_000, 8.0), share=share, days=14, returning=14)
    said = _stars(rng, of, (4.0, 4.0))
    return World(visits=of, totals={"errors": _errors(rng, of, 0.01)}, said={"csat": said})


def ramp(rng: Rng, true: TrueValues) -> World:
    """1, 5 and 20 % of users who return for ten days, from days 1, 4 and 7 on; 8 requests each."""
    of = visits(rng, usual(rng, 20_000, 8.0), steps={0: 0.01, 3: 0.05, 6: 0.2}, days=14, returning=10)
    return World(
        visits=of,
        totals={"errors": _errors(rng, of, true.error_rate)},
        said={"csat": _stars(rng, of, (4.0, true.csat))},
    )


def weekends(rng: Rng, _: float, *, start: int, steps: Mapping[int, float]) -> World:
    """In both arms 2.5 % of requests fail, 6 % at weekends: 3.5 % of a week's. The first day is a Monday for
    `start` 0; `steps` are the shares by the day from which they hold."""
    of = visits(rng, usual(rng, 30_000, 3.0), steps=steps, days=14)
    usually, then = (failing(rng, of, (rate, rate)) for rate in (0.025, 0.06))
    return World(visits=of, totals={"errors": np.where((start + of.day) % 7 >= 5, then, usually)})


def by_hand(rng: Rng, share: float) -> World:
    """Errors exactly at their bound. Each night somebody raises the share to 20 % if they look bad so far,
    and cuts it to 5 % if they look good."""
    of = _planned(rng, share)
    draw, failed = rng.random(of.users)[of.user], failing(rng, of, (0.05, 0.05))
    candidate, phase, shares = np.zeros(len(draw), dtype=np.bool_), of.phase.copy(), {0: share}
    for day in range(14):
        today, last = of.day == day, len(shares) - 1
        candidate |= today & (draw < shares[last])
        phase[today] = last
        bad = failed[candidate].sum() > 0.05 * of.count[candidate].sum()
        if shares[last] != (new := 0.2 if bad else 0.05):
            shares[last + 1] = new
    of = replace(of, candidate=candidate, phase=phase, shares=shares)
    return World(visits=of, totals={"errors": failed})


def as_ever(rng: Rng, share: float, true: TrueValues) -> World:
    return as_planned(rng, true, share=share, requests=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysWorld:
    """A world with the rows on which it is judged."""

    make: Callable[[Rng, float], World]
    criteria: Sequence[Criterion] = README
    share: float = 0.05


WORLDS: Mapping[str, DaysWorld] = {
    "incidents, half a day in ten": DaysWorld(
        make=lambda rng, share: incidents(rng, share, of_day=0.5, often=0.1), criteria=ERRORS
    ),
    "incidents, .1 day in two": DaysWorld(
        make=lambda rng, share: incidents(rng, share, of_day=0.1, often=0.5), criteria=ERRORS
    ),
    "outage of the baseline": DaysWorld(make=outage, criteria=CSAT),
    "outage of the baseline, 20 %": DaysWorld(make=outage, criteria=CSAT, share=0.2),
    "baseline down, csat at its bound": DaysWorld(
        make=lambda rng, share: down(rng, share, arms="baseline", csat=3.8), criteria=CSAT
    ),
    "baseline down, csat at its bound, 20 %": DaysWorld(
        make=lambda rng, share: down(rng, share, arms="baseline", csat=3.8), criteria=CSAT, share=0.2
    ),
    "baseline down, equal": DaysWorld(make=lambda rng, share: down(rng, share, arms="baseline")),
    "both down, equal": DaysWorld(make=lambda rng, share: down(rng, share, arms="baseline, candidate")),
    "candidate down": DaysWorld(make=lambda rng, share: down(rng, share, arms="candidate")),
    "errors 8 % from day 10": DaysWorld(make=lambda rng, share: worse(rng, share, errors=0.08)),
    "csat 3.4 from day 10": DaysWorld(make=lambda rng, share: worse(rng, share, csat=3.4)),
    "both from day 10": DaysWorld(make=lambda rng, share: worse(rng, share, errors=0.08, csat=3.4)),
    "both from day 10, 20 %": DaysWorld(
        make=lambda rng, share: worse(rng, share, errors=0.08, csat=3.4), share=0.2
    ),
    "p95 1.4 s from day 10": DaysWorld(
        make=lambda rng, share: slower(rng, share, 1.4), criteria=[P95], share=0.1
    ),
    "p95 1.4 s from day 10, relative": DaysWorld(
        make=lambda rng, share: slower(rng, share, 1.4), criteria=[P95_VS], share=0.1
    ),
    "p95 equal": DaysWorld(make=lambda rng, share: slower(rng, share, 1.0), criteria=[P95], share=0.1),
    "p95 equal, relative": DaysWorld(
        make=lambda rng, share: slower(rng, share, 1.0), criteria=[P95_VS], share=0.1
    ),
    "p95 at its bound": DaysWorld(
        make=lambda rng, share: slower(rng, share, 1.2, day=1), criteria=[P95], share=0.1
    ),
    "p95 at its bound, relative": DaysWorld(
        make=lambda rng, share: slower(rng, share, 1.2, day=1), criteria=[P95_VS], share=0.1
    ),
    "novelty": DaysWorld(make=novelty, share=0.2),
    "errors 10 % from a user's fifth day": DaysWorld(make=failing_late, criteria=ERRORS, share=0.1),
    "share by hand": DaysWorld(make=by_hand, criteria=ERRORS),
    "ramp, equal": DaysWorld(make=lambda rng, _: ramp(rng, EQUAL)),
    "ramp, halfway": DaysWorld(make=lambda rng, _: ramp(rng, HALFWAY)),
    **{
        f"weekends, {name}": DaysWorld(
            make=partial(weekends, start=start, steps=steps),
            criteria=(row("error_rate", "< 3.5%", "< 1%"),),
        )
        for name, start, steps in (
            ("an even share", 0, {0: 0.05}),
            ("raised on the first Friday", 0, {0: 0.05, 4: 0.2}),
            ("raised on the second Friday", 0, {0: 0.05, 11: 0.2}),
            ("since Thursday, raised on Friday week", 3, {0: 0.05, 8: 0.2}),
        )
    },
    "halfway": DaysWorld(make=lambda rng, share: as_ever(rng, share, HALFWAY)),
    "equal, returning": DaysWorld(make=returning),
    "σ = 1.6 traffic": DaysWorld(
        make=lambda rng, share: good(rng, "σ = 1.6 traffic"), criteria=(FAILS_SELDOM,), share=0.1
    ),
    "equal": DaysWorld(make=lambda rng, share: as_ever(rng, share, EQUAL)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The days on which all rows pass, those on which they would but for what was found of days, and that, by
    day."""

    ships: Sequence[int]
    by_users: Sequence[int]
    kinds: Mapping[int, Sequence[str]]


def told(name: str, seed: int, *, outages: bool = True) -> Told:
    """The looks of day 7 to 14 at a world, with the baseline's `outages` left out."""
    world = WORLDS[name]
    sample = world.make(np.random.default_rng(seed), world.share).until(14)
    canary = JudgedCanary(name="days", criteria=world.criteria, planned_days=14, shares={0: world.share})
    sample = outside_outages(sample) if outages else sample
    assert canary.plan is not None
    kept = without_refusals(world.criteria)
    course = PlanCourse(sample, canary, canary.plan, kept, 14 * DAY_S + 1)
    rows = [course.looks(each) for each in world.criteria]
    looks = {day: [each[:day] for each in rows] for day in range(7, 15)}
    kinds = {
        day: [each[-1].seen.days.kind for each in seen if each[-1].seen is not None and each[-1].seen.days]
        for day, seen in looks.items()
    }
    by_users = [day for day, seen in looks.items() if all(passes_by_users(each) for each in seen)]
    return Told(ships=[day for day in by_users if not kinds[day]], by_users=by_users, kinds=kinds)
