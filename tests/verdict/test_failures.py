"""Ways to fail: counted for both arms, with examples that can be looked up, read by an index only."""

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from records.facts.metric import BUILT_IN, Metric
from tests.verdict.totals import DAY_S, UnitTotals
from verdict.decision.figures import failures
from verdict.details import FailureMode
from verdict.sample import cohort
from verdict.sample.cohort import read_modes, to_judge
from verdict.sample.csv_log import from_csv
from verdict.sample.sample import RecentFailures, RecentRating, displeased
from verdict.sample.unit_totals import RunWindow
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion, parse_bound

CSAT = (BUILT_IN["csat"],)


@pytest.mark.parametrize(
    ("metric", "value", "bad"),
    [
        ("thumbs", 0, True), ("thumbs", 1, False), ("escalated", 1, True), ("escalated", 0, False),
        ("csat", 2, True), ("csat", 3, False), ("nps", 6, True), ("nps", 7, False), ("revenue", 0, False),
    ],
)  # fmt: skip
def test_a_bad_rating_is_told_by_its_scale(metric: str, value: float, bad: bool) -> None:
    assert displeased(BUILT_IN[metric], value) is bad


def test_a_log_s_failures_are_counted_by_arm_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "unit,arm,at,latency_s,error_type,category,metric_thumbs\n"
        "a,baseline,1,0.5,provider_5xx,billing,1\n"
        "b,candidate,2,0.5,provider_timeout,billing,0\n"
        "c,candidate,4,0.5,,billing,1\n"
        "d,candidate,3,0.5,provider_timeout,returns,0\n"
        "e,candidate,5,0.5,caller_rejected,returns,\n"
    )
    found = failures(from_csv(path).recent)
    assert found is not None
    assert (found.baseline, found.candidate, found.newest) == (1, 3, 4)
    assert (found.since, found.until) == ("1970-01-01T00:00:01Z", "1970-01-01T00:00:04Z")
    modes = {(mode.kind, mode.name, mode.category): mode for mode in found.modes}
    timeout = modes["error", "provider_timeout", ""]
    assert (timeout.candidate, timeout.candidate_of, timeout.baseline) == (2, 3, 0)
    assert timeout.examples == ("line 5", "line 3")
    thumbs = modes["rating", "thumbs", "billing"]
    assert (thumbs.candidate, thumbs.candidate_of, thumbs.baseline, thumbs.baseline_of) == (1, 2, 0, 1)
    assert thumbs.examples == ("line 3",)
    assert [mode.name for mode in found.modes] == ["provider_timeout", "provider_5xx", "thumbs", "thumbs"]
    assert found.slow_s is None, "one baseline request does not tell what is slow"


def test_what_only_tells_that_something_happened_is_no_share_of_bad_ratings(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(
        "unit,arm,at,latency_s,error_type,metric_thumbs,metric_escalated\n"
        "a,baseline,100,.1,,1,1\nb,candidate,101,.1,,0,1\n"
    )
    recent = from_csv(log, metrics=BUILT_IN).recent
    assert recent is not None
    assert {rating.metric for rating in recent.ratings} == {"thumbs"}


def test_a_log_s_answer_faults_are_shares_of_the_answers_that_were_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "unit,arm,at,error_type,finish,faults,output_check\n"
        "a,baseline,1,,stop,,judged\n"
        "b,candidate,2,,length,cut_off json_invalid,judged\n"
        'c,candidate,3,,length,"cut_off,json_invalid",not_judged\n'
        "d,candidate,4,provider_5xx,,,\n"
        "e,candidate,5,,stop,,\n"
    )
    found = failures(from_csv(path).recent)
    assert found is not None
    modes = {mode.name: mode for mode in found.modes}
    cut = modes["cut_off"]
    assert (cut.kind, cut.candidate, cut.candidate_of, cut.baseline, cut.baseline_of) == ("fault", 2, 3, 0, 1)
    assert cut.examples == ("line 4", "line 3")
    invalid = modes["json_invalid"]
    assert (invalid.candidate, invalid.candidate_of, invalid.baseline_of) == (1, 1, 1)
    assert invalid.examples == ("line 3",)


def test_slow_is_what_hardly_any_of_the_baseline_s_is(tmp_path: Path) -> None:
    rows = [f"b{i},baseline,{i},{0.5 + i / 1000},\n" for i in range(200)]
    rows += [f"c{i},candidate,{i},{2 if i < 5 else 0.5},\n" for i in range(20)]
    path = tmp_path / "log.csv"
    path.write_text("unit,arm,at,latency_s,error_type\n" + "".join(rows))
    found = failures(from_csv(path).recent)
    assert found is not None
    assert found.slow_s == pytest.approx(0.697)
    (mode,) = found.modes
    assert (mode.kind, mode.candidate, mode.candidate_of, mode.baseline) == ("slow", 5, 20, 2)


def recent_of(unit_totals: UnitTotals, *metrics: Metric) -> RecentFailures:
    """What a report of run 1 reads. The totals of its units, which say when the run was, must be there."""
    canary = JudgedCanary(name="c", criteria=[], metrics={metric.name: metric for metric in metrics})
    found = to_judge(unit_totals.connection, canary, 1).recent
    assert found is not None
    return found


