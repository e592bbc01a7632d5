"""Metrics of what happened: whoever posts only that gets a right verdict, from a log and from the store."""

import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pages.words.reasons import sentences
from records.facts.exchange_id import mint
from records.facts.metric import BUILT_IN, Metric
from records.outcome import Feedback, Outcome
from records.store import Store
from tests.verdict.shipping import Shipper
from tests.verdict.simulated_looks import row
from tests.verdict.totals import DAY_S, UnitTotals
from verdict.decision.document import Report
from verdict.decision.verdict import build
from verdict.rows.comparison import arm_sums
from verdict.sample.cohort import from_store, to_judge
from verdict.sample.csv_log import from_csv
from verdict.sample.observations import observe
from verdict.sample.sample import Sample
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion

NOW = 10 * DAY_S
COST = Metric(
    name="cost_per_resolution", kind="amount", question="", cost_per="resolved", higher_is_better=False
)
METRICS = {
    **BUILT_IN,
    "resolved": Metric(name="resolved", kind="bool", low=0, high=1, question="", per="session"),
    "calls": Metric(name="calls", kind="count", question="", per="exchange"),
    COST.name: COST,
}


def log(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A log of these lines, with the columns that any of them has."""
    rows = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(name for each in rows for name in each)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def users(count: int, share: float = 0.5, days: float = 9.0) -> Iterable[dict[str, Any]]:
    """One line a user, evenly over the days."""
    for number in range(count):
        arm = "candidate" if number % round(1 / share) == 0 else "baseline"
        yield {"unit": f"u{number}", "arm": arm, "at": number * days * DAY_S / count}


def judged(path: Path, *criteria: Criterion) -> Report:
    canary = JudgedCanary(name="c", criteria=criteria, metrics=METRICS, shares={0: 0.5})
    return build(from_csv(path, METRICS), canary, now=NOW)


def only_true(share: Mapping[str, float], metric: str, sessions: int = 6000) -> Iterable[dict[str, Any]]:
    """Users with two sessions of two requests. In exactly this share of an arm's sessions it happened, and
    true stands in one line of them."""
    rng = np.random.default_rng(3)
    where = {
        arm: set(rng.choice(sessions, round(part * sessions), replace=False)) for arm, part in share.items()
    }
    seen = dict.fromkeys(share, 0)
    for user in users(sessions):
        for session in ("a", "b"):
            happened = seen[user["arm"]] in where[user["arm"]]
            seen[user["arm"]] += 1
            for turn in range(2):
                yield {**user, "session": session, metric: 1 if happened and turn == 0 else ""}


def test_twice_the_escalations_do_not_ship_where_only_true_is_sent(tmp_path: Path) -> None:
    rows = only_true({"baseline": 0.051, "candidate": 0.105}, "metric_escalated")
    report = judged(log(tmp_path / "log.csv", rows), row("escalated", "<= baseline + 2pp", "<= baseline"))
    assert (report.verdict, report.metrics[0].state) == ("dont_ship", "FAIL")
    assert (report.metrics[0].baseline, report.metrics[0].candidate) == pytest.approx((0.051, 0.105))
    (sentence,) = [each for each in sentences(report) if "misses" in each]
    assert "It happened in 10.5 % of the candidate's sessions and in 5.1 % of the baseline's." in sentence


def test_half_the_buyers_at_the_same_order_value_fail_on_conversion_and_revenue(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rows = [
        {**user, "metric_conversion": 1 if bought else "", "metric_revenue": 49 if bought else ""}
        for user in users(8000)
        for bought in [rng.random() < {"baseline": 0.2, "candidate": 0.1}[user["arm"]]]
    ]
    report = judged(
        log(tmp_path / "log.csv", rows),
        row("conversion", ">= baseline - 2pp", ">= baseline"),
        row("revenue", ">= baseline - 5%", ">= baseline"),
    )
    assert report.verdict == "dont_ship"
    assert [line.state for line in report.metrics] == ["FAIL", "FAIL"]
    assert report.metrics[1].candidate == pytest.approx(4.9, abs=0.5)
    assert any("All users together, also those without any, come to $" in each for each in sentences(report))


def test_less_revenue_a_user_is_seen_though_each_order_is_as_dear(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    mean = {"baseline": 12.0, "candidate": 11.0}
    rows = [
        {**user, "metric_revenue": orders * 10 if orders else ""}
        for user in users(12_000)
        for orders in [int(rng.poisson(mean[user["arm"]] / 10))]
    ]
    report = judged(log(tmp_path / "log.csv", rows), row("revenue", ">= baseline - 2%", ">= baseline"))
    line = report.metrics[0]
    assert report.verdict == "dont_ship"
    assert line.baseline is not None and line.candidate is not None
    assert line.candidate / line.baseline - 1 == pytest.approx(-0.083, abs=0.03)


def test_an_opinion_of_which_only_true_is_sent_cannot_be_judged(tmp_path: Path) -> None:
    rows = [{**user, "metric_helped": 1 if place % 3 else ""} for place, user in enumerate(users(3000))]
    report = judged(log(tmp_path / "log.csv", rows), row("helped", ">= 85%", ">= 90%"))
    assert (report.verdict, report.metrics[0].state) == ("extend", "INCONCLUSIVE")
    assert sentences(report)[0] == (
        "“did this help?” cannot be judged: only true was ever sent: say `per: user` or `per: session` if "
        "your app reports only when it happens."
    )
    rows[5]["metric_helped"] = 0
    report = judged(log(tmp_path / "log.csv", rows), row("helped", ">= 85%", ">= 90%"))
    assert (report.verdict, report.metrics[0].state) == ("ship_now", "IDEAL")


def values(sample: Sample, metric: str, now: float = NOW) -> dict[str, tuple[float, float]]:
    """(total, count) of a metric in each arm."""
    sums = arm_sums(sample, observe(sample, metric, METRICS, now=now)).sums
    return {
        arm: (float(sums.total[mine].sum()), float(sums.count[mine].sum()))
        for arm, mine in (("baseline", ~sums.candidate), ("candidate", sums.candidate))
    }


LINES = [
    {"unit": "a", "arm": "candidate", "at": 10, "session": "s", "metric_escalated": 1, "metric_revenue": 5},
    {"unit": "a", "arm": "candidate", "at": 20, "session": "s", "metric_escalated": 1, "metric_revenue": 7},
    {"unit": "a", "arm": "candidate", "at": 30, "session": "t", "metric_escalated": "false"},
    {"unit": "a", "arm": "candidate", "at": 40},
    {"unit": "b", "arm": "candidate", "at": 50, "session": "s"},
    {"unit": "c", "arm": "baseline", "at": 60, "metric_escalated": "true", "metric_compliance_violation": 1},
    {"unit": "d", "arm": "baseline", "at": 70, "metric_revenue": 3, "error_type": "proxy_full"},
]  # fmt: skip


def test_what_an_observation_is_by_session_user_and_exchange(tmp_path: Path) -> None:
    sample = from_csv(log(tmp_path / "log.csv", LINES), METRICS)
    # a has the sessions s and t and a request without one; s of b is another session; d was never reached.
    assert values(sample, "escalated") == {"candidate": (1, 4), "baseline": (1, 1)}
    assert values(sample, "revenue") == {"candidate": (12, 2), "baseline": (0, 2)}
    assert values(sample, "compliance_violation") == {"candidate": (0, 5), "baseline": (1, 2)}


def test_without_a_session_column_each_request_is_a_session(tmp_path: Path) -> None:
    rows = [{name: cell for name, cell in line.items() if name != "session"} for line in LINES]
    sample = from_csv(log(tmp_path / "log.csv", rows), METRICS)
    assert values(sample, "escalated") == {"candidate": (2, 5), "baseline": (1, 1)}


def test_only_matured_users_count_and_only_what_happened_in_time(tmp_path: Path) -> None:
    week = {**METRICS, "revenue": replace(BUILT_IN["revenue"], matures_after_s=7 * DAY_S)}
    rows = [
        {"unit": "a", "arm": "candidate", "at": 0, "metric_revenue": 5},
        {"unit": "a", "arm": "candidate", "at": 6 * DAY_S, "metric_revenue": 6},
        {"unit": "a", "arm": "candidate", "at": 8 * DAY_S, "metric_revenue": 100},
        {"unit": "b", "arm": "baseline", "at": 1},
        {"unit": "c", "arm": "candidate", "at": 4 * DAY_S, "metric_revenue": 9},
    ]
    sample = from_csv(log(tmp_path / "log.csv", rows), week)
    sums = arm_sums(sample, observe(sample, "revenue", week, now=NOW)).sums
    assert sums.total[sums.candidate].tolist() == [11]
    assert sums.count.tolist() == [1, 1]


def test_of_stored_days_only_those_in_time_count_for_events_and_their_cost(unit_totals: UnitTotals) -> None:
    def matured(name: str, **about: Any) -> Metric:
        return Metric(name=name, kind="bool", low=0, high=1, question="", matures_after_s=3 * DAY_S, **about)

    declared = {
        "settled": matured("settled", per="session"),
        "wrong": matured("wrong", per="exchange"),
        "price": Metric(name="price", kind="amount", question="", cost_per="settled"),
    }
    for unit, arm in (("a", "candidate"), ("b", "baseline")):
        for day in range(6):
            at = 100.0 + day * DAY_S
            about = {"unit": unit, "arm": arm, "exchanges": 4, "sessionless": 1, "cost_n": 4, "cost_sum": 2.0}
            unit_totals.cell(**about, first_at=at, last_at=at + 50)
            session = f"{unit}{day}"
            unit_totals.session(session=session, unit=unit, arm=arm, exchanges=3, first_at=at, last_at=at + 9)
            unit_totals.says(1.0, metric="settled", session=session, at=at + 20)
            unit_totals.says(1.0, metric="wrong", unit=unit, at=at + 20)
    sample = from_store(unit_totals.connection, "c", metrics=list(declared), declared=declared)
    # The days 0 to 3 begin in time; what was said on day 3 came too late.
    found = {
        name: arm_sums(sample, observe(sample, name, declared, now=NOW)).sums.only(np.array([True, False]))
        for name in declared
    }
    assert {name: (sums.total[0], sums.count[0]) for name, sums in found.items()} == {
        "settled": (3, 8),
        "wrong": (3, 16),
        "price": (8.0, 3),
    }


def test_each_phase_compares_all_its_exposed_users(tmp_path: Path) -> None:
    rows = [
        {"unit": "a", "arm": "baseline", "at": 0, "phase": 0, "metric_conversion": 1},
        {"unit": "b", "arm": "candidate", "at": 1, "phase": 0},
        {"unit": "a", "arm": "candidate", "at": 2, "phase": 1, "metric_conversion": 1},
        {"unit": "b", "arm": "candidate", "at": 3, "phase": 1},
        {"unit": "c", "arm": "baseline", "at": 4, "phase": 1},
    ]
    sample = from_csv(log(tmp_path / "log.csv", rows), METRICS)
    sums = arm_sums(sample, observe(sample, "conversion", METRICS, now=NOW)).sums
    found = sorted(zip(sums.phase.tolist(), sums.candidate.tolist(), sums.total.tolist(), strict=True))
    assert found == [(0, False, 1), (0, True, 0), (1, False, 0), (1, True, 0), (1, True, 1)]


def test_an_opinion_is_one_voice_a_user(tmp_path: Path) -> None:
    rows = [
        *({"unit": "a", "arm": "candidate", "at": at, "metric_csat": 1} for at in range(8)),
        {"unit": "b", "arm": "candidate", "at": 9, "metric_csat": 5},
        {"unit": "b", "arm": "candidate", "at": 10, "metric_csat": 4},
        {"unit": "c", "arm": "baseline", "at": 11, "metric_csat": 3},
    ]
    sample = from_csv(log(tmp_path / "log.csv", rows), METRICS)
    assert values(sample, "csat") == {"candidate": (5.5, 2), "baseline": (3, 1)}


def records(lines: Iterable[Mapping[str, Any]], by: str) -> list[Outcome | Feedback]:
    """The lines as the proxy would have spooled them; what happened is told by exchange, session or user."""
    found: list[Outcome | Feedback] = []
    for number, line in enumerate(lines):
        unit, session, at = (
            f"{int(line['unit'][1:]):032x}",
            f"{line['unit']}/{line['session']}",
            line["at"] + 1.0,
        )
        about = {"canary": "c", "run": 1, "phase": 0, "arm": line["arm"]}
        name = mint(b"k" * 32, **about, unit_hash=unit, at=at, serial=number.to_bytes(8))
        found.append(
            Outcome(exchange_id=name, at=at, mono=at, outcome="ok", share=0.5, reason="cohort", unit=unit,
                    session=session, **about)
        )  # fmt: skip
        if line["metric_escalated"] == 1:
            told: dict[str, Any] = {
                "exchange": {"exchange_id": name, "unit": unit, **about},
                "session": {"session": session},
                "unit": {"unit": unit},
            }[by]
            found.append(Feedback(key=name, metric="escalated", value=1.0, at=at + 0.1, mono=at, **told))
    return found


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


@pytest.mark.parametrize("by", ["exchange", "session", "unit"])
def test_they_do_not_ship_from_the_store_either_however_it_is_told(sqlite: Store, by: str) -> None:
    lines = only_true({"baseline": 0.051, "candidate": 0.105}, "metric_escalated", 2000)
    # The user's latest session is the right one: the second comes an hour after the first.
    lines = [{**line, "at": line["at"] + 3600 * (line["session"] == "b")} for line in lines]
    Shipper(sqlite).ship(sorted(records(lines, by), key=lambda each: each.at))
    bound = row("escalated", "<= baseline + 2pp", "<= baseline")
    canary = JudgedCanary(name="c", criteria=[bound], metrics=METRICS)
    with sqlite.reading() as connection:
        report = build(to_judge(connection, canary, 1), canary, now=NOW)
    (line,) = report.metrics
    assert (report.verdict, line.state) == ("dont_ship", "FAIL")
    assert (line.baseline, line.candidate) == pytest.approx((0.051, 0.105))


def test_an_event_that_nobody_ever_sent_is_no_evidence_that_it_never_happens(tmp_path: Path) -> None:
    rows = [{**user, "metric_escalated": ""} for user in users(2000)]
    report = judged(log(tmp_path / "log.csv", rows), row("escalated", "< 5%", "< 1%"))
    assert (report.verdict, report.metrics[0].state) == ("extend", "NODATA")
    rows[7]["metric_escalated"] = 0
    report = judged(log(tmp_path / "log.csv", rows), row("escalated", "< 5%", "< 1%"))
    assert (report.verdict, report.metrics[0].state) == ("ship_now", "IDEAL")


def test_the_store_joins_what_happened_by_exchange_session_and_user(unit_totals: UnitTotals) -> None:
    for unit, arm in (("a", "candidate"), ("b", "candidate"), ("c", "baseline")):
        unit_totals.cell(unit=unit, arm=arm, exchanges=4, sessionless=1, last_at=400.0)
    unit_totals.session(session="s", unit="a", first_at=100.0, last_at=300.0, exchanges=2)
    unit_totals.session(session="t", unit="a", first_at=200.0, last_at=400.0)
    unit_totals.session(session="v", unit="c", arm="baseline", exchanges=3)
    in_s = [unit_totals.exchange(unit="a", session="s", at=at) for at in (100.0, 101.0)]
    alone = unit_totals.exchange(unit="b", at=102.0)
    for name in in_s:
        unit_totals.says(1.0, metric="escalated", exchange_id=name)
    unit_totals.says(1.0, metric="escalated", exchange_id=in_s[0], key="another voice")
    unit_totals.says(1.0, metric="escalated", session="s")
    unit_totals.says(1.0, metric="escalated", unit="a", at=150.0)  # s, the latest session then
    unit_totals.says(1.0, metric="escalated", exchange_id=alone)
    unit_totals.says(1.0, metric="escalated", unit="c")
    for name in ("revenue", "compliance_violation"):
        unit_totals.says(1.0, metric=name, exchange_id=alone)
        unit_totals.says(1.0, metric=name, unit="b", at=500.0)
    names = ["escalated", "revenue", "compliance_violation", "cost_per_request"]
    sample = from_store(unit_totals.connection, "c", metrics=names, declared=METRICS)
    assert values(sample, "escalated") == {"candidate": (2, 4), "baseline": (1, 2)}
    assert values(sample, "revenue") == {"candidate": (2, 2), "baseline": (0, 1)}
    assert values(sample, "compliance_violation") == {"candidate": (2, 8), "baseline": (0, 4)}


def test_the_cost_of_an_event_is_a_ratio_of_sums_over_all_users(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    rows = [
        {
            **user,
            "cost_usd": 0.02 if user["arm"] == "baseline" else 0.03,
            "metric_resolved": 1 if rng.random() < 0.5 else "",
        }
        for user in users(2000)
    ]
    report = judged(log(tmp_path / "log.csv", rows), row(COST.name, "<= 1.2x baseline", "<= 1x baseline"))
    line = report.metrics[0]
    assert (line.state, line.units) == ("FAIL", 1000)
    assert line.baseline == pytest.approx(0.04, abs=0.003)
    assert line.candidate == pytest.approx(0.06, abs=0.004)
    found = values(from_csv(tmp_path / "log.csv", METRICS), COST.name)
    assert line.candidate == pytest.approx(found["candidate"][0] / found["candidate"][1])


def test_a_cost_is_not_divided_by_a_few_events(tmp_path: Path) -> None:
    rows = [
        {**user, "cost_usd": 0.02, "metric_resolved": 1 if place < 50 else ""}
        for place, user in enumerate(users(2000))
    ]
    report = judged(log(tmp_path / "log.csv", rows), row(COST.name, "<= 1.2x baseline", "<= 1x baseline"))
    assert (report.verdict, report.metrics[0].state) == ("extend", "INCONCLUSIVE")
    assert "resolved 25 times in the candidate, and 30 in each arm are required." in sentences(report)[0]


def settled(share: Callable[[float, str], float], count: int = 4000) -> list[dict[str, Any]]:
    """Users over ten days, one request each; `share` of those of a day and an arm is settled."""
    rng = np.random.default_rng(1)
    return [
        {
            **user,
            "cost_usd": round(0.02 * rng.uniform(0.5, 1.5), 5),
            "metric_resolved": 1 if rng.random() < share(user["at"] / DAY_S, user["arm"]) else "",
        }
        for user in users(count, days=9.9)
    ]


def planned(*criteria: Criterion, **more: Any) -> JudgedCanary:
    return JudgedCanary(
        name="c", criteria=criteria, metrics=METRICS, shares={0: 0.5}, minimum_days=7, planned_days=14, **more
    )


PRICE = row(COST.name, "<= 1.2x baseline", "<= 1x baseline")


def test_a_slow_first_day_keeps_no_later_day_s_cost_from_being_judged(tmp_path: Path) -> None:
    rows = settled(lambda day, _arm: 0.0 if day < 2.5 else 0.7)
    rows[0]["metric_resolved"] = rows[1]["metric_resolved"] = 1  # one in each arm, in two days and a half
    sample = from_csv(log(tmp_path / "log.csv", rows), METRICS)
    early = build(sample.until(2 * DAY_S), planned(PRICE), now=2.5 * DAY_S)
    assert sentences(early)[0] == (
        "Cost per resolution has too few events to divide by: resolved 1 time in the candidate, and 30 in "
        "each arm are required."
    )
    report = build(sample, planned(PRICE), now=NOW)
    (line,) = report.metrics
    assert (report.verdict, line.state) == ("ship", "PASS")
    (course,) = report.details.looks
    assert [point.day for point in course.points] == [*range(3, 11)]


def ramped(tmp_path: Path, seed: int, *, settles: float, spread: float) -> Report:
    """6,000 users over two weeks, of whom 1 % have the candidate for three days, then 30 %. It costs half as
    much; `settles` of the requests are settled, and costs are log-normal."""
    rng, rows = np.random.default_rng(seed), list(users(6000, days=14.0))
    for each in rows:
        each["phase"] = int(each["at"] > 3 * DAY_S)
        each["arm"] = "candidate" if rng.random() < (0.01, 0.3)[each["phase"]] else "baseline"
        cost = 0.02 * rng.lognormal(0, spread) * (1 - 0.5 * (each["arm"] == "candidate"))
        each["cost_usd"] = f"{cost:.6f}"
        each["metric_resolved"] = 1 if rng.random() < settles else ""
    sample = from_csv(log(tmp_path / "log.csv", rows), METRICS)
    return build(sample, replace(planned(PRICE), shares={0: 0.01, 1: 0.3}), now=14.6 * DAY_S)


def test_a_cheaper_candidate_ships_though_events_are_rare_and_its_ramp_begins_at_one_percent(
    tmp_path: Path,
) -> None:
    """Without its dearest users, an arm of the first phase has no event: 28 of 40 such worlds stayed open for
    good."""
    found = [ramped(tmp_path, seed, settles=0.1, spread=1.0) for seed in range(12)]
    assert not [said for each in found for said in sentences(each) if "computed" in said]
    assert sum(each.verdict in ("ship_now", "ship") for each in found) >= 11


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("settles", "spread", "least"), [(0.1, 1.0, 40), (0.03, 1.0, 38), (0.03, 1.6, 38)])
def test_a_row_of_rare_events_is_judged_or_says_that_its_events_are_too_few_in_full(
    tmp_path: Path, settles: float, spread: float, least: int
) -> None:
    found = [ramped(tmp_path, seed, settles=settles, spread=spread) for seed in range(40)]
    verdicts = Counter(f"{each.verdict}, {each.metrics[0].state}" for each in found)
    why = Counter(type(each.reasons[0]).__name__ for each in found if each.verdict == "extend")
    print(f"{settles:.0%} settled, costs of σ = {spread}: {dict(verdicts)}, open by {dict(why)}")
    assert not [said for each in found for said in sentences(each) if "computed" in said]
    assert why.keys() <= {"TooFewEvents", "RowOpen", "OneUser", "NotExpected"}
    assert sum(each.verdict in ("ship_now", "ship") for each in found) >= least


def test_a_phase_of_the_ramp_without_an_event_leaves_a_critical_part_s_cost_judged(
    tmp_path: Path,
) -> None:
    rng, rows = np.random.default_rng(2), settled(lambda day, arm: 0.6)
    for each in rows:
        day = each["at"] / DAY_S
        each["phase"] = int(day > 2)
        each["category"] = "refund" if rng.random() < 0.3 else "other"
        each["arm"] = "candidate" if rng.random() < (0.01 if day <= 2 else 0.5) else "baseline"
        if each["category"] == "refund" and each["phase"] == 0:
            each["metric_resolved"] = ""
    sample = from_csv(log(tmp_path / "log.csv", rows), METRICS)
    canary = planned(PRICE, critical_categories=frozenset({"refund"}))
    report = build(sample, replace(canary, shares={0: 0.01, 1: 0.5}), now=NOW)
    assert (report.verdict, [part.state for part in report.categories]) == ("ship", ["NO_DIFFERENCE"] * 2)


def test_a_critical_category_with_few_events_says_of_what_it_has_too_few(tmp_path: Path) -> None:
    rows = settled(lambda day, arm: 0.6)
    for place, each in enumerate(rows):
        each["category"] = "refund" if place % 10 < 3 else "other"
        if each["category"] == "refund" and place > 100:
            each["metric_resolved"] = ""
    sample = from_csv(log(tmp_path / "log.csv", rows), METRICS)
    report = build(sample, planned(PRICE, critical_categories=frozenset({"refund"})), now=NOW)
    assert report.verdict == "extend"
    said = "Cost per resolution in critical category refund has too few events to divide by: resolved "
    assert any(each.startswith(said) for each in sentences(report))


def test_what_cannot_be_computed_prints_no_line_beside_the_report(tmp_path: Path) -> None:
    rows = [{**user, "metric_revenue": 1e-200 * (1 + place % 3)} for place, user in enumerate(users(3000))]
    log(tmp_path / "log.csv", rows)
    (tmp_path / "canary.yaml").write_text(
        'providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}\n'
        "canaries: [{name: c, match: {models: [a]}, baseline: {provider: openai, model: a}, share: 50%,\n"
        "  candidate: {provider: openai, model: b}, rubric: [{metric: revenue, acceptable: '>= 1',\n"
        "  ideal: '>= 2', weight: 1, question: '?'}]}]\n"
    )
    command = [sys.executable, "-m", "canary", "report", "--from", "log.csv", "-o", "json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "")
    assert "cannot be computed from its values" in json.loads(done.stdout)["reasons"][0]


def test_one_user_alone_fails_no_row(tmp_path: Path) -> None:
    rows = [
        *users(3000),
        *({"unit": "u0", "arm": "candidate", "at": 100 + n, "metric_revenue": -900} for n in range(20)),
    ]
    for place, line in enumerate(rows[:3000]):
        line["metric_revenue"] = 10 + place % 5
    report = judged(log(tmp_path / "log.csv", rows), row("revenue", ">= baseline - 5%", ">= baseline"))
    assert report.metrics[0].state == "INCONCLUSIVE"
    assert any("only because of one user of the candidate" in each for each in sentences(report))
