"""What stands around the demo: the local provider, the server itself, and a pager that takes webhooks."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from canary.client import AdminClient

READY_WITHIN_S = 20.0
STOP_WITHIN_S = 15.0


class Backdrop:
    """The provider and `canary serve` as programs of their own; both end with the demo."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[asyncio.subprocess.Process] = []
        self.data = folder / "data"
        self.provider = self.traffic = self.admin_url = ""

    async def __aenter__(self) -> "Backdrop":
        fine = '{"ttft_s": 0.02, "spread": 0.3}'
        process = await self._start(
            "canary.demo.provider", "--json-ready", *(f"--behaviour={model}={fine}" for model in MODELS),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None  # noqa: S101
        self.provider = json.loads(await process.stdout.readline())["url"]
        return self

    async def serve(self, config: Path) -> None:
        """Start `canary serve` on free ports and wait until it is ready."""
        with (self._folder / "serve.log").open("wb") as log:
            await self._start(
                "canary", "serve", "--config", str(config), "--data", str(self.data), "--grace", "5s",
                "--traffic", "127.0.0.1:0", "--admin", "127.0.0.1:0", stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + READY_WITHIN_S
        async with httpx2.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline:
                if await self._ready(client):
                    return
                await asyncio.sleep(0.05)
        raise TimeoutError(f"canary serve did not get ready; see {self._folder / 'serve.log'}")

    async def behave(self, model: str, behaviour: Mapping[str, Any]) -> None:
        """Tell the provider how a model behaves from now on."""
        async with httpx2.AsyncClient(trust_env=False) as client:
            answer = await client.put(f"{self.provider}/_provider/behaviours/{model}", json=behaviour)
            answer.raise_for_status()

    def admin(self) -> AdminClient:
        """The server's admin API."""
        return AdminClient(admin=None, data=self.data, environment={})

    async def _ready(self, client: httpx2.AsyncClient) -> bool:
        try:
            where = json.loads((self.data / "server.json").read_text())
            self.traffic, self.admin_url = where["traffic"], where["admin"]
            answers = [await client.get(f"{url}/readyz") for url in (self.traffic, self.admin_url)]
        except (OSError, ValueError, httpx2.TransportError):
            return False
        return all(answer.status_code == 200 for answer in answers)

    async def _start(self, module: str, *arguments: str, **streams: Any) -> asyncio.subprocess.Process:
        unset = {name: value for name, value in os.environ.items() if not name.startswith("CANARY_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, env=unset, start_new_session=True, **streams
        )
        self._running.append(process)
        return process

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._running):
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
            except TimeoutError:
                process.kill()
                await process.wait()


MODELS = (
    "gpt-4o-2024-08-06",
    "gpt-4o-2024-11-20",
    "gpt-4o-mini-2024-07-18",
    "gpt-4.1-nano-2025-04-14",
)


class Pager:
    """A webhook receiver: on-call's telephone."""

    def __init__(self) -> None:
        self._received: list[dict[str, Any]] = []
        app = Starlette(routes=[Route("/page", self._take, methods=["POST"])])
        self._server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None, access_log=False)
        )
        self._task: asyncio.Task[None] | None = None
        self.url = ""

    def latest(self, canary: str, event: str) -> dict[str, Any] | None:
        """The newest notice of this kind about this canary, if one came."""
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
