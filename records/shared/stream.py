"""The capped Redis stream of fresh records: faster than the store, but it may have gaps."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import structs
from redis.asyncio import Redis

from common.text import readable
from records.facts.counts import CallerCount, UnmatchedCount
from records.outcome import (
    Feedback,
    Heartbeat,
    InFlight,
    Outcome,
)
from records.shared.states_channel import ANSWER_WITHIN_S, answering

_LEFT_OUT: Mapping[str, Any] = {
    "mono": 0.0,
    "served_by": None,
    "request_id": "",
    "provider": "",
    "api": "",
    "model_requested": "",
    "model": "",
    "overhead_s": None,
    "fingerprint": "",
    "retry_count": 0,
    "traceparent": "",
    "response_model": "",
    "chunks": 0,
    "system_fingerprint": "",
}
"""What guardrails do not need. Monotonic times are valid on one machine only."""


def brief(outcome: Outcome) -> Outcome:
    """The outcome with only what guardrails need: of its attempts the assigned arm's own, where it was asked
    and the other arm answered for it."""
    # a standing canary's own requests are known by the model that they got
    named = {"provider": outcome.provider, "model": outcome.model}
    left_out = _LEFT_OUT if outcome.canary else {**_LEFT_OUT, **named}
    own = [attempt for attempt in outcome.attempts[:1] if attempt.arm == outcome.arm]
    return structs.replace(
        outcome,
        **left_out,
        attempts=tuple(own) if outcome.outcome == "fallback" else (),
        provider_request_id=outcome.provider_request_id if outcome.failed or outcome.faults else "",
    )


KEY = "canary:outcomes"
CAP = 10_000
"""Approximate number of dispatches in the stream: some minutes, and a few hundred megabytes at most."""

RECORDS_A_DISPATCH = 200
WAITING = 500
START = "0-0"
SESSIONS_KEY = "canary:sessions"
SESSIONS_CAP = 10_000
"""Approximate number of messages about sessions: a minute of ten busy replicas, hours of an idle fleet."""
_BLOCK_MS = int(ANSWER_WITHIN_S * 1000 * 0.5)
_FIELD = b"d"


class ReplicaRecords(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The records that one replica read from its spool in one turn.

    `outcomes` has only exchanges of canaries, made `brief`; `unmatched` counts the LLM requests of none,
    `callers` those of each caller. `heard` counts all outcomes, without mirror copies. `in_flight` has the
    slot and pid of the worker of each exchange that has not ended.
    """

    replica: str
    heard: int = 0
    outcomes: Sequence[Outcome] = ()
    feedback: Sequence[Feedback] = ()
    beats: Sequence[Heartbeat] = ()
    in_flight: Sequence[tuple[int, int, InFlight]] = ()
    unmatched: Sequence[UnmatchedCount] = ()
    callers: Sequence[CallerCount] = ()

    @property
    def records(self) -> int:
        """The number of outcomes and feedback values."""
        return len(self.outcomes) + len(self.feedback)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(ReplicaRecords)


@dataclass(slots=True)
class OutgoingQueue:
    """A bounded queue of dispatches to send.

    `dropped` counts outcomes and feedback lost because the queue was full or Redis was down; the leader finds
    them in the store.
    """

    waiting: deque[ReplicaRecords] = field(default_factory=deque)
    dropped: int = 0

    def put(self, dispatch: ReplicaRecords) -> None:
        """Queue a dispatch without blocking; a full queue drops its oldest."""
        self.waiting.append(dispatch)
        while len(self.waiting) > WAITING:
            self.dropped += self.waiting.popleft().records

    async def send(self, redis: Redis) -> None:
        """Send all queued dispatches. Raises SharedDown and drops the dispatch that failed, which may have
        reached Redis."""
        while self.waiting:
            dispatch = self.waiting.popleft()
            try:
                with answering():
                    await redis.xadd(KEY, {_FIELD: encoded(dispatch)}, maxlen=CAP, approximate=True)
            except BaseException:
                self.dropped += dispatch.records
                raise


class StreamCursor:
    """One reader's position in the stream. `place` is the id of the last entry read."""

    def __init__(self, redis: Redis, place: str = START) -> None:
        self._redis = redis
        self._checked = False
        self.place = place

    async def skip(self) -> None:
        """Move behind the newest entry. May raise SharedDown."""
        self.place = await self._newest()

    async def read(self, count: int = 20) -> list[ReplicaRecords]:
        """Read new dispatches, waiting briefly for the first. May raise SharedDown."""
        try:
            if not self._checked:
                await self._restart_after_reset()
            with answering():
                found: Any = await self._redis.xread({KEY: self.place}, count=count, block=_BLOCK_MS)
        except BaseException:
            self._checked = False
            raise
        entries = found[0][1] if found else []
        if entries:
            self.place = entries[-1][0].decode()
        return [dispatch for _, fields in entries if (dispatch := decoded(fields.get(_FIELD)))]

    async def _restart_after_reset(self) -> None:
        """Restart from the beginning when Redis lost its data and its new ids are below our position."""
        newest = await self._newest()
        if _order(newest) < _order(self.place):
            self.place = START
        self._checked = True

    async def _newest(self) -> str:
        with answering():
            newest: Any = await self._redis.xrevrange(KEY, count=1)
        return str(newest[0][0].decode()) if newest else START


class SessionsStream:
    """What replicas tell one another of sessions, as the lines of `session_arms`. May raise SharedDown."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._place = START

    async def send(self, lines: bytes) -> None:
        """Tell the other replicas, and this one."""
        with answering():
            await self._redis.xadd(SESSIONS_KEY, {_FIELD: lines}, maxlen=SESSIONS_CAP, approximate=True)

    async def read(self, count: int = 20) -> list[bytes]:
        """The next messages, at first of all that are kept; waits briefly for the first."""
        with answering():
            found: Any = await self._redis.xread({SESSIONS_KEY: self._place}, count=count, block=_BLOCK_MS)
        entries = found[0][1] if found else []
        if entries:
            self._place = entries[-1][0].decode()
        return [fields.get(_FIELD, b"") for _, fields in entries]


def _order(place: str) -> tuple[int, ...]:
    return tuple(int(part) for part in place.split("-"))


def encoded(dispatch: ReplicaRecords) -> bytes:
    """Encode a dispatch for the stream."""
    return _ENCODER.encode(dispatch)


def decoded(data: bytes | None) -> ReplicaRecords | None:
    """Decode a dispatch; None when it is in another version's form. The store has its records."""
    return readable(_DECODER.decode, data or b"")
