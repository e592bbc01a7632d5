"""Totals of what units did before a canary began: which exchanges they hold, and for how long."""

from typing import Any

import pytest
from msgspec.structs import replace

from records.outcome import Outcome, Usage
from records.store import Store, tables
from records.store.retention import expire
from records.store.sums import WEEK_S, prior_weeks
from tests.records.samples import DAY, a_batch, an_outcome
from tests.records.test_unit_totals import rows


def untreated(serial: int, **changed: Any) -> Outcome:
    """An exchange that no canary took, in the week of the days 19,999 to 20,005."""
    plain: dict[str, Any] = {
        "at": 20_002 * DAY, "canary": "", "run": 0, "phase": 0, "share": 0.0, "arm": "baseline",
        "reason": "", "outcome": "ok", "provider": "openai", "model_requested": "gpt-4o", "cost_usd": 0.5,
        "ttft_s": 0.125, "latency_s": 0.25, "usage": Usage(input_tokens=10, output_tokens=20),
    }  # fmt: skip
    return replace(an_outcome(serial), **{**plain, **changed})


def test_a_unit_s_week_is_one_row_over_all_batches(store: Store) -> None:
    store.ship(a_batch(untreated(1), untreated(2, at=20_003 * DAY, latency_s=1.0, cost_usd=None)))
    store.ship(a_batch(untreated(3, outcome="error", error_type="provider_5xx", ttft_s=None)))
    (week,) = rows(store, tables.prior_weeks)
    assert week == {
        "week": int(20_002 * DAY // WEEK_S), "provider": "openai", "model": "gpt-4o", "unit": "ab" * 16,
        "last_at": 20_003 * DAY, "counted": 3, "failed": 1, "latency_n": 3, "latency_sum": 1.5, "ttft_n": 2,
        "ttft_sum": 0.25, "cost_n": 2, "cost_sum": 1.0, "tokens_n": 3, "tokens_sum": 90.0,
    }  # fmt: skip


def test_a_canary_that_waits_for_its_start_has_treated_nobody() -> None:
    waiting = {"canary": "support-nov", "run": 1, "reason": "stopped"}
    assert len(prior_weeks([untreated(1, **waiting), untreated(2, unit="cd" * 16)])) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"unit": ""},
        {"canary": "support-nov", "run": 1, "phase": 1, "reason": "cohort"},
        {"canary": "support-nov", "run": 1, "phase": 2, "reason": "stopped"},  # after a rollback
        {"canary": "support-nov", "run": 1, "reason": "pinned", "arm": "candidate"},
        {"canary": "support-nov", "run": 1, "reason": "stopped", "mirror": True},
        {"outcome": "caller_error", "error_type": "caller_rejected"},
        {"outcome": "shed", "error_type": "shed"},
        {"outcome": "error", "error_type": "proxy_error"},
    ],
)
def test_what_a_canary_may_have_changed_or_what_shows_nothing_is_left_out(changed: dict[str, Any]) -> None:
    assert prior_weeks([untreated(1, **changed)]) == []


def test_old_weeks_are_deleted_with_the_records(store: Store) -> None:
    store.ship(a_batch(untreated(1), untreated(2, at=20_009 * DAY)))
    store.expire(20_003 * DAY)
    assert len(rows(store, tables.prior_weeks)) == 2  # the first one's week is not over
    store.expire(20_009 * DAY)
    assert [week["last_at"] for week in rows(store, tables.prior_weeks)] == [20_009 * DAY]


def test_beyond_the_most_rows_the_oldest_weeks_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("records.store.retention.MOST_ROWS", 3)
    weeks = [untreated(n, at=(20_002 + 7 * (n // 2)) * DAY, unit=f"{n:032x}") for n in range(6)]
    store.ship(a_batch(*weeks))
    expire(store.writing, 0.0, lambda: None, partitioned=True)
    assert [week["unit"][-1] for week in rows(store, tables.prior_weeks)] == ["4", "5"]
