"""Asks one model one question over HTTP. `scorers` judge the answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx2

from bench.answer import Answer, Failure
from bench.wires import ChatWire
from records.capture import CapturedMessage
from records.outcome import Usage

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


@dataclass(frozen=True, slots=True)
class Read:
    """A parsed answer body: the model's text and usage, or a `failure`."""

    text: str
    usage: Usage | None
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model and how to reach it. `name` is `provider/model`. `arm` is the arm that the proxy must name.
    `auth` adds a credential to each request, unless `headers` has it."""

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


class Asker:
    """Asks one target. After the model has refused the temperature, it is no longer sent."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        target: Target,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.target = target
        self._client = client
        self._sleep = sleep
        self._calm = True

    async def ask(self, messages: Sequence[CapturedMessage]) -> Answer:
        """One answer. After a 429 it waits and retries, at most three times: our rate is not the model's
        fault. The only other retry is without a refused temperature."""
        turn = 0
        while True:
            calm = self._calm  # a concurrent question may change it
            answer, wait_s = await self._ask(messages, calm=calm)
            if answer.status == 400 and calm:
                answer, wait_s = await self._without_temperature(messages, answer)
            if answer.failure != "provider_429" or turn == MOST_WAITS:
                return answer
            await self._sleep(min(2.0**turn if wait_s is None else wait_s, LONGEST_WAIT_S))
            turn += 1

    async def _without_temperature(
        self, messages: Sequence[CapturedMessage], refused: Answer
    ) -> tuple[Answer, float | None]:
        answer, wait_s = await self._ask(messages, calm=False)
        if answer.status == 400:
            return refused, None
        self._calm = False
        return answer, wait_s

    async def _ask(self, messages: Sequence[CapturedMessage], *, calm: bool) -> tuple[Answer, float | None]:
        """(the answer, the seconds to wait from Retry-After)."""
        target = self.target
        path, body = target.wire.asks(target.model, messages, calm)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(target.timeout_s):
                response = await self._client.post(
                    target.url + path, json=body, headers=dict(target.headers), auth=target.auth
                )
        except (TimeoutError, httpx2.HTTPError) as problem:
            return Answer(failure=_broken(problem), latency_s=time.perf_counter() - began), None
        return self._answer(response, time.perf_counter() - began), _wait_s(response)

    def _answer(self, response: httpx2.Response, latency_s: float) -> Answer:
        target = self.target
        status = response.status_code
        if not response.is_success:
            return Answer(
                failure=_refused(status), status=status, said=response.text[:_QUOTED], latency_s=latency_s
            )
        if target.arm is not None and response.headers.get("x-canary-arm") != target.arm:
            return Answer(failure="not_pinned", status=status, said="another arm of the canary answered")
        read = target.read(response.content)
        usage = read.usage
        return Answer(
            text=None if read.failure else read.text,
            failure=read.failure,
            status=status,
            latency_s=latency_s,
            cost_usd=None if usage is None else target.cost(usage),
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
        )


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
