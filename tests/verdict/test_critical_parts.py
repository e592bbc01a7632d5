"""Categories under a plan: what a look found in a critical one stands, others beyond the bound are named."""

import math
import os
from dataclasses import replace

import pytest

from pages.reports.report import rendered
from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN, parse_bound
from tests.verdict.simulated import DAY_S
from tests.verdict.simulated_parts import (
    PartsCase,
    RatedCase,
    candidate_users,
    first_days,
    named,
    verdicts,
)
from verdict.decision.document import Report
from verdict.decision.verdict import build
from verdict.terms.plan import REFUSAL_RISK, STANDARD_RISK
from verdict.terms.rubric import scale_of, twice

RUNS = int(os.environ.get("CANARY_SIMULATED_RUNS", "500"))


def test_a_critical_category_found_worse_before_its_hundredth_user_stays_so_after_it() -> None:
    case = PartsCase(bad_rate=0.08)
    world = case.world(0)
    found = verdicts(world, case.canary)
    first = next(day for day, verdict in found.items() if verdict == "dont_ship")
    assert candidate_users(world, first) < 100 < candidate_users(world, 14)
    assert {verdict for day, verdict in found.items() if day >= first} == {"dont_ship"}


def test_a_critical_category_that_fails_on_the_first_day_is_worse_before_a_look_can_say_so() -> None:
    case = PartsCase(bad_rate=0.6)
    report = build(case.world(0).until(1), case.canary, now=DAY_S / 2)
    (line,) = [each for each in report.categories if each.value == "c0"]
    assert (report.verdict, line.state, line.blocks) == ("dont_ship", "WORSE", True)


STRICT = PartsCase(acceptable="< 2%", ideal="< 0.5%")


def test_a_critical_category_that_may_miss_the_bound_by_twice_its_room_waits_for_more_users() -> None:
    report = build(STRICT.world(0).until(8), STRICT.canary, now=8 * DAY_S + 1)
    (line,) = [each for each in report.categories if each.value == "c0"]
    assert (report.verdict, line.state) == ("extend", "TOO_FEW")
    assert sentences(report)[0] == (
        "Critical category c0 may still miss an acceptable bound by twice the room that it leaves, which "
        "takes more users to rule out: error rate 123 candidate users."
    )
    assert verdicts(STRICT.world(0), STRICT.canary)[14] == "ship"


def test_twice_the_room_of_a_bound_is_counted_from_the_baseline_or_from_the_best_value() -> None:
    def far(metric: str, bound: str) -> tuple[float, float] | None:
        found = twice(parse_bound(bound), scale_of(metric, BUILT_IN))
        return None if found is None else found.terms

    assert far("error_rate", "< 5%") == (0, 0.1)
    assert far("task_completed", ">= 85%") == (0, pytest.approx(0.7))
    assert far("latency_p95", "< 2s") == (0, 4)
    assert far("cost_per_request", "<= 1.2x baseline") == (pytest.approx(1.4), 0)
    assert far("csat", ">= baseline - 0.1") == (1, -0.2)
    assert far("csat", ">= baseline") is None
    assert far("error_rate", "< 60%") is None


CASES = {
    "10 % against < 5 %": PartsCase(bad_rate=0.1),
    "4 % against < 2 %": PartsCase(bad_rate=0.04, acceptable="< 2%", ideal="< 0.5%"),
    "4 % against < 2 %, 20 % of the users": PartsCase(
        bad_rate=0.04, acceptable="< 2%", ideal="< 0.5%", share=0.2
    ),
    "equal, < 5 %": PartsCase(),
    "equal, < 2 %": STRICT,
}


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", CASES)
def test_twice_the_bound_in_a_critical_category_seldom_ships_and_equal_arms_are_seldom_blocked(
    name: str,
) -> None:
    case = CASES[name]
    found = [first_days(case, seed) for seed in range(RUNS)]

    def part(what: str) -> float:
        return sum(getattr(each, what) <= 14 for each in found) / RUNS

    figures = ", ".join(f"{what} {part(what):.1%}" for what in ("passes", "unguarded", "ships", "blocked"))
    print(f"\n{name}: {figures} of {RUNS}")
    equal = case.equal
    risk, most = (REFUSAL_RISK, part("blocked")) if equal else (STANDARD_RISK, part("ships"))
    assert most <= risk + 3 * math.sqrt(risk * (1 - risk) / RUNS)


