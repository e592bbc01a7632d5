"""Asks models all their questions by batch, at the batch price. No batch is sent twice.

Each API takes a batch, and says what has come of it, in its own form (`BatchWire`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import httpx2
import msgspec

from bench.answers.results import AnswerStore, SavedAnswers, together
from bench.dataset.example import Example, prompt
from bench.errors import NoBatch
from bench.models.asker import Answer, Asker, Failure, Target, quoted, refuses_logprobs
from proxy.dialects.operation import Api
from proxy.providers.headers import request_id_of
from proxy.providers.provider import Provider
from records.outcome import Usage

# How each API takes a batch of questions, and what it says has come of them.


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
    """What came of one question: the answer's status and body, or a `failure` in the provider's words.
    `request_id`: the provider's, "" where its batches have none."""

    id: str
    status: int = 0
    body: bytes = b""
    failure: Failure | None = None
    said: str = ""
    request_id: str = ""


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
    request_id: str | None = None
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
            answer = found.response
            return BatchResult(
                id=found.custom_id,
                status=answer.status_code,
                body=bytes(answer.body),
                request_id=request_id_of({b"x-request-id": (answer.request_id or "").encode()}, {}),
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


PRICE_FACTOR = 0.5
"""What OpenAI and Anthropic bill for a batch, of the list price. genai-prices has no batch prices."""

MOST_QUESTIONS = 50_000
"""OpenAI's bound; Anthropic's is 100,000."""

_FIRST_WAIT_S, _LONGEST_WAIT_S, _SLOWER = 1.0, 60.0, 1.5
_MOST_MISSED = 10
_NO_RESULT = Answer(failure="provider_malformed", said="the batch has no result for this question")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRun:
    """The batches of one run. `saved` keeps their ids and the answers of an interrupted run; `progress` gets
    a model's name with the questions done and all; `tell` gets lines for the person who waits."""

    saved: SavedAnswers
    progress: Callable[[str, int, int], None]
    tell: Callable[[str], None]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def ask(
        self,
        models: Sequence[tuple[Asker, BatchWire]],
        examples: Sequence[Example],
        logprobs: frozenset[str] = frozenset(),
    ) -> "BatchAnswers":
        """Ask each model all examples, at the same time; those of the hashes `logprobs` with the model's
        confidence. Raises NoBatch."""
        found: dict[str, dict[str, Answer]] = {}

        async def one(asker: Asker, wire: BatchWire) -> None:
            batch = _ModelBatch(run=self, wire=wire, target=at_batch_price(asker.target), asker=asker)
            found[asker.target.name] = await batch.answers(examples, logprobs)

        await together(one(*each) for each in {each[0].target.name: each for each in models}.values())
        return BatchAnswers(found, self.saved)


class BatchAnswers:
    """The results of batches as saved answers, failures included; other answers are in `saved`."""

    def __init__(self, found: Mapping[str, Mapping[str, Answer]], saved: AnswerStore) -> None:
        self._found = found
        self._saved = saved

    def get(self, model: str, question: str) -> Answer | None:
        """What the batch or an interrupted run has for a question."""
        return self._found.get(model, {}).get(question) or self._saved.get(model, question)

    def put(self, model: str, question: str, answer: Answer) -> None:
        """Save an answer that no batch has: a judge's."""
        self._saved.put(model, question, answer)


def at_batch_price(target: Target) -> Target:
    """The same model, whose answers cost what they do in a batch. A cost that the provider states stays."""

    def cost(usage: Usage) -> float | None:
        listed = target.cost(usage)
        return listed if listed is None or listed == usage.stated_usd else listed * PRICE_FACTOR

    return replace(target, cost=cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModelBatch:
    """One model's part of a run."""

    run: BatchRun
    wire: BatchWire
    target: Target
    asker: Asker

    async def answers(self, examples: Sequence[Example], logprobs: frozenset[str]) -> dict[str, Answer]:
        """What came of every question that no answer was saved for, by the example's hash. What a model
        refuses for its log probabilities is asked again without."""
        questions = {each.id: each for each in self._questions(examples, logprobs)}
        found: dict[str, Answer] = {}
        for batch in self.run.saved.batches(self.target.name) if questions else ():
            found |= await self._resumed(batch, len(questions))
        left = [each for name, each in questions.items() if name not in found]
        found |= await self._asked(left)
        plain = self._questions(examples, frozenset())
        found |= await self._asked(
            [each for each in plain if each.id in found and refuses_logprobs(found[each.id])]
        )
        return {name: found.get(name, _NO_RESULT) for name in questions}

    async def _asked(self, questions: Sequence[BatchQuestion]) -> dict[str, Answer]:
        """What came of these questions, by one batch for each path."""
        found: dict[str, Answer] = {}
        for path in dict.fromkeys(each.path for each in questions):
            some = [each for each in questions if each.path == path]
            found |= await self._results(await self._send(some), len(some))
        return found

    def _questions(self, examples: Sequence[Example], logprobs: frozenset[str]) -> Iterator[BatchQuestion]:
        for example in examples:
            extras = self.target.wire.own(example.extras)
            with_logprobs = self.target.wire.at(extras.path).with_logprobs
            if self.run.saved.get(self.target.name, example.hash) is None:
                if with_logprobs is not None and example.hash in logprobs:
                    extras = replace(extras, parameters=with_logprobs(extras.parameters))
                path, body = self.target.asks(prompt(example), extras)
                yield BatchQuestion(id=example.hash, path=path, body=body)

    async def _send(self, questions: Sequence[BatchQuestion]) -> str:
        name, count = self.target.name, len(questions)
        if count > MOST_QUESTIONS:
            raise NoBatch(f"{name}: a batch takes {MOST_QUESTIONS:,} questions, not {count:,}; use --dataset")
        batch = await self.wire.send(self._http, questions)
        self.run.saved.put_batch(name, batch)
        self.run.tell(f"{name}: batch {batch} with {count} questions; an interrupted run goes on with it")
        return batch

    async def _resumed(self, batch: str, of: int) -> dict[str, Answer]:
        """The results of a batch that an interrupted run sent; none if it is gone or has no answer at all."""
        self.run.tell(f"{self.target.name}: goes on with batch {batch} of an interrupted run")
        try:
            found = await self._results(batch, of)
        except NoBatch as problem:
            if problem.passing:
                raise
            return {}
        return found if any(answer.text is not None for answer in found.values()) else {}

    async def _results(self, batch: str, of: int) -> dict[str, Answer]:
        state = await self._ended(batch, of)
        if state.refused:
            raise NoBatch(f"{self.target.name}: the batch {batch} was refused: {state.refused}")
        found: dict[str, Answer] = {}
        for path in state.results:
            content = await self._http.get(path)
            found |= {line.id: self._answer(line) for line in self._lines(content)}
        return found

    async def _ended(self, batch: str, of: int) -> BatchState:
        """Look until the batch is over, more and more seldom."""
        wait_s, missed = _FIRST_WAIT_S, 0
        while True:
            try:
                state, missed = await self.wire.state(self._http, batch), 0
            except NoBatch as problem:
                missed += 1
                if not problem.passing or missed > _MOST_MISSED:
                    raise
            else:
                if state.over:
                    return state
                self.run.progress(self.target.name, state.done, of)
            await self.run.sleep(wait_s)
            wait_s = min(wait_s * _SLOWER, _LONGEST_WAIT_S)

    def _lines(self, content: bytes) -> Iterator[BatchResult]:
        for text in content.splitlines():
            try:
                yield self.wire.line(text)
            except msgspec.DecodeError:
                continue  # its question counts as one without a result

    def _answer(self, line: BatchResult) -> Answer:
        if line.failure is not None:
            return Answer(failure=line.failure, said=line.said)
        answer = self.target.answer(line.status, line.body)
        return msgspec.structs.replace(answer, request_id=line.request_id)

    @property
    def _http(self) -> BatchHttp:
        return BatchHttp(self.asker.client, self.target)
