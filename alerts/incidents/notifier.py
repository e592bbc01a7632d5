"""The outbox of notices, and their delivery to Alertmanager, PagerDuty, Slack, webhooks and by Apprise;
announcements, which page nobody."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import httpx2
import msgspec
import structlog

from alerts.incidents import apprise_receiver
from alerts.incidents.notice import (
    PAGERDUTY_SUMMARY,
    Notice,
    Offer,
    Receiver,
    alertmanager_payload,
    apprise_payload,
    link_to,
    pagerduty_payload,
    plain_links,
    slack_links,
    slack_payload,
    utc_text,
    webhook_payload,
)
from alerts.wording import cut
from common.bounded_http import bounded
from common.clock import retry_after_s

# The queue of notices per receiver, with retry times. Its owner stores it.


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
        """Queue notices for every receiver of incidents at UTC second `now`, unless queued already."""
        entries = self.state.entries
        names = [name for name, each in self.receivers.items() if not each.is_owners]
        for notice in notices:
            for name in names:
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
            f"{self.receivers[name].name} does not accept pages: {count} attempts failed"
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


log = structlog.get_logger()

TIMEOUT_S = 10.0
REFUSED = frozenset({400, 413, 415, 422})
"""Statuses that reject the content. Sending it again would not help."""


def notifier_client() -> httpx2.AsyncClient:
    """A client for `deliver`: no proxies from the environment, no redirects, at most ten seconds per step."""
    return httpx2.AsyncClient(timeout=TIMEOUT_S, **bounded())


async def deliver(
    outbox: Outbox,
    client: httpx2.AsyncClient,
    now: float,
    console: str | None = None,
    *,
    public: str | None = None,
) -> bool:
    """Send the notices that are due at UTC second `now`, to all receivers at once, in at most ten seconds.

    True when a delivery was tried. `console` is the console's URL; `public` is the one that the config names,
    without which no message links to an order. The owner persists the outbox
    afterwards; after a crash in between, receivers get the same notice again, under the same key.
    """
    queues: dict[str, list[OutboxEntry]] = {}
    for entry in outbox.due(now):
        queues.setdefault(entry.receiver, []).append(entry)
    async with asyncio.TaskGroup() as group:
        for name, entries in queues.items():
            receiver = outbox.receivers[name]
            request = partial(request_for, receiver, now=now, console=console, public=public)
            group.create_task(_deliver_all(outbox, partial(_send, client, receiver), entries, request, now))
    return bool(queues)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a receiver says to a message: `problem` in words, "" where it took it.

    `refused`: sending it again would not help. `down`: nor would sending anything else now.
    `retry_after`: its header, None for none.
    """

    problem: str = ""
    refused: bool = False
    down: bool = False
    retry_after: str | None = None


async def _send(client: httpx2.AsyncClient, receiver: Receiver, url: str, body: Any) -> _Answer:
    """Send a message once. Raises HTTPError and InvalidURL of the client."""
    if receiver.kind == "apprise":
        found = await apprise_receiver.send(url, body)
        return _Answer(
            problem=found.problem,
            refused=found.status in REFUSED,
            down=bool(found.problem and not found.status),
        )
    async with client.stream("POST", url, json=body) as answer:
        pass  # nobody reads what it says
    if answer.is_success:
        return _Answer()
    return _Answer(
        problem=f"HTTP status {answer.status_code}",
        refused=answer.status_code in REFUSED,
        retry_after=answer.headers.get("retry-after"),
    )


async def _deliver_all(
    outbox: Outbox,
    send: Callable[[str, Any], Awaitable[_Answer]],
    entries: list[OutboxEntry],
    request: Callable[[OutboxEntry], tuple[str, Any]],
    now: float,
) -> None:
    """Send one receiver its due entries. If the receiver is down or throttles, the rest wait too."""
    waiting, wait_s = list(entries), None
    with suppress(TimeoutError, httpx2.HTTPError, httpx2.InvalidURL):
        async with asyncio.timeout(TIMEOUT_S):
            while waiting and wait_s is None:
                answer = await send(*request(waiting[0]))
                if not answer.problem:
                    outbox.mark_delivered(waiting.pop(0), now)
                elif answer.refused:
                    _fail(outbox, waiting.pop(0), now, refused=True)
                elif answer.down:
                    break
                elif (wait_s := retry_after_s(answer.retry_after, now)) is None:
                    _fail(outbox, waiting.pop(0), now)
    for entry in waiting:
        _fail(outbox, entry, now, retry_after_s=wait_s)


def _fail(
    outbox: Outbox,
    entry: OutboxEntry,
    now: float,
    *,
    retry_after_s: float | None = None,
    refused: bool = False,
) -> None:
    """Reschedule a failed delivery. If it is given up, log it: the receiver will never get it."""
    if outbox.mark_failed(entry, now, retry_after_s=retry_after_s, refused=refused):
        name, key = outbox.receivers[entry.receiver].name, entry.notice.dedup_key
        log.error("page.given_up", receiver=name, refused=refused, dedup_key=key, notice=entry.notice.event)


