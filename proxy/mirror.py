"""Mirror traffic: copies of what the baseline answers, sent to the candidate. Nobody gets their answers.

A copy has a task, a connection, a record and an outcome of its own and no part in the real exchange. It
begins once the real answer's head is there, a busy worker leaves it out first, and neither the candidate's
breaker nor the count of requests in flight hears of it.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from msgspec import structs

from proxy.attempt import Attempt
from proxy.call import Call
from proxy.errors import Refused
from proxy.record import Record, Recorder
from proxy.request import upstream_request
from proxy.routes import Trial
from proxy.upstream import UpstreamError, Upstreams
from routing.assign import Assignment
from routing.plan import Plan

log = structlog.get_logger()

_ACTS = re.compile(rb'"mcp_servers"|"type"\s*:\s*"mcp"')
"""Tools of other servers that the provider itself calls: a copy would act there a second time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What copies may take of one worker: how many at once, with how many bytes of request bodies, and up to
    how many real exchanges in flight (half of what the worker takes at most)."""

    copies: int = 64
    body_bytes: int = 32 << 20
    exchanges: int = 2048


class Mirrors:
    """One worker's copies. `dropped` counts, by canary, those drawn that found no room; its reader clears it.

    `upstreams` is a pool of its own: a copy takes neither a connection nor a slot from a real exchange.
    `draw` gives a number in [0, 1).
    """

    def __init__(
        self,
        *,
        upstreams: Upstreams,
        recorder: Recorder,
        plan: Callable[[], Plan],
        room: Room = Room(),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.dropped: dict[str, int] = {}
        self._upstreams = upstreams
        self._real = recorder
        self._copies = Recorder(
            append=lambda outcome: recorder.append(structs.replace(outcome, mirror=True, fingerprint="")),
            price=recorder.price,
            ids_key=recorder.ids_key,
            captures=recorder.captures,
        )
        self._plan = plan
        self._room = room
        self._draw = draw
        self._held: dict[asyncio.Task[None], int] = {}

    @property
    def in_flight(self) -> int:
        """Copies that have not ended."""
        return len(self._held)

    def offer(self, call: Call, assignment: Assignment, reply: Attempt) -> None:
        """Copy this exchange if its canary wants that, there is room, and the draw says so.

        `reply` is the real answer, as far as its head. Returns at once: the copy's own task does the rest.
        """
        trial, body = call.trial, call.body
        if trial is None or not trial.mirror or not isinstance(body, bytes) or self._draw() >= trial.mirror:
            return
        if not (_answered_by_baseline(assignment, reply) and self._wanted(trial)):
            return
        if self._has_room(len(body)):
            task = asyncio.get_running_loop().create_task(self._copy(call, trial, assignment))
            self._held[task] = len(body)
            task.add_done_callback(self._held.pop)
        else:
            name = trial.canary.name
            self.dropped[name] = self.dropped.get(name, 0) + 1

    async def close(self) -> None:
        """End the copies in flight, each recorded as aborted, and their connections."""
        for task in self._held:
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)
        await self._upstreams.close()

    def _wanted(self, trial: Trial) -> bool:
        """True while the canary runs under a fresh plan (a stale one has no shares) and the breaker sees its
        candidate answer."""
        state = self._plan().state_of(trial.canary.name, trial.definition)
        runs = state is not None and state.state in ("running", "paused") and state.share > 0.0
        return runs and not trial.breaker.open

    def _has_room(self, size: int) -> bool:
        room, real = self._room, self._real
        return (
            real.started - real.finished <= room.exchanges
            and len(self._held) < room.copies
            and sum(self._held.values()) + size <= room.body_bytes
        )

    async def _copy(self, call: Call, trial: Trial, assignment: Assignment) -> None:
        """One copy, in every ending."""
        if not _may_repeat(call):
            return
        record = self._copies.open()
        reply = Attempt(trial.candidate)
        record.replies.append(reply)
        try:
            _begin(record, call, assignment)
            await self._ask(call, record, reply)
            record.finish(reply)
        except UpstreamError as failure:
            reply.failure = failure.error_type
            record.finish(reply)
        except Refused as refusal:  # the body fits the baseline as it is, and cannot be changed
            record.refuse(refusal.error_type)
        except asyncio.CancelledError:
            record.abort()
            raise
        except Exception:
            log.exception("mirror.crashed", exchange=record.exchange_id)
            record.break_down()
        finally:
            reply.abort()

    async def _ask(self, call: Call, record: Record, reply: Attempt) -> None:
        """Send the copy and read its answer to the end. Raises UpstreamError."""
        lane = reply.lane
        request = upstream_request(call, lane)
        record.sent_at = time.monotonic()
        answer = await self._upstreams.send(
            lane.provider,
            lane=lane.key,
            method=call.method.encode(),
            target=request.target,
            # The key is the real request's: a provider that knows it would refuse one of the two.
            headers=[each for each in request.headers if not each[0].endswith(b"idempotency-key")],
            body=request.body,
            streaming=call.facts.stream,
            timeout=lane.timeout,
        )
        reply.opened(answer, call, request, covered=True)
        if reply.answer is not None:
            await reply.relay(_NOWHERE)


class _Nowhere:
    """An outlet that drops what it is given."""

    paused = False

    def write(self, data: bytes) -> None:
        pass

    async def drain(self) -> None:
        pass


_NOWHERE = _Nowhere()


def _answered_by_baseline(assignment: Assignment, reply: Attempt) -> bool:
    """True for the baseline's own exchanges that it takes well: what it refuses says nothing of the
    candidate, and a provider in trouble is not asked twice."""
    served = assignment.arm == "baseline" and assignment.reason in ("cohort", "no_unit")
    return served and reply.answer is not None and reply.wrong is None


def _may_repeat(call: Call) -> bool:
    """False where a second request would be more than a question: it would leave something at a provider,
    change what is there, or act through a tool."""
    return not (call.touches_state or (isinstance(call.body, bytes) and _ACTS.search(call.body)))


def _begin(record: Record, call: Call, assignment: Assignment) -> None:
    """The copy's record: the real exchange's facts, the candidate as its arm, a clock of its own."""
    record.read(call)
    record.at, record.mono = time.time(), time.monotonic()
    record.assign(
        Assignment(
            arm="candidate",
            reason=assignment.reason,
            run=assignment.run,
            phase=assignment.phase,
            share=assignment.share,
        )
    )
