"""From the store to a sample: what counts, what is only exposure, and where feedback belongs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from records.tables import feedback, metadata, outcomes
from report.cohort import from_store, mirrored
from report.document import Mirror


@pytest.fixture
def store() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _exchange(store: sa.Connection, name: str, **changed: Any) -> None:
    row: dict[str, Any] = {
        "day": 20759, "exchange_id": name, "at": 100.0, "canary": "c", "run": 1, "phase": 0, "share": 0.1,
        "arm": "candidate", "reason": "cohort", "unit": "u", "session": "", "category": "", "tags": {},
        "request_id": "", "provider": "p", "api": "openai", "operation": "chat", "model_requested": "m",
        "model": "m", "stream": False, "mirror": False, "outcome": "ok", "usage_estimated": False,
        "attempts": [], "latency_s": 1.0, "cost_usd": 0.5, **changed,
    }  # fmt: skip
    store.execute(sa.insert(outcomes), [row])


def _feedback(store: sa.Connection, key: str, **changed: Any) -> None:
    row: dict[str, Any] = {
        "key": key, "metric": "csat", "value": 4.0, "at": 200.0, "exchange_id": "", "session": "", "unit": "",
        "canary": "", "run": 0, "phase": 0, "category": "", "comment": "", **changed,
    }  # fmt: skip
    store.execute(sa.insert(feedback), [row])


@pytest.mark.parametrize(
    "changed",
    [
        {"reason": "pinned"},
        {"reason": "random"},
        {"reason": "stateful"},
        {"mirror": True},
        {"share": 0.0},
        {"share": 1.0},
        {"outcome": "shed"},
        {"canary": "other"},
        {"run": 1},
    ],
)
def test_only_what_the_hash_assigned_in_this_run_is_taken(
    store: sa.Connection, changed: dict[str, Any]
) -> None:
    _exchange(store, "kept", run=2)
    _exchange(store, "left", **{"run": 2, **changed})
    assert len(from_store(store, "c", run=2).unit) == 1


def test_without_a_run_it_is_the_latest(store: sa.Connection) -> None:
    _exchange(store, "old", run=1)
    _exchange(store, "new", run=3, unit="v")
    assert from_store(store, "c").units == ("v",)


def test_a_canary_without_exchanges_is_an_empty_sample(store: sa.Connection) -> None:
    sample = from_store(store, "c")
    assert (sample.units, len(sample.unit), dict(sample.shares)) == ((), 0, {})


@pytest.mark.parametrize(
    ("outcome", "error_type", "counts", "failed"),
    [
        ("ok", None, True, False),
        ("fallback", "provider_timeout", True, True),
        ("fallback", "breaker_open", True, True),
        ("fallback", "candidate_rejects", True, True),
        ("error", "provider_5xx", True, True),
        ("error", "proxy_error", True, False),
        ("error", "provider_stale", True, False),
        ("caller_error", "caller_rejected", False, False),
        ("aborted", "aborted", False, False),
    ],
)
def test_what_an_exchange_counts_as(
    store: sa.Connection, outcome: str, error_type: str | None, counts: bool, failed: bool
) -> None:
    _exchange(store, "one", outcome=outcome, error_type=error_type)
    sample = from_store(store, "c")
    assert (sample.counts.tolist(), sample.failed.tolist()) == ([counts], [failed])


def test_a_cost_of_estimated_usage_is_missing(store: sa.Connection) -> None:
    _exchange(store, "a", at=1.0, usage_estimated=True)
    _exchange(store, "b", at=2.0, cost_usd=None)
    _exchange(store, "c", at=3.0)
    assert np.isnan(from_store(store, "c").cost_usd).tolist() == [True, True, False]


def test_the_shares_come_with_the_phases_and_tags_are_filled_up(store: sa.Connection) -> None:
    _exchange(store, "a", at=1.0, phase=0, share=0.01, tags={"region": "eu"})
    _exchange(store, "b", at=2.0, phase=1, share=0.05, tags={"plan": "pro"})
    sample = from_store(store, "c")
    assert dict(sample.shares) == {0: 0.01, 1: 0.05}
    assert sample.tags["region"].tolist() == ["eu", ""]
    assert sample.tags["plan"].tolist() == ["", "pro"]


def test_feedback_joins_its_exchange_or_the_last_one_of_its_session_or_unit(store: sa.Connection) -> None:
    _exchange(store, "first", at=100.0, session="s")
    _exchange(store, "second", at=150.0)
    _exchange(store, "third", at=300.0, session="s")
    _feedback(store, "1", canary="c", exchange_id="third", value=1.0)
    _feedback(store, "2", session="s", value=2.0)
    _feedback(store, "3", unit="u", value=3.0)
    ratings = from_store(store, "c").feedback["csat"]
    assert dict(zip(ratings.value.tolist(), ratings.row.tolist(), strict=True)) == {1.0: 2, 2.0: 0, 3.0: 1}


def test_feedback_that_belongs_to_nothing_here_is_left_out(store: sa.Connection) -> None:
    _exchange(store, "one")
    _feedback(store, "1", canary="c", exchange_id="unknown")
    _feedback(store, "2", unit="stranger")
    _feedback(store, "3", unit="u", at=50.0)
    _feedback(store, "4", canary="other", exchange_id="one")
    assert dict(from_store(store, "c").feedback) == {}


def test_the_mirror_copies_of_a_run_are_counted_apart(store: sa.Connection) -> None:
    _exchange(store, "real", run=2)
    _exchange(store, "pinned", run=2, reason="pinned")
    _exchange(store, "old", run=1, mirror=True)
    _exchange(store, "ok", run=2, mirror=True, cost_usd=0.25)
    _exchange(store, "no unit", run=2, mirror=True, reason="no_unit", cost_usd=0.5)
    _exchange(store, "failed", run=2, mirror=True, outcome="error", error_type="provider_5xx", cost_usd=None)
    _exchange(store, "too large", run=2, mirror=True, outcome="caller_error", error_type="caller_too_large")
    _exchange(store, "aborted", run=2, mirror=True, outcome="aborted", error_type="aborted", cost_usd=None)
    assert mirrored(store, "c") == Mirror(copies=5, failed=1, cost_usd=1.25)
    assert mirrored(store, "c", run=1) == Mirror(copies=1, failed=0, cost_usd=0.5)
    assert mirrored(store, "other") is None


def test_what_copies_without_a_known_price_cost_is_not_known(store: sa.Connection) -> None:
    _exchange(store, "copy", mirror=True, cost_usd=None)
    assert mirrored(store, "c") == Mirror(copies=1, failed=0, cost_usd=None)
