"""The demo's environment: the local provider, the server, a pager that receives webhooks, and users."""

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

import httpx2
import uvicorn
from openai import APIError, AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from canary.commands.client import AdminClient, ServerNotReached
from canary.config.server import Role
from canary.python_path import environment, program

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0


class DemoServers:
    """Runs the provider and `canary serve` as child processes, which end with the demo."""

    def __init__(self, folder: Path, roles: Sequence[Role]) -> None:
        self._folder = folder
        self._running: list[asyncio.subprocess.Process] = []
        self._environment = {
            **{name: value for name, value in environment().items() if not name.startswith("CANARY_")},
            "CANARY_SECRET": secrets.token_hex(32),
            "CANARY_ADMIN_TOKEN": secrets.token_hex(32),
        }
        self._servers = [_Server(role, folder / f"data-{number}") for number, role in enumerate(roles)]
        self.provider = ""

    async def __aenter__(self) -> "DemoServers":
        return self

    async def provide(self) -> None:
        """Start the provider, and wait until it listens."""
        fine = '{"ttft_s": 0.02, "spread": 0.3}'
        process = await self._start(
            "demo.provider", "--json-ready", *(f"--behaviour={model}={fine}" for model in MODELS),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None  # noqa: S101
        self.provider = json.loads(await process.stdout.readline())["url"]

    @property
    def data(self) -> Path:
        """The first server's data folder."""
        return self._servers[0].data

    @property
    def urls(self) -> list[str]:
        """The URLs of the traffic listeners."""
        return [server.traffic for server in self._servers if server.traffic]

    @property
    def admin_url(self) -> str:
        """The URL of an admin listener."""
        return next(server.admin for server in self._servers if server.role != "traffic")

    @property
    def token(self) -> str:
        """The admin token."""
        return self._environment["CANARY_ADMIN_TOKEN"]

    @property
    def secret(self) -> bytes:
        """The servers' secret."""
        return self._environment["CANARY_SECRET"].encode()

    async def serve(self, config: Path) -> None:
        """Start `canary serve` in each role, on free ports, and wait until all are ready."""
        with (self._folder / "serve.log").open("wb") as log:
            for server in self._servers:
                await self._start(
                    "canary", "serve", "--config", str(config), "--data", str(server.data), "--grace", "5s",
                    "--traffic", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--role", server.role, stderr=log,
                )  # fmt: skip
        deadline = time.monotonic() + READY_WITHIN_S
        async with httpx2.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline:
                if await self._ready(client):
                    return
                await asyncio.sleep(0.05)
        raise TimeoutError(f"canary serve did not get ready; see {self._folder / 'serve.log'}")

    async def behave(self, model: str, behaviour: Mapping[str, Any]) -> None:
        """Set the provider's behaviour for a model."""
        async with httpx2.AsyncClient(trust_env=False) as client:
            answer = await client.put(f"{self.provider}/_provider/behaviours/{model}", json=behaviour)
            answer.raise_for_status()

    def admin(self) -> AdminClient:
        """A client of the server's admin API."""
        return AdminClient(admin=self.admin_url, data=self.data, environment=self._environment)

    async def _ready(self, client: httpx2.AsyncClient) -> bool:
        try:
            for server in self._servers:
                server.look()
            addresses = [*self.urls, *(server.admin for server in self._servers)]
            answers = [await client.get(f"{url}/readyz") for url in addresses]
            status = await asyncio.to_thread(self.admin().get, "/api/status")
        except (OSError, ValueError, httpx2.TransportError, ServerNotReached):
            return False
        follow = status["workers"]["confirmed"] == len(self.urls) and all(
            canary["state"] == "running" for canary in status["canaries"]
        )
        return follow and all(answer.status_code == 200 for answer in answers)

    async def _start(self, module: str, *arguments: str, **streams: Any) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *program(module, *arguments), env=self._environment, start_new_session=True, **streams
        )
        self._running.append(process)
        return process

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        # All are told before one is waited for: a second signal, which ends the wait, then leaves none.
        for process in self._running:
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*map(_ended, self._running))


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
    except TimeoutError:
        process.kill()
        await process.wait()


@dataclass(slots=True)
class _Server:
    """One `canary serve` and its addresses, known once it has written `server.json`; "" for none."""

    role: Role
    data: Path
    traffic: str = ""
    admin: str = ""

    def look(self) -> None:
        """Read the addresses."""
        where = json.loads((self.data / "server.json").read_text())
        self.traffic, self.admin = where.get("traffic", ""), where["admin"]


