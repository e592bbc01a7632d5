"""What a promotion promised, and what came of it while users were held back."""

import math
from dataclasses import replace

import numpy as np
import pytest

from common.interval import Range
from control.jobs.reports import week_after_news
from pages.words import archive as words
from pages.words.reasons import sentences
from tests.verdict.archived import DAY_S, a_line, a_release
from tests.verdict.simulated import World, failing, lasting, paying, rating, usual, visits
from tests.verdict.simulated_looks import row
from tests.verdict.totals import UnitTotals
from verdict.archive.evaluations import to_stored
from verdict.archive.trends import trends
from verdict.archive.week_after import WRONG, Kept, PromisedRow, WeekAfter, kept, rows_of
from verdict.decision.document import Difference, Units
from verdict.decision.verdict import find
from verdict.sample.cohort import from_store
from verdict.sample.sample import Sample
from verdict.sample.unit_totals import RunPart
from verdict.terms.judged_canary import JudgedCanary

NOW = 1e9


RUBRIC = (
    row("error_rate", "< 5%", "< 1%"),
    row("csat", ">= baseline - 5%", ">= baseline"),
    row("cost_per_request", "<= 1.2x baseline", "<= baseline"),
    row("latency_p95", "< 5s", "< 1s"),
)
JUDGED = JudgedCanary(name="c", criteria=RUBRIC)


@pytest.mark.parametrize(
    ("promised", "came", "higher_is_better", "expected"),
    [
        ((-0.1, 0.1), (-0.05, 0.05), True, "kept"),  # within
        ((-0.1, 0.1), (0.2, 0.4), True, "kept"),  # better than promised
        ((-0.1, 0.1), (-0.1, 0.3), True, "kept"),  # at the end
        ((-0.1, 0.1), (-0.2, 0.3), True, "unknown"),  # not told apart
        ((-0.1, 0.1), (-0.4, -0.11), True, "not_kept"),
        ((-0.1, 0.1), (-0.4, -0.1), True, "unknown"),
        ((-0.1, 0.1), (-0.4, 0.1), False, "kept"),  # lower is better
        ((-0.1, 0.1), (0.11, 0.4), False, "not_kept"),
        ((-0.1, 0.1), (-0.4, 0.2), False, "unknown"),
        ((None, 0.1), (-0.4, 0.2), True, "unknown"),  # nothing was promised
        ((-0.1, None), (-0.05, 0.2), True, "kept"),
        ((-0.1, 0.1), None, True, "unknown"),  # nothing is known
        ((-0.1, 0.1), (None, None), True, "unknown"),
        ((-0.1, 0.1), (None, -0.2), True, "not_kept"),
    ],
)
def test_a_promise_is_kept_only_where_the_evidence_says_so(
    promised: tuple[float | None, float | None],
    came: tuple[float | None, float | None] | None,
    higher_is_better: bool,
    expected: Kept,
) -> None:
    then = Difference(low=promised[0], estimate=0.0, high=promised[1])
    now = None if came is None else Range(low=came[0], estimate=0.0, high=came[1])
    assert kept(then, now, higher_is_better=higher_is_better) == expected


def a_week(seed: int, *, users: int = 15_000, worse: float = 1.0, share: float = 0.98) -> Sample:
    """A week in which 2 % are held back, and the promoted arm is so many times as bad."""
    rng = np.random.default_rng(seed)
    of = visits(rng, usual(rng, users), share=share, days=7, returning=3)
    return World(
        visits=of,
        totals={
            "errors": failing(rng, of, (0.02, 0.02 * worse)),
            "cost": paying(rng, of, (0.01, 0.01 * worse)),
        },
        duration=lasting(rng, of, (2.0, 2.0 * worse)),
        said={"csat": rating(rng, of, (4.0, 5 - worse), answers=0.5)},
    ).until(7)


def promises(low: float, high: float) -> list[Difference]:
    return [Difference(low=low, estimate=0.0, high=high, p_value=1.0) for _ in RUBRIC]


def judged(sample: Sample, promised: list[Difference]) -> tuple[PromisedRow, ...]:
    lines = [a_line(each.metric, 0.5, told) for each, told in zip(RUBRIC, promised, strict=True)]
    return rows_of(sample, JUDGED, lines, now=NOW)


def test_an_arm_that_turns_out_worse_than_promised_has_not_kept_it() -> None:
    rows = judged(a_week(1, worse=2.0), promises(-0.005, 0.005))
    assert {each.metric: each.kept for each in rows} == {
        "error_rate": "not_kept",
        "csat": "not_kept",
        "cost_per_request": "not_kept",
        "latency_p95": "not_kept",
    }
    (errors, csat, cost, latency) = (each.came for each in rows)
    assert errors is not None and csat is not None and cost is not None and latency is not None
    assert errors.estimate == pytest.approx(0.02, abs=0.01)
    assert csat.estimate == pytest.approx(-1.0, abs=0.15)
    assert (cost.estimate, latency.estimate) == (pytest.approx(0.01, abs=0.002), pytest.approx(2.0, abs=0.4))
    held, promoted = rows[0].users
    assert held / (held + promoted) == pytest.approx(0.02, abs=0.004)


def test_a_wide_promise_is_kept_and_too_few_users_keep_nothing() -> None:
    assert {each.kept for each in judged(a_week(2), promises(-0.5, 0.5))} == {"kept"}
    few = judged(a_week(2, users=3_000), promises(-0.5, 0.5))
    assert {(each.kept, each.why) for each in few} == {("unknown", "too_few")}