@pytest.mark.parametrize(
    "changed",
    [
        {"mirror": True}, {"reason": "pin"}, {"canary": "other"}, {"run": 2}, {"outcome": "caller_error"},
        {"share": 0.0}, {"at": DAY_S + 900.0},
    ],
)  # fmt: skip
def test_only_this_runs_cohort_until_its_end_is_looked_at(
    unit_totals: UnitTotals, changed: dict[str, Any]
) -> None:
    unit_totals.cell(last_at=200.0)
    kept = unit_totals.exchange(outcome="fallback", error_type="provider_429", latency_s=1.5)
    unit_totals.exchange(
        **{"outcome": "error", "error_type": "provider_5xx", "faults": ("empty",), **changed}
    )
    found = recent_of(unit_totals)
    (seen,) = found.exchanges
    assert (seen.name, seen.latency_s) == (kept, 1.5)
    (mode,) = found.modes
    assert (mode.kind, mode.name, mode.examples) == ("error", "provider_429", (kept,))


def test_only_so_many_of_the_newest_are_looked_at(
    unit_totals: UnitTotals, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit_totals.cell(last_at=103.0)
    names = [unit_totals.exchange(at=100.0 + i) for i in range(5)]
    monkeypatch.setattr(cohort, "NEWEST", 2)
    assert [seen.name for seen in recent_of(unit_totals).exchanges] == [names[3], names[2]]


def test_a_busy_canary_hides_none_of_a_quiet_ones_failures(
    unit_totals: UnitTotals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort, "NEWEST", 3)
    unit_totals.cell(last_at=1_000.0, counted=4)
    quiet = unit_totals.exchange(at=100.0, outcome="error", error_type="provider_5xx")
    for at in range(200, 210):
        unit_totals.exchange(at=float(at), canary="busy", outcome="error", error_type="provider_429")
    later = [unit_totals.exchange(at=300.0 + n) for n in range(3)]
    found = recent_of(unit_totals)
    assert [seen.name for seen in found.exchanges] == later[::-1]
    (mode,) = found.modes
    assert (mode.name, mode.candidate, mode.candidate_of, mode.examples) == ("provider_5xx", 1, 4, (quiet,))


def test_every_error_fault_and_abandoned_request_is_counted_in_both_arms(unit_totals: UnitTotals) -> None:
    unit_totals.cell(
        last_at=200.0, counted=9, finished=8, output_judged=4, ended=12, answer_faults=3, invalid_output=2
    )
    unit_totals.cell(
        arm="baseline", unit="v", last_at=200.0, counted=90, finished=80, output_judged=40, ended=100
    )
    both: dict[str, Any] = {
        "finish": "length",
        "faults": ("cut_off", "json_invalid"),
        "output_check": "judged",
    }
    ids = [unit_totals.exchange(at=100.0 + n, **both) for n in range(5)]
    unit_totals.exchange(**both, arm="baseline")
    newest_cut = unit_totals.exchange(at=150.0, **{**both, "output_check": "not_judged"})
    unit_totals.exchange(outcome="error", error_type="provider_5xx", arm="baseline")
    unit_totals.exchange(outcome="error", error_type="provider_stale")
    left = unit_totals.exchange(outcome="aborted", error_type="aborted", stream=True)
    unit_totals.exchange(outcome="aborted", error_type="aborted", stream=True, ttfb_s=0.1)
    modes = {mode.name: mode for mode in recent_of(unit_totals).modes}
    assert modes.keys() == {"cut_off", "json_invalid", "provider_5xx", "abandoned"}
    counts = {
        name: (mode.kind, mode.candidate, mode.candidate_of, mode.baseline, mode.baseline_of)
        for name, mode in modes.items()
    }
    assert counts == {
        "cut_off": ("fault", 6, 8, 1, 80),
        "json_invalid": ("fault", 5, 4, 1, 40),
        "provider_5xx": ("error", 0, 9, 1, 90),
        "abandoned": ("abandoned", 1, 12, 0, 100),
    }
    assert modes["cut_off"].examples == (newest_cut, ids[4], ids[3])
    assert modes["json_invalid"].examples == (ids[4], ids[3], ids[2])
    assert modes["abandoned"].examples == (left,)


def test_errors_and_faults_come_first_however_bad_the_ratings_are() -> None:
    def mode(kind: Any, name: str, candidate: int) -> FailureMode:
        return FailureMode(
            kind=kind, name=name, category="", baseline=0, baseline_of=100, candidate=candidate,
            candidate_of=100, examples=(),
        )  # fmt: skip

    bad = [
        RecentRating(name=f"e{n}", metric="csat", candidate=True, category=f"k{n}", bad=True)
        for n in range(20)
    ]
    found = failures(
        RecentFailures(
            since=0.0,
            until=1.0,
            baseline=100,
            candidate=100,
            modes=tuple(mode("fault", f"fault-{n}", n + 1) for n in range(15)),
            ratings=tuple(bad),
        )
    )
    assert found is not None
    assert [each.kind for each in found.modes] == ["fault"] * 15 + ["rating"] * 8
    assert found.modes[0].name == "fault-14", "the candidate's worst first"


def test_what_is_read_is_found_by_an_index(unit_totals: UnitTotals) -> None:
    asked: list[tuple[str, Any]] = []
    connection = unit_totals.connection
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        # Nothing is cheaper than reading an empty table; what is left tells whether an index would do.
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
    sa.event.listen(connection.engine, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
    window = RunWindow(canary="c", run=1, since=0.0, until=200.0)
    read_modes(connection, window, {})
    cohort.read_ratings(connection, window, CSAT)
    assert len(asked) == 3, "the totals of failures, and the ratings of each arm"
    explain = "EXPLAIN " if postgresql else "EXPLAIN QUERY PLAN "
    used = ""
    for statement, parameters in list(asked):
        plan = connection.exec_driver_sql(explain + statement, parameters).all()
        read = "\n".join(str(row[-1]) for row in plan)
        assert not re.findall(r"Seq Scan|SCAN \w+", read), read
        used += read
    if not postgresql:
        assert used.count("sqlite_autoindex_failure_days_1 (canary=? AND run=? AND day>? AND day<?)") == 1
        assert used.count("feedback_by_canary (canary=? AND metric=? AND run=? AND arm=?)") == 2


def test_failures_of_all_days_of_the_run_are_counted_with_the_newest_ids(unit_totals: UnitTotals) -> None:
    unit_totals.cell(first_at=2 * DAY_S, last_at=4 * DAY_S, counted=9)
    ids = [
        unit_totals.exchange(at=day * DAY_S + 50, outcome="error", error_type="provider_5xx", stream=stream)
        for day in (1, 2, 3, 4, 5)
        for stream in (False, True)
    ]
    (mode,) = recent_of(unit_totals).modes
    assert (mode.candidate, set(mode.examples[:2]), mode.examples[2] in ids[4:6]) == (6, set(ids[6:8]), True)


def test_ratings_bring_their_exchanges_category_and_are_counted_by_arm(unit_totals: UnitTotals) -> None:
    unit_totals.cell(last_at=200.0)
    named = unit_totals.exchange(category="billing")
    unit_totals.says(1.0, exchange_id=named, arm="candidate")
    unit_totals.says(5.0, exchange_id=unit_totals.exchange(category="billing"), arm="candidate")
    theirs = unit_totals.exchange(arm="baseline", category="billing")
    unit_totals.says(5.0, exchange_id=theirs, arm="baseline")
    unit_totals.says(3.0, metric="revenue", exchange_id=theirs, arm="baseline")
    found = failures(recent_of(unit_totals, *BUILT_IN.values()))
    assert found is not None
    (mode,) = found.modes
    assert (mode.kind, mode.name, mode.category, mode.examples) == ("rating", "csat", "billing", (named,))
    assert (mode.candidate, mode.candidate_of, mode.baseline, mode.baseline_of) == (1, 2, 0, 1)


def test_only_so_many_of_an_arm_s_newest_ratings_are_looked_at(
    unit_totals: UnitTotals, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit_totals.cell(last_at=200.0)
    names = [unit_totals.exchange() for _ in range(3)]
    for at, name in enumerate(names):
        unit_totals.says(1.0, exchange_id=name, arm="candidate", at=200.0 + at)
    monkeypatch.setattr(cohort, "RATINGS", 2)
    assert [each.name for each in recent_of(unit_totals, *CSAT).ratings] == [names[2], names[1]]


def test_ratings_of_other_days_than_the_runs_crowd_none_out(
    unit_totals: UnitTotals, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit_totals.cell(last_at=200.0)
    mine = unit_totals.exchange()
    unit_totals.says(1.0, exchange_id=mine, arm="candidate", at=5 * DAY_S)  # late, and still about this run
    for _ in range(3):
        other = unit_totals.exchange(at=4 * DAY_S)
        unit_totals.says(1.0, exchange_id=other, arm="candidate", day=4, at=6 * DAY_S)
    monkeypatch.setattr(cohort, "RATINGS", 2)
    assert [each.name for each in recent_of(unit_totals, *CSAT).ratings] == [mine]


def test_what_is_judged_brings_money_and_failures_whatever_the_rubric_asks(unit_totals: UnitTotals) -> None:
    unit_totals.cell(first_at=DAY_S, last_at=DAY_S + 5, counted=3, failed=1, cost_n=2, cost_sum=0.5)
    unit_totals.exchange(at=DAY_S)
    row = Criterion(
        metric="csat", acceptable=parse_bound("> 4"), ideal=parse_bound("> 4.5"), weight=1, question="?"
    )
    sample = to_judge(unit_totals.connection, JudgedCanary(name="c", criteria=[row]))
    assert sample.totals["cost"].total.tolist() == [0.5]
    assert sample.totals["errors"].count.tolist() == [3]
    assert sample.recent is not None
    assert len(sample.recent.exchanges) == 1


def test_a_canary_without_traffic_has_nothing_to_look_at(unit_totals: UnitTotals) -> None:
    assert to_judge(unit_totals.connection, JudgedCanary(name="c", criteria=[])).recent is None
