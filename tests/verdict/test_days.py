"""Rows that pass by users but not by days: one day alone, a candidate that got worse, a fading novelty, and
incidents. The full runs are `slow`; their figures are in docs/statistics.md."""

import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN
from records.store import Act, Store
from records.store.reports import LookScope, VerdictLooks
from routing.states import State
from tests.verdict.conftest import START, World, exchanges
from tests.verdict.shipping import Shipper
from tests.verdict.simulated import DAY_S
from tests.verdict.simulated_days import WORLDS, told
from tests.verdict.simulated_looks import each_world, jobs, part, row
from verdict.decision.document import Report
from verdict.decision.reports import report_of
from verdict.decision.verdict import build
from verdict.rows.days import by_day
from verdict.rows.looks import from_store
from verdict.sample.observations import observe
from verdict.terms.judged_canary import JudgedCanary, ReportSettings


def _report(name: str, *, seed: int = 1, day: int = 14) -> Report:
    """The report on a world, whose first day is 1 January 1970."""
    world = WORLDS[name]
    seen = world.make(np.random.default_rng(seed), world.share)
    canary = JudgedCanary(name="days", criteria=world.criteria, planned_days=14, shares={0: world.share})
    return build(seen.until(day), canary, now=day * DAY_S + 1)


def _said(report: Report, part: str) -> str:
    found = next((each for each in sentences(report) if part in each), None)
    assert found is not None, sentences(report)
    return found


def test_a_candidate_that_is_worse_since_a_day_is_told_and_does_not_ship() -> None:
    report = _report("errors 8 % from day 10")
    line = next(line for line in report.metrics if line.metric == "error_rate")
    assert (report.verdict, line.state) == ("extend", "INCONCLUSIVE")
    assert line.look is not None
    assert (line.look.low, line.look.p) == (None, None)
    said = _said(report, "worse since")
    assert said.startswith("Error rate is worse since 1970-01-10: ")
    assert said.endswith("The days since then do not keep “< 5%” on their own, so it stays open.")


def test_a_percentile_is_compared_by_days_too() -> None:
    said = _said(_report("p95 1.4 s from day 10"), "is worse since")
    assert said.startswith("Latency p95 is worse since 1970-01-10: ")
    assert " % above 1.20 s since then, " in said
    against = _said(_report("p95 1.4 s from day 10, relative"), "is worse since")
    assert " % above 1.19 s against the baseline's 4.8 % above 0.99 s since then, " in against


def test_a_row_that_passes_only_through_the_baselines_outage_names_the_day() -> None:
    report = _report("outage of the baseline, 20 %")
    assert report.verdict == "extend"
    said = _said(report, "only because of")
    assert "only because of 1970-01-08: 3.7" in said
    assert "against the baseline's 2.0" in said
    assert said.endswith("One day decides no row, so it stays open.")


def test_a_novelty_that_fades_is_judged_on_what_is_left_of_it() -> None:
    report = _report("novelty")
    assert report.verdict == "extend"
    said = _said(report, "fades with a user's time: ")
    assert "from a user's day 4 on" in said
    assert not any(each.startswith("Satisfaction changes") for each in sentences(report))


def test_errors_that_begin_after_a_user_s_fourth_day_keep_the_first_look_from_shipping() -> None:
    """On day 7 few users have a fifth day, so that nothing shows for sure yet."""
    name = "errors 10 % from a user's fifth day"
    found = [told(name, seed) for seed in (3, 22)]
    assert all(7 in each.by_users and not each.ships for each in found)
    report = _report(name, seed=3, day=7)
    assert report.verdict == "extend"
    said = _said(report, "from a user's day ")
    assert said.startswith("Error rate does not keep “< 5%” from a user's day 5 on: ")
    assert said.endswith("Few users have been seen for so long, so it stays open.")


def test_incidents_are_judged_by_the_days_on_which_they_came() -> None:
    seed = 47  # passes by users, and its incidents come early and late
    assert 14 in told("incidents, .1 day in two", seed).by_users
    report = _report("incidents, .1 day in two", seed=seed)
    assert report.verdict == "extend"
    assert "do not show that it keeps “< 5%” in the long run." in _said(report, "differs between days")


WEEKENDS = "weekends, raised on the second Friday"


