"""A provider of realtime sessions made with `websockets`. The model's name says what it does."""

import asyncio
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.serving import WAIT_S


@dataclass
class Seen:
    """One handshake that reached the provider, what a chat there was told, and how the session ended."""

    target: str
    headers: list[tuple[str, str]]
    model: str
    told: list[dict[str, Any]] = field(default_factory=list)
    closed: tuple[int, str] | None = None

    def header(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each.lower() == name]


@dataclass
class RealtimeProvider:
    """Listens on a thread of its own while it is entered. `seen` is the truth about what arrived."""

    compression: str | None = "deflate"
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    _ready: threading.Event = field(default_factory=threading.Event)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def sessions(self, model: str) -> list[Seen]:
        return [each for each in self.seen if each.model == model]

    def __enter__(self) -> "RealtimeProvider":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="realtime-provider")
        self._thread.start()
        assert self._ready.wait(WAIT_S), "the realtime provider did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server: Server
        async with serve(
            self._session,
            "127.0.0.1",
            0,
            process_request=self._refuse,
            subprotocols=[Subprotocol("realtime")],
            select_subprotocol=_first_offered,
            compression=self.compression,
            max_size=None,
            ping_interval=None,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()

    def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        """Models called refuse-STATUS get no session."""
        query = parse_qs(urlsplit(request.path).query)
        model = query.get("model", [""])[0]
        self.seen.append(Seen(request.path, list(request.headers.raw_items()), model))
        connection.seen = self.seen[-1]  # type: ignore[attr-defined]
        _, _, status = model.rpartition("refuse-")
        if not status.isdigit():
            return None
        answer = connection.respond(HTTPStatus(int(status)), json.dumps({"error": {"code": status}}))
        answer.headers["x-request-id"] = "req_1"
        return answer

    async def _session(self, connection: ServerConnection) -> None:
        seen: Seen = connection.seen  # type: ignore[attr-defined]
        with suppress(ConnectionClosed):
            await _ACTS.get(seen.model.split("_")[0], _echo)(connection)
        await connection.wait_closed()
        seen.closed = (connection.close_code or 0, connection.close_reason or "")


def _first_offered(connection: ServerConnection, offered: Any) -> Subprotocol | None:
    return Subprotocol("realtime") if "realtime" in offered else None


async def _echo(connection: ServerConnection) -> None:
    """Say back whatever comes; a text `close CODE REASON` closes."""
    async for message in connection:
        if isinstance(message, str) and message.startswith("close "):
            _, code, reason = message.split(" ", 2)
            await connection.close(int(code), reason)
        elif message == "cut":
            connection.transport.abort()
        elif message == "in parts":
            await connection.send(["in", " ", "parts"])
        else:
            await connection.send(message)


async def _chat(connection: ServerConnection) -> None:
    """The events of OpenAI's general realtime API, one answer for each `response.create`."""
    await _send(connection, "session.created", session={"type": "realtime"})
    async for message in connection:
        asked = json.loads(message)
        connection.seen.told.append(asked)  # type: ignore[attr-defined]
        if asked["type"] == "response.create":
            await _answer(connection, asked.get("response", {}))


async def _answer(connection: ServerConnection, asked: dict[str, Any]) -> None:
    await _send(connection, "response.created", response={"id": "resp_1", "status": "in_progress"})
    for word in ("Good", " day"):
        await _send(connection, "response.output_text.delta", delta=word)
    if asked.get("metadata", {}).get("hang"):
        await connection.wait_closed()
    audio = int(asked.get("metadata", {}).get("audio", 0))
    usage = {
        "total_tokens": 130,
        "input_tokens": 100,
        "output_tokens": 30,
        "input_token_details": {"text_tokens": 100, "audio_tokens": 0, "cached_tokens": 64},
        "output_token_details": {"text_tokens": 30 - audio, "audio_tokens": audio},
    }
    await _send(connection, "response.done", response={"id": "resp_1", "status": "completed", "usage": usage})


async def _unknown(connection: ServerConnection) -> None:
    """Refuses as OpenAI does: after the handshake."""
    error = {"type": "invalid_request_error", "code": "model_not_found", "message": "no such model"}
    await _send(connection, "error", error=error)
    await connection.close(4004, "invalid_request_error.model_not_found")


async def _limit(connection: ServerConnection) -> None:
    """A session that came to its longest length."""
    await _send(connection, "session.created", session={})
    await _send(connection, "error", error={"type": "invalid_request_error", "code": "session_expired"})
    await connection.close(1001, "Your session hit the maximum duration of 60 minutes.")


async def _send(connection: ServerConnection, kind: str, **members: Any) -> None:
    await connection.send(json.dumps({"type": kind, "event_id": "event_1", **members}))


_ACTS = {"chat": _chat, "unknown": _unknown, "limit": _limit}
