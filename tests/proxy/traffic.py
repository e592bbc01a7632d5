"""Exchanges behind a listener of their own, without a server's other processes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import uvicorn
from uvicorn.server import ServerState

from proxy.attempts.checker import Checker
from proxy.attempts.mirror import Mirrors
from proxy.attempts.record import ExchangeRecorder
from proxy.calls.canary_choice import ArmPins
from proxy.calls.routes import Routes
from proxy.exchange import Exchanges
from proxy.network.server.caller_connection import TrafficProtocol
from proxy.network.ticker import Ticker
from proxy.network.upstream.pool import Upstreams
from proxy.providers.credentials import Credentials
from proxy.providers.provider import Provider
from records.outcome import Outcome
from routing.states import State, States
from tests.proxy.calls import trial

KEY = b"k" * 32
Handler = Callable[[Any], Coroutine[Any, Any, None]]
ANSWER = b'{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}'


class Traffic:
    """Exchanges behind a listener of their own. All users are of the candidate, or with a share of 0 of the
    baseline."""

    def __init__(
        self,
        provider: Provider,
        upstreams: Upstreams,
        *,
        covered: bool = True,
        candidate: Provider | None = None,
        patience_s: float | None = None,
        checker: Checker | None = None,
    ) -> None:
        """`provider` is the baseline's, and the candidate's where it has none of its own."""
        plain = trial(baseline=("raw", "base"), candidate=("raw", "new"), providers={"raw": provider})
        target = replace(plain.candidate, provider=candidate or provider, patience_s=patience_s)
        canary = replace(plain.canary, fall_back=covered)
        self.trial = replace(plain, canary=canary, candidate=target)
        self.share = 1.0
        self.outcomes: list[Outcome] = []
        self.state = State(state="running", definition=self.trial.definition)
        self.patience: dict[str, dict[str, float]] = {}
        self.silence: dict[str, dict[str, float]] = {}
        self.recorder = ExchangeRecorder(
            append=self._append,
            price=lambda api, model, usage: None,
            ids_key=KEY,
            checker=checker,
            states=self.states,
        )
        self.ticker = Ticker(asyncio.get_running_loop())
        credentials = Credentials()
        self.exchanges = Exchanges(
            routes=Routes({"raw": provider}, [self.trial], ()),
            states=self.states,
            upstreams=upstreams,
            recorder=self.recorder,
            assignment_key=KEY,
            pins=ArmPins(lambda: None),
            mirrors=Mirrors(
                upstreams=upstreams, recorder=self.recorder, states=self.states, credentials=credentials
            ),
            ticker=self.ticker,
            credentials=credentials,
        )

    def states(self) -> States:
        state = replace(self.state, share=self.share)
        return States(version=1, states={"support": state}, patience=self.patience, silence=self.silence)

    def _append(self, outcome: Outcome) -> bool:
        self.outcomes.append(outcome)
        return True

    @asynccontextmanager
    async def served(self, handler: Handler | None = None) -> AsyncIterator[httpx2.AsyncClient]:
        """A client whose requests reach them, or a handler around them."""
        loop, state = asyncio.get_running_loop(), ServerState()
        config = uvicorn.Config(
            handler or self.exchanges, http=TrafficProtocol, ws="none", lifespan="off", log_config=None
        )  # type: ignore[arg-type]
        server = await loop.create_server(
            lambda: TrafficProtocol(config, state, {}, _loop=loop), "127.0.0.1", 0
        )
        host, port = server.sockets[0].getsockname()
        async with httpx2.AsyncClient(
            base_url=f"http://{host}:{port}", trust_env=False, timeout=60.0
        ) as http:
            yield http
        server.close()


def chat(text: str) -> dict[str, Any]:
    return {"model": "gpt-4o", "user": "somebody", "messages": [{"role": "user", "content": text}]}