def test_a_share_raised_on_a_friday_does_not_ship_what_fails_more_at_weekends() -> None:
    found = {seed: told(WEEKENDS, seed) for seed in range(40)}
    assert part((min(each.ships, default=np.inf) for each in found.values()), 14) <= 0.05
    seed = next(seed for seed, each in found.items() if each.kinds[12] == ["weekdays"])
    report = _report(WEEKENDS, seed=seed, day=12)
    assert report.verdict == "extend"
    said = _said(report, "in a usual week")
    assert said.startswith("Error rate is not shown to keep “< 3.5%” in a usual week: ")
    shown = [float(each) for each in re.findall(r"([0-9.]+) % (?:if|as)", said)]
    assert shown[0] > shown[1]
    assert said.endswith("So it stays open.")


def test_an_outage_of_the_baseline_does_not_stop_a_good_candidate() -> None:
    """The day is left out; the others pass alone."""
    world = WORLDS["equal"]
    seen = world.make(np.random.default_rng(1), 0.2)
    bad = np.flatnonzero((seen.visits.day == 7) & ~seen.visits.candidate)
    said = seen.said["csat"]
    value = np.where(np.isin(said.row, bad), 2.0, said.value)
    seen = replace(seen, said={"csat": replace(said, value=value)})
    canary = JudgedCanary(name="days", criteria=world.criteria, planned_days=14, shares={0: 0.2})
    assert build(seen.until(14), canary, now=14 * DAY_S + 1).verdict.startswith("ship")


def test_days_that_are_alike_are_not_told_apart() -> None:
    found = [told("equal", seed) for seed in range(3)]
    assert all(each.ships == each.by_users for each in found)


@pytest.mark.parametrize(("name", "seed"), [("equal", 1), ("halfway", 2), ("outage of the baseline", 3)])
def test_the_looks_simulated_are_those_of_the_report(name: str, seed: int) -> None:
    passes = all(line.state in ("PASS", "IDEAL") for line in _report(name, seed=seed).metrics)
    assert (14 in told(name, seed).ships) == passes


