"""The verdict's promises, held by simulation: every look of a plan, by the report's own code.

The quick forms show that the machinery runs; the full ones (`make test-statistics`) print each figure.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace

import numpy as np
import pytest

from routing.canary import Step
from tests.verdict.simulated import DAY_S, EQUAL, HALFWAY, TrueValues, as_planned
from tests.verdict.simulated_cases import (
    BY_SESSION,
    COST_VS,
    CSAT_VS,
    EDGES,
    EVENTS,
    FAILS_SELDOM,
    GOOD,
    NO_ROOM,
    POWER,
    README,
    WITH_ROOM,
    Edge,
    bots,
    dear,
    evenly,
    everyone,
    good,
)
from tests.verdict.simulated_looks import (
    PLAN,
    each_world,
    first_refused,
    first_shipped,
    first_shipped_both,
    jobs,
    looks,
    part,
    passes_by_users,
    row,
    without_refusals,
)
from verdict.decision.decide import decide
from verdict.decision.document import SHIPS as SHIP_VERDICTS
from verdict.decision.document import Report
from verdict.decision.plan_course import HOPELESS, PlanCourse
from verdict.decision.reports import CandidateStanding, SideBySide
from verdict.decision.verdict import build_with_looks, find
from verdict.planner.assumptions import Assumptions, ExpectedTraffic
from verdict.planner.power import power_of_plan
from verdict.rows.looks import Look, RowPlan, standing
from verdict.terms.judged_canary import JudgedCanary


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with jobs() as running:
        yield running


RUNS = int(os.environ.get("CANARY_SIMULATED_RUNS", "500"))


def _limit(worlds: int, level: float = 0.05) -> float:
    """What a rate of `level` is hardly ever seen above: three standard errors of the simulation."""
    return level + _noise(level, worlds)


def _noise(rate: float, worlds: int) -> float:
    """Three standard errors of the simulation."""
    return 3 * math.sqrt(max(rate * (1 - rate), 0.01) / worlds)


# A candidate exactly at its bound


def _edge_shipped(name: str, seed: int) -> float:
    edge = EDGES[name]
    return first_shipped(edge.world(np.random.default_rng(seed)), [edge.criterion])


@pytest.mark.parametrize("name", ["errors 1 %, 1,000 users", "completion, absolute"])
def test_a_candidate_exactly_at_its_bound_is_seldom_shipped(name: str) -> None:
    assert part((_edge_shipped(name, seed) for seed in range(40)), 28) <= _limit(40)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", EDGES)
def test_a_candidate_exactly_at_its_bound_is_seldom_shipped_in_full(
    pool: ProcessPoolExecutor, name: str
) -> None:
    found = each_world(pool, _edge_shipped, name, 1000)
    print(
        f"\nat the bound, {name}: ships by day 14 {part(found, 14):.1%}, by 28 {part(found, 28):.1%} of 1000"
    )
    assert part(found, 28) <= _limit(1000)


def _event_shipped(name: str, seed: int) -> float:
    event = {**EVENTS, **BY_SESSION, **POWER}[name]
    return first_shipped(event.world(np.random.default_rng(seed)), [event.criterion])


def test_so_is_one_exactly_at_its_bound_by_what_happened() -> None:
    for name in ("escalated per session", "cost_per, relative", "session cost CV 1.7, relative"):
        assert part((_event_shipped(name, seed) for seed in range(20)), 28) <= _limit(20)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*EVENTS, *BY_SESSION])
def test_so_is_one_exactly_at_its_bound_by_what_happened_in_full(
    pool: ProcessPoolExecutor, name: str
) -> None:
    found = each_world(pool, _event_shipped, name, 1000)
    print(
        f"\nat the bound, {name}: ships by day 14 {part(found, 14):.1%}, by 28 {part(found, 28):.1%} of 1000"
    )
    assert part(found, 28) <= _limit(1000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_happened_in_every_session_ships_an_equal_candidate_no_later_than_opinions_do(
    pool: ProcessPoolExecutor,
) -> None:
    found = {name: part(each_world(pool, _event_shipped, name, 1000), 14) for name in POWER}
    for name, shipped in found.items():
        print(f"\nequal arms, {name}: ships by day 14 {shipped:.1%} of 1000")
    opinions, events = found.values()
    assert events >= opinions - _noise(opinions, 1000)


def _dear_shipped(share: str, seed: int) -> float:
    return first_shipped(dear(np.random.default_rng(seed), float(share)), [COST_VS])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("share", ["0.1", "0.05"])
def test_dear_users_who_are_absent_from_a_small_candidate_are_no_saving(
    pool: ProcessPoolExecutor, share: str
) -> None:
    found = each_world(pool, _dear_shipped, share, 1000)
    print(f"\nat the bound, ten dear users, share {share}: ships by day 28 {part(found, 28):.1%} of 1000")
    assert part(found, 28) <= _limit(1000)


LANE = Edge(criterion=CSAT_VS, who=evenly(600, 0.5), what=(4.3, 4.1))


def _shipped(seed: int, lane: int) -> Report | None:
    """The report of day 14 on a candidate at its bound; None where its looks do not pass."""
    canary = JudgedCanary(name=str(lane), criteria=[LANE.criterion], planned_days=14)
    assert canary.plan is not None
    sample = LANE.world(np.random.default_rng([seed, lane])).until(14)
    kept, now = without_refusals(canary.criteria), 14 * DAY_S + 1
    seen = PlanCourse(sample, canary, canary.plan, kept, now).looks(LANE.criterion)
    if not passes_by_users(seen):
        return None
    sample = replace(sample, units=[f"u{number}" for number in sample.units])
    report, _ = build_with_looks(sample, canary, {(each.metric, each.day): each for each in seen}, now=now)
    return report if report.verdict in SHIP_VERDICTS else None


def _of_ten_lanes(_: str, seed: int) -> float:
    """1 if some of ten candidates ships, 2 if some does by Holm's procedure too."""
    reports = [report for lane in range(10) if (report := _shipped(seed, lane)) is not None]
    if not reports:
        return 0.0
    others = [replace(reports[0], verdict="extend")] * (10 - len(reports))
    lanes = [
        CandidateStanding(report=each, state="running", candidate=None, baseline=None)
        for each in (*reports, *others)
    ]
    by_chance = SideBySide(candidates=lanes, metrics=(), alike=()).by_chance()
    return 1.0 + float(len(reports) > len(by_chance))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_of_ten_lanes_at_the_bound_some_ships_as_often_as_told_and_by_holm_seldom(
    pool: ProcessPoolExecutor,
) -> None:
    found = np.array(each_world(pool, _of_ten_lanes, "", 500))
    some, by_holm = float(np.mean(found >= 1)), float(np.mean(found == 2))
    print(f"\nten lanes at the bound: some ships {some:.1%}, by Holm {by_holm:.1%} of 500")
    assert some <= _limit(500, 1 - 0.95**10)
    assert by_holm <= 0.07


