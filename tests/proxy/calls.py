"""Providers, trials and calls for the request path's tests, built by the real code where there is some.

test_doubles.py holds `Request`, `Outlet` and `Script` to what they stand in for.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from proxy.calls.call import Call
from proxy.calls.callers import Callers
from proxy.calls.canary_choice import CanaryChooser
from proxy.calls.reader import HeldBodies, read
from proxy.calls.routes import ArmTarget, Routes, Trial
from proxy.network.server.caller_request import CallerRequest
from proxy.network.upstream.response import UpstreamError
from proxy.providers.provider import Provider
from records.outcome import ErrorType
from routing.canary import SESSION_FROM, Arm, Canary, Match, SessionSource, Step, UnitSource, definition
from routing.states import NO_STATES

OPENAI = Provider(name="openai", api="openai", base_url="https://api.openai.com/v1")
AZURE = Provider(name="azure", api="openai", base_url="https://azure.example/v1", api_key="sk-azure-own")
ANTHROPIC = Provider(name="anthropic", api="anthropic", base_url="https://api.anthropic.com")
CLAUDE = Provider(name="claude", api="anthropic", base_url="https://claude.example", api_key="sk-claude-own")
GEMINI = Provider(name="gemini", api="gemini", base_url="https://generativelanguage.googleapis.com")
VERTEX = Provider(name="vertex", api="gemini", base_url="https://vertex.example", api_key="goog-own")
PROVIDERS = {each.name: each for each in (OPENAI, AZURE, ANTHROPIC, CLAUDE, GEMINI, VERTEX)}

Header = tuple[bytes, bytes]


def trial(
    name: str = "support",
    *,
    models: Sequence[str] = ("gpt-4o",),
    match: Match | None = None,
    baseline: tuple[str, str] = ("openai", "gpt-4o-2024-08-06"),
    candidate: tuple[str, str] = ("openai", "gpt-4o-2024-11-20"),
    unit_from: Sequence[UnitSource] = ("header", "body", "session"),
    session_from: Sequence[SessionSource] = SESSION_FROM,
    providers: Mapping[str, Provider] = PROVIDERS,
) -> Trial:
    """A canary and its targets; arms are (provider entry, model)."""
    canary = Canary(
        name=name,
        match=match or Match(models=frozenset(models)),
        baseline=Arm(provider=baseline[0], model=baseline[1]),
        candidate=Arm(provider=candidate[0], model=candidate[1]),
        steps=(Step(share=0.05),),
        unit_from=unit_from,
        session_from=session_from,
    )
    base, tried = providers[baseline[0]], providers[candidate[0]]
    return Trial(
        canary=canary,
        definition=definition(canary),
        baseline=ArmTarget(
            arm="baseline", provider=base, model=baseline[1], timeout=base.timeout, key=f"{name}/baseline"
        ),
        candidate=ArmTarget(
            arm="candidate",
            provider=tried,
            model=candidate[1],
            timeout=tried.timeout,
            key=f"{name}/candidate",
        ),
    )


def routes(*trials: Trial, tags: Sequence[str] = (), providers: Mapping[str, Provider] = PROVIDERS) -> Routes:
    """The table of these providers and trials."""
    return Routes(providers, trials, tags)


LANES = CanaryChooser(lambda: NO_STATES, lambda: b"key")
"""Where no canary has a lane."""


class Body:
    """A request's body in parts. `left`: the caller leaves after them."""

    def __init__(self, *parts: bytes, left: bool = False) -> None:
        self.parts = [part for part in parts if part]
        self.left = left


@dataclass(eq=False)
class Request:
    """A request as the server hands it over. It stands in for `proxy.network.server.CallerRequest`."""

    method: str
    path: str
    query: bytes
    headers: list[Header]
    body: Body
    upgrades: bool = False

    def taken(self) -> bytes | None:
        whole = len(self.body.parts) == 1 and not self.body.left
        return self.body.parts.pop() if whole else None

    async def read(self) -> bytes:
        if self.body.parts:
            return self.body.parts.pop(0)
        if self.body.left:
            raise asyncio.CancelledError
        return b""


class Outlet:
    """A caller that takes everything at once, or (`full`) asks for a pause after each write."""

    def __init__(self, *, full: bool = False) -> None:
        self.written: list[bytes] = []
        self.drained = 0
        self.paused = full

    def write(self, data: bytes) -> None:
        self.written.append(data)

    async def drain(self) -> None:
        self.drained += 1


class Script:
    """An upstream answer that says these parts, each at a second of its own, and then ends: cleanly, with an
    error, or (`more`) not at all. It stands in for `proxy.network.upstream.UpstreamResponse`."""

    def __init__(
        self,
        *parts: bytes,
        status: int = 200,
        kind: bytes = b"application/json",
        headers: Sequence[Header] = (),
        error: ErrorType | None = None,
        more: bool = False,
    ) -> None:
        self.status = status
        self.reason = b"As It Was Said"
        self.headers = [(b"content-type", kind), *headers]
        self.read_at = 0.0
        self.times: list[float] = []
        self.aborted = False
        self._parts = list(parts)
        self._error: ErrorType | None = error
        self._more = more
        self._given_up = asyncio.Event()

    framed = True

    def silence_s(self, now: float) -> float:
        return 0.0

    @property
    def whole(self) -> bool:
        return len(self._parts) < 2 and not (self._error or self._more)

    @property
    def complete(self) -> bool:
        return self.whole and not self._parts

    async def read(self) -> bytes:
        if not self._parts and self._more:
            await self._given_up.wait()
        if not self._parts and self._error is not None:
            raise UpstreamError(self._error, "it broke")
        self.read_at = time.monotonic()
        self.times.append(self.read_at)
        return self._parts.pop(0) if self._parts else b""

    async def pass_on(self, take: Callable[[bytes], bool]) -> bytes | None:
        while len(self._parts) > 1 or not self.complete:
            data = await self.read()
            if self.complete:
                return data
            if data and not take(data):
                return None
        return await self.read()

    def abort(self) -> None:
        self.aborted = True
        if not self.whole:
            self._error = self._error or "aborted"
            self._parts.clear()
            self._given_up.set()


def call(
    body: bytes | dict[str, Any] | Body = b"",
    *headers: Header,
    path: str = "/v1/chat/completions",
    query: bytes = b"",
    method: str = "POST",
    table: Routes | None = None,
) -> Call:
    """Read one request by the real reader. A dict is sent as JSON; without a table, a trial takes gpt-4o."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    request = Request(
        method,
        path,
        query,
        [(b"content-type", b"application/json"), *headers],
        Body(body) if isinstance(body, bytes) else body,
    )
    return asyncio.run(
        read(cast(CallerRequest, request), table or routes(trial()), LANES, Callers(), HeldBodies())
    )
