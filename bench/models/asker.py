"""One question to one model over HTTP, and its answer, or its failure. No score."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

import httpx2
import msgspec

from bench.models.wires import NO_EXTRAS, ChatWire, Extras
from proxy.answers.provider_error import said
from proxy.providers.body import adapted
from records.captures.capture import CapturedMessage
from records.outcome import ErrorType, Usage
from routing.canary import NO_CHANGES, RequestChanges

Failure = ErrorType | Literal["not_pinned"]
"""`not_pinned`: another arm answered through the proxy, so the answer is not this model's."""


_REFUSING = (400, 403, 422)
"""How providers refuse log probabilities: OpenAI with 403 for a model that gives them to nobody."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`text` is None if `failure` is set, with the HTTP `status` and the beginning of the provider's message.

    `confidence`: how sure the model was, 0 to 1; None where it was not asked or did not say.
    `latency_s` covers the whole answer; None for an answer saved by an interrupted run. `cost_usd` is None
    without a known price.
    """

    text: str | None = None
    failure: Failure | None = None
    status: int | None = None
    said: str = ""
    latency_s: float | None = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    confidence: float | None = None


def refuses_logprobs(answer: Answer) -> bool:
    """True if the provider refused the request because of the log probabilities that it asks for."""
    return answer.status in _REFUSING and "logprobs" in answer.said.lower()


def total_cost(costs: Sequence[float | None]) -> float | None:
    """The sum of the known costs; None without any."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


MOST_WAITS = 3
LONGEST_WAIT_S = 60.0
_QUOTED = 300

NO_AUTH = httpx2.Auth()
"""Adds nothing: the headers have the credential."""

_REFUSED: Mapping[int, Failure] = {
    401: "caller_unauthorized",
    403: "caller_unauthorized",
    404: "caller_not_found",
    413: "caller_too_large",
    429: "provider_429",
}


def as_it_is(path: str, body: bytes) -> tuple[str, bytes]:
    """Path and body of the API's own form."""
    return path, body


@dataclass(frozen=True, slots=True)
class Read:
    """A parsed answer body: the model's text and usage, or a `failure`, and how sure the model was."""

    text: str
    usage: Usage | None
    failure: Failure | None
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model and how to reach it. `name` is `provider/model`. `arm` is the arm that the proxy must name.
    `auth` adds a credential to each request, unless `headers` has it. `request`: how its requests differ,
    unless the proxy changes them. `address`: path and body as the provider's URLs have them."""

    name: str
    model: str
    url: str
    wire: ChatWire
    headers: Mapping[str, str] = field(repr=False)
    read: Callable[[bytes], Read]
    cost: Callable[[Usage], float | None]
    timeout_s: float = 600.0
    arm: str | None = None
    auth: httpx2.Auth = field(default=NO_AUTH, repr=False)
    request: RequestChanges = NO_CHANGES
    address: Callable[[str, bytes], tuple[str, bytes]] = as_it_is

    def asks(self, messages: Sequence[CapturedMessage], extras: Extras = NO_EXTRAS) -> tuple[str, bytes]:
        """Path and body of one question."""
        path, request = self.wire.at(extras.path).asks(self.model, messages, extras.parameters)
        body = msgspec.json.encode(request)
        return self.address(path, adapted(body, self.request) or body)

    def key(self, messages: Sequence[CapturedMessage], extras: Extras = NO_EXTRAS) -> str:
        """What names a question by all that is asked, and where."""
        path, body = self.asks(messages, extras)
        return sha256(b"\0".join((self.url.encode(), path.encode(), body))).hexdigest()

    def answer(self, status: int, body: bytes, latency_s: float | None = None) -> Answer:
        """What came to one question: the text, or a failure with the provider's words."""
        if not 200 <= status < 300:
            words = quoted(body, self.headers.values())
            return Answer(failure=_refused(status), status=status, said=words, latency_s=latency_s)
        read = self.read(body)
        usage = read.usage
        return Answer(
            text=None if read.failure else read.text,
            failure=read.failure,
            status=status,
            latency_s=latency_s,
            cost_usd=None if usage is None else self.cost(usage),
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            confidence=read.confidence,
        )


class Asker:
    """Asks one target, as an app in production would: its request has what the example and the arm say."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        target: Target,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.target = target
        self.client = client
        self._sleep = sleep
        self._refuses_logprobs = False

    async def ask(
        self,
        messages: Sequence[CapturedMessage],
        extras: Extras = NO_EXTRAS,
        *,
        logprobs: bool = False,
    ) -> Answer:
        """One answer, with the model's confidence if `logprobs` is set and the model gives them: one that
        refuses them is asked without, now and later."""
        with_logprobs = self.target.wire.at(extras.path).with_logprobs
        if logprobs and with_logprobs is not None and not self._refuses_logprobs:
            more = replace(extras, parameters=with_logprobs(extras.parameters))
            answer = await self._until_taken(messages, more)
            if not refuses_logprobs(answer):
                return answer
            self._refuses_logprobs = True
        return await self._until_taken(messages, extras)

    async def _until_taken(self, messages: Sequence[CapturedMessage], extras: Extras) -> Answer:
        """One answer. After a 429 it waits and retries, at most three times: our rate is not the model's
        fault. Nothing else is retried."""
        turn = 0
        while True:
            answer, wait_s = await self._ask(messages, extras)
            if answer.failure != "provider_429" or turn == MOST_WAITS:
                return answer
            await self._sleep(min(2.0**turn if wait_s is None else wait_s, LONGEST_WAIT_S))
            turn += 1

    async def _ask(self, messages: Sequence[CapturedMessage], extras: Extras) -> tuple[Answer, float | None]:
        """(the answer, the seconds to wait from Retry-After)."""
        target = self.target
        path, body = target.asks(messages, extras)
        headers = {**target.headers, **extras.headers, "content-type": "application/json"}
        began = time.perf_counter()
        try:
            async with asyncio.timeout(target.timeout_s):
                response = await self.client.post(
                    target.url + path,
                    content=body,
                    headers=headers,
                    auth=target.auth,
                )
        except (TimeoutError, httpx2.HTTPError) as problem:
            return Answer(failure=_broken(problem), latency_s=time.perf_counter() - began), None
        return self._answer(response, time.perf_counter() - began), _wait_s(response)

    def _answer(self, response: httpx2.Response, latency_s: float) -> Answer:
        target, status = self.target, response.status_code
        other = target.arm is not None and response.headers.get("x-canary-arm") != target.arm
        if response.is_success and other:
            return Answer(failure="not_pinned", status=status, said="another arm of the canary answered")
        return target.answer(status, response.content, latency_s)


def quoted(body: bytes, keys: Iterable[str]) -> str:
    """The provider's code and message, without the keys; the beginning of a body in no known form."""
    told = said(body, [key.removeprefix("Bearer ") for key in keys])
    if told is None:
        return body.decode("utf-8", "replace")[:_QUOTED]
    return ": ".join(part for part in (told.code or told.type, told.message) if part)


def _broken(problem: Exception) -> Failure:
    if isinstance(problem, httpx2.ConnectError | httpx2.ConnectTimeout):
        return "provider_connect"
    if isinstance(problem, TimeoutError | httpx2.TimeoutException):
        return "provider_timeout"
    return "provider_malformed" if isinstance(problem, httpx2.DecodingError) else "provider_reset"


def _refused(status: int) -> Failure:
    if status >= 500:
        return "provider_5xx"
    return _REFUSED.get(status, "caller_rejected" if status >= 400 else "provider_malformed")


def _wait_s(response: httpx2.Response) -> float | None:
    retry_after = response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        return None