def _tried(name: str, seed: int) -> float:
    """1 if one of three runs ships, the first two rolled back on day 10: what each spends of the risk is
    spent."""
    criterion, spent = EDGES[name].criterion, 0.0
    for run, days in enumerate((10, 10, 28)):
        canary = JudgedCanary(name="tried", criteria=[criterion], planned_days=14, spent_before=spent)
        world = EDGES[name].world(np.random.default_rng([seed, run]))
        assert canary.plan is not None
        part_seen = replace(world, visits=replace(world.visits, days=days))
        if first_shipped(part_seen, [criterion], canary.plan) <= days:
            return 1.0
        spent += canary.plan.spent("ship", days, 1.0)
    return 0.0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_three_tries_at_the_bound_ship_hardly_more_often_than_one(pool: ProcessPoolExecutor) -> None:
    found = float(np.mean(each_world(pool, _tried, "csat, relative", 500)))
    print(f"\nthree tries at the bound: one ships in {found:.1%} of 500")
    assert found <= 0.07


# A good candidate


def _good_shipped(who: str, seed: int) -> float:
    return first_shipped(good(np.random.default_rng(seed), who), [FAILS_SELDOM])


def test_a_good_candidate_ships_in_time_though_users_differ_in_activity() -> None:
    assert part((_good_shipped("σ = 1 traffic", seed) for seed in range(10)), 14) >= 0.8


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("who", "aim"),
    # Of the last, plain standard errors would ship 89 %: few busy users make a third of the requests.
    list(zip(GOOD, (0.95, 0.95, 0.85), strict=True)),
)
def test_a_good_candidate_ships_in_time_though_users_differ_in_activity_in_full(
    pool: ProcessPoolExecutor, who: str, aim: float
) -> None:
    found = each_world(pool, _good_shipped, who, 1000)
    print(f"\nerrors 1 % against < 5 %, {who}: ships by day 14 {part(found, 14):.1%} of 1000")
    assert part(found, 14) >= aim - _noise(aim, 1000)


# The README's rubric

TRUE = {"halfway": HALFWAY, "equal": EQUAL}
SHIPS = {
    (0.05, 1): (22, 31, 61), (0.05, 3): (49, 65, 96), (0.05, 8): (80, 93, 100),
    (0.1, 1): (38, 51, 87), (0.1, 3): (71, 87, 100), (0.1, 8): (96, 100, 100),
}  # fmt: skip
"""% by share and requests: halfway by day 14, by day 28, and equal by day 14."""


