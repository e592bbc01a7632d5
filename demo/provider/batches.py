"""Batches of questions: answers each as soon as it is due, in the forms of OpenAI and Anthropic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import msgspec

from common.clock import rfc3339
from demo.provider.behaviour import alnum
from demo.provider.connection import Headers, LocalAnswer, Request, RequestRefused, compact, parse, pretty
from demo.provider.openai import UploadedFile

DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """One question of a batch: the request's path and body."""

    id: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLineResult:
    """What came of one question; `status` and `body` where it was answered."""

    id: str
    state: Literal["answered", "expired", "canceled"]
    status: int = 0
    body: bytes = b""

    @property
    def good(self) -> bool:
        return self.state == "answered" and self.status < 300


@dataclass(slots=True, kw_only=True)
class LocalBatch:
    """A batch; `results` once it has ended. `wrong`: OpenAI's reasons to refuse the whole file."""

    id: str
    created: int
    headers: Headers
    lines: tuple[BatchLine, ...]
    input_file: str = ""
    wrong: tuple[dict[str, Any], ...] = ()
    canceled: bool = False
    results: tuple[BatchLineResult, ...] | None = None

    def count(self, *, good: bool) -> int:
        """The results so far that are, or are not, answers."""
        return sum(result.good == good for result in self.results or ())


def listed_lines(body: bytes) -> tuple[BatchLine, ...]:
    """The questions of a new batch. Raises RequestRefused."""
    asked = parse(body)["requests"]
    found = tuple(
        BatchLine(id=each["custom_id"], path="/v1/messages", body=compact(each["params"])) for each in asked
    )
    if not found or len({line.id for line in found}) < len(found):
        raise RequestRefused(400, "requests: custom_id must be unique, and at least one is required")
    return found


def message_batch(batch: LocalBatch, request: Request) -> bytes:
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
            "ended_at": None if results is None else rfc3339(batch.created),
            "created_at": rfc3339(batch.created),
            "expires_at": rfc3339(batch.created + DAY_S),
            "archived_at": None,
            "cancel_initiated_at": rfc3339(batch.created) if batch.canceled else None,
            "results_url": None if results is None else url,
        }
    )


def result_lines(batch: LocalBatch) -> Iterator[bytes]:
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


def _kind(result: BatchLineResult) -> str:
    return ("succeeded" if result.good else "errored") if result.state == "answered" else result.state


CODES = {
    "expired": "batch_expired",
    "canceled": "batch_cancelled",
}
WORDS = {
    "expired": "This request could not be executed before the completion window expired.",
    "canceled": "This batch was cancelled before the request could be executed.",
}


def file_lines(content: bytes, endpoint: str) -> tuple[tuple[BatchLine, ...], tuple[dict[str, Any], ...]]:
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


def batch_document(batch: LocalBatch) -> bytes:
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


def result_files(batch: LocalBatch) -> list[UploadedFile]:
    """The result_files of an ended batch: its answers, and its errors."""
    return [_file(batch, "out", good=True), _file(batch, "err", good=False)]


def _file(batch: LocalBatch, kind: str, *, good: bool) -> UploadedFile:
    found = [_line(batch, result) for result in batch.results or () if result.good == good]
    return UploadedFile(
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


def _line(batch: LocalBatch, result: BatchLineResult) -> bytes:
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


ROOTS = ("/v1/batches", "/v1/messages/batches")

Serve = Callable[[Request], LocalAnswer | None]
"""Answers one question; None where its model does not answer before the batch expires."""


class LocalBatches:
    """All batches. `files` are OpenAI's, `wait_s` gives the seconds that a model's batches take."""

    def __init__(self, files: dict[str, UploadedFile], serve: Serve, wait_s: Callable[[str], float]) -> None:
        self._files = files
        self._serve = serve
        self._wait_s = wait_s
        self._batches: dict[str, LocalBatch] = {}

    def answer(self, request: Request, draws: Random, now: int) -> LocalAnswer:
        """The answer to a request below one of `ROOTS`. Raises RequestRefused."""
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["v1", "batches"]:
                return self._openai(self._from_file(request, draws, now))
            case method, ["v1", "batches", name, *rest] if name in self._batches:
                return self._openai(self._at(method, name, rest, now))
            case "POST", ["v1", "messages", "batches"]:
                return LocalAnswer(body=message_batch(self._from_list(request, draws, now), request))
            case "GET", ["v1", "messages", "batches", name, "results"] if name in self._batches:
                lines = result_lines(self._at("GET", name, [], now))
                return LocalAnswer(body=b"".join(lines), content_type="application/x-jsonl")
            case method, ["v1", "messages", "batches", name, *rest] if name in self._batches:
                return LocalAnswer(body=message_batch(self._at(method, name, rest, now), request))
            case _:
                raise RequestRefused(404, f"No batch at {request.path}")

    def _from_file(self, request: Request, draws: Random, now: int) -> LocalBatch:
        body = parse(request.body)
        file = self._files.get(body.get("input_file_id", ""))
        if file is None or file.purpose != "batch":
            raise RequestRefused(400, "Invalid 'input_file_id'.", param="input_file_id", code="invalid_value")
        lines, wrong = file_lines(file.content, body["endpoint"])
        batch = LocalBatch(
            id=f"batch_{alnum(draws, 24)}",
            created=now,
            headers=request.headers,
            lines=lines,
            input_file=file.id,
            wrong=wrong,
        )
        return self._batches.setdefault(batch.id, batch)

    def _from_list(self, request: Request, draws: Random, now: int) -> LocalBatch:
        batch = LocalBatch(
            id=f"msgbatch_01{alnum(draws, 22)}",
            created=now,
            headers=request.headers,
            lines=listed_lines(request.body),
        )
        return self._batches.setdefault(batch.id, batch)

    def _at(self, method: str, name: str, rest: list[str], now: int) -> LocalBatch:
        batch = self._batches[name]
        if (method, rest) == ("POST", ["cancel"]):
            batch.canceled = True
        elif (method, rest) != ("GET", []):
            raise RequestRefused(404, f"Invalid URL ({method} {'/'.join(rest)})")
        if batch.results is None and not batch.wrong and (batch.canceled or self._due(batch, now)):
            batch.results = tuple(self._result(batch, line) for line in batch.lines)
        return batch

    def _due(self, batch: LocalBatch, now: int) -> bool:
        models = {str(parse(line.body).get("model", "")) for line in batch.lines}
        return now >= batch.created + max(map(self._wait_s, models), default=0.0)

    def _result(self, batch: LocalBatch, line: BatchLine) -> BatchLineResult:
        if batch.canceled:
            return BatchLineResult(id=line.id, state="canceled")
        headers = tuple(each for each in batch.headers if each[0] != "content-type")
        answer = self._serve(
            Request(
                method="POST",
                target=line.path,
                headers=(*headers, ("content-type", "application/json")),
                body=line.body,
                keep_alive=True,
                mono=0.0,
            )
        )
        if answer is None:
            return BatchLineResult(id=line.id, state="expired")
        return BatchLineResult(id=line.id, state="answered", status=answer.status, body=answer.body)

    def _openai(self, batch: LocalBatch) -> LocalAnswer:
        if batch.results is not None:
            self._files |= {file.id: file for file in result_files(batch)}
        return LocalAnswer(body=batch_document(batch))