MODELS = (
    "gpt-5.6-terra",
    "gpt-6.1-terra",
    "gpt-5.6-sol",
    "gpt-6.1-sol",
    "gpt-5.6-luna",
    "gpt-6-luna",
)


class Pager:
    """A webhook receiver, in place of a pager."""

    def __init__(self) -> None:
        self._received: list[dict[str, Any]] = []
        app = Starlette(routes=[Route("/page", self._take, methods=["POST"])])
        self._server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None, access_log=False)
        )
        self._task: asyncio.Task[None] | None = None
        self.url = ""

    def latest(self, canary: str, event: str) -> dict[str, Any] | None:
        """The newest event of this kind for this canary; None if there is none."""
        mine = [each for each in self._received if each["canary"] == canary and each["event"] == event]
        return mine[-1] if mine else None

    async def _take(self, request: Request) -> Response:
        self._received.append(await request.json())
        return Response(status_code=204)

    async def __aenter__(self) -> "Pager":
        self._task = asyncio.create_task(self._server._serve())
        while not self._server.started:  # noqa: ASYNC110 - uvicorn tells by this flag only
            await asyncio.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/page"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task


# The demo's users, each with its own id, through the real OpenAI SDK.


AT_ONCE = 24
MOST_ASKED = 6000
FEEDBACK_AT_ONCE = 1000
_QUESTIONS = (
    "Where is my parcel?",
    "How do I change my address?",
    "Can I get a refund for last week's order?",
    "The app logs me out every morning. Why?",
)


class DemoUsers:
    """Sends requests like an app: with one changed base URL, and the user's id in `user`."""

    def __init__(
        self,
        urls: Sequence[str],
        members: Mapping[str, Any] | None = None,
        *,
        questions: Sequence[str] = _QUESTIONS,
    ) -> None:
        """`urls` are the traffic listeners of all replicas; requests alternate between them. `members` are
        added to every request's body."""
        self._members, self._questions = dict(members or {}), questions
        self._clients = [AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-demo", max_retries=0) for url in urls]
        self._turns = cycle(self._clients)
        self._http = httpx2.AsyncClient(base_url=urls[0], trust_env=False, timeout=30.0)
        self._random = Random(7)  # noqa: S311 - made-up users
        self._serial = 0
        self._exchanges: dict[str, tuple[str, str]] = {}
        self.by_arm: Counter[str] = Counter()
        self.answered = self.failed = 0

    async def ask(self, model: str, users: int, *, rounds: int = 1) -> None:
        """Send `rounds` requests from each of `count` new users."""
        first, self._serial = self._serial, self._serial + users
        names = [f"user-{first + number}" for number in range(users)]
        for _ in range(rounds):
            await self._all(model, iter(names))

    async def keep_asking(self, model: str, stop: asyncio.Event) -> None:
        """Send requests from new users until `stop` is set, or up to a maximum."""
        while not stop.is_set() and self._serial < MOST_ASKED:
            await self.ask(model, AT_ONCE)

    async def give_feedback(self) -> int:
        """Send feedback from every user: task_completed and csat, slightly better for the candidate."""
        feedback: list[dict[str, Any]] = []
        for exchange, arm in self._exchanges.values():
            better = arm == "candidate"
            feedback.append(
                self._value(exchange, "task_completed", self._random.random() < (0.97 if better else 0.93))
            )
            feedback.append(
                self._value(exchange, "csat", self._random.choice((4, 5, 5, 5) if better else (4, 4, 5, 5)))
            )
        for start in range(0, len(feedback), FEEDBACK_AT_ONCE):
            answer = await self._http.post(
                "/canary/feedback", json=feedback[start : start + FEEDBACK_AT_ONCE]
            )
            answer.raise_for_status()
        return len(feedback)

    def _value(self, exchange: str, metric: str, value: float) -> dict[str, Any]:
        return {"exchange_id": exchange, "metric": metric, "value": int(value)}

    async def _all(self, model: str, names: Any) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._some(model, names))

    async def _some(self, model: str, names: Any) -> None:
        for name in names:
            await self._one(model, name)

    async def _one(self, model: str, user: str) -> None:
        try:
            answer = await next(self._turns).chat.completions.with_raw_response.create(
                model=model,
                user=user,
                messages=[{"role": "user", "content": self._random.choice(self._questions)}],
                extra_body=self._members or None,
            )
        except APIError:
            self.failed += 1
            return
        self.answered += 1
        arm = answer.headers["x-canary-arm"]
        self.by_arm[arm] += 1
        self._exchanges[user] = (answer.headers["x-canary-exchange"], arm)

    async def __aenter__(self) -> "DemoUsers":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.close()
        await self._http.aclose()