TERMS = JudgedCanary(
    name="c",
    criteria=(
        row("error_rate", "< 10%", "< 0.1%"),
        row("csat", "> 4.1", "> 4.8"),
        row("latency_p95", "<= 1.6x baseline", "< 0.1x baseline"),
    ),
    minimum_days=4,
    planned_days=8,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Eight whole days of traffic; from the sixth on, a quarter of the candidate's requests fail, and all
    take twice as long."""
    rows: list[dict[str, Any]] = exchanges(World(users=900, share=0.5, days=8.9))
    for number, each in enumerate(rows):
        if each["arm"] == "candidate" and each["at"] >= START + 6 * DAY_S:
            each["error_type"] = "" if number % 4 else "provider_5xx"
            each["latency_s"] *= 2
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        Shipper(opened).lines(rows)
        state = State(state="running", share=0.5, run=1, started_at=START, changed_at=START)
        assert opened.swap("c", 0, state, Act(at=START, action="start", who="jane", reason="r"))
        yield opened


def test_the_store_knows_of_days_and_keeps_what_a_look_found_of_them(store: Store) -> None:
    settings = ReportSettings(canaries={"c": TERMS}, metrics=BUILT_IN)
    reports = [report_of(settings, "c", store, now=START + 9.5 * DAY_S) for _ in range(2)]
    for report in reports:
        assert report.verdict == "extend"
        assert "Error rate is worse since 2026-11-08: " in _said(report, "worse since")
        assert _said(report, "Latency p95 is worse").startswith("Latency p95 is worse since 2026-11-08: ")
    assert sentences(reports[0]) == sentences(reports[1])
    kept = from_store(VerdictLooks(store).of(LookScope(canary="c", run=1, rubric_sha256=TERMS.sha256)))
    found = {
        day: look.seen.days for (metric, day), look in kept.items() if metric == "error_rate" and look.seen
    }
    assert found[5] is None
    assert found[8] is not None
    assert (found[8].kind, found[8].there[1]) == ("since", None)


def test_days_are_the_same_from_single_requests_and_from_sums() -> None:
    world = WORLDS["equal"]
    sample = world.make(np.random.default_rng(1), 0.05).until(7)
    single = by_day(sample, observe(sample, "error_rate", {}, now=7 * DAY_S))
    assert single is not None
    longer = replace(sample, last_at=sample.last_at + 3 * DAY_S, by_day={"errors": single})
    assert by_day(longer, observe(longer, "error_rate", {}, now=7 * DAY_S)) is single
    assert by_day(replace(longer, by_day={}), observe(sample, "error_rate", {}, now=7 * DAY_S)) is None
    assert single.until(3 * DAY_S).day.max() == 2
    rated = observe(sample, "csat", BUILT_IN, now=7 * DAY_S)
    opinions = by_day(longer, rated)
    assert opinions is not None
    assert rated.at is not None
    users = sample.unit[rated.row] * 14 + 2 * np.floor(rated.at / DAY_S) + sample.candidate[rated.row]
    assert opinions.count.sum() == len(np.unique(users))


# In full


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with jobs() as running:
        yield running


RUNS = 500


def _first(name: str, seed: int) -> float:
    """The day of the first look that ships; of worlds that get worse on day 10, from day 11 on. The first
    days' 27 ratings each tell too little, so of ratings alone from day 13 on."""
    since = WORSE.get(name, 1)
    return min((day for day in told(name, seed).ships if day >= since), default=np.inf)


def _good(name: str, seed: int) -> float:
    """1 if a look ships, −1 if one would have by users alone, 0 if none would."""
    found = told(name, seed)
    return 1.0 if found.ships else -1.0 if found.by_users else 0.0


WORSE = {
    "errors 8 % from day 10": 11,
    "csat 3.4 from day 10": 13,
    "both from day 10": 11,
    "both from day 10, 20 %": 11,
    "p95 1.4 s from day 10": 11,
    "p95 1.4 s from day 10, relative": 11,
}
BAD = (
    "incidents, .1 day in two",
    "outage of the baseline",
    "outage of the baseline, 20 %",
    "baseline down, csat at its bound",
    "baseline down, csat at its bound, 20 %",
    "novelty",
    "share by hand",
    *(name for name in WORLDS if name.startswith("weekends, ")),
)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", [*WORSE, *BAD])
def test_worlds_in_which_days_differ_seldom_ship_in_full(pool: ProcessPoolExecutor, name: str) -> None:
    found = each_world(pool, _first, name, RUNS)
    print(f"\n{name}: ships {part(found, 14):.1%}, by day 10 {part(found, 10):.1%} of {RUNS}")
    assert part(found, 14) <= 0.07


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_incidents_that_have_not_come_cannot_be_known_in_full(pool: ProcessPoolExecutor) -> None:
    """Half of one day in ten: in .9⁷ of the runs the first look that may ship sees none."""
    found = each_world(pool, _first, "incidents, half a day in ten", RUNS)
    print(f"\nincidents, half a day in ten: ships {part(found, 14):.1%} of {RUNS}, {0.9**7:.1%} had none")
    assert part(found, 14) <= 0.9**7 + 0.07


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_errors_that_begin_after_a_user_s_fourth_day_seldom_ship_in_full(pool: ProcessPoolExecutor) -> None:
    name = "errors 10 % from a user's fifth day"
    found = each_world(pool, _first, name, RUNS)
    print(f"\n{name}: ships {part(found, 14):.1%}, on day 7 {part(found, 7):.1%} of {RUNS}")
    assert part(found, 14) <= 0.13


SHIPS = {
    "halfway": 0.4,
    "equal": 0.9,
    "ramp, halfway": 0.9,
    "ramp, equal": 0.97,
    "baseline down, equal": 0.9,
    "both down, equal": 0.9,
    "p95 equal": 0.97,
    "p95 equal, relative": 0.97,
    "equal, returning": 0.9,
    "σ = 1.6 traffic": 0.82,
}
"""By day 14. At σ = 1.6 the rate is about this itself, so 500 runs may miss it by three standard errors."""


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SHIPS)
def test_days_cost_a_good_candidate_little_in_full(pool: ProcessPoolExecutor, name: str) -> None:
    found = np.array(each_world(pool, _good, name, RUNS))
    ships, lost = float(np.mean(found == 1)), float(np.mean(found == -1))
    print(f"\n{name}: ships by day 14 {ships:.1%}, by users but not by days {lost:.1%} of {RUNS}")
    least = SHIPS[name]
    room = 3 * (least * (1 - least) / RUNS) ** 0.5 if "σ = 1.6" in name else 0.0
    assert ships >= least - room
    assert lost <= 0.02
