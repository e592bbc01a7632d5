"""From a CSV log to a verdict: worlds in which the right answer is known."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pages.words.reasons import sentences
from tests.verdict.planned import as_told
from verdict.decision.decide import misses, undecided
from verdict.decision.document import Report, from_json, to_json
from verdict.decision.verdict import build
from verdict.sample.csv_log import from_csv
from verdict.terms.judged_canary import JudgedCanary, Outweighed, RunRolledBack

Log = Callable[[Any], Path]
DAY_S = 86400.0
GOOD: dict[str, Any] = {
    "completed": (0.88, 0.89),
    "latency_s": (0.9, 0.9),
    "cost_usd": (0.08, 0.08),
    "csat": (4.3, 4.3),
}


def _report(path: Path, canary: JudgedCanary, now: float) -> Report:
    return build(from_csv(path), canary, now=now)


def test_ideal_everywhere_ships_now(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = _report(write_log(world()), canary, now)
    assert report.verdict == "ship_now"
    assert {line.state for line in report.metrics} == {"IDEAL"}
    assert (report.score.low, report.score.high) == (100, 100)


def test_acceptable_everywhere_ships(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = _report(write_log(world(**GOOD)), canary, now)
    assert report.verdict == "ship"
    assert {line.state for line in report.metrics} == {"PASS"}
    assert 60 < report.score.low < report.score.high < 100


def test_one_miss_is_a_no_though_the_score_is_high(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = _report(write_log(world(latency_s=(0.4, 1.6))), canary, now)
    assert report.verdict == "dont_ship"
    assert sentences(report)[0].startswith("Latency p95 misses “< 2s”")
    assert report.score.estimate is not None
    assert report.score.estimate > 70


def test_a_miss_needs_no_minimum_duration(write_log: Log, world: type[Any], canary: JudgedCanary) -> None:
    log = write_log(world(latency_s=(0.4, 1.6), days=1.0))
    first = from_csv(log).first_at[0]
    assert _report(log, canary, float(first) + DAY_S).verdict == "dont_ship"


def test_too_little_evidence_extends_and_says_what_is_missing(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = _report(write_log(world(users=2500, completed=(0.87, 0.865))), canary, now)
    assert report.verdict == "extend"
    line = report.metrics[0]
    assert line.state == "INCONCLUSIVE"
    assert line.units_needed is not None
    assert line.units_needed > 100
    assert "undecided" in sentences(report)[0]
    assert "more days" in sentences(report)[0]


def test_a_hundred_units_are_the_least(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = _report(write_log(world(users=600)), canary, now)
    assert report.verdict == "extend"
    assert {line.state for line in report.metrics} == {"NODATA"}
    assert {line.candidate_interval for line in report.metrics} == {(None, None)}
    assert report.score.estimate is None
    assert (report.score.low, report.score.high) == (0, 100)


def test_the_best_candidate_must_run_its_days(write_log: Log, world: type[Any], canary: JudgedCanary) -> None:
    log = write_log(world(days=4.0))
    report = _report(log, canary, float(from_csv(log).first_at[0]) + 4.5 * DAY_S)
    assert report.verdict == "extend"
    assert "4 whole days of candidate traffic, 7 required" in sentences(report)[0]


def test_a_silent_log_does_not_age_into_a_verdict(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = _report(write_log(world(days=4.0)), canary, now + 30 * DAY_S)
    assert report.verdict == "extend"


def test_lost_users_block_the_verdict(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = _report(write_log(world()), replace(canary, shares={0: 0.13}), now)
    assert report.srm.blocked
    assert report.verdict == "dont_ship"
    outweighed = replace(canary, shares={0: 0.13}, outweighed=_despite(report))
    assert _report(write_log(world()), outweighed, now).verdict == "dont_ship"


def _despite(report: Report) -> Outweighed:
    """What a person outweighs who names every miss of this report."""
    found = misses(report.metrics, report.parts)
    return Outweighed(who="Ada", reason="40 % cheaper", misses=tuple(miss for miss, _ in found))


def test_a_miss_that_a_person_outweighed_by_its_name_ships_with_caveats(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    log = write_log(world(latency_s=(0.4, 1.6)))
    before = _report(log, canary, now)
    report = _report(log, replace(canary, outweighed=_despite(before)), now)
    assert (before.verdict, report.verdict) == ("dont_ship", "ship_with_caveats")
    assert sentences(report)[0] == "Ada outweighed latency p95 (40 % cheaper)."
    assert sentences(report)[1] == sentences(before)[0]
    pulled = replace(canary, outweighed=_despite(before), rolled_back=RunRolledBack())
    assert _report(log, pulled, now).verdict == "dont_ship"


def test_a_decision_counts_for_no_other_miss_and_for_none_that_is_worse_than_all_that_was_likely(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    early = _despite(_report(write_log(world(latency_s=(0.4, 1.6))), canary, now))
    slower = _report(write_log(world(latency_s=(0.4, 2.4))), replace(canary, outweighed=early), now)
    assert slower.verdict == "dont_ship"
    assert sentences(slower)[0].endswith("It is worse than all that was likely when Ada outweighed it.")
    failing = write_log(world(latency_s=(0.4, 1.6), csat=(4.6, 3.4)))
    also = _report(failing, replace(canary, outweighed=early), now)
    assert also.verdict == "dont_ship"
    assert sentences(also)[0].startswith("Satisfaction misses")
    assert "Ada outweighed latency p95 (40 % cheaper)." in sentences(also)


def _despite_open(report: Report) -> Outweighed:
    """What a person outweighs who names all that this report leaves undecided."""
    found = undecided(report.metrics, report.details.too_few)
    return Outweighed(who="Anna", reason="nobody rates here", misses=tuple(found))


def test_rows_that_nobody_can_compute_are_outweighed_by_their_names_until_they_miss(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    unrated = write_log(world(responds=(0.0, 0.0)))
    before = _report(unrated, canary, now)
    decided = _despite_open(before)
    assert (before.verdict, [miss.name for miss in decided.misses]) == ("extend", ["task_completed", "csat"])
    report = _report(unrated, replace(canary, outweighed=decided), now)
    assert report.verdict == "ship_with_caveats"
    assert sentences(report)[0] == "Anna outweighed task completed and satisfaction (nobody rates here)."
    partly = replace(decided, misses=decided.misses[:1])
    assert _report(unrated, replace(canary, outweighed=partly), now).verdict == "extend"
    later = _report(write_log(world(csat=(4.6, 3.4))), replace(canary, outweighed=decided), now)
    assert later.verdict == "dont_ship"
    assert sentences(later)[0].endswith("It was undecided when Anna outweighed it.")


def test_a_row_between_its_bounds_is_outweighed_until_it_is_worse_than_its_interval_of_then(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    log = write_log(world(users=2500, completed=(0.87, 0.865)))
    decided = _despite_open(_report(log, canary, now))
    terms = replace(canary, outweighed=decided)
    report = _report(log, terms, now)
    assert report.verdict == "ship_with_caveats"
    assert "undecided" in sentences(report)[1]
    (then,) = decided.misses
    better_then = replace(decided, misses=(replace(then, low=0.99),))
    assert _report(log, replace(canary, outweighed=better_then), now).verdict == "extend"


def test_a_critical_category_that_cannot_be_judged_is_outweighed_by_its_name(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    terms = replace(canary, critical_categories=frozenset({"legal"}))
    decided = _despite_open(_report(write_log(world()), terms, now))
    assert [miss.name for miss in decided.misses] == ["category:legal"]
    report = _report(write_log(world()), replace(terms, outweighed=decided), now)
    assert report.verdict == "ship_with_caveats"
    assert sentences(report)[0] == "Anna outweighed category legal (nobody rates here)."


def test_no_decision_outweighs_missing_days(write_log: Log, world: type[Any], canary: JudgedCanary) -> None:
    log = write_log(world(days=4.0, responds=(0.0, 0.0)))
    now = float(from_csv(log).first_at[0]) + 4.5 * DAY_S
    decided = _despite_open(_report(log, canary, now))
    assert _report(log, replace(canary, outweighed=decided), now).verdict == "extend"


def test_a_critical_category_is_outweighed_by_its_name(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    terms = replace(canary, critical_categories=frozenset({"billing"}))
    log = write_log(world(worse_in={"billing": 0.2}))
    decided = _despite(_report(log, terms, now))
    assert {miss.name for miss in decided.misses} >= {"category:billing"}
    report = _report(log, replace(terms, outweighed=decided), now)
    assert report.verdict == "ship_with_caveats"
    assert sentences(report)[0].startswith("Ada outweighed ")
    assert "category billing" in sentences(report)[0]
    rows = tuple(miss for miss in decided.misses if miss.name != "category:billing")
    partly = replace(terms, outweighed=replace(decided, misses=rows))
    assert _report(log, partly, now).verdict == "dont_ship"


def test_a_run_that_was_rolled_back_does_not_ship(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = _report(write_log(world()), replace(canary, rolled_back=RunRolledBack()), now)
    assert report.verdict == "dont_ship"
    assert "rolled back" in sentences(report)[0]
    why = RunRolledBack(who="guardrail empty", why="5 of 20 answers are empty.")
    told = _report(write_log(world()), replace(canary, rolled_back=why), now)
    assert sentences(told)[0] == "This run was rolled back by guardrail empty: 5 of 20 answers are empty."


def test_a_rubric_written_afterwards_is_a_caveat(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    log = write_log(world())
    honest = _report(log, canary, now)
    assert _report(log, replace(canary, rubric_sha256=honest.rubric_sha256), now).verdict == "ship_now"
    changed = _report(log, replace(canary, rubric_sha256="0" * 64), now)
    assert changed.verdict == "ship_with_caveats"
    assert "has changed since it was fixed" in sentences(changed)[0]


def test_a_category_hidden_by_the_average_is_a_caveat_and_a_critical_one_blocks(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    log = write_log(world(worse_in={"billing": 0.2}))
    report = _report(log, canary, now)
    (billing,) = (
        line for line in report.categories if (line.value, line.metric) == ("billing", "task_completed")
    )
    assert (billing.state, billing.blocks) == ("WORSE", False)
    assert report.metrics[0].state == "PASS"
    assert report.verdict == "ship_with_caveats"

    critical = _report(log, replace(canary, critical_categories=frozenset({"billing"})), now)
    assert critical.verdict == "dont_ship"
    assert sentences(critical)[0].startswith("Critical category billing")


def test_the_json_has_exactly_the_contracts_fields(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = _report(write_log(world()), canary, now)
    document = to_json(report, sentences)
    assert set(document) == {
        "canary", "verdict", "reasons", "score", "rubric_sha256", "window", "units", "srm",
        "metrics", "segments", "categories", "details",
    }  # fmt: skip
    declared, measured = (
        next(line for line in document["metrics"] if line["metric"] == name)
        for name in ("task_completed", "cost_per_request")
    )
    assert set(measured) == {
        "metric", "baseline", "candidate", "candidate_interval", "difference", "state", "acceptable", "ideal",
        "weight", "units", "mde", "units_needed", "days_needed", "question",
        "matures_days", "by_users",
    }  # fmt: skip
    assert {name: declared[name] for name in declared.keys() - measured.keys()} == {
        "kind": "bool",
        "per": "value",
    }
    assert set(document["metrics"][0]["difference"]) == {"low", "estimate", "high", "p_value"}
    of_part = {"value", "metric", "difference", "state", "blocks", "misses_bound"}
    assert set(document["segments"][0]) == {"by", *of_part}
    assert set(document["categories"][0]) == of_part
    assert document["window"]["start"].startswith("2026-11-02T00:0")
    assert from_json(json.loads(json.dumps(document, allow_nan=False))) == replace(
        as_told(report), window=from_json(document).window
    )


def test_a_run_that_may_be_short_says_so(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = _report(write_log(world()), replace(canary, minimum_days=0), now)
    assert report.verdict == "ship_now"
    assert "asks for 0 days of traffic (`minimum_days`)" in sentences(report)[-1]
