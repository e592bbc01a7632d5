"""What holds of evidence and incidents for any traffic: fair bets, no conviction by one user, one page."""

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.evidence.exchanges import GuardrailSample
from alerts.evidence.statistics import Evidence, absolute_steps, betting_steps, relative_steps
from alerts.incidents.incident import Incident, from_document, step, to_document
from alerts.incidents.notice import Notice
from alerts.rules.relative import ErrorRateVsBaselineRule, ReportedEventRule
from alerts.rules.rule import Action, GuardrailStatus, Rule, StatusName

shares = st.floats(0.001, 0.999)


@given(st.floats(0.0005, 0.499))
def test_an_outcome_of_a_candidate_at_its_limit_is_a_fair_bet(limit: float) -> None:
    failure, success = absolute_steps(limit)
    for failed, fine in zip(failure, success, strict=True):
        assert limit * math.exp(failed) + (1 - limit) * math.exp(fine) == pytest.approx(1)


@given(shares, st.floats(1.0, 2.9))
def test_a_failing_unit_is_a_fair_bet_where_units_fail_as_often_as_is_allowed(
    share: float, factor: float
) -> None:
    of_candidate, of_baseline = relative_steps(share, factor)
    allowed = factor * share / (factor * share + 1 - share)
    for mine, theirs in zip(of_candidate, of_baseline, strict=True):
        assert allowed * math.exp(mine) + (1 - allowed) * math.exp(theirs) == pytest.approx(1)


@given(st.lists(st.just(0.0) | st.floats(1e-6, 1e6), min_size=1, max_size=20).filter(any))
def test_a_value_is_a_fair_bet_whatever_its_tail(values: list[float]) -> None:
    mean = sum(values) / len(values)
    for steps in zip(*(betting_steps(value, mean) for value in values), strict=True):
        assert sum(math.exp(each) for each in steps) / len(values) == pytest.approx(1)


Failures = list[tuple[int, bool, bool]]
"""(unit, of the candidate, failed) in order of completion."""


@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.booleans()), max_size=300),
    st.floats(0.01, 0.5),
)
def test_no_candidate_is_convicted_by_fewer_than_three_of_its_users(failures: Failures, share: float) -> None:
    rule = Rule(rule="error_rate_vs_baseline", limit=1.5, window_s=None, minimum=3, action="rollback")
    engine = ErrorRateVsBaselineRule(rule, least_share=0.01)
    failing: set[str] = set()
    for place, (number, candidate, failed) in enumerate(failures):
        unit = f"{'candidate' if candidate else 'baseline'}-{number}"  # the hash chose: a unit has one arm
        engine.score(
            GuardrailSample(
                unit=unit,
                candidate=candidate,
                share=share,
                failed=failed,
                started=60.0 * place,
                completed=60.0 * place + 1,
                serial=place,
                latency_s=1.0,
                cost_usd=None,
            )
        )
        if candidate and failed:
            failing.add(unit)
        assert not engine.state.convicted or len(failing) >= 3
    assert engine.status(60.0 * len(failures)).state != "ok" or len(engine.state.units) >= 3


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=200))
def test_reports_of_no_trouble_say_nothing(reports: list[tuple[int, bool]]) -> None:
    engine = ReportedEventRule(Rule(rule="escalated", limit=1.0, window_s=None, minimum=3, action="page"))
    for place, (number, candidate) in enumerate(reports):
        engine.observe_feedback(
            unit=f"{candidate}-{number}", candidate=candidate, share=0.1, value=0.0, at=float(place)
        )
    assert engine.state.evidence == Evidence()
    assert engine.status(1000.0).action is None


WANTED: Sequence[tuple[StatusName, Action | None]] = (
    ("latency_p95", "page"),
    ("latency_p95", None),
    ("cost_per_request", "warn"),
    ("outage", "hold"),
    ("error_rate", "rollback"),
)
looks = st.lists(
    st.tuples(
        st.lists(st.sampled_from(WANTED), max_size=3, unique_by=lambda wanted: wanted[0]),
        st.booleans(),  # is the candidate rolled back?
        st.booleans(),  # has it been resumed, for another run?
        st.floats(0.1, 4000),
    ),
    max_size=40,
)


@given(looks)
def test_whatever_happens_an_incident_is_one_page_then_updates_then_one_end(
    history: Sequence[tuple[list[tuple[StatusName, Action | None]], bool, bool, float]],
) -> None:
    incident: Incident | None = None
    told: list[Notice] = []
    now, run = 1_790_000_000.0, 1
    for wanted, rolled_back, resumed, passed_s in history:
        now += passed_s + 1  # two incidents never begin in one second: their ids would be one
        run += resumed
        statuses = [
            GuardrailStatus(rule=rule, state="firing" if action else "ok", action=action, sentence="so it is")
            for rule, action in wanted
        ]
        incident, notices = step(
            incident, statuses, canary="support-nov", run=run, now=now, rolled_back=rolled_back
        )
        told += notices
        assert from_document(to_document(incident) or {}) == incident if incident else True
    for _, each in itertools.groupby(told, key=lambda notice: notice.dedup_key):
        notices = list(each)
        assert [notice.sequence for notice in notices] == list(range(len(notices)))
        assert [notice.event for notice in notices].count("page") == 1
        assert notices[0].event == "page"
        assert all(notice.event == "update" for notice in notices[1:-1])
    ended = [notice.dedup_key for notice in told if notice.event == "resolved"]
    assert len(ended) == len(set(ended))
    opened = [notice.dedup_key for notice in told if notice.event == "page"]
    assert opened[: len(ended)] == ended, "one is over before the next begins"
    assert len(opened) - len(ended) <= 1