def request_for(
    receiver: Receiver,
    entry: OutboxEntry,
    now: float,
    console: str | None = None,
    public: str | None = None,
) -> tuple[str, Any]:
    """(url, JSON body) of a delivery. Apprise's body is a title, a text and a type."""
    notice = entry.notice
    link = link_to(notice, console)
    if receiver.kind == "alertmanager":
        return f"{receiver.url.rstrip('/')}/api/v2/alerts", alertmanager_payload(notice, now, link)
    if receiver.kind == "pagerduty":
        return receiver.url, pagerduty_payload(notice, receiver.key or "", link)
    if receiver.kind == "slack":
        return receiver.url, slack_payload(notice, link, public)
    if receiver.kind == "apprise":
        return receiver.url, apprise_payload(notice, link, public)
    return receiver.url, webhook_payload(notice, link)


SHOWN_FOR = timedelta(hours=1)
"""How long Alertmanager shows an announcement. It has only alerts, so it gets one of severity `info`."""

_ENQUEUE, _CHANGE = "/v2/enqueue", "/v2/change/enqueue"


DECISIONS = frozenset(
    {"verdict_reached", "benchmark_finished", "model_retires", "model_drifted", "promote_asked"}
)
"""The kinds of announcements that ask somebody to decide: owners get them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """One announcement. `kind` is machine-readable, for example `model_released`.

    `about` has what else a webhook gets: the `model` or `canary` first, and figures. `at` is in UTC seconds.
    `offers` are what a message links to on the canary's page; `reason` fills their dialogs. `owners` are
    those of the canaries that it is about.
    """

    kind: str
    about: Mapping[str, str | int | None]
    headline: str
    at: float
    offers: Sequence[Offer] = ()
    reason: str = ""
    owners: Sequence[str] = ()

    @property
    def owner(self) -> str:
        """The owners in one text; "" for nobody named."""
        return ", ".join(self.owners)


def receivers_of(news: Announcement, receivers: Iterable[Receiver]) -> dict[str, Receiver]:
    """Who is told of it, by id: a receiver of owners is one for each owner of what asks for a decision."""
    owners = news.owners if news.kind in DECISIONS else ()
    found = [known for each in receivers for known in (map(each.of, owners) if each.is_owners else (each,))]
    return _by_id(found)


def announcement(receiver: Receiver, news: Announcement, console: str | None = None) -> tuple[str, Any]:
    """(url, JSON body) of a message. PagerDuty gets a change event, which opens no incident. `console` is the
    page's public URL, None if nobody said."""
    at = utc_text(news.at)
    if receiver.kind == "alertmanager":
        labels = {"alertname": "CanaryNews", "kind": news.kind, **_subject(news), "severity": "info"}
        labels |= {"owner": news.owner} if news.owner else {}
        until = utc_text(news.at + SHOWN_FOR.total_seconds())
        alert = {"labels": labels, "annotations": {"summary": news.headline}, "startsAt": at, "endsAt": until}
        return f"{receiver.url.rstrip('/')}/api/v2/alerts", [alert]
    if receiver.kind == "pagerduty":
        url = receiver.url.removesuffix(_ENQUEUE) + _CHANGE
        payload = {"summary": news.headline[:PAGERDUTY_SUMMARY], "source": "canary", "timestamp": at}
        details = {**news.about, "owner": news.owner or None}
        return url, {"routing_key": receiver.key or "", "payload": {**payload, "custom_details": details}}
    if receiver.kind == "slack":
        text = _text(news).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        links = slack_links(console, str(news.about.get("canary")), news.offers, news.reason)
        return receiver.url, {"text": f":package: {text}{links}"}
    if receiver.kind == "apprise":
        lines = [_text(news), *plain_links(console, str(news.about.get("canary")), news.offers, news.reason)]
        title = cut(" ".join(news.headline.split()))
        return receiver.url, {"title": title, "body": "\n".join(lines), "type": "info"}
    owner = news.owner or None
    return receiver.url, {
        "event": news.kind,
        "at": at,
        **news.about,
        "owner": owner,
        "headline": news.headline,
    }


def _text(news: Announcement) -> str:
    return f"{news.headline}\nowner: {news.owner}" if news.owner else news.headline


def _subject(news: Announcement) -> dict[str, str]:
    """The model or canary that it is about."""
    return {name: str(value) for name, value in news.about.items() if name in ("model", "canary")}


async def announce(
    client: httpx2.AsyncClient, receiver: Receiver, news: Announcement, console: str | None = None
) -> str | None:
    """Send to one receiver. The error in words, without the address; None after success."""
    url, body = announcement(receiver, news, console)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            answer = await _send(client, receiver, url, body)
    except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL) as problem:
        return type(problem).__name__
    return answer.problem or None
