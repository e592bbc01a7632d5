"""Requests without a value, abandoned or unpriced: a candidate must not look cheap for what is missing."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pages.words.gains import changes, money_facts, saved
from pages.words.plan import next_steps
from pages.words.reasons import sentences
from pages.words.verdict import evidence, mark
from tests.verdict.conftest import World, exchanges
from verdict.decision.document import Report
from verdict.decision.verdict import build
from verdict.rows.reading import read, trimmings
from verdict.sample.csv_log import from_csv
from verdict.sample.observations import abandoned, observe, unpriced
from verdict.sample.sample import MeasureTotals, Sample
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion, parse_bound

WORLD = World(users=4000, days=9.0)
CHEAPER = Criterion(
    metric="cost_per_request",
    acceptable=parse_bound("<= 1.05x baseline"),
    ideal=parse_bound("<= 0.5x baseline"),
    weight=1,
    question="Is it cheap?",
)


def _log(path: Path, share: tuple[float, float], *, dear_first: bool = False) -> Path:
    """The world's log, of which callers abandoned these shares of the baseline's and candidate's lines."""
    rows = exchanges(WORLD)
    rng = np.random.default_rng(5)
    for arm, part in zip(("baseline", "candidate"), share, strict=True):
        mine = [row for row in rows if row["arm"] == arm]
        order = sorted(mine, key=lambda row: -float(str(row["cost_usd"]))) if dear_first else mine
        chosen = (
            range(round(part * len(mine))) if dear_first else np.flatnonzero(rng.random(len(mine)) < part)
        )
        for place in chosen:
            order[int(place)].update(error_type="aborted", cost_usd="", latency_s="")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _report(path: Path, canary: JudgedCanary, now: float, criteria: Sequence[Criterion]) -> Report:
    return build(from_csv(path), replace(canary, criteria=criteria, segments=()), now=now)


def test_a_candidate_of_which_one_in_seven_hangs_is_not_simply_cheap(
    tmp_path: Path, canary: JudgedCanary, now: float
) -> None:
    report = _report(_log(tmp_path / "log.csv", (0.01, 0.15), dear_first=True), canary, now, [CHEAPER])
    (row,) = report.metrics
    assert row.difference.estimate is not None and row.difference.estimate < 0
    assert row.state == "INCONCLUSIVE"
    assert report.verdict == "extend"
    (said,) = [reason for reason in sentences(report) if reason.startswith("Callers abandoned 15.0 %")]
    assert "1.0 % of the baseline's" in said
    assert "They are missing from cost per request" in said


def test_an_absolute_bound_passes_with_the_caveat(tmp_path: Path, canary: JudgedCanary, now: float) -> None:
    quick = Criterion(
        metric="latency_p95",
        acceptable=parse_bound("< 3s"),
        ideal=parse_bound("< 2s"),
        weight=1,
        question="?",
    )
    report = _report(_log(tmp_path / "log.csv", (0.01, 0.15)), canary, now, [quick])
    assert report.verdict == "ship_with_caveats"
    assert any("Callers abandoned" in reason for reason in sentences(report))


def test_equal_shares_change_nothing(tmp_path: Path, canary: JudgedCanary, now: float) -> None:
    sample = from_csv(_log(tmp_path / "log.csv", (0.05, 0.05)))
    assert trimmings(sample, observe(sample, "cost_per_request", {}, now=now)) is None
    report = _report(tmp_path / "log.csv", canary, now, [CHEAPER])
    assert not any("abandoned" in reason for reason in sentences(report))


def test_abandoned_requests_of_a_log_are_a_metric_and_a_failure_mode(
    tmp_path: Path, canary: JudgedCanary, now: float
) -> None:
    stays = Criterion(
        metric="abandoned", acceptable=parse_bound("< 5%"), ideal=parse_bound("< 2%"), weight=1, question="?"
    )
    report = _report(_log(tmp_path / "log.csv", (0.01, 0.15)), canary, now, [stays])
    (row,) = report.metrics
    assert row.candidate == pytest.approx(0.15, abs=0.02)
    assert (row.state, report.verdict) == ("FAIL", "dont_ship")
    assert report.details.failures is not None
    assert [mode.name for mode in report.details.failures.modes if mode.kind == "abandoned"] == ["abandoned"]


def test_a_stream_left_after_its_first_token_was_not_abandoned(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "unit,arm,at,ttft_s,error_type\n"
        "a,candidate,1764150000,0.4,aborted\n"
        "b,candidate,1764150001,,aborted\n"
        "c,baseline,1764150002,,\n"
    )
    totals = from_csv(path).totals["abandoned"]
    assert (totals.count.tolist(), totals.total.tolist()) == ([1, 1, 1], [0, 1, 0])


