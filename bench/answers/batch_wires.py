"""How each API takes a batch of questions, and what it says has come of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import httpx2
import msgspec

from bench.errors import NoBatch
from bench.models.asker import Failure, Target, quoted
from proxy.dialects.operation import Api
from proxy.providers.provider import Provider

_PASSING = (408, 429)
"""Statuses below 500 after which the same request may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchQuestion:
    """One question: its id in the batch, and the path and body of the request that would ask it alone."""

    id: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """How far a batch is. `over`: no more answers come; they are at the paths `results`. `refused`: why the
    provider takes none of its questions."""

    over: bool
    done: int = 0
    refused: str = ""
    results: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What came of one question: the answer's status and body, or a `failure` in the provider's words."""

    id: str
    status: int = 0
    body: bytes = b""
    failure: Failure | None = None
    said: str = ""


class BatchHttp:
    """Requests to the provider of one model. Each raises NoBatch for anything but success."""

    def __init__(self, client: httpx2.AsyncClient, target: Target) -> None:
        self._client = client
        self._target = target

    async def get(self, path: str) -> bytes:
        """The body at a path."""
        return await self._send("GET", path)

    async def post(self, path: str, body: object) -> bytes:
        """The answer to a JSON body."""
        headers = {"content-type": "application/json"}
        return await self._send("POST", path, content=msgspec.json.encode(body), headers=headers)

    async def upload(self, path: str, content: bytes) -> bytes:
        """The answer to an uploaded file of questions."""
        file = {"file": ("questions.jsonl", content, "application/jsonl")}
        return await self._send("POST", path, files=file, data={"purpose": "batch"})

    async def _send(self, method: str, path: str, *, headers: Mapping[str, str] = {}, **sent: Any) -> bytes:
        target = self._target
        try:
            response = await self._client.request(
                method,
                target.url + path,
                headers={**target.headers, **headers},
                auth=target.auth,
                timeout=target.timeout_s,
                **sent,
            )
        except httpx2.HTTPError as problem:
            what = str(problem) or type(problem).__name__
            raise NoBatch(f"{target.name}: {method} {path}: {what}", passing=True) from problem
        if not response.is_success:
            words = quoted(response.content, target.headers.values())
            status = response.status_code
            raise NoBatch(
                f"{target.name}: {method} {path} was refused with {status}: {words}",
                status=status,
                passing=status in _PASSING or status >= 500,
            )
        return response.content


class BatchWire(Protocol):
    """One API's batches."""

    async def send(self, http: BatchHttp, questions: Sequence[BatchQuestion]) -> str:
        """Send the questions; returns the batch's id. Raises NoBatch."""
        ...

    async def state(self, http: BatchHttp, batch: str) -> BatchState:
        """Raises NoBatch."""
        ...

    def line(self, text: bytes) -> BatchResult:
        """One line of the results. Raises msgspec.DecodeError."""
        ...


def batch_wire(provider: Provider, model: str) -> BatchWire:
    """The batches of a provider entry. Raises NoBatch for one that has none."""
    wire = _WIRES.get(provider.api) if provider.kind == "plain" else None
    if wire is None:
        what = f"api {provider.api}" if provider.kind == "plain" else f"kind {provider.kind}"
        name = f"{provider.name}/{model}"
        raise NoBatch(f"{name} cannot be asked by batch: canary sends none to {what}; leave out --batch")
    return wire


Form = TypeVar("Form")


def _read(body: bytes, form: type[Form]) -> Form:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.DecodeError as problem:
        raise NoBatch(f"the provider's answer about a batch has another form: {problem}") from problem


class _Problem(msgspec.Struct):
    code: str | None = None
    message: str | None = None
    line: int | None = None


class _Problems(msgspec.Struct):
    data: list[_Problem] | None = None


class _OpenAICounts(msgspec.Struct):
    completed: int = 0
    failed: int = 0


class _OpenAIBatch(msgspec.Struct):
    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: _Problems | None = None
    request_counts: _OpenAICounts | None = None


class _OpenAIResponse(msgspec.Struct):
    status_code: int
    body: msgspec.Raw = msgspec.Raw()


class _OpenAILine(msgspec.Struct):
    custom_id: str
    response: _OpenAIResponse | None = None
    error: _Problem | None = None


class _Id(msgspec.Struct):
    id: str