def _readme_shipped(cell: str, seed: int) -> tuple[float, float]:
    """The day on which it ships, and the day if no row waited for the silent."""
    share, requests, which = cell.split()
    world = as_planned(
        np.random.default_rng(seed),
        TRUE[which],
        share=float(share),
        requests=float(requests),
        users=40_000,
        days=28,
    )
    return first_shipped_both(world, README)


def _told(share: float, requests: float, which: str, until: int) -> float:
    """What `canary plan` tells of such a candidate."""
    course = ExpectedTraffic(users_per_day=20_000 / 14, requests=requests, steps=(Step(share=share),))
    true = Assumptions(values=asdict(TRUE[which]))
    return power_of_plan(README, PLAN, course, assumptions=true, until=until).ship


def test_the_readmes_rubric_ships_good_candidates() -> None:
    assert part((_readme_shipped("0.1 3 equal", seed)[0] for seed in range(10)), 14) >= 0.8


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("share", "requests"), SHIPS)
def test_the_readmes_rubric_ships_as_often_as_told_in_full(
    pool: ProcessPoolExecutor, share: float, requests: int
) -> None:
    """And hardly less often for the silent, by the same worlds without that rule."""
    cells, aims = [f"{share:.0%}, {requests}"], iter((*SHIPS[share, requests], None))
    for which in TRUE:
        days = each_world(pool, _readme_shipped, f"{share} {requests} {which}", 500)
        for until in (14, 28):
            ships, keeps = (part(each, until) for each in zip(*days, strict=True))
            told, aim = _told(share, requests, which, until), next(aims)
            cells.append(
                f"{which} by {until}: {ships:.1%} (told {told:.0%}; {keeps - ships:.1%} for the silent)"
            )
            assert abs(ships - told) <= 0.06 + _noise(told, 500)
            assert aim is None or abs(ships - aim / 100) <= 0.03 + _noise(aim / 100, 500)
            assert keeps - ships <= 0.02 + _noise(0.02, 500)
    print("\nREADME, " + "; ".join(cells))


AT_ITS_BOUNDS = TrueValues(error_rate=0.05, csat=3.8)


def _waits(which: str, seed: int) -> tuple[float, float]:
    """The day on which README's rubric ships at a share of 5 %, ∞ without one, and the one on which it is
    told that it will not."""
    true = AT_ITS_BOUNDS if which == "at its bounds" else HALFWAY
    world = as_planned(np.random.default_rng(seed), true, share=0.05, requests=3, users=40_000, days=28)
    canary = JudgedCanary(name="waits", criteria=README, planned_days=14)
    course = PlanCourse(world.until(28), canary, PLAN, without_refusals(README), 28 * DAY_S + 1)
    rows = [(RowPlan(criterion=row, plan=PLAN, rows=len(README)), course.looks(row)) for row in README]
    told = math.inf
    for day in PLAN.looks("ship"):
        so_far = [(row, [look for look in looks if look.day <= day]) for row, looks in rows]
        if all(passes_by_users(looks) for _, looks in so_far):
            return day, told
        halfway = [standing(row, looks, _estimates(looks)).halfway for row, looks in so_far]
        if day < 28 and any(chance is not None and chance < HOPELESS for chance in halfway):
            told = min(told, day)
    return math.inf, told


def _estimates(looks: Sequence[Look]) -> tuple[float, float]:
    seen = looks[-1].seen
    return (math.nan, math.nan) if seen is None else (seen.acceptable.estimate, seen.ideal.estimate)


def test_a_candidate_at_its_bounds_is_told_that_it_will_not_be_decided_in_its_favour() -> None:
    found = [_waits("at its bounds", seed) for seed in range(6)]
    assert sum(told < 28 for _, told in found) >= 4


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_who_stops_when_told_that_it_will_not_ship_waits_half_as_long_and_loses_hardly_any(
    pool: ProcessPoolExecutor,
) -> None:
    bad, halfway = (each_world(pool, _waits, which, RUNS) for which in ("at its bounds", "halfway"))
    patient, told = (
        float(np.mean([min(*each, 28) for each in days]))
        for days in ([(ships, math.inf) for ships, _ in bad], bad)
    )
    ships = float(np.mean([day <= 28 for day, _ in halfway]))
    kept = float(np.mean([day <= 28 and day <= stop for day, stop in halfway]))
    print(
        f"\nat its bounds: waits until day {patient:.1f}, if it stops when told {told:.1f}; halfway: ships "
        f"{ships:.1%}, if it stops when told {kept:.1%} of {RUNS}"
    )
    assert told <= 16
    assert ships - kept <= 0.02 + _noise(0.02, RUNS)


# Two equal models, and harm


def _aa_refused(name: str, seed: int) -> float:
    return first_refused(everyone(np.random.default_rng(seed)), NO_ROOM if name == "none" else WITH_ROOM)


