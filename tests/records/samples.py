"""Records to be stored, and an act: what the tests of the store begin with."""

from typing import Any

from records.outcome import AttemptRecord, Feedback, InFlight, Outcome, Record, Usage
from records.spool.reader import SpoolBatch, SpoolChunk, WriterProcess
from records.store import Act, Store
from records.store.releases import Release, entered
from tests.records.stored import stored

WRITER = WriterProcess("w0-boot-1", 0, "boot", 1)
DAY = 86400.0


def an_outcome(serial: int, *, at: float = 20_000 * DAY) -> Outcome:
    return Outcome(
        exchange_id=f"exchange-{serial}",
        at=at,
        mono=1.0,
        outcome="fallback",
        canary="support-nov",
        run=1,
        phase=2,
        share=0.05,
        arm="candidate",
        served_by="baseline",
        reason="cohort",
        unit="ab" * 16,
        tags={"region": "eu"},
        stream=True,
        status=200,
        latency_s=0.25,
        usage=Usage(input_tokens=10, cached_input_tokens=0, output_tokens=20),
        attempts=(
            AttemptRecord(arm="candidate", provider="openai", model="new", error_type="provider_timeout"),
        ),
    )


def an_exchange_in_flight(serial: int, *, at: float = 20_000 * DAY) -> InFlight:
    return InFlight(
        exchange_id=f"exchange-{serial}",
        at=at,
        mono=1.0,
        canary="support-nov",
        run=1,
        phase=2,
        share=0.05,
        arm="candidate",
        reason="cohort",
        unit="ab" * 16,
        operation="chat",
        stream=True,
    )


def some_feedback(value: float, *, at: float = 100.0, key: str = "k") -> Feedback:
    return Feedback(key=key, metric="csat", value=value, at=at, mono=1.0, exchange_id="e", comment="so so")


def a_batch(*records: Record, **rest: Any) -> SpoolBatch:
    return SpoolBatch(chunks=[SpoolChunk("w0-boot-1-0.spool", WRITER, list(records))], **rest)


def act(action: str = "start", *, who: str = "ann") -> Act:
    return Act(at=5.0, action=action, who=who, reason="a reason")


def recent(store: Store, canary: str, limit: int = 100) -> list[dict[str, Any]]:
    """The canary's newest outcomes as rows, newest first."""
    return [row for row in reversed(stored(store)) if row["canary"] == canary][:limit]


def a_release(store: Store, candidate: str, baseline: str, *, at: float) -> Release:
    """The release of these two models, made if there is none."""
    with store.writing() as connection:
        return entered(connection, candidate, baseline, at=at)
