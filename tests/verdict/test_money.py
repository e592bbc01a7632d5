"""What full rollout would cost in a month: users compared, at the traffic measured."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verdict.decision.figures import MONTH_DAYS, money
from verdict.sample.csv_log import from_csv
from verdict.sample.sample import MeasureTotals, Sample

Log = Callable[[Any], Path]


@pytest.fixture(scope="module")
def sample(write_log: Log, world: type[Any]) -> Sample:
    return from_csv(write_log(world(cost_usd=(0.04, 0.024))))


def test_a_cheaper_candidate_saves_its_part_of_what_all_users_cost(sample: Sample) -> None:
    found = money(sample, planned=500)
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
    once, again = money(sample, planned=500), money(doubled, planned=500)
    assert once is not None
    assert again is not None
    assert 1 + again.change.estimate == pytest.approx(2 * (1 + once.change.estimate))


def test_a_ramp_s_phases_may_be_of_any_length(sample: Sample) -> None:
    """The same habits in a long and a short phase: what all cost is added up, the ratio stays."""
    start = float(sample.first_at.min())
    phase = (sample.first_at > start + 86400.0).astype(np.int64)
    found, plain = money(replace(sample, phase=phase), planned=500), money(sample, planned=500)
    assert found is not None
    assert plain is not None
    assert found.baseline_usd == pytest.approx(plain.baseline_usd, rel=0.05)
    assert found.change.estimate == pytest.approx(plain.change.estimate, abs=0.05)


def test_less_than_a_day_or_too_few_users_tell_nothing(write_log: Log, world: type[Any]) -> None:
    assert money(from_csv(write_log(world(days=0.9))), planned=500) is None
    assert money(from_csv(write_log(world(users=600))), planned=500) is None


def test_requests_without_a_known_price_are_said(sample: Sample) -> None:
    cost = sample.totals["cost"]
    known = np.arange(len(cost.count)) % 4 > 0
    part = MeasureTotals(count=cost.count * known, total=cost.total * known)
    found = money(replace(sample, totals={**sample.totals, "cost": part}), planned=500)
    assert found is not None
    assert found.priced == pytest.approx(0.75, abs=0.001)
