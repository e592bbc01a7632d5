"""Asks one model one thing over HTTP, and tells what came of it. Decides nothing about right and wrong."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx2

from bench.answer import Answer, Failure
from bench.wires import ChatWire
from records.capture import Said
from records.outcome import Usage

MOST_WAITS = 3
LONGEST_WAIT_S = 60.0
_QUOTED = 300

_REFUSED: Mapping[int, Failure] = {
    401: "caller_unauthorized",
    403: "caller_unauthorized",
    404: "caller_not_found",
    413: "caller_too_large",
    429: "provider_429",
}


@dataclass(frozen=True, slots=True)
class Read:
    """A whole answer's body, read: what the model says, and its usage. `failure` where it is none."""

    text: str
    usage: Usage | None
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model and how it is reached. `name` is `provider/model`; `arm` the one that the proxy must name."""

    name: str
    model: str
    url: str
    wire: ChatWire
    headers: Mapping[str, str] = field(repr=False)
    read: Callable[[bytes], Read]
    cost: Callable[[Usage], float | None]
    timeout_s: float = 600.0
    arm: str | None = None


class Asker:
    """Asks one target. It learns: once the model refuses the temperature, it is no longer sent."""

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

    async def ask(self, messages: Sequence[Said]) -> Answer:
        """One answer. Throttled (429) it waits and asks again, three times at most: how fast we ask is no
        fault of the model. Nothing else is asked again, but without a parameter that was refused."""
        turn = 0
        while True:
            calm = self._calm  # another question may change it meanwhile
            answer, wait_s = await self._ask(messages, calm=calm)
            if answer.status == 400 and calm:
                answer, wait_s = await self._without_temperature(messages, answer)
            if answer.failure != "provider_429" or turn == MOST_WAITS:
                return answer
            await self._sleep(min(2.0**turn if wait_s is None else wait_s, LONGEST_WAIT_S))
            turn += 1

    async def _without_temperature(
        self, messages: Sequence[Said], refused: Answer
    ) -> tuple[Answer, float | None]:
        answer, wait_s = await self._ask(messages, calm=False)
        if answer.status == 400:
            return refused, None
        self._calm = False
        return answer, wait_s

    async def _ask(self, messages: Sequence[Said], *, calm: bool) -> tuple[Answer, float | None]:
        """(what came, how long the provider asks to wait)."""
        target = self.target
        path, body = target.wire.asks(target.model, messages, calm)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(target.timeout_s):
                came = await self._client.post(target.url + path, json=body, headers=dict(target.headers))
        except (TimeoutError, httpx2.HTTPError) as problem:
            return Answer(failure=_broken(problem), latency_s=time.perf_counter() - began), None
        return self._told(came, time.perf_counter() - began), _wait_s(came)

    def _told(self, came: httpx2.Response, latency_s: float) -> Answer:
        target = self.target
        if not came.is_success:
            return Answer(
                failure=_refused(came.status_code),
                status=came.status_code,
                said=_quoted(came),
                latency_s=latency_s,
            )
        if target.arm is not None and came.headers.get("x-canary-arm") != target.arm:
            return Answer(
                failure="not_pinned", status=came.status_code, said="the proxy let another arm answer"
            )
        read = target.read(came.content)
        usage = read.usage
        return Answer(
            text=None if read.failure else read.text,
            failure=read.failure,
            status=came.status_code,
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


def _wait_s(came: httpx2.Response) -> float | None:
    asked = came.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(asked))
    except ValueError:
        return None


def _quoted(came: httpx2.Response) -> str:
    """The beginning of what a provider says of its refusal."""
    return came.text[:_QUOTED]
