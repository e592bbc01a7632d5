"""A provider of responses over WebSockets made with `websockets`; the events are the demo provider's."""

import asyncio
import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from types import TracebackType
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from demo.provider.behaviour import Behaviour, answer
from demo.provider.responses import RESPONSES, response_id
from tests.serving import WAIT_S


@dataclass
class Line:
    """One connection: its handshake, and the messages that came, as they came."""

    target: str
    headers: Mapping[str, str]
    messages: list[str] = field(default_factory=list)

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [json.loads(each) for each in self.messages]


@dataclass
class ResponsesProvider:
    """Listens on a thread of its own while it is entered. `lines` is the truth about what arrived.

    A model called `refuse-STATUS` is refused by an error event, `break` closes the connection in the middle
    of a response, `silent` never answers, `foreign` reads no sealed state. The instructions "fail" are an
    error 503. With `generate` false a response
    is empty. A steered response has a successor, unasked. `keys`: those that get a line; None for any.
    """

    keys: frozenset[str] | None = None
    lines: list[Line] = field(default_factory=list)
    port: int = 0
    _ready: threading.Event = field(default_factory=threading.Event)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "ResponsesProvider":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="responses-provider")
        self._thread.start()
        assert self._ready.wait(WAIT_S), "the provider did not start"
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
            process_request=self._admit,
            process_response=lambda connection, request, response: response.headers.update(
                {"x-request-id": "req_line"}
            ),
            max_size=None,
            ping_interval=None,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.lines.append(Line(request.path, dict(request.headers.raw_items())))
        connection.line = self.lines[-1]  # type: ignore[attr-defined]
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.keys is None or key in self.keys:
            return None
        return connection.respond(HTTPStatus.UNAUTHORIZED, json.dumps({"error": {"code": "invalid_api_key"}}))

    async def _session(self, connection: ServerConnection) -> None:
        line: Line = connection.line  # type: ignore[attr-defined]
        stored: dict[str, list[Any]] = {}
        before: dict[str, Any] = {}
        with suppress(ConnectionClosed):
            async for message in connection:
                line.messages.append(str(message))
                asked = json.loads(message)
                if asked["type"] == "response.create":
                    before = asked
                    await _answer(connection, asked, stored)
                elif asked["previous_response_id"] in stored:
                    await _answer(connection, {**before, "input": asked["input"]}, stored)


async def _answer(connection: ServerConnection, asked: dict[str, Any], stored: dict[str, list[Any]]) -> None:
    model, lane = str(asked.get("model")), asked.get("stream_id")
    marks = {} if lane is None else {"stream_id": lane}
    status = model.removeprefix("refuse-") if model.startswith("refuse-") else ""
    status = "503" if asked.get("instructions") == "fail" else status
    previous = asked.get("previous_response_id")
    if status or (previous is not None and previous not in stored):
        code = "unsupported_parameter" if status else "previous_response_not_found"
        error = {"type": "invalid_request_error", "code": code, "message": "not so"}
        await _send(connection, {"type": "error", "status": int(status or 400), "error": error, **marks})
        return
    if model == "foreign" and "encrypted_content" in json.dumps(asked):
        message = "The encrypted content could not be verified."
        error = {"type": "invalid_request_error", "code": "invalid_encrypted_content", "message": message}
        await _send(connection, {"type": "error", "status": 400, "error": error, **marks})
        return
    if model == "silent":
        return
    if asked.get("generate") is False:
        empty = {"id": f"resp_warm_{len(stored)}", "object": "response", "model": model, "output": []}
        stored[str(empty["id"])] = []
        await _send(connection, {"type": "response.created", "response": empty, **marks})
        await _send(connection, {"type": "response.completed", "response": empty | {"status": "completed"}})
        return
    given = (
        asked["input"] if isinstance(asked["input"], list) else [{"role": "user", "content": asked["input"]}]
    )
    added = stored.get(previous or "", [])  # what was said before holds for what goes on from it
    prompt = RESPONSES.read(None, {**asked, "input": [*added, *given]})  # type: ignore[arg-type]
    draws = Random(json.dumps(asked, sort_keys=True))
    reply = answer(prompt, Behaviour(words=12), draws)
    stored[response_id(reply)] = [*added, *(item for item in given if item.get("type") == "additional_tools")]
    for number, event in enumerate(RESPONSES.events(prompt, reply, 1_800_000_000)):
        if model == "break" and number == 5:
            connection.transport.abort()
            return
        data = event.data.partition(b"data: ")[2]
        await _send(connection, json.loads(data) | marks)


async def _send(connection: ServerConnection, event: dict[str, Any]) -> None:
    await connection.send(json.dumps(event))