@pytest.mark.parametrize(
    "metric",
    [
        "cost_per_request",
        "latency_p95",
        *(pytest.param(each, marks=pytest.mark.more) for each in ("tokens", "cost_total")),
    ],
)
@pytest.mark.parametrize("share", [(0.01, 0.15), (0.15, 0.01)])
def test_the_arm_with_more_values_loses_its_excess_at_either_end(
    tmp_path: Path, now: float, share: tuple[float, float], metric: str
) -> None:
    sample = from_csv(_log(tmp_path / "log.csv", share))
    sample = replace(sample, totals={**sample.totals, "tokens": sample.totals["cost"]})
    observed = observe(sample, metric, {}, now=now)
    cut = trimmings(sample, observed)
    assert cut is not None
    lost = abandoned(sample)
    assert lost is not None
    kept = (1 - lost.baseline, 1 - lost.candidate)
    more = kept[1] > kept[0]
    side = sample.candidate == more
    all_of = observed.count[side[observed.row]].sum()
    for case in cut:
        left = case.count[side[case.row]].sum()
        assert left / all_of == pytest.approx(min(kept) / max(kept), abs=2e-3)
        assert case.count[~side[case.row]].sum() == observed.count[~side[observed.row]].sum()
    middles = [read(sample, one, planned=500) for one in (replace(each, abandoned=None) for each in cut)]
    arm = [reading.candidate if more else reading.baseline for reading in middles]
    assert arm[0] is not None and arm[1] is not None
    assert (arm[0] > arm[1]) or metric == "cost_total"


def test_the_interval_spans_both_cases(tmp_path: Path, now: float) -> None:
    sample = from_csv(_log(tmp_path / "log.csv", (0.01, 0.15)))
    for metric in ("cost_per_request", "latency_p95"):
        observed = observe(sample, metric, {}, now=now)
        wide = read(sample, observed, planned=500).comparison
        narrow = read(sample, replace(observed, abandoned=None), planned=500).comparison
        assert wide is not None and narrow is not None
        outer, inner = wide.contrast(1, 0), narrow.contrast(1, 0)
        assert outer.low < inner.low < inner.estimate == outer.estimate < inner.high < outer.high


def _sample(write: Callable[[str], Sample], lines: Sequence[tuple[str, str, str]]) -> Sample:
    return write(
        "\n".join(f"{unit},{arm},{1764150000 + n},{error}" for n, (unit, arm, error) in enumerate(lines))
    )


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Sample]:
    def write(lines: str) -> Sample:
        path = tmp_path / "few.csv"
        path.write_text(f"unit,arm,at,error_type\n{lines}\n")
        return from_csv(path)

    return write


def test_few_units_are_compared_exactly(written: Callable[[str], Sample]) -> None:
    lines = [(f"b{n}", "baseline", "") for n in range(2000)]
    lines += [(f"c{n}", "candidate", "aborted" if n < 2 else "") for n in range(100)]
    found = abandoned(_sample(written, lines))
    assert found is not None
    assert found.p_value == pytest.approx(100 * 99 / (2100 * 2099))
    assert (found.candidate, found.baseline, found.different) == (0.02, 0.0, False)


def test_one_users_many_requests_are_not_many_users(written: Callable[[str], Sample]) -> None:
    lines = [(f"b{n}", "baseline", "") for n in range(500)]
    lines += [(f"c{n}", "candidate", "") for n in range(500)]
    lines += [("c0", "candidate", "aborted")] * 300
    found = abandoned(_sample(written, lines))
    assert found is not None
    assert not found.different


def test_no_abandoned_requests_are_nothing_to_compare(written: Callable[[str], Sample]) -> None:
    assert abandoned(_sample(written, [("a", "baseline", ""), ("b", "candidate", "")])) is None
    assert abandoned(_sample(written, [("b", "candidate", "aborted")])) is None


QUICK = Criterion(
    metric="latency_p95", acceptable=parse_bound("< 3s"), ideal=parse_bound("< 2s"), weight=1, question="?"
)
ABSOLUTE = replace(CHEAPER, acceptable=parse_bound("< $0.12"), ideal=parse_bound("< $0.06"))


