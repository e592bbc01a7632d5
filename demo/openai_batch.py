"""OpenAI's batches: the file of questions, the batch's document, the files of answers and errors."""

from typing import Any

import msgspec

from demo.batch import DAY_S, BatchLine, LineResult, LocalBatch
from demo.openai_others import File
from demo.wire import RequestRefused, compact, parse, pretty

CODES = {
    "expired": "batch_expired",
    "canceled": "batch_cancelled",
}
WORDS = {
    "expired": "This request could not be executed before the completion window expired.",
    "canceled": "This batch was cancelled before the request could be executed.",
}


def lines_of(content: bytes, endpoint: str) -> tuple[tuple[BatchLine, ...], tuple[dict[str, Any], ...]]:
    """(the questions of a file, what is wrong with it)."""
    found: list[BatchLine] = []
    wrong: list[dict[str, Any]] = []
    models = set()
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            each = parse(line)
        except RequestRefused:
            wrong.append(_wrong("invalid_json_line", "This line is not parseable as valid JSON.", number))
            continue
        models.add(each["body"].get("model"))
        if each["custom_id"] in [other.id for other in found]:
            wrong.append(_wrong("duplicate_custom_id", "The custom_id was used before.", number))
        if each["url"] != endpoint:
            wrong.append(_wrong("invalid_url", "The URL does not match the batch's endpoint.", number))
        found.append(BatchLine(id=each["custom_id"], path=each["url"], body=compact(each["body"])))
    if len(models) > 1:
        wrong.append(_wrong("mismatched_model", "All requests of a batch must have the same model.", None))
    return tuple(found), tuple(wrong)


def _wrong(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": line}


def document(batch: LocalBatch) -> bytes:
    """The batch object."""
    counts = {
        "total": len(batch.lines),
        "completed": batch.count(good=True),
        "failed": batch.count(good=False),
    }
    return pretty(
        {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.lines[0].path if batch.lines else "",
            "errors": {"object": "list", "data": list(batch.wrong)} if batch.wrong else None,
            "input_file_id": batch.input_file,
            "completion_window": "24h",
            "status": _status(batch),
            "output_file_id": _file_id(batch, "out") if batch.count(good=True) else None,
            "error_file_id": _file_id(batch, "err") if batch.count(good=False) else None,
            "created_at": batch.created,
            "expires_at": batch.created + DAY_S,
            "request_counts": counts,
            "metadata": None,
        }
    )


def files(batch: LocalBatch) -> list[File]:
    """The files of an ended batch: its answers, and its errors."""
    return [_file(batch, "out", good=True), _file(batch, "err", good=False)]


def _file(batch: LocalBatch, kind: str, *, good: bool) -> File:
    found = [_line(batch, result) for result in batch.results or () if result.good == good]
    return File(
        id=_file_id(batch, kind),
        name=f"{batch.id}_{kind}.jsonl",
        purpose="batch_output",
        content=b"".join(found),
        created=batch.created,
    )


def _file_id(batch: LocalBatch, kind: str) -> str:
    return f"file-{kind}{batch.id.removeprefix('batch_')}"


def _status(batch: LocalBatch) -> str:
    if batch.wrong:
        return "failed"
    if batch.results is None:
        return "in_progress"
    if batch.canceled:
        return "cancelled"
    return "expired" if any(result.state == "expired" for result in batch.results) else "completed"


def _line(batch: LocalBatch, result: LineResult) -> bytes:
    answered = result.state == "answered"
    response = {
        "status_code": result.status,
        "request_id": f"req_{batch.id[-12:]}",
        "body": msgspec.Raw(result.body),
    }
    error = {"code": CODES.get(result.state), "message": WORDS.get(result.state)}
    line = {
        "id": f"batch_req_{result.id[:16]}",
        "custom_id": result.id,
        "response": response if answered else None,
        "error": None if answered else error,
    }
    return msgspec.json.format(compact(line), indent=0) + b"\n"
