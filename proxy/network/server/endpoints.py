"""The traffic listener's own endpoints: health, readiness, feedback. `exchange` serves the LLM paths."""

import asyncio
import hmac
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from records.errors import BadFeedback, SpoolFull
from records.facts.feedback import Terms, Voices, complaints, parse
from records.facts.metric import Metric
from records.outcome import Feedback

FEEDBACK_BOUND = 4 << 20
READY_WITHIN_S = 10.0
"""How long a worker may wait for its plan and its credentials before it serves without them."""
SLICE = 8
"""Values read between two turns of the loop: a millisecond if all are invalid."""

_ASKS_CHECK = re.compile(rb"(?:^|&)check(?:[=&]|$)")

T = TypeVar("T")


class FeedbackSpool(Protocol):
    """The spool that stores feedback before it is acknowledged."""

    def append_all(self, records: Sequence[Feedback]) -> bool: ...

    async def synced(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Endpoints:
    """The endpoints. `has_plan()`: whether a plan is known. `metrics()`: the accepted feedback metrics.
    `token()`: the feedback token. `ids_keys()`: the keys that sign exchange ids, current key first.
    `troubles()`: the provider entries that have no credential, and why."""

    spool: FeedbackSpool
    has_plan: Callable[[], bool]
    metrics: Callable[[], Mapping[str, Metric]]
    token: Callable[[], str | None]
    ids_keys: Callable[[], Sequence[bytes]]
    troubles: Callable[[], Sequence[str]]
    started: float
    voices: Voices = field(default_factory=Voices)

    def app(self) -> Starlette:
        """Return the Starlette app of these paths."""
        return Starlette(
            routes=[
                Route("/healthz", self.health),
                Route("/readyz", self.ready),
                Route("/canary/feedback", self.feedback, methods=["POST"]),
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

    async def feedback(self, request: Request) -> Response:
        """202 once the feedback is on disk; 4xx with a reason and nothing stored; 503 when the spool is full
        or its disk hangs.

        With `?check` nothing is stored, and a 200 lists every value that would be refused.
        """
        try:
            document, terms = await _bounded(request), self._terms(request)
            if _ASKS_CHECK.search(request.scope["query_string"]):
                found = [each async for each in _in_slices(complaints(document, terms))]
                problems = [{"place": place, "error": wrong} for place, wrong in enumerate(found) if wrong]
                return JSONResponse({"problems": problems})
            records = [each async for each in _in_slices(parse(document, terms))]
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
        return JSONResponse({"accepted": len(records)}, status_code=202)

    def _terms(self, request: Request) -> Terms:
        keys = self.ids_keys()
        return Terms(
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
