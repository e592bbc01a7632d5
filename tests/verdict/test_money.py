"""What full rollout would cost in a month: users compared, at the traffic measured; and save, net."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.interval import Range
from pages.words.gains import money_facts, saved
from tests.verdict.archived import an_evaluation
from verdict.decision.document import from_json, to_json
from verdict.decision.figures import extra_cost, money, user_costs
from verdict.decision.offline import spent_on
from verdict.details import MONTH_DAYS, EvaluationCost, savings
from verdict.sample.csv_log import from_csv
from verdict.sample.sample import MeasureTotals, Sample

Log = Callable[[Any], Path]


@pytest.fixture(scope="module")
def sample(write_log: Log, world: type[Any]) -> Sample:
    return from_csv(write_log(world(cost_usd=(0.04, 0.024))))


def test_a_cheaper_candidate_saves_its_part_of_what_all_users_cost(sample: Sample) -> None:
    found = money(user_costs(sample), planned=500)
    assert found is not None
    assert found.change.low is not None
    assert found.change.high is not None
    assert found.change.low < -0.4 < found.change.high < 0
    cost = sample.totals["cost"].total
    theirs = ~sample.candidate
    users = len(np.unique(sample.unit))
    per_user = cost[theirs].sum() / len(np.unique(sample.unit[theirs]))
    days = float(sample.last_at.max() - sample.first_at.min()) / 86400
    assert found.baseline_usd == pytest.approx(per_user * users * MONTH_DAYS / days)
    assert found.candidate_usd == pytest.approx(found.baseline_usd + found.difference_usd.estimate)
    assert found.difference_usd.estimate == pytest.approx(found.baseline_usd * found.change.estimate)
    assert found.users == users
    assert found.requests_a_month == round(len(cost) * MONTH_DAYS / days)


def test_users_who_have_to_ask_more_often_are_dearer_though_a_request_costs_the_same(sample: Sample) -> None:
    """The candidate's users make each request twice."""
    twice = np.flatnonzero(sample.candidate)
    row = np.concatenate([np.arange(len(sample.unit)), twice])
    doubled = replace(
        sample,
        unit=sample.unit[row],
        candidate=sample.candidate[row],
        phase=sample.phase[row],
        first_at=sample.first_at[row],
        last_at=sample.last_at[row],
        totals={
            name: MeasureTotals(count=each.count[row], total=each.total[row])
            for name, each in sample.totals.items()
        },
    )
    once, again = money(user_costs(sample), planned=500), money(user_costs(doubled), planned=500)
    assert once is not None
    assert again is not None
    assert 1 + again.change.estimate == pytest.approx(2 * (1 + once.change.estimate))


def test_a_ramp_s_phases_may_be_of_any_length(sample: Sample) -> None:
    """The same habits in a long and a short phase: what all cost is added up, the ratio stays."""
    start = float(sample.first_at.min())
    phase = (sample.first_at > start + 86400.0).astype(np.int64)
    ramped, plain = (money(user_costs(each), planned=500) for each in (replace(sample, phase=phase), sample))
    assert ramped is not None
    assert plain is not None
    assert ramped.baseline_usd == pytest.approx(plain.baseline_usd, rel=0.05)
    assert ramped.change.estimate == pytest.approx(plain.change.estimate, abs=0.05)


def test_a_user_whom_a_ramp_moved_is_one_of_the_users_that_the_money_is_based_on(sample: Sample) -> None:
    """A third of the baseline's users get the candidate after the first day."""
    phase = (sample.first_at > float(sample.first_at.min()) + 86400.0).astype(np.int64)
    moved = (phase == 1) & (sample.unit % 3 == 0)
    ramped = replace(sample, phase=phase, candidate=sample.candidate | moved)
    users = len(np.unique(ramped.unit))
    by_arm = [len(np.unique(ramped.unit[ramped.candidate == arm])) for arm in (True, False)]
    assert sum(by_arm) > users
    found = money(user_costs(ramped), planned=500)
    assert found is not None
    assert found.users == users


def test_less_than_a_day_or_too_few_users_tell_nothing(write_log: Log, world: type[Any]) -> None:
    assert money(user_costs(from_csv(write_log(world(days=0.9)))), planned=500) is None
    assert money(user_costs(from_csv(write_log(world(users=600)))), planned=500) is None


