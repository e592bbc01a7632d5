"""Passes each record of all replicas on once, although it may come by the stream and from the store.

The `position` says what was passed on, and up to where. It is saved with the evidence, so that the next
leader continues where this one stopped.
"""

import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import structs

from control.feed.events import WorkerEvents, here
from records.outcome import Feedback, InFlight, Outcome
from records.shared.stream import START, Brief, Dispatch, restored
from records.store.leader import Tail

OVERLAP_S = 30.0
"""How long after its end an exchange may still appear in the store: clocks differ, shipping takes time."""

REMEMBERED = 200_000
"""Records that are known to be told. With more, nothing that ended before a forgotten one is told any more:
some that come late are missing, and none counts twice."""

MOST_OPEN = 20_000


class Position(msgspec.Struct, kw_only=True):
    """How far the leader has read.

    `place` is an entry of the stream; before `searched_until`, UTC seconds, the store holds nothing new;
    `told` maps the hash of each later record that was passed on to when its exchange ended.
    """

    place: str = START
    searched_until: float
    told: dict[int, float]


class Deduplicator:
    """Filters out records that were passed on before. Belongs to the event loop's thread."""

    def __init__(self, document: Mapping[str, Any] | None = None) -> None:
        """Continue from a position; without a readable one from now, with what the stream still holds."""
        self.position = _position(document or {})
        self._failed_at = float("-inf")
        self._open: dict[str, None] = {}

    def hear(self, dispatches: Sequence[Dispatch], place: str) -> WorkerEvents:
        """The new records in entries of the stream, the last of which is `place`.

        A record from before `searched_until` was found in the store.
        """
        late = self.position.searched_until
        self.position.place = place
        in_flight = [
            ((dispatch.replica, slot, pid), structs.replace(each, mono=here(each.at)))
            for dispatch in dispatches
            for slot, pid, each in dispatch.in_flight
            if self._is_open(each)
        ]
        outcomes = [
            restored(part, here(part.at))
            for dispatch in dispatches
            for part in dispatch.outcomes
            if _ended(part) > late and self._is_new_outcome(part)
        ]
        feedback = [
            structs.replace(each, mono=here(each.at))
            for dispatch in dispatches
            for each in dispatch.feedback
            if each.at > late and self._is_new_feedback(each)
        ]
        told = heartbeats(dispatches)
        unmatched = [each for dispatch in dispatches for each in dispatch.unmatched]
        return WorkerEvents(
            records=[*outcomes, *feedback],
            in_flight=in_flight,
            beats=told.beats,
            heard=told.heard,
            unmatched=unmatched,
            callers=[each for dispatch in dispatches for each in dispatch.callers],
        )

    def found(self, tail: Tail, asked_at: float) -> WorkerEvents:
        """The new records in the store's answer to a search that began at UTC second `asked_at`."""
        late = self.position.searched_until
        records: list[Outcome | Feedback] = [
            structs.replace(each, mono=here(each.at))
            for each in tail.outcomes
            if _ended(each) > late and self._is_new_outcome(each)
        ]
        records += [
            structs.replace(each, mono=here(each.at))
            for each in tail.feedback
            if each.at > late and self._is_new_feedback(each)
        ]
        if asked_at - self._failed_at > 2 * OVERLAP_S:
            self._search_from(asked_at - OVERLAP_S)
        return WorkerEvents(records=records, heard=len(tail.outcomes))

    def not_found(self, asked_at: float) -> None:
        """The store did not answer. Replicas will ship older records once it does, so `searched_until` stays
        where it is for a while."""
        self._failed_at = asked_at

    def _search_from(self, moment: float) -> None:
        position = self.position
        position.searched_until = max(position.searched_until, moment)
        position.told = {
            key: ended for key, ended in position.told.items() if ended > position.searched_until
        }

    def _is_new_outcome(self, outcome: Outcome | Brief) -> bool:
        self._open.pop(outcome.exchange_id, None)
        return self._note(outcome.exchange_id, _ended(outcome))

    def _is_open(self, exchange: InFlight) -> bool:
        """False for an exchange whose outcome was passed on, or may have been: one that began before
        `searched_until` is known to be open only if it was passed on as such."""
        name = exchange.exchange_id
        if name in self._open:
            return True
        if exchange.at <= self.position.searched_until or _key(name) in self.position.told:
            return False
        self._open[name] = None
        if len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]
        return True

    def _is_new_feedback(self, feedback: Feedback) -> bool:
        return self._note(f"{feedback.key}\0{feedback.value}\0{feedback.at}", feedback.at)

    def _note(self, name: str, ended: float) -> bool:
        key = _key(name)
        told = self.position.told
        if key in told:
            return False
        told[key] = ended
        if len(told) > REMEMBERED:
            self._search_from(sorted(told.values())[REMEMBERED // 10])
        return True


def _key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "big")


def heartbeats(dispatches: Sequence[Dispatch]) -> WorkerEvents:
    """Only the heartbeats, as of now: all that an admin in standby needs."""
    now = time.monotonic()
    beats = [
        ((dispatch.replica, beat.worker, beat.pid), structs.replace(beat, mono=now))
        for dispatch in dispatches
        for beat in dispatch.beats
    ]
    return WorkerEvents(beats=beats, heard=sum(dispatch.heard for dispatch in dispatches))


def _position(document: Mapping[str, Any]) -> Position:
    try:
        return msgspec.convert(document["position"], Position, str_keys=True)
    except (KeyError, msgspec.ValidationError):
        return Position(searched_until=time.time() - OVERLAP_S, told={})


def _ended(outcome: Outcome | Brief) -> float:
    return outcome.at + (outcome.latency_s or 0.0)