def _priced(path: Path, share: tuple[float, float]) -> Path:
    """The world's log, of which the dearest lines of the baseline and of the candidate have no known cost."""
    rows = exchanges(WORLD)
    for arm, part in zip(("baseline", "candidate"), share, strict=True):
        mine = [row for row in rows if row["arm"] == arm and not row["error_type"]]
        for row in sorted(mine, key=lambda row: -float(str(row["cost_usd"])))[: round(part * len(mine))]:
            row["cost_usd"] = ""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(
    ("share", "criterion", "judged"),
    [
        ((0.0, 0.08), CHEAPER, False),
        pytest.param((0.0, 0.08), ABSOLUTE, False, marks=pytest.mark.more),
        pytest.param((0.08, 0.0), CHEAPER, False, marks=pytest.mark.more),
        ((0.08, 0.0), ABSOLUTE, True),
        pytest.param((0.02, 0.02), CHEAPER, False, marks=pytest.mark.more),
        ((0.0, 0.009), ABSOLUTE, False),
        pytest.param((0.005, 0.005), ABSOLUTE, True, marks=pytest.mark.more),
        pytest.param((0.0, 0.0), ABSOLUTE, True, marks=pytest.mark.more),
        pytest.param((1.0, 1.0), ABSOLUTE, False, marks=pytest.mark.more),
        ((0.0, 1.0), CHEAPER, False),
    ],
)
def test_a_cost_row_is_open_while_costs_are_missing(
    tmp_path: Path,
    canary: JudgedCanary,
    now: float,
    share: tuple[float, float],
    criterion: Criterion,
    judged: bool,
) -> None:
    report = _report(_priced(tmp_path / "log.csv", share), canary, now, [criterion])
    (row,) = report.metrics
    said = [reason for reason in sentences(report) if "have no known cost" in reason]
    if judged:
        assert (row.state in ("IDEAL", "PASS"), report.details.unpriced, said) == (True, (), [])
        return
    assert row.state == ("NODATA" if share[1] == 1 else "INCONCLUSIVE")
    assert report.verdict == "extend"
    assert report.details.unpriced == (row.metric,)
    assert report.details.unknown_costs is not None
    assert report.details.unknown_costs.candidate == pytest.approx(share[1], abs=5e-4)
    assert "cannot be compared: it is unknown for" in saved(report)
    assert (report.score.low, report.score.estimate, report.score.high) == (0.0, None, 100.0)
    assert (row.units_needed, row.days_needed, row.mde) == (None, None, None)
    assert "set the missing prices" in said[0]
    assert f"{100 * share[1]:.1f} % of the candidate's" in said[0]
    assert not any("more candidate user" in reason for reason in sentences(report))
    assert any("the missing prices" in step for step in next_steps(report))
    assert (mark(row, report)[1], changes(report)) == ("Costs missing", [])
    assert evidence(row, report).endswith("with a value; prices are missing")


@pytest.mark.parametrize(
    ("share", "spoiled"),
    [
        ((0.0, 0.08), True),
        pytest.param((0.08, 0.0), True, marks=pytest.mark.more),
        ((0.0, 0.0), False),
        pytest.param((1.0, 1.0), False, marks=pytest.mark.more),
    ],
)
def test_without_a_cost_row_no_saving_is_told_from_some_of_the_costs(
    tmp_path: Path, canary: JudgedCanary, now: float, share: tuple[float, float], spoiled: bool
) -> None:
    report = _report(_priced(tmp_path / "log.csv", share), canary, now, [QUICK])
    assert report.details.unpriced == ()
    assert (report.details.unknown_costs is not None) == spoiled
    assert ("cannot be compared: it is unknown for" in saved(report)) == spoiled
    assert bool(money_facts(report)) == (share == (0.0, 0.0))


def test_no_part_of_the_traffic_is_judged_by_costs_that_are_not_known(
    tmp_path: Path, canary: JudgedCanary, now: float
) -> None:
    critical = replace(canary, critical_categories=frozenset({"billing"}))
    known = _report(_priced(tmp_path / "log.csv", (0.0, 0.0)), critical, now, [ABSOLUTE])
    assert known.categories
    for planned in (0, 14):
        judged = replace(critical, planned_days=planned)
        report = _report(_priced(tmp_path / "log.csv", (0.0, 1.0)), judged, now, [ABSOLUTE])
        assert (report.categories, report.segments, report.details.too_few) == ((), (), ())
        assert not any("too few users" in reason for reason in sentences(report))


def test_more_days_promise_nothing_while_costs_are_missing(
    tmp_path: Path, canary: JudgedCanary, now: float
) -> None:
    path, planned = tmp_path / "log.csv", replace(canary, planned_days=14)
    (known,) = _report(_priced(path, (0.0, 0.0)), planned, now, [ABSOLUTE]).metrics
    assert (known.days_needed, known.mde is None) == (0, False)
    (row,) = _report(_priced(path, (0.0, 0.08)), planned, now, [ABSOLUTE]).metrics
    assert row.look is not None
    assert (row.state, row.days_needed, row.mde, row.look.chance) == ("INCONCLUSIVE", None, None, None)


def test_other_rows_are_judged_without_prices(tmp_path: Path, canary: JudgedCanary, now: float) -> None:
    report = _report(_priced(tmp_path / "log.csv", (0.0, 0.5)), canary, now, [QUICK])
    assert [row.state for row in report.metrics] == ["IDEAL"]


def test_failed_requests_without_a_cost_are_not_unpriced(written: Callable[[str], Sample]) -> None:
    lines = [(f"b{n}", "baseline", "") for n in range(200)]
    lines += [(f"c{n}", "candidate", "provider_5xx" if n < 20 else "") for n in range(200)]
    sample = _sample(written, lines)
    answered = 1 - sample.totals["errors"].total
    sample = replace(sample, totals={**sample.totals, "cost": MeasureTotals(count=answered, total=answered)})
    assert unpriced(sample) is None
