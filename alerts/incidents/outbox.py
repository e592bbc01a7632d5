"""The queue of notices per receiver, with retry times. Its owner stores it; `notifier` sends."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alerts.incidents.notice import Notice
from alerts.incidents.receiver import Receiver

LONGEST_BACKOFF_S = 60.0
GIVE_UP_AFTER_S = 86_400.0
REPEAT_S = 60.0
ENTRIES = 1_000
TROUBLE_TRIES = 3
"""Failed tries before a receiver is reported, so that a restarting receiver is not."""


@dataclass(slots=True)
class OutboxEntry:
    """One notice for one receiver. `repeat` marks a re-post of a delivered notice."""

    receiver: str
    notice: Notice
    due_at: float
    queued_at: float
    attempts: int = 0
    repeat: bool = False


@dataclass(slots=True)
class OutboxState:
    """The persistent state. It names receivers by a hash, because their addresses may be secrets."""

    entries: list[OutboxEntry] = field(default_factory=list)
    delivered: int = 0
    given_up: int = 0


def receiver_id(receiver: Receiver) -> str:
    """The receiver's kind and a hash of its address and key: stable, not reversible."""
    secret = "\0".join((receiver.kind, receiver.url, receiver.key or ""))
    return f"{receiver.kind}-{hashlib.sha256(secret.encode()).hexdigest()[:16]}"


class Outbox:
    """Notices waiting for delivery."""

    def __init__(self, receivers: Sequence[Receiver]) -> None:
        self.receivers = _by_id(receivers)
        self.state = OutboxState()

    def set_receivers(self, receivers: Sequence[Receiver]) -> None:
        """Replace the receivers. Notices for removed receivers are given up. An entry in delivery stays the
        same object, so that it is not sent twice."""
        self.receivers = _by_id(receivers)
        self._drop_unknown()

    def put(self, notices: Iterable[Notice], now: float) -> None:
        """Queue notices for every receiver at UTC second `now`, unless they are queued already."""
        entries = self.state.entries
        for notice in notices:
            for name in self.receivers:
                self._end_repeats(name, notice)
                if not any(_same(entry, name, notice) for entry in entries):
                    entries.append(OutboxEntry(name, notice, due_at=now, queued_at=now))
        while len(entries) > ENTRIES:
            del entries[0]
            self.state.given_up += 1

    def _end_repeats(self, receiver: str, notice: Notice) -> None:
        """Remove the incident's re-posts; a newer notice replaces them."""
        self.state.entries[:] = [
            entry
            for entry in self.state.entries
            if not (
                entry.repeat and entry.receiver == receiver and entry.notice.dedup_key == notice.dedup_key
            )
        ]

    def due(self, now: float) -> list[OutboxEntry]:
        """The entries to send now: the oldest per receiver and incident, if due."""
        heads: dict[tuple[str, str], OutboxEntry] = {}
        for entry in self.state.entries:
            heads.setdefault((entry.receiver, entry.notice.dedup_key), entry)
        return [entry for entry in heads.values() if entry.due_at <= now]

    def troubles(self) -> list[str]:
        """The receivers that do not accept pages at the moment, in words."""
        tries: dict[str, int] = {}
        for entry in self.state.entries:
            tries[entry.receiver] = max(tries.get(entry.receiver, 0), entry.attempts)
        return [
            f"{self.receivers[name].kind} does not accept pages: {count} attempts failed"
            for name, count in tries.items()
            if count >= TROUBLE_TRIES
        ]

    def mark_delivered(self, entry: OutboxEntry, now: float) -> None:
        """Remove a delivered entry. Does nothing for a re-post that a newer notice has replaced."""
        if entry not in self.state.entries:
            return
        self.state.delivered += not entry.repeat
        self.state.entries.remove(entry)
        kind = self.receivers[entry.receiver].kind
        later = any(_follows(other, entry) for other in self.state.entries)
        if kind == "alertmanager" and entry.notice.event != "resolved" and not later:
            self.state.entries.append(
                OutboxEntry(entry.receiver, entry.notice, due_at=now + REPEAT_S, queued_at=now, repeat=True)
            )

    def mark_failed(
        self, entry: OutboxEntry, now: float, *, retry_after_s: float | None = None, refused: bool = False
    ) -> bool:
        """Reschedule a failed entry. `refused`: a retry cannot help. True when the entry is given up."""
        if entry not in self.state.entries:
            return False
        entry.attempts += 1
        if refused or now - entry.queued_at >= GIVE_UP_AFTER_S:
            self.state.entries.remove(entry)
            self.state.given_up += 1
            return True
        backoff_s = min(2.0 ** min(entry.attempts - 1, 16), LONGEST_BACKOFF_S)
        entry.due_at = now + max(backoff_s, retry_after_s or 0.0)
        return False

    def snapshot(self) -> dict[str, Any]:
        """The queue, JSON-able, without receivers' addresses."""
        document: dict[str, Any] = msgspec.to_builtins(self.state)
        return document

    def restore(self, document: Mapping[str, Any]) -> None:
        """Continue from a snapshot. Notices for receivers that are no longer in the config are given up.

        Raises msgspec.ValidationError for a document of another shape.
        """
        self.state = msgspec.convert(document, OutboxState)
        self._drop_unknown()

    def _drop_unknown(self) -> None:
        state = self.state
        known = [entry for entry in state.entries if entry.receiver in self.receivers]
        state.given_up += len(state.entries) - len(known)
        state.entries = known


def _by_id(receivers: Sequence[Receiver]) -> dict[str, Receiver]:
    return {receiver_id(receiver): receiver for receiver in receivers}


def _same(entry: OutboxEntry, receiver: str, notice: Notice) -> bool:
    return (entry.receiver, entry.notice.dedup_key, entry.notice.sequence) == (
        receiver,
        notice.dedup_key,
        notice.sequence,
    )


def _follows(other: OutboxEntry, entry: OutboxEntry) -> bool:
    return other.receiver == entry.receiver and other.notice.dedup_key == entry.notice.dedup_key