def test_requests_without_a_known_price_are_said(sample: Sample) -> None:
    cost = sample.totals["cost"]
    known = np.arange(len(cost.count)) % 4 > 0
    part = MeasureTotals(count=cost.count * known, total=cost.total * known)
    found = money(user_costs(replace(sample, totals={**sample.totals, "cost": part})), planned=500)
    assert found is not None
    assert found.priced == pytest.approx(0.75, abs=0.001)


def test_the_candidate_s_extra_is_what_its_users_cost_more_than_as_many_of_the_baseline_s(
    sample: Sample,
) -> None:
    cost, ours = sample.totals["cost"].total, sample.candidate
    assert extra_cost(user_costs(sample)) == 0.0, "a cheaper candidate costs nothing more"
    dearer = MeasureTotals(count=sample.totals["cost"].count, total=np.where(ours, 3.0 * cost, cost))
    tripled = replace(sample, totals={**sample.totals, "cost": dearer})
    per_user = cost[~ours].sum() / len(np.unique(sample.unit[~ours]))
    users = len(np.unique(sample.unit[ours]))
    assert extra_cost(user_costs(tripled)) == pytest.approx(3.0 * cost[ours].sum() - users * per_user)


def test_savings_are_a_month_and_a_year_with_intervals_net_of_what_the_evaluation_cost() -> None:
    report = an_evaluation().report
    spent = EvaluationCost(mirror_usd=120.0, judge_usd=30.0, benchmark_usd=250.0, candidate_extra_usd=600.0)
    report = replace(report, details=replace(report.details, evaluation=spent))
    found = savings(report.details)
    assert found is not None
    assert (found.currency, found.evaluation.total_usd) == ("USD", 1000.0)
    assert found.monthly == Range(low=None, estimate=50_000.0, high=60_000.0)
    assert found.month == Range(low=None, estimate=49_000.0, high=59_000.0)
    # 365/30 · 50,000 − 1,000 and 365/30 · 60,000 − 1,000
    assert found.year.estimate == pytest.approx(607_333.33, abs=0.01)
    assert found.year.high == pytest.approx(729_000.0)
    document = to_json(report, lambda _: [])
    assert document["details"]["savings"]["year"]["high"] == pytest.approx(729_000.0)
    assert from_json(document).details == report.details


def test_money_in_words_says_month_year_what_was_taken_off_and_the_currency_once() -> None:
    report = an_evaluation().report
    money_ = report.details.money
    assert money_ is not None
    money_ = replace(
        money_,
        change=Range(low=-0.12, estimate=-0.1, high=-0.0001),
        difference_usd=Range(low=-600.0, estimate=-500.0, high=-50.0),
    )
    spent = EvaluationCost(mirror_usd=100.0, unknown=("benchmark",))
    report = replace(report, details=replace(report.details, money=money_, evaluation=spent))
    assert saved(report) == (
        "10 % cheaper: expected at full rollout are −$500 to +$50.00 in the first month and $5,983 less in "
        "the first year ($508 to $7,200 less), net of $100 that the evaluation cost (that of the benchmark "
        "is not all known)."
    )
    facts = dict(money_facts(report))
    assert facts["Difference"] == "$500 less a month ($50.00 to $600 less)"
    spent_on_it = facts["The evaluation’s cost, once"]
    assert spent_on_it == "$100: the mirror $100; that of the benchmark is not all known"
    assert [name for name, says in facts.items() if "US dollars" in says] == ["Based on"]


def test_a_benchmark_s_cost_has_both_models_its_judges_and_embeddings_and_says_what_is_unknown() -> None:
    side = {"cost_usd": 2.0, "judge_cost_usd": 0.5, "examples": 40, "failures": {"timeout": 1}, "priced": 39}
    document = {
        "layers": [{"datasets": [{"baseline": side, "candidate": {**side, "cost_usd": 1.0}}]}],
        "embedding_cost_usd": 0.25,
        "judge": {"cost_usd": 4.0},
    }
    assert spent_on([document]) == (8.25, True)
    unpriced = {**side, "cost_usd": None, "priced": 0}
    partly = {"layers": [{"datasets": [{"baseline": side, "candidate": unpriced}]}]}
    assert spent_on([document, partly]) == (11.25, False)