TWO_BAD = PartsCase(bad=2, bad_rate=0.1, critical=False)


def test_two_of_ten_categories_beyond_the_bound_of_a_row_that_passes_are_a_caveat_that_names_them() -> None:
    report = build(TWO_BAD.world(0).until(14), TWO_BAD.canary, now=14 * DAY_S + 1)
    assert (report.metrics[0].state, report.verdict) == ("PASS", "ship_with_caveats")
    assert {line.value for line in report.categories if line.misses_bound} == {"c0", "c1"}
    assert sentences(report)[0] == (
        "Error rate misses the acceptable bound “< 5%” in category c0 (+3.4 to +13.5 points against the "
        "baseline) and category c1 (+5.9 to +20.3 points against the baseline)."
    )


def test_a_rated_category_worse_than_the_baseline_and_beyond_the_bound_by_estimate_alone_is_a_caveat() -> (
    None
):
    """Too few ratings show that it misses the bound at the row's risk, not that it is worse."""
    report = _rated(seed=27)
    assert (report.metrics[0].state, report.verdict) == ("PASS", "ship_with_caveats")
    (worse,) = [line for line in report.categories if line.state == "WORSE"]
    assert (worse.value, worse.misses_bound, worse.blocks) == ("c0", False, False)
    assert sentences(report)[0] == "Satisfaction is worse than the baseline's in category c0 (−0.41)."


def test_a_report_that_ships_says_in_which_categories_too_few_users_hide_a_worse_one() -> None:
    report = _rated(seed=6)
    assert report.verdict == "ship"
    assert (
        "Fewer than 100 users in an arm, so that even a clearly worse part may not show: satisfaction in "
        "category c0, category c1, category c2 and 7 more parts."
    ) in " ".join(rendered(report, "text").split())


def _rated(seed: int) -> Report:
    case = RatedCase(bad=2)
    sample = case.world(seed).until(14)
    named_units = replace(sample, units=[f"{number:032x}" for number in sample.units])
    return build(named_units, case.canary, now=14 * DAY_S + 1)


NAMED: dict[str, PartsCase] = {
    "two rated 3.6 against 4.0, 3.8 allowed": RatedCase(bad=2),
    "rated alike": RatedCase(bad=0),
    "two at 10 % against < 5 %": TWO_BAD,
    "two at 10 % against < 5 %, 5 % of the users": replace(TWO_BAD, share=0.05),
    "equal, < 5 %": PartsCase(critical=False),
    "equal, no room": PartsCase(acceptable="<= 1x baseline", ideal="<= 0.5x baseline", critical=False),
}


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", NAMED)
def test_categories_beyond_the_bound_are_named_and_those_of_equal_arms_seldom(name: str) -> None:
    case = NAMED[name]
    equal, bad = case.equal, {"c0", "c1"}
    days = range(1, 15) if equal else (7, 10, 14)
    found = [named(case, seed, days) for seed in range(RUNS)]
    if equal:
        part = sum(any(world.values()) for world in found) / RUNS
        print(f"\n{name}: any named on any day {part:.1%} of {RUNS}")
        assert part <= STANDARD_RISK + 3 * math.sqrt(STANDARD_RISK * (1 - STANDARD_RISK) / RUNS)
        return
    for day in days:
        both = sum(bad <= world[day] for world in found) / RUNS
        one = sum(bool(bad & world[day]) for world in found) / RUNS
        wrong = sum(bool(world[day] - bad) for world in found) / RUNS
        print(f"\n{name}, day {day}: both {both:.1%}, one at least {one:.1%}, others {wrong:.1%} of {RUNS}")
        assert wrong <= STANDARD_RISK + 3 * math.sqrt(STANDARD_RISK * (1 - STANDARD_RISK) / RUNS)
