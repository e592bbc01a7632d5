"""The stream of fresh records by Redis, capped: a hint that is quicker than the store, and may have gaps."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from redis.asyncio import Redis

from records.outcome import Feedback, Heartbeat
from records.shared.brief import Brief
from records.shared.link import ANSWER_WITHIN_S, answering

KEY = "canary:outcomes"
CAP = 10_000
"""Dispatches that Redis keeps, about: minutes of them, and never more than some hundred megabytes."""

RECORDS_A_DISPATCH = 200
WAITING = 500
START = "0-0"
_BLOCK_MS = int(ANSWER_WITHIN_S * 1000 * 0.5)
_FIELD = b"d"


class Dispatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one replica read from its spool in one turn. `heard` counts all outcomes that it read, those of no
    canary too, which are not in `outcomes`; mirror copies are not counted."""

    replica: str
    heard: int = 0
    outcomes: Sequence[Brief] = ()
    feedback: Sequence[Feedback] = ()
    beats: Sequence[Heartbeat] = ()

    @property
    def records(self) -> int:
        """Outcomes and feedback in it."""
        return len(self.outcomes) + len(self.feedback)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Dispatch)


@dataclass(slots=True)
class Outgoing:
    """Dispatches on their way: never waits, never grows beyond a bound. `dropped` counts the outcomes and
    feedback that found no room or no Redis; the leader finds them in the store."""

    waiting: deque[Dispatch] = field(default_factory=deque)
    dropped: int = 0

    def put(self, dispatch: Dispatch) -> None:
        """Queue one; the oldest goes when there are too many."""
        self.waiting.append(dispatch)
        while len(self.waiting) > WAITING:
            self.dropped += self.waiting.popleft().records

    async def send(self, redis: Redis) -> None:
        """Send what waits. SharedDown when Redis does not take one, which is dropped: it may be there."""
        while self.waiting:
            dispatch = self.waiting.popleft()
            try:
                with answering():
                    await redis.xadd(KEY, {_FIELD: _ENCODER.encode(dispatch)}, maxlen=CAP, approximate=True)
            except BaseException:
                self.dropped += dispatch.records
                raise


class StreamCursor:
    """One reader's way along the stream. `place` is the id of the last entry that was read."""

    def __init__(self, redis: Redis, place: str = START) -> None:
        self._redis = redis
        self._checked = False
        self.place = place

    async def skip(self) -> None:
        """Begin behind all that is there now. May raise SharedDown."""
        self.place = await self._newest()

    async def read(self, count: int = 20) -> list[Dispatch]:
        """What came since the last read, waiting a moment for the first. May raise SharedDown."""
        try:
            if not self._checked:
                await self._begin_again_if_it_did()
            with answering():
                found: Any = await self._redis.xread({KEY: self.place}, count=count, block=_BLOCK_MS)
        except BaseException:
            self._checked = False
            raise
        entries = found[0][1] if found else []
        if entries:
            self.place = entries[-1][0].decode()
        return [dispatch for _, fields in entries if (dispatch := _decode(fields.get(_FIELD)))]

    async def _begin_again_if_it_did(self) -> None:
        """A Redis that started again empty, and with its clock behind, counts from below our place."""
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


def _decode(data: bytes | None) -> Dispatch | None:
    """None for what another version wrote otherwise: the store has its records."""
    try:
        return _DECODER.decode(data) if data else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
