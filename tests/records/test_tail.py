"""The newest records in the store, of both databases."""

import pytest
from msgspec import structs
from sqlalchemy import update

from records.errors import StoreDown
from records.outcome import Feedback, Outcome, ProviderError, Usage
from records.spool.reader import SpoolBatch, SpoolChunk, WriterProcess
from records.store import Store
from records.store.leader import records_since
from records.store.segment_writer import roll
from records.store.tables import segments

NOW = 1_790_000_000.0
OUTCOME = Outcome(
    exchange_id="x",
    at=NOW,
    mono=7.0,
    outcome="fallback",
    canary="trial",
    run=2,
    phase=3,
    share=0.05,
    arm="candidate",
    served_by="baseline",
    reason="cohort",
    unit="u",
    category="billing",
    tags={"region": "eu"},
    status=500,
    error_type="provider_5xx",
    latency_s=10.0,
    ttft_s=0.5,
    usage=Usage(output_tokens=7, estimated=True),
    cost_usd=0.01,
    ttfb_s=0.4,
    operation="chat",
    stream=True,
    finish="length",
    faults=("cut_off", "json_invalid"),
    output_check="judged",
    provider_error=ProviderError(code="overloaded", message="Overloaded."),
)


def ship(store: Store, *records: Outcome | Feedback) -> None:
    store.ship(SpoolBatch(chunks=[SpoolChunk("f", WriterProcess("w", 0, "b", 1), list(records))]))


def test_outcomes_come_in_the_order_of_their_ends_from_the_moment_on(store: Store) -> None:
    ends = [
        structs.replace(OUTCOME, exchange_id=f"x{s}", at=NOW + 20 - s, latency_s=2.0 * s) for s in range(8)
    ]
    ship(store, *ends)
    found = records_since(store, ["trial"], NOW + 22.0)
    assert [each.exchange_id for each in found.outcomes] == ["x3", "x4", "x5", "x6", "x7"]
    assert records_since(store, ["other"], NOW).outcomes == []


def test_an_outcome_comes_back_whole_from_wherever_it_lies(store: Store) -> None:
    ship(store, OUTCOME)
    (fresh,) = records_since(store, ["trial"], NOW).outcomes
    assert fresh == structs.replace(OUTCOME, mono=0.0)
    assert roll(store, NOW, all_of_it=True).outcomes == 1
    (rolled,) = records_since(store, ["trial"], NOW).outcomes
    assert rolled == structs.replace(OUTCOME, mono=0.0, fingerprint="", traceparent="", retry_count=0)


def test_feedback_comes_by_when_it_was_given(store: Store) -> None:
    rating = Feedback(
        key="k", metric="csat", value=4.0, at=NOW, mono=3.0, canary="trial", run=2, arm="candidate"
    )
    ship(store, rating, structs.replace(rating, key="early", at=NOW - 60.0))
    (found,) = records_since(store, ["trial"], NOW - 1.0).feedback
    assert found == structs.replace(rating, mono=0.0)


def test_the_outcome_of_yesterday_that_ended_after_midnight_is_found(store: Store) -> None:
    midnight = NOW // 86400 * 86400
    ship(store, structs.replace(OUTCOME, at=midnight - 5.0, latency_s=10.0))
    assert len(records_since(store, ["trial"], midnight + 1.0).outcomes) == 1


def test_what_ended_before_the_moment_is_not_even_opened(store: Store) -> None:
    ship(store, structs.replace(OUTCOME, exchange_id="old", at=NOW - 60.0, latency_s=1.0))
    roll(store, NOW, all_of_it=True)
    with store.writing() as connection:
        connection.execute(update(segments).values(path="gone.parquet", content=None))
    ship(store, structs.replace(OUTCOME, at=NOW - 60.0, latency_s=59.0))
    assert [each.exchange_id for each in records_since(store, ["trial"], NOW - 30.0).outcomes] == ["x"]
    with pytest.raises(StoreDown, match="gone"):
        records_since(store, ["trial"], NOW - 60.0)
