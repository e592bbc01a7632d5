"""A log's lines as the proxy would have spooled them, shipped into a store."""

from collections.abc import Mapping, Sequence
from typing import Any

from records.facts.exchange_id import mint
from records.outcome import Feedback, Outcome
from records.spool.reader import SpoolBatch, SpoolChunk, WriterProcess
from records.store import Store

METRICS = ("csat", "task_completed")


def records(
    row: Mapping[str, Any], number: int, *, run: int = 1, share: float = 0.5, canary: str = "c"
) -> list[Outcome | Feedback]:
    """The line's outcome and feedback. A line may have a `phase`, a `share`, and `said_at`, the moment of
    its feedback."""
    unit, phase = f"{int(str(row['unit'])[1:]):032x}", int(row.get("phase", 0))
    name = mint(
        b"k" * 32, canary=canary, run=run, phase=phase, arm=row["arm"], unit_hash=unit, at=row["at"],
        serial=number.to_bytes(8),
    )  # fmt: skip
    outcome = Outcome(
        exchange_id=name,
        at=row["at"],
        mono=row["at"],
        outcome="error" if row["error_type"] else "ok",
        error_type=row["error_type"] or None,
        canary=canary,
        run=run,
        phase=phase,
        share=row.get("share", share),
        arm=row["arm"],
        reason="cohort",
        unit=unit,
        category=row["category"],
        latency_s=float(row["latency_s"]),
        cost_usd=float(row["cost_usd"]),
    )
    at = row.get("said_at", row["at"])
    said = [
        Feedback(
            key=f"{name}/{metric}", metric=metric, value=float(row[f"metric_{metric}"]), at=at, mono=at,
            exchange_id=name, canary=canary, run=run, phase=phase, arm=row["arm"], unit=unit,
        )
        for metric in METRICS
        if row[f"metric_{metric}"] != ""
    ]  # fmt: skip
    return [outcome, *said]


class Shipper:
    """Ships records into one store, as one spool file."""

    def __init__(self, store: Store) -> None:
        self._store, self._shipped = store, 0

    def ship(self, some: Sequence[Outcome | Feedback]) -> None:
        """Store the records."""
        self._shipped += len(some)
        chunk = SpoolChunk("f", WriterProcess("w", 0, "b", 1), list(some))
        self._store.ship(SpoolBatch(chunks=[chunk], cursors={"f": self._shipped}))

    def lines(self, rows: Sequence[Mapping[str, Any]], **about: Any) -> None:
        """Store the lines of a log; `about` as in `records`."""
        start = self._shipped
        self.ship([each for place, row in enumerate(rows) for each in records(row, start + place, **about)])