def _bots_refused(_: str, seed: int) -> float:
    rubric = (
        row("error_rate", "<= baseline", "<= 0.1x baseline"),
        row("cost_per_request", "<= baseline", "<= 0.5x baseline"),
        row("task_completed", ">= baseline", ">= baseline + 9pp"),
    )
    return first_refused(bots(np.random.default_rng(seed)), rubric)


REFUSED: dict[str, tuple[Callable[[str, int], float], str]] = {
    "four rows without room": (_aa_refused, "none"),
    "four rows with room": (_aa_refused, "some"),
    "three rows without room, 100 bots with a third of the traffic": (_bots_refused, ""),
}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", REFUSED)
def test_two_equal_models_are_seldom_told_apart_in_full(pool: ProcessPoolExecutor, name: str) -> None:
    found = each_world(pool, *REFUSED[name], 1000)
    print(f"\nA/A, {name}: don't ship by day 14 {part(found, 14):.1%}, by 28 {part(found, 28):.1%} of 1000")
    assert part(found, 28) <= _limit(1000)


HARM = {
    "errors 8 %": (TrueValues(error_rate=0.08, csat=4.0), (0.29, 0.81, 0.99)),
    "csat -12.5 %": (TrueValues(error_rate=0.01, csat=3.5), (0.0, 0.83, 1.0)),
}
"""With what is refused by day 3, 7 and 14."""


def _harm_refused(name: str, seed: int) -> float:
    world = as_planned(np.random.default_rng(seed), HARM[name][0], share=0.05, requests=3)
    return first_refused(world, README)


def test_harm_is_refused() -> None:
    assert part((_harm_refused("errors 8 %", seed) for seed in range(6)), 14) >= 0.5


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", HARM)
def test_harm_is_refused_in_full(pool: ProcessPoolExecutor, name: str) -> None:
    found = each_world(pool, _harm_refused, name, 400)
    by = [part(found, day) for day in (3, 7, 14)]
    print(f"\nharm, {name} at a share of 5 %: don't ship by day 3, 7, 14: {[f'{x:.0%}' for x in by]} of 400")
    for refused, wanted in zip(by, HARM[name][1], strict=True):
        assert abs(refused - wanted) <= 0.03 + _noise(wanted, 400)


# The bar that the page shows

COVERED = (
    "completion, absolute",
    "completion, relative",
    "cost, relative",
    "p95, absolute",
    "csat, relative",
    "errors 1 %, 1,000 users",
)


def _covered(name: str, seed: int) -> float:
    """0 if the last look's bar contains the true margin, which is 0 here; 1 if not."""
    edge = EDGES[name]
    planned = RowPlan(criterion=edge.criterion, plan=PLAN, rows=1)
    seen = looks(edge.world(np.random.default_rng(seed)), planned, ("ship", "refuse"))
    last = seen[28]
    return float(not min(last.low, last.estimate) <= 0 <= max(last.high, last.estimate))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", COVERED)
def test_the_bar_contains_the_true_margin_in_full(pool: ProcessPoolExecutor, name: str) -> None:
    """Each end is wrong with the row's risk at most, 5 % to ship and 5 % to refuse a rubric of one row."""
    found = part(each_world(pool, _covered, name, 1000), 0)
    print(f"\nthe bar of {name} contains the true margin {found:.1%} of 1000 (promised: 90 %)")
    assert found >= 0.9 - _noise(0.9, 1000)


# The driver, and the whole verdict


@pytest.mark.parametrize("which", ["halfway", "equal"])
def test_the_looks_simulated_are_those_of_the_report(which: str) -> None:
    canary = JudgedCanary(name="plan", criteria=README, planned_days=14)
    world = as_planned(np.random.default_rng(3), TRUE[which], share=0.1, requests=3)
    judged = find(world.until(14), canary, now=14 * DAY_S + 1).rows
    for criterion, found in zip(README, judged, strict=True):
        planned = RowPlan(criterion=criterion, plan=PLAN, rows=2)
        last = looks(world, planned, ("ship", "refuse"))[14]
        assert found.acceptable is not None
        assert found.acceptable.low == pytest.approx(min(last.low, last.estimate), abs=1e-9)
        assert found.acceptable.high == pytest.approx(max(last.high, last.estimate), abs=1e-9)
        assert last.passes == (found.state in ("PASS", "IDEAL"))
        assert last.fails == (found.state == "FAIL")


@pytest.mark.parametrize("planned_days", [0, 14])
def test_two_equal_models_are_not_told_apart_with_or_without_a_plan(planned_days: int) -> None:
    canary = JudgedCanary(name="aa", criteria=NO_ROOM, planned_days=planned_days)
    world = everyone(np.random.default_rng(5), users=6000, days=14)
    assert decide(find(world.until(14), canary, now=14 * DAY_S + 1))[0] != "dont_ship"
