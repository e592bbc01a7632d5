"""Ways to fail: counted for both arms, with examples that can be looked up, read by an index only."""

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from records.metric import BUILT_IN
from report import newest
from report.cohort import to_judge
from report.failures import failures
from report.judged_canary import JudgedCanary
from report.log import from_csv
from report.newest import read_recent
from report.recent import displeased
from report.rubric import Criterion, parse_bound
from tests.report.totals import DAY_S, UnitTotals

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
    assert (found.baseline, found.candidate) == (1, 3)
    assert (found.since, found.until) == ("1970-01-01T00:00:01Z", "1970-01-01T00:00:04Z")
    modes = {(mode.kind, mode.name, mode.category): mode for mode in found.modes}
    timeout = modes["error", "provider_timeout", ""]
    assert (timeout.candidate, timeout.candidate_of, timeout.baseline) == (2, 3, 0)
    assert timeout.examples == ("line 5", "line 3")
    thumbs = modes["rating", "thumbs", "billing"]
    assert (thumbs.candidate, thumbs.candidate_of, thumbs.baseline, thumbs.baseline_of) == (1, 2, 0, 1)
    assert thumbs.examples == ("line 3",)
    assert found.modes[-1].name == "provider_5xx", "what the baseline fails at more often comes last"
    assert found.slow_s is None, "one baseline request does not tell what is slow"


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


@pytest.mark.parametrize(
    "changed",
    [
        {"mirror": True}, {"reason": "pin"}, {"canary": "other"}, {"run": 2}, {"outcome": "aborted"},
        {"share": 0.0}, {"at": 900.0},
    ],
)  # fmt: skip
def test_only_this_runs_cohort_until_its_end_is_looked_at(
    unit_totals: UnitTotals, changed: dict[str, Any]
) -> None:
    kept = unit_totals.exchange(outcome="fallback", error_type="provider_429", latency_s=1.5)
    unit_totals.exchange(**{"outcome": "error", "error_type": "provider_5xx", **changed})
    (seen,) = read_recent(unit_totals.connection, "c", 1, (), until=200.0).exchanges
    assert (seen.name, seen.error_type, seen.latency_s) == (kept, "provider_429", 1.5)


def test_only_so_many_of_the_newest_are_looked_at(
    unit_totals: UnitTotals, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [unit_totals.exchange(at=100.0 + i) for i in range(5)]
    monkeypatch.setattr(newest, "NEWEST", 2)
    found = read_recent(unit_totals.connection, "c", 1, (), until=103.0).exchanges
    assert [seen.name for seen in found] == [names[3], names[2]]


def test_the_newest_are_found_by_an_index(unit_totals: UnitTotals) -> None:
    asked: list[tuple[str, Any]] = []
    connection = unit_totals.connection
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        # Nothing is cheaper than reading an empty table; what is left tells whether an index would do.
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
    sa.event.listen(connection.engine, "before_cursor_execute", lambda *call: asked.append(call[2:4]))
    read_recent(connection, "c", 1, CSAT, until=200.0)
    assert len(asked) == 3, "the exchanges, and the ratings of each arm"
    explain = "EXPLAIN " if postgresql else "EXPLAIN QUERY PLAN "
    for statement, parameters in list(asked):
        plan = connection.exec_driver_sql(explain + statement, parameters).all()
        read = "\n".join(str(row[-1]) for row in plan)
        assert not {"Seq Scan", "SCAN outcomes", "SCAN feedback"} & set(
            re.findall(r"Seq Scan|SCAN \w+", read)
        ), read


def test_ratings_bring_their_exchanges_category_and_are_counted_by_arm(unit_totals: UnitTotals) -> None:
    named = unit_totals.exchange(category="billing")
    unit_totals.says(1.0, exchange_id=named, arm="candidate")
    unit_totals.says(5.0, exchange_id=unit_totals.exchange(category="billing"), arm="candidate")
    theirs = unit_totals.exchange(arm="baseline", category="billing")
    unit_totals.says(5.0, exchange_id=theirs, arm="baseline")
    unit_totals.says(3.0, metric="revenue", exchange_id=theirs, arm="baseline")
    found = failures(read_recent(unit_totals.connection, "c", 1, BUILT_IN.values(), until=200.0))
    assert found is not None
    (mode,) = found.modes
    assert (mode.kind, mode.name, mode.category, mode.examples) == ("rating", "csat", "billing", (named,))
    assert (mode.candidate, mode.candidate_of, mode.baseline, mode.baseline_of) == (1, 2, 0, 1)


def test_only_so_many_of_an_arm_s_newest_ratings_are_looked_at(
    unit_totals: UnitTotals, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [unit_totals.exchange() for _ in range(3)]
    for at, name in enumerate(names):
        unit_totals.says(1.0, exchange_id=name, arm="candidate", at=200.0 + at)
    monkeypatch.setattr(newest, "RATINGS", 2)
    found = read_recent(unit_totals.connection, "c", 1, CSAT, until=200.0).ratings
    assert [each.name for each in found] == [names[2], names[1]]


def test_what_is_judged_brings_money_and_failures_whatever_the_rubric_asks(unit_totals: UnitTotals) -> None:
    unit_totals.cell(first_at=DAY_S, last_at=DAY_S + 5, counted=3, failed=1, cost_n=2, cost_sum=0.5)
    unit_totals.exchange(at=DAY_S, day=1)
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
