"""Mirror traffic: copies of requests that the baseline answers, sent to the candidate. Answers are discarded.

A copy has its own task, connection, record and outcome and never affects the real exchange. It starts when
the head of the real answer is in. Busy workers drop copies first. Copies affect neither the candidate's
breaker nor the number of requests in flight.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from msgspec import structs

from common.text import UNREADABLE
from proxy.attempts.attempt import NOWHERE, Attempt
from proxy.attempts.dispatch import AttemptDispatch, StreamUsageRefusals
from proxy.attempts.foreign_state import is_foreign_to_candidate
from proxy.attempts.record import ExchangeRecord, ExchangeRecorder
from proxy.calls.call import Call
from proxy.calls.refusal import Refused
from proxy.calls.routes import Trial
from proxy.network.upstream.pool import Upstreams
from proxy.network.upstream.response import UpstreamError
from proxy.providers.credentials import Credentials
from proxy.providers.json_edit import TooIntricateJson, adapted, members_of
from routing.assign import Assignment
from routing.canary import RequestChanges
from routing.states import States

log = structlog.get_logger()

_ACTS = re.compile(rb'"mcp_servers"|"type"\s*:\s*"mcp"')
"""Tools of other servers that the provider calls itself, so that a copy would act twice."""

_CHANGES_STATE = ("conversation", "container", "background", "environment", "continuation_token")
_RUNNING = re.compile(rb'"container"\s*:\s*"')
"""Members of a request that adds to a conversation, acts in what runs, or answers only by what it stores."""

_UNSET = (b"null", b'""', b"false")
_STORES_NOTHING = RequestChanges(set=(("store", "false"),))


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorLimits:
    """The limits of copies in one worker.

    `copies`: copies at once. `body_bytes`: sum of their request bodies. `exchanges`: real exchanges in flight
    above which no copy starts, half of the worker's maximum.
    """

    copies: int = 64
    body_bytes: int = 32 << 20
    exchanges: int = 2048


class Mirrors:
    """The copies of one worker. `dropped` counts copies over the limits, by canary; its reader clears it.

    `upstreams` is a separate pool, so that copies take no connection or slot from real exchanges. `draw`
    returns a number in [0, 1).
    """

    def __init__(
        self,
        *,
        upstreams: Upstreams,
        recorder: ExchangeRecorder,
        states: Callable[[], States],
        credentials: Credentials,
        stream_usage: StreamUsageRefusals | None = None,
        room: MirrorLimits = MirrorLimits(),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.dropped: dict[str, int] = {}
        self._upstreams = upstreams
        self._real = recorder
        self._copies = ExchangeRecorder(
            append=lambda outcome: recorder.append(structs.replace(outcome, mirror=True, fingerprint="")),
            price=recorder.price,
            ids_key=recorder.ids_key,
            captures=recorder.captures,
            checker=recorder.checker,
        )
        self._states = states
        self._dispatch = AttemptDispatch(upstreams, credentials, stream_usage or StreamUsageRefusals())
        self._room = room
        self._draw = draw
        self._held: dict[asyncio.Task[None], int] = {}

    @property
    def in_flight(self) -> int:
        """The number of copies that have not ended."""
        return len(self._held)

    def offer(self, call: Call, assignment: Assignment, attempt: Attempt) -> None:
        """Start a copy of this exchange if its canary mirrors, the draw selects it and the limits allow it.

        `attempt` is the real attempt, after its head. Does not block; the copy runs in its own task.
        """
        trial, body = call.trial, call.body
        if trial is None or not trial.mirror or not isinstance(body, bytes) or self._draw() >= trial.mirror:
            return
        if not (_answered_by_baseline(assignment, attempt) and self._wanted(trial)):
            return
        if self._has_room(len(body)):
            task = asyncio.get_running_loop().create_task(self._copy(call, trial, assignment))
            self._held[task] = len(body)
            task.add_done_callback(self._held.pop)
        else:
            name = trial.canary.name
            self.dropped[name] = self.dropped.get(name, 0) + 1

    async def close(self) -> None:
        """Cancel the copies in flight, which are recorded as aborted, and close their connections."""
        for task in self._held:
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)
        await self._upstreams.close()

    def _wanted(self, trial: Trial) -> bool:
        """True while the canary has a share under fresh states and the candidate's breaker is closed."""
        state = self._states().state_of(trial.canary.name, trial.definition)
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
        copy = _repeatable(call, trial)
        if copy is None:
            return
        call = copy
        if is_foreign_to_candidate(call, trial):
            return  # refused there whatever the candidate is worth
        record = self._copies.open()
        attempt = Attempt(trial.candidate)
        record.attempts.append(attempt)
        try:
            _begin(record, call, assignment)
            await self._dispatch.send(call, attempt, covered=True, is_copy=True)
            if attempt.response is not None:
                await attempt.relay(NOWHERE)
            await record.examine(attempt)
            record.finish(attempt)
        except UpstreamError as failure:
            attempt.failure = failure.error_type
            record.finish(attempt)
        except Refused as refusal:  # the model cannot be changed in this body
            record.refuse(refusal.error_type)
        except asyncio.CancelledError:
            record.abort()
            raise
        except Exception:
            log.exception("mirror.crashed", exchange=record.exchange_id)
            record.break_down()
        finally:
            attempt.abort()


def _answered_by_baseline(assignment: Assignment, attempt: Attempt) -> bool:
    """True for exchanges assigned to the baseline that it answers well.

    A refused request tells nothing about the candidate, and a failing provider gets no extra load.
    """
    served = assignment.arm == "baseline" and assignment.reason in ("cohort", "no_unit")
    return served and attempt.response is not None and attempt.wrong is None


def _repeatable(call: Call, trial: Trial) -> Call | None:
    """The call as it is copied; None when a second request would have side effects: create or change
    provider-side state, or act through a tool."""
    target = trial.candidate
    body = call.adapted_body(target) or call.body
    if isinstance(body, bytes) and _ACTS.search(body):
        return None
    if not call.touches_state(target):
        return call
    if trial.shares_state and isinstance(call.body, bytes) and not target.request.concerns("store"):
        return _unstored(call, call.body)
    return None


def _unstored(call: Call, body: bytes) -> Call | None:
    """The call as it stores nothing, for a candidate that reads the baseline's state; None where the request
    does more to state than to read it and to store its answer."""
    try:
        members = members_of(body)
    except (*UNREADABLE, TooIntricateJson):
        return None
    if any(name in members and bytes(members[name]) not in _UNSET for name in _CHANGES_STATE):
        return None
    if _RUNNING.search(body):
        return None
    if not call.route.operation.creates_state or call.facts.declines_store:
        return call
    unstored = adapted(body, _STORES_NOTHING)
    return None if unstored is None else structs.replace(call, body=unstored, found=None)


def _begin(record: ExchangeRecord, call: Call, assignment: Assignment) -> None:
    """Start the copy's record: the real exchange's facts, the candidate as its arm, its own start time."""
    record.begin(call)
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
