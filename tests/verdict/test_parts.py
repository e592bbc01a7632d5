"""Segments and categories: found when they differ, silent when they do not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pages.words.reasons import sentences
from tests.effort import in_more
from verdict.decision.parts import break_down, parts_of
from verdict.decision.verdict import build
from verdict.sample.csv_log import from_csv
from verdict.sample.observations import observe
from verdict.terms.judged_canary import JudgedCanary

Log = Callable[[Any], Path]


def _parts(path: Path, canary: JudgedCanary, now: float) -> Any:
    sample = from_csv(path, canary.metrics)
    parts = [
        part
        for one in canary.criteria
        for part in parts_of(sample, canary, one, observe(sample, one.metric, canary.metrics, now=now))
    ]
    return break_down(parts, canary)


def test_every_value_of_a_tag_and_every_category_is_tested(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    parts = _parts(write_log(world()), canary, now)
    assert {(one.by, one.value) for one in parts.segments} == {("region", "eu"), ("region", "us")}
    assert {one.value for one in parts.categories} == {"billing", "returns", "other"}
    assert {one.state for one in (*parts.segments, *parts.categories)} == {"NO_DIFFERENCE"}


def test_a_candidate_that_is_better_is_said_to_be(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    parts = _parts(write_log(world(cost_usd=(0.05, 0.03), latency_s=(0.5, 0.3))), canary, now)
    better = {one.metric for one in parts.categories if one.state == "BETTER"}
    assert better == {"cost_per_request", "latency_p95"}
    assert not [one for one in parts.categories if one.state == "WORSE"]


def test_with_few_users_nothing_is_said(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    parts = _parts(write_log(world(users=1500)), canary, now)
    assert {one.state for one in parts.categories} == {"TOO_FEW"}
    assert {one.difference.low for one in parts.categories} == {None}


@pytest.mark.parametrize("lost", [0.2, in_more(0.0)])
def test_a_critical_category_below_the_floor_blocks_even_if_the_baseline_is_too(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float, lost: float
) -> None:
    log = write_log(world(users=9000, hard={"billing": lost}))
    report = build(from_csv(log), replace(canary, critical_categories=frozenset({"billing"})), now=now)
    billing = next(
        one for one in report.categories if (one.value, one.metric) == ("billing", "task_completed")
    )
    assert billing.state == "NO_DIFFERENCE"
    assert billing.blocks == (lost > 0)
    assert (report.verdict == "dont_ship") == (lost > 0)


def test_a_critical_segment_that_is_worse_blocks(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    sample = from_csv(write_log(world(worse_in={"eu": 0.1})))
    regions = replace(canary, segments=("region",))
    report = build(sample, regions, now=now)
    eu = next(one for one in report.segments if (one.value, one.metric) == ("eu", "task_completed"))
    assert (eu.state, eu.blocks, report.verdict) == ("WORSE", False, "ship_with_caveats")
    report = build(sample, replace(regions, critical_segments=frozenset({("region", "eu")})), now=now)
    assert report.verdict == "dont_ship"
    assert sentences(report)[0].startswith("Critical segment region eu: task completed is worse")
    assert {one.value for one in report.segments if one.blocks} == {"eu"}


def test_an_unknown_tag_gives_no_segment(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    parts = _parts(write_log(world(users=500)), replace(canary, segments=("planet",)), now)
    assert parts.segments == ()