class OpenAIBatches:
    """Questions in an uploaded file, results in two: answers, and errors."""

    _OVER = ("completed", "expired", "cancelled", "failed")
    _FAILURES: Mapping[str, Failure] = {"batch_expired": "provider_timeout", "batch_cancelled": "aborted"}

    async def send(self, http: BatchHttp, questions: Sequence[BatchQuestion]) -> str:
        endpoint = f"/v1{questions[0].path}"
        lines = [
            msgspec.json.encode(
                {"custom_id": each.id, "method": "POST", "url": endpoint, "body": msgspec.Raw(each.body)}
            )
            for each in questions
        ]
        file = _read(await http.upload("/files", b"\n".join(lines)), _Id)
        asked = {"input_file_id": file.id, "endpoint": endpoint, "completion_window": "24h"}
        return _read(await http.post("/batches", asked), _Id).id

    async def state(self, http: BatchHttp, batch: str) -> BatchState:
        found = _read(await http.get(f"/batches/{batch}"), _OpenAIBatch)
        counts = found.request_counts or _OpenAICounts()
        files = (found.output_file_id, found.error_file_id)
        return BatchState(
            over=found.status in self._OVER,
            done=counts.completed + counts.failed,
            refused=_reason(found.errors) if found.status == "failed" else "",
            results=tuple(f"/files/{file}/content" for file in files if file),
        )

    def line(self, text: bytes) -> BatchResult:
        found = msgspec.json.decode(text, type=_OpenAILine)
        if found.response is not None:
            return BatchResult(
                id=found.custom_id, status=found.response.status_code, body=bytes(found.response.body)
            )
        error = found.error or _Problem()
        failure = self._FAILURES.get(error.code or "", "provider_malformed")
        return BatchResult(id=found.custom_id, failure=failure, said=_words(error))


def _reason(errors: _Problems | None) -> str:
    first = next(iter((errors and errors.data) or ()), _Problem(message="the provider gives no reason"))
    return _words(first) + ("" if first.line is None else f" (line {first.line})")


def _words(problem: _Problem) -> str:
    return ": ".join(part for part in (problem.code, problem.message) if part)


class _AnthropicCounts(msgspec.Struct):
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class _AnthropicBatch(msgspec.Struct):
    id: str
    processing_status: str
    request_counts: _AnthropicCounts = msgspec.field(default_factory=_AnthropicCounts)


class _AnthropicError(msgspec.Struct):
    type: str = ""


class _AnthropicErrorBody(msgspec.Struct):
    error: _AnthropicError = msgspec.field(default_factory=_AnthropicError)


class _AnthropicResult(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _AnthropicLine(msgspec.Struct):
    custom_id: str
    result: _AnthropicResult


class AnthropicBatches:
    """Questions in one list, results as lines in one file."""

    _ROOT = "/v1/messages/batches"
    _FAILURES: Mapping[str, Failure] = {"expired": "provider_timeout", "canceled": "aborted"}
    _STATUS: Mapping[str, int] = {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "billing_error": 402,
        "permission_error": 403,
        "not_found_error": 404,
        "request_too_large": 413,
        "rate_limit_error": 429,
        "timeout_error": 504,
        "overloaded_error": 529,
    }

    async def send(self, http: BatchHttp, questions: Sequence[BatchQuestion]) -> str:
        asked = [{"custom_id": each.id, "params": msgspec.Raw(each.body)} for each in questions]
        return _read(await http.post(self._ROOT, {"requests": asked}), _Id).id

    async def state(self, http: BatchHttp, batch: str) -> BatchState:
        found = _read(await http.get(f"{self._ROOT}/{batch}"), _AnthropicBatch)
        counts = found.request_counts
        over = found.processing_status == "ended"
        return BatchState(
            over=over,
            done=counts.succeeded + counts.errored + counts.canceled + counts.expired,
            # Not `results_url`: the key goes to the configured host only.
            results=(f"{self._ROOT}/{batch}/results",) if over else (),
        )

    def line(self, text: bytes) -> BatchResult:
        found = msgspec.json.decode(text, type=_AnthropicLine)
        match found.result.type:
            case "succeeded":
                return BatchResult(id=found.custom_id, status=200, body=bytes(found.result.message))
            case "errored":
                error = bytes(found.result.error)
                kind = msgspec.json.decode(error, type=_AnthropicErrorBody).error.type
                return BatchResult(id=found.custom_id, status=self._STATUS.get(kind, 500), body=error)
            case kind:
                failure = self._FAILURES.get(kind, "provider_malformed")
                return BatchResult(id=found.custom_id, failure=failure, said=f"{kind} in the batch")


_WIRES: Mapping[Api, BatchWire] = {"openai": OpenAIBatches(), "anthropic": AnthropicBatches()}
