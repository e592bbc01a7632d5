"""Where there is no room: who is refused, who is answered by the baseline, and what is recorded of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest
import uvicorn
from uvicorn.server import ServerState

from proxy.attempt import Attempt
from proxy.breaker import IN_A_ROW
from proxy.exchange import Exchanges, report_to_breaker
from proxy.mirror import Mirrors
from proxy.pins import Pins
from proxy.provider import Provider
from proxy.record import Recorder
from proxy.routes import Routes
from proxy.server import TrafficProtocol
from proxy.upstream import Upstreams
from records.outcome import ErrorType, Outcome
from routing.plan import Plan, State
from tests.proxy.calls import trial
from tests.proxy.raw_provider import RawProvider, Wire, pool

Run = Callable[[Any], Any]
KEY = b"k" * 32
REJECTS: ErrorType = "candidate_rejects"
ANSWER = b'{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}'


@dataclass
class Holding:
    """A provider that answers "quick" at once, and everything else when it is let go."""

    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self, wire: Wire) -> None:
        while True:
            request = await wire.request()
            if b"quick" not in request.body:
                self.held.set()
                await self.let_go.wait()
            await wire.send(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(ANSWER), ANSWER)
            )


class Traffic:
    """Exchanges behind a listener of their own. All users are of the candidate, or with a share of 0 of the
    baseline."""

    def __init__(self, provider: Provider, upstreams: Upstreams, *, covered: bool) -> None:
        plain = trial(baseline=("raw", "base"), candidate=("raw", "new"), providers={"raw": provider})
        self.trial = replace(plain, canary=replace(plain.canary, fall_back=covered))
        self.share = 1.0
        self.outcomes: list[Outcome] = []
        recorder = Recorder(append=self._append, price=lambda api, model, usage: None, ids_key=KEY)
        self.exchanges = Exchanges(
            routes=Routes({"raw": provider}, [self.trial], ()),
            plan=self.plan,
            upstreams=upstreams,
            recorder=recorder,
            assignment_key=KEY,
            pins=Pins(lambda: None),
            mirrors=Mirrors(upstreams=upstreams, recorder=recorder, plan=self.plan),
        )

    def plan(self) -> Plan:
        state = State(state="running", share=self.share, definition=self.trial.definition)
        return Plan(version=1, states={"support": state})

    def _append(self, outcome: Outcome) -> bool:
        self.outcomes.append(outcome)
        return True

    @asynccontextmanager
    async def served(self) -> AsyncIterator[httpx2.AsyncClient]:
        """A client whose requests reach them."""
        loop, state = asyncio.get_running_loop(), ServerState()
        config = uvicorn.Config(
            self.exchanges, http=TrafficProtocol, ws="none", lifespan="off", log_config=None
        )  # type: ignore[arg-type]
        server = await loop.create_server(
            lambda: TrafficProtocol(config, state, {}, _loop=loop), "127.0.0.1", 0
        )
        host, port = server.sockets[0].getsockname()
        async with httpx2.AsyncClient(
            base_url=f"http://{host}:{port}", trust_env=False, timeout=20.0
        ) as http:
            yield http
        server.close()


def chat(text: str) -> dict[str, Any]:
    return {"model": "gpt-4o", "user": "somebody", "messages": [{"role": "user", "content": text}]}


def with_the_only_place_taken(
    run: Run, *, covered: bool = True, first: float = 1.0, second: float = 1.0
) -> tuple[httpx2.Response, list[Outcome]]:
    """One request is held by the arm that a share of `first` means; what becomes of another."""

    async def scene() -> tuple[httpx2.Response, list[Outcome]]:
        holding = Holding()
        async with RawProvider(holding.play) as provider, pool(limit=1, most_waiting=0) as upstreams:
            traffic = Traffic(provider.entry(), upstreams, covered=covered)
            async with traffic.served() as http:
                traffic.share = first
                held = asyncio.ensure_future(http.post("/v1/chat/completions", json=chat("held")))
                await holding.held.wait()
                traffic.share = second
                answer = await http.post("/v1/chat/completions", json=chat("quick"))
                holding.let_go.set()
                assert (await held).status_code == 200
            return answer, traffic.outcomes

    answer, outcomes = run(scene())
    return answer, outcomes


def test_what_a_full_candidate_cannot_take_the_baseline_answers_and_nobody_is_blamed(run: Run) -> None:
    answer, (outcome, held) = with_the_only_place_taken(run)
    assert (answer.status_code, answer.headers["x-canary-served-by"]) == (200, "baseline")
    assert (outcome.outcome, outcome.error_type, outcome.arm) == ("fallback", "proxy_full", "candidate")
    assert [attempt.arm for attempt in outcome.attempts] == ["baseline"]
    assert not (outcome.failed or outcome.evidence)
    assert (held.outcome, held.served_by) == ("ok", "candidate")


def test_a_full_candidate_that_nobody_answers_for_is_no_fault_of_its_own(run: Run) -> None:
    answer, (outcome, _) = with_the_only_place_taken(run, covered=False)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "shed"
    assert (outcome.outcome, outcome.error_type, outcome.arm) == ("shed", "shed", "candidate")
    assert not (outcome.failed or outcome.evidence)


@pytest.mark.parametrize("second", [0.0, 1.0])
def test_where_the_baseline_is_full_both_arms_are_refused(run: Run, second: float) -> None:
    answer, (outcome, _) = with_the_only_place_taken(run, first=0.0, second=second)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "x-canary-arm" not in answer.headers
    assert (outcome.outcome, outcome.error_type, outcome.canary) == ("shed", "shed", "")


@pytest.mark.parametrize(
    ("failure", "opens"),
    [
        ("provider_connect", True),
        ("provider_5xx", True),
        ("provider_stale", False),
        ("proxy_no_descriptors", False),
        (REJECTS, False),
    ],
)
def test_only_what_is_the_candidates_fault_opens_its_breaker(failure: ErrorType, opens: bool) -> None:
    tried = trial()
    attempt = Attempt(tried.candidate)
    attempt.failure = failure
    for _ in range(IN_A_ROW):
        report_to_breaker(tried, attempt)
    assert tried.breaker.open is opens
