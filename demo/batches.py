"""Takes batches of questions, and answers each as soon as it is due."""

from collections.abc import Callable
from random import Random

from demo import anthropic_batch, openai_batch
from demo.batch import BatchLine, LineResult, LocalBatch
from demo.connection import Request
from demo.openai_others import File
from demo.reply import alnum
from demo.sending import LocalAnswer
from demo.wire import RequestRefused, parse

ROOTS = ("/v1/batches", "/v1/messages/batches")

Serve = Callable[[Request], LocalAnswer | None]
"""Answers one question; None where its model does not answer before the batch expires."""


class LocalBatches:
    """All batches. `files` are OpenAI's, `wait_s` gives the seconds that a model's batches take."""

    def __init__(self, files: dict[str, File], serve: Serve, wait_s: Callable[[str], float]) -> None:
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
                return LocalAnswer(
                    body=anthropic_batch.document(self._from_list(request, draws, now), request)
                )
            case "GET", ["v1", "messages", "batches", name, "results"] if name in self._batches:
                lines = anthropic_batch.results(self._at("GET", name, [], now))
                return LocalAnswer(body=b"".join(lines), content_type="application/x-jsonl")
            case method, ["v1", "messages", "batches", name, *rest] if name in self._batches:
                return LocalAnswer(body=anthropic_batch.document(self._at(method, name, rest, now), request))
            case _:
                raise RequestRefused(404, f"No batch at {request.path}")

    def _from_file(self, request: Request, draws: Random, now: int) -> LocalBatch:
        body = parse(request.body)
        file = self._files.get(body.get("input_file_id", ""))
        if file is None or file.purpose != "batch":
            raise RequestRefused(400, "Invalid 'input_file_id'.", param="input_file_id", code="invalid_value")
        lines, wrong = openai_batch.lines_of(file.content, body["endpoint"])
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
            lines=anthropic_batch.lines_of(request.body),
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

    def _result(self, batch: LocalBatch, line: BatchLine) -> LineResult:
        if batch.canceled:
            return LineResult(id=line.id, state="canceled")
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
            return LineResult(id=line.id, state="expired")
        return LineResult(id=line.id, state="answered", status=answer.status, body=answer.body)

    def _openai(self, batch: LocalBatch) -> LocalAnswer:
        if batch.results is not None:
            self._files |= {file.id: file for file in openai_batch.files(batch)}
        return LocalAnswer(body=openai_batch.document(batch))
