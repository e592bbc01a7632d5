"""Anthropic's batches: the list of questions, the batch's document, the lines of its results."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from demo.batch import DAY_S, BatchLine, LineResult, LocalBatch
from demo.connection import Request
from demo.wire import RequestRefused, compact, parse


def lines_of(body: bytes) -> tuple[BatchLine, ...]:
    """The questions of a new batch. Raises RequestRefused."""
    asked = parse(body)["requests"]
    found = tuple(
        BatchLine(id=each["custom_id"], path="/v1/messages", body=compact(each["params"])) for each in asked
    )
    if not found or len({line.id for line in found}) < len(found):
        raise RequestRefused(400, "requests: custom_id must be unique, and at least one is required")
    return found


def document(batch: LocalBatch, request: Request) -> bytes:
    """The batch object."""
    results = batch.results
    counts: dict[str, int] = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    if results is None:
        counts["processing"] = len(batch.lines)
    for result in results or ():
        counts[_kind(result)] += 1
    url = f"http://{request.header('host')}/v1/messages/batches/{batch.id}/results"
    return compact(
        {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "in_progress" if results is None else "ended",
            "request_counts": counts,
            "ended_at": None if results is None else _time(batch.created),
            "created_at": _time(batch.created),
            "expires_at": _time(batch.created + DAY_S),
            "archived_at": None,
            "cancel_initiated_at": _time(batch.created) if batch.canceled else None,
            "results_url": None if results is None else url,
        }
    )


def results(batch: LocalBatch) -> Iterator[bytes]:
    """The lines of an ended batch's results."""
    if batch.results is None:
        raise RequestRefused(404, "The batch has not ended, so it has no results yet.")
    for result in batch.results:
        kind = _kind(result)
        found: dict[str, Any] = {"type": kind}
        if kind == "succeeded":
            found["message"] = msgspec.Raw(result.body)
        elif kind == "errored":
            found["error"] = msgspec.Raw(result.body)
        yield compact({"custom_id": result.id, "result": found}) + b"\n"


def _kind(result: LineResult) -> str:
    return ("succeeded" if result.good else "errored") if result.state == "answered" else result.state


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
