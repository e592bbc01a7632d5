"""The traffic listener's own endpoints: health, readiness, feedback. `exchange` serves the LLM paths.

They are ASGI apps, as the admin listener's are: `serve_asgi` serves a request with one.
"""

import asyncio
import hmac
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from proxy.network.server.caller_request import CallerRequest, sendable
from records.errors import BadFeedback, SpoolFull
from records.facts.feedback import FeedbackTerms, FeedbackVoices, complaints, parse
from records.facts.feedback_mapping import FeedbackMapping, event_complaints, parse_events
from records.facts.metric import Metric
from records.outcome import Feedback

FEEDBACK_BOUND = 4 << 20
READY_WITHIN_S = 10.0
"""How long a worker may wait for its plan and its credentials before it serves without them."""
SLICE = 8
"""Values read between two turns of the loop: a millisecond if all are invalid."""

_ASKS_CHECK = re.compile(rb"(?:^|&)check(?:[=&]|$)")

T = TypeVar("T")
Read = Callable[[bytes, FeedbackTerms], Iterable[Feedback | None]]
"""Reads a document's values, None for an event that is skipped."""
Complain = Callable[[bytes, FeedbackTerms], Iterable[str | None]]


class FeedbackSpool(Protocol):
    """The spool that stores feedback before it is acknowledged."""

    def append_all(self, records: Sequence[Feedback]) -> bool: ...

    async def synced(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Endpoints:
    """The endpoints.

    `has_plan()` says whether a plan is known.
    `metrics()` has the accepted feedback metrics, `mappings()` the feedback mappings, by name.
    `token()` is the feedback token.
    `ids_keys()` has the keys that sign exchange ids, current key first.
    `troubles()` has the provider entries without a credential, and why.
    `arm_of(canary, unit, headers, query)` has the status and JSON of the answer about a unit's arm.
    """

    spool: FeedbackSpool
    has_plan: Callable[[], bool]
    metrics: Callable[[], Mapping[str, Metric]]
    mappings: Callable[[], Mapping[str, FeedbackMapping]]
    token: Callable[[], str | None]
    ids_keys: Callable[[], Sequence[bytes]]
    troubles: Callable[[], Sequence[str]]
    arm_of: Callable[[str, str, Mapping[bytes, bytes], bytes], tuple[int, Mapping[str, str]]]
    started: float
    voices: FeedbackVoices = field(default_factory=FeedbackVoices)

    def app(self) -> Starlette:
        """Return the Starlette app of these paths."""
        return Starlette(
            routes=[
                Route("/healthz", self.health),
                Route("/readyz", self.ready),
                Route("/canary/arm", self.arm),
                Route("/canary/feedback", self.feedback, methods=["POST"]),
                Route("/canary/feedback/{mapping}", self.mapped_feedback, methods=["POST"]),
            ]
        )

    async def health(self, request: Request) -> Response:
        """Always 200: the process is alive."""
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """200 once the plan and every entry's credential are there, or after 10 s without them: with the
        baseline only, or with the entries that have one."""
        troubles = "; ".join(self.troubles())
        waited = time.monotonic() - self.started > READY_WITHIN_S
        if not self.has_plan():
            state = "no plan: baseline only" if waited else "waiting for a plan"
            return PlainTextResponse(f"{state}{'; ' if troubles else ''}{troubles}\n", 200 if waited else 503)
        if troubles:
            return PlainTextResponse(f"degraded: {troubles}\n", 200 if waited else 503)
        return PlainTextResponse("ready\n")

    async def arm(self, request: Request) -> Response:
        """GET ?canary=NAME&unit=…: the unit's arm, for an app that changes more by it than canary does."""
        canary, unit = (request.query_params.get(name, "").strip() for name in ("canary", "unit"))
        if not canary or not unit:
            return JSONResponse({"error": "ask /canary/arm?canary=NAME&unit=…"}, status_code=400)
        named, query = dict(request.scope["headers"]), request.scope["query_string"]
        status, answer = self.arm_of(canary, unit, named, query)
        return JSONResponse(answer, status_code=status)

    async def feedback(self, request: Request) -> Response:
        """202 once the feedback is on disk; 4xx with a reason and nothing stored; 503 when the spool is full
        or its disk hangs.

        With `?check` nothing is stored, and a 200 lists every value that would be refused.
        """
        return await self._take(request, parse, complaints)

    async def mapped_feedback(self, request: Request) -> Response:
        """As `feedback`, of another system's events, which a mapping of the config makes values. The token is
        required; an event that maps to nothing is skipped."""
        if not self._authorised(request):
            error = "feedback by a mapping needs the feedback token: Authorization: Bearer …"
            return JSONResponse({"error": error}, status_code=401)
        name = request.path_params["mapping"]
        mapping = self.mappings().get(name)
        if mapping is None:
            known = ", ".join(self.mappings()) or "none"
            error = f"`feedback_mappings` has no {name[:64]!r}; it has: {known}"
            return JSONResponse({"error": error}, status_code=404)
        return await self._take(
            request,
            lambda document, terms: parse_events(document, mapping, terms),
            lambda document, terms: event_complaints(document, mapping, terms),
        )

    async def _take(self, request: Request, read: Read, complain: Complain) -> Response:
        try:
            document, terms = await _bounded(request), self._terms(request)
            if _ASKS_CHECK.search(request.scope["query_string"]):
                found = [each async for each in _in_slices(complain(document, terms))]
                problems = [{"place": place, "error": wrong} for place, wrong in enumerate(found) if wrong]
                return JSONResponse({"problems": problems})
            values = [each async for each in _in_slices(read(document, terms))]
            records = [value for value in values if value is not None]
            if not self.spool.append_all(records):
                raise SpoolFull
            await self.spool.synced()
        except BadFeedback as problem:
            return JSONResponse({"error": problem.message}, status_code=problem.status)
        except SpoolFull:
            return JSONResponse(
                {"error": "the spool is full or its disk hangs, and nothing was stored: send it again later"},
                status_code=503,
                headers={"retry-after": "5"},
            )
        skipped = {"skipped": len(values) - len(records)} if len(values) > len(records) else {}
        return JSONResponse({"accepted": len(records), **skipped}, status_code=202)

    def _terms(self, request: Request) -> FeedbackTerms:
        keys = self.ids_keys()
        return FeedbackTerms(
            metrics=self.metrics(),
            keys=keys,
            token_ok=self._authorised(request),
            now=time.time(),
            mono=time.monotonic(),
            ids_key=keys[0],
            voices=self.voices,
        )

    def _authorised(self, request: Request) -> bool:
        token = self.token()
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        asked = scheme.lower() == "bearer"  # RFC 9110 §11.1: case-insensitive
        return asked and token is not None and hmac.compare_digest(token.encode(), given.encode())


async def _bounded(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > FEEDBACK_BOUND:
            raise BadFeedback(413, f"the feedback is over {FEEDBACK_BOUND >> 20} MiB: send it in parts")
        parts.append(part)
    return b"".join(parts)


async def _in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items, and give the loop a turn after each slice."""
    for number, item in enumerate(items, 1):
        yield item
        if number % SLICE == 0:
            await asyncio.sleep(0)


Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class AsgiHandler:
    """The handler of a listener whose app finishes what it has begun: an order is carried out although its
    caller leaves. The app is told that the caller has left, as by any ASGI server."""

    def __init__(self, app: App, scheme: Callable[[], str]) -> None:
        self._app = app
        self._scheme = scheme
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, incoming: CallerRequest) -> None:
        left = asyncio.Event()
        task = asyncio.create_task(serve_asgi(self._app, incoming, scheme=self._scheme(), left=left))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.shield(task)
        finally:
            left.set()

    async def finish(self, within_s: float) -> None:
        """Wait for what callers have left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)


async def serve_asgi(
    app: App, incoming: CallerRequest, *, scheme: str = "http", left: asyncio.Event | None = None
) -> None:
    """Run the app for this request. The app is told by `left` when the caller leaves, or else cancelled."""
    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if incoming.old else "1.1",
        "server": None,
        "client": incoming.client,
        "scheme": scheme,
        "method": incoming.method,
        "root_path": "",
        "path": unquote(incoming.path),
        "raw_path": incoming.path.encode("ascii"),
        "query_string": incoming.query,
        "headers": incoming.headers,
    }
    told_end = False

    async def receive() -> Message:
        nonlocal told_end
        if told_end:  # a further receive() waits until the caller leaves
            await (left.wait() if left is not None else asyncio.get_running_loop().create_future())
            return {"type": "http.disconnect"}
        body = await incoming.read()
        told_end = not incoming.more
        return {"type": "http.request", "body": body, "more_body": incoming.more}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not sendable(headers):
                raise RuntimeError("the app sent a response header that HTTP does not allow")
            length = dict(headers).get(b"content-length")
            headers = [field for field in headers if field[0] != b"content-length"]
            incoming.start(message["status"], headers, length=None if length is None else int(length))
        elif message.get("more_body", False):
            await incoming.drain()
            incoming.write(message.get("body", b""))
        else:
            incoming.end(message.get("body", b""))

    await app(scope, receive, send)