def test_what_sums_up_over_time_is_compared_with_nothing() -> None:
    rubric = (row("cost_total", "<= 1.2x baseline", "<= baseline"),)
    line = a_line("cost_total", 0.5, Difference(low=-1.0, estimate=0.0, high=1.0))
    (found,) = rows_of(a_week(2), replace(JUDGED, criteria=rubric), [line], now=NOW)
    assert (found.kept, found.why) == ("unknown", "sums_up")


def test_the_trial_and_the_time_of_the_hold_back_are_samples_of_their_own(unit_totals: UnitTotals) -> None:
    unit_totals.cell(unit="a", phase=1)
    unit_totals.cell(unit="b", phase=2, arm="baseline", share=0.98, first_at=100.0)
    unit_totals.cell(unit="c", phase=2, share=0.98, first_at=DAY_S + 1)

    def units(part: RunPart) -> list[str]:
        return list(from_store(unit_totals.connection, "c", 1, part=part).units)

    assert units(RunPart(before=2)) == ["a"]
    assert units(RunPart(first=2, before=3)) == ["b", "c"]
    assert units(RunPart(first=2, before=3, from_day=1)) == ["c"]


def a_week_after(*rows: Kept) -> WeekAfter:
    return WeekAfter(
        since=0.0,
        compared_from=0.0,
        until=7 * DAY_S,
        planned_until=7 * DAY_S,
        share=0.02,
        units=Units(baseline=300, candidate=14_700),
        rows=tuple(
            PromisedRow(
                metric="csat",
                unit="number",
                per=None,
                higher_is_better=True,
                promised=Difference(low=-0.1, estimate=0.0, high=0.1),
                came=None,
                users=(300, 14_700),
                kept=each,
                why="open" if each == "unknown" else "",
            )
            for each in rows
        ),
    )


def test_the_archive_says_how_often_promises_held_from_five_releases_on() -> None:
    releases = [
        replace(a_release(number), event="week_after", week_after=a_week_after("kept", "unknown", "not_kept"))
        for number in range(5)
    ]
    found = trends([*releases, a_release(9)]).promises
    assert (found.releases, found.rows, found.kept, found.not_kept, found.unknown) == (5, 15, 5, 5, 5)
    again = replace(releases[0], canary="other", at=releases[0].at + 1)
    few = trends([*releases[:4], again, a_release(9)]).promises
    assert (few.releases, few.rows, few.kept) == (4, None, None)


def test_what_is_not_known_is_never_counted_as_a_promise_that_was_not_kept() -> None:
    """A hold-back that the next model ended after a day."""
    early = replace(a_week_after("unknown", "unknown"), until=DAY_S, ended_by="ann (m3 begins)")
    said, whom = words.week_after(early)
    start = "It cannot be told of any of 2 rows whether it kept what was promised"
    assert said == f"{start}: of 2 the intervals do not tell."
    assert whom.endswith(
        "It was ended early by ann (m3 begins), before 1970-01-08 00:00 UTC, too early to tell more."
    )
    told, _ = words.week_after(a_week_after("kept", "unknown", "not_kept"))
    assert told.startswith("1 of 2 rows kept what was promised; of 1 more it cannot be told")
    stored = to_stored(replace(a_release(1), event="week_after", week_after=early), sentences)
    news = week_after_news(stored)
    assert news is not None and "cannot be told of any of 2 rows" in news.headline
    several = [
        replace(a_release(number), event="week_after", week_after=a_week_after("unknown"))
        for number in range(5)
    ]
    assert "cannot be told of any of 5 rows" in words.promises(trends(several).promises)


def a_trial(seed: int) -> list[Difference]:
    """What the report of 14 days at 5 % promises of equal arms."""
    rng = np.random.default_rng(seed)
    of = visits(rng, usual(rng, 30_000), share=0.05, days=14, returning=3)
    sample = World(
        visits=of,
        totals={"errors": failing(rng, of, (0.02, 0.02)), "cost": paying(rng, of, (0.01, 0.01))},
        duration=lasting(rng, of, (2.0, 2.0)),
        said={"csat": rating(rng, of, (4.0, 4.0), answers=0.5)},
    ).until(14)
    found = find(sample, replace(JUDGED, planned_units=1_500), now=NOW)
    return [line.difference for line in found.lines]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("share", [0.98, 0.9])
def test_of_equal_arms_most_promises_are_kept_or_open_and_hardly_any_is_not_kept(share: float) -> None:
    worlds, said = 150, {each.metric: {"kept": 0, "not_kept": 0, "unknown": 0} for each in RUBRIC}
    for seed in range(worlds):
        for each in judged(a_week(worlds + seed, share=share), a_trial(seed)):
            said[each.metric][each.kept] += 1
    print(f"equal arms, {1 - share:.0%} held back, {worlds} worlds: {said}")
    assert all(found["not_kept"] <= 0.05 * worlds for found in said.values())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_at_the_end_of_the_promise_each_is_said_wrongly_once_in_twenty_at_most() -> None:
    worlds, said = 1_000, {each.metric: {"kept": 0, "not_kept": 0, "unknown": 0} for each in RUBRIC}
    for seed in range(worlds):
        for each in judged(a_week(seed), promises(0.0, 0.0)):
            said[each.metric][each.kept] += 1
    limit = worlds * WRONG + 3 * math.sqrt(worlds * WRONG * (1 - WRONG))
    print(f"A/A, promised exactly what is true, {worlds} worlds: {said}")
    assert all(max(found["kept"], found["not_kept"]) <= limit for found in said.values())
