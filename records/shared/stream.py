"""The capped Redis stream of fresh records: faster than the store, but it may have gaps."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import structs
from redis.asyncio import Redis

from common.text import readable
from records.facts.counts import CallerCount, UnmatchedCount
from records.outcome import (
    AttemptRecord,
    ErrorType,
    Fault,
    Feedback,
    Finish,
    Heartbeat,
    InFlight,
    Outcome,
    OutcomeName,
    OutputCheck,
    ProviderError,
    ToolCall,
    Usage,
)
from records.shared.states_channel import ANSWER_WITHIN_S, answering
from routing.canary import ArmName


class BriefOutcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A shortened outcome: the fields that guardrails need, a third of the record. `mono` is left out
    because it is valid on one machine only. `tried`: the status and the seconds of the assigned arm's own
    attempt, where the other arm answered for it. `tokens` of a session's exchange: input, cached, output."""

    exchange_id: str
    at: float
    outcome: OutcomeName
    canary: str
    run: int
    phase: int
    share: float
    arm: ArmName
    reason: str
    unit: str
    category: str
    tags: dict[str, str]
    status: int | None
    error_type: ErrorType | None
    latency_s: float | None
    ttft_s: float | None
    cost_usd: float | None
    estimated: bool
    mirror: bool
    stream: bool = False
    operation: str = ""
    ttfb_s: float | None = None
    finish: Finish | None = None
    faults: tuple[Fault, ...] = ()
    output_check: OutputCheck = ""
    provider_error: ProviderError | None = None
    adapted: bool = False
    tried: tuple[int | None, float | None] | None = None
    longest_gap_s: float | None = None
    session: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tokens: tuple[int | None, int | None, int | None] | None = None
    place: int | None = None
    provider_request_id: str = ""


_DERIVED: Mapping[str, Callable[[Outcome], Any]] = {
    "estimated": attrgetter("usage.estimated"),
    "tried": lambda outcome: _tried(outcome),
    "tokens": lambda outcome: _tokens(outcome),
    "provider_request_id": lambda outcome: outcome.provider_request_id if _is_wrong(outcome) else "",
}
_FIELDS: list[Callable[[Outcome], Any]] = [
    _DERIVED.get(name, attrgetter(name)) for name in BriefOutcome.__struct_fields__
]


def brief(outcome: Outcome) -> BriefOutcome:
    """Shorten an outcome."""
    return BriefOutcome(*[value_of(outcome) for value_of in _FIELDS])


def _is_wrong(outcome: Outcome) -> bool:
    return outcome.failed or bool(outcome.faults)


def _tried(outcome: Outcome) -> tuple[int | None, float | None] | None:
    if outcome.outcome != "fallback" or not outcome.attempts:
        return None
    first = outcome.attempts[0]
    return first.status, first.latency_s


def _tokens(outcome: Outcome) -> tuple[int | None, int | None, int | None] | None:
    usage = outcome.usage
    if not outcome.session or (usage.input_tokens is None and usage.output_tokens is None):
        return None
    return usage.input_tokens, usage.cached_input_tokens, usage.output_tokens


def restored(part: BriefOutcome, mono: float) -> Outcome:
    """Rebuild an outcome with the fields of `part` and this machine's monotonic second `mono`."""
    values = structs.asdict(part)
    tried, estimated, tokens = values.pop("tried"), values.pop("estimated"), values.pop("tokens")
    read, cached, written = tokens or (None, None, None)
    usage = Usage(input_tokens=read, cached_input_tokens=cached, output_tokens=written, estimated=estimated)
    attempts: tuple[AttemptRecord, ...] = ()
    if tried is not None:
        status, latency_s = tried
        attempts = (AttemptRecord(arm=part.arm, provider="", model="", status=status, latency_s=latency_s),)
    return Outcome(**values, mono=mono, usage=usage, attempts=attempts)


KEY = "canary:outcomes"
CAP = 10_000
"""Approximate number of dispatches in the stream: some minutes, and a few hundred megabytes at most."""

RECORDS_A_DISPATCH = 200
WAITING = 500
START = "0-0"
_BLOCK_MS = int(ANSWER_WITHIN_S * 1000 * 0.5)
_FIELD = b"d"


class ReplicaRecords(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The records that one replica read from its spool in one turn.

    `outcomes` has only exchanges of canaries; `unmatched` counts the LLM requests of none, `callers` those of
    each caller. `heard` counts all
    outcomes, without mirror copies. `in_flight` has the slot and pid of the worker of each exchange that has
    not ended.
    """

    replica: str
    heard: int = 0
    outcomes: Sequence[BriefOutcome] = ()
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


def _order(place: str) -> tuple[int, ...]:
    return tuple(int(part) for part in place.split("-"))


def encoded(dispatch: ReplicaRecords) -> bytes:
    """Encode a dispatch for the stream."""
    return _ENCODER.encode(dispatch)


def decoded(data: bytes | None) -> ReplicaRecords | None:
    """Decode a dispatch; None when it is in another version's form. The store has its records."""
    return readable(_DECODER.decode, data or b"")
