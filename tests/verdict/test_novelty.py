"""Effects that fade: each metric by day since a user's first exposure, and a caveat where the end differs."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pages.words.reasons import sentences
from tests.verdict.conftest import DAY_S, START
from verdict.decision.document import Report
from verdict.decision.figures import FADING, fading, last_third, since_first
from verdict.decision.verdict import build
from verdict.details import SinceFirst
from verdict.sample.csv_log import ExchangeTable, from_csv
from verdict.sample.observations import observe
from verdict.sample.sample import Sample, TextColumn
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion, parse_bound

DAYS = 9
ROWS = tuple(
    Criterion(metric=metric, acceptable=parse_bound(bound), ideal=parse_bound(ideal), weight=1, question="?")
    for metric, bound, ideal in (("thumbs", "> 30%", "> 90%"), ("latency_p95", "< 9s", "< 1s"))
)

COST = Criterion(
    metric="cost_per_request", acceptable=parse_bound("< 9"), ideal=parse_bound("< 1"), weight=1, question="?"
)

Written = Callable[[float], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A log of users that come once a day; the candidate is liked more on the first two days by `lift`."""

    def write(lift: float) -> Path:
        rng = np.random.default_rng(3)
        path = tmp_path / "log.csv"
        with path.open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["unit", "arm", "at", "latency_s", "metric_thumbs"])
            for user in range(1200):
                arm, habit = user % 2, 0.1 * rng.normal()
                for day in range(DAYS):
                    likes = 0.6 + habit + (lift if arm and day < 2 else 0.0)
                    at = START + (day + 0.5 * user / 1200) * DAY_S
                    slow = np.exp(rng.normal()) * (2 if lift and arm and day < 2 else 1)
                    lines.writerow(
                        [f"u{user}", ("baseline", "candidate")[arm], at, slow, int(rng.random() < likes)]
                    )
        return path

    return write


def _report(sample: Sample, canary: JudgedCanary) -> Report:
    return build(sample, replace(canary, criteria=ROWS, segments=(), shares={0: 0.5}), now=START + 11 * DAY_S)


def _said(report: Report) -> list[str]:
    return [reason for reason in sentences(report) if "changes with a user's time" in reason]


def test_a_first_days_effect_that_fades_is_a_caveat(written: Written, canary: JudgedCanary) -> None:
    report = _report(from_csv(written(0.3)), canary)
    thumbs, slow = _said(report)
    assert thumbs.startswith("Thumbs changes with a user's time: the difference is ")
    assert "from day 7 after the first request on, and +" in thumbs
    assert slow.startswith("The share of requests beyond latency p95 changes")
    found = report.details.since_first[0]
    assert [point.day for point in found.days] == list(range(DAYS))
    differences = [point.candidate - point.baseline for point in found.days]
    assert min(differences[:2]) > 0.2 > max(differences[2:])
    assert found.whole == pytest.approx(np.mean(differences), abs=0.01)
    assert found.late == pytest.approx(np.mean(differences[6:]), abs=0.01)
    for point in found.days:
        assert point.units == 600
        assert point.low is not None and point.high is not None
        assert point.low < point.candidate - point.baseline < point.high


def test_a_steady_effect_is_shown_without_a_caveat(written: Written, canary: JudgedCanary) -> None:
    report = _report(from_csv(written(0.0)), canary)
    assert _said(report) == []
    assert [each.metric for each in report.details.since_first] == ["thumbs", "latency_p95"]


def test_a_users_many_opinions_are_one_voice_on_each_day(written: Written, canary: JudgedCanary) -> None:
    path = written(0.3)
    once = _report(from_csv(path), canary).details.since_first[0]
    loud = [line for line in path.read_text().splitlines() if line.startswith("u1,")]
    path.write_text("\n".join([path.read_text().rstrip("\n"), *loud * 500]))
    assert _report(from_csv(path), canary).details.since_first[0] == once


def test_totals_over_days_show_no_days(written: Written, canary: JudgedCanary) -> None:
    sample = from_csv(written(0.3))
    report = _report(replace(sample, last_at=sample.last_at + 3 * DAY_S), canary)
    assert (report.details.since_first, _said(report)) == ((), [])


def test_few_users_show_no_days(written: Written, canary: JudgedCanary) -> None:
    path = written(0.3)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[: 1 + 150 * DAYS]) + "\n")
    assert _report(from_csv(path), canary).details.since_first == ()


def test_the_last_third_is_at_least_a_day() -> None:
    assert [last_third(days) for days in (3, 4, 5, 6, 9)] == [2, 3, 4, 4, 6]


def test_with_a_plan_the_days_are_those_of_the_latest_look(written: Written, canary: JudgedCanary) -> None:
    """Looks of the days 1 to 4 and 8; each report sees what had come by then."""
    sample, planned = from_csv(written(0.3)), replace(canary, planned_days=4, minimum_days=1)

    def seen(days: float) -> tuple[tuple[SinceFirst, ...], list[str], list[int]]:
        now = START + days * DAY_S
        report = build(
            sample.until(now), replace(planned, criteria=ROWS, segments=(), shares={0: 0.5}), now=now
        )
        assert report.plan is not None
        return report.details.since_first, _said(report), list(report.plan.looks)

    assert seen(1.5)[0] == ()
    day4, later, used_up, long_after = (seen(days) for days in (5.1, 8.9, 9.1, 11))
    assert day4[2] == [1, 2, 3, 4]
    assert day4 == later
    assert used_up[2] == [1, 2, 3, 4, 8]
    assert len(used_up[1]) == 2
    assert used_up == long_after != later


def test_rows_that_are_tested_share_the_level() -> None:
    found = SinceFirst(metric="thumbs", days=(), whole=0.2, late=0.1, late_from=6, p_value=0.4 * FADING)
    clear = replace(found, p_value=0.3 * FADING)
    assert len(fading([found])) == len(fading([found] * 2)) - 1 == 1
    assert fading([found] * 3) == []
    assert len(fading([found, clear, found])) == 1
    assert fading([]) == []


def _p_of_a_world_without_effect(seed: int) -> float:
    """800 users with habits of their own, of whom fewer and fewer come back, in both arms alike."""
    rng = np.random.default_rng(seed)
    users, days = 800, 9
    unit, day = np.repeat(np.arange(users), days), np.tile(np.arange(days), users)
    came = (rng.random(len(unit)) < 0.9**day) | (day == 0)
    unit, day = unit[came], day[came]
    order = np.argsort(day, kind="stable")
    unit, day = unit[order], day[order]
    value = np.exp(rng.normal(size=users)[unit] + rng.normal(size=len(unit)) - 0.1 * day)
    n = len(unit)
    sample = ExchangeTable(
        units=tuple(map(str, range(users))),
        unit=unit,
        candidate=unit % 2 == 0,
        phase=np.zeros(n, dtype=np.int64),
        at=np.asarray(day * DAY_S + 1.0, dtype=np.float64),
        counts=np.ones(n, dtype=np.bool_),
        failed=np.zeros(n, dtype=np.bool_),
        latency_s=value,
        ttft_s=value,
        cost_usd=value,
        tokens=value,
        category=TextColumn.of([""] * n),
    ).sample()
    found = since_first(sample, observe(sample, "cost_per_request", {}, now=1e9), COST)
    assert found is not None
    return found.p_value


def test_without_an_effect_hardly_any_change_is_told() -> None:
    worlds = 150
    told = sum(_p_of_a_world_without_effect(seed) < FADING for seed in range(worlds))
    assert told <= worlds * FADING + 3 * np.sqrt(worlds * FADING)
