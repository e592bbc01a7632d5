"""Sends due notices to Alertmanager, PagerDuty, Slack and webhooks, and announcements that page nobody."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import httpx2
import structlog

from alerts.incidents.notice import (
    PAGERDUTY_SUMMARY,
    Offer,
    alertmanager_payload,
    link_to,
    pagerduty_payload,
    slack_links,
    slack_payload,
    utc_text,
    webhook_payload,
)
from alerts.incidents.outbox import Outbox, OutboxEntry
from alerts.incidents.receiver import Receiver

log = structlog.get_logger()

TIMEOUT_S = 10.0
REFUSED = frozenset({400, 413, 415, 422})
"""Statuses that reject the content. Sending it again would not help."""


def notifier_client() -> httpx2.AsyncClient:
    """A client for `deliver`: no proxies from the environment, no redirects, at most ten seconds per step."""
    return httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=TIMEOUT_S)


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
            request = partial(request_for, outbox.receivers[name], now=now, console=console, public=public)
            group.create_task(_deliver_all(outbox, client, entries, request, now))
    return bool(queues)


async def _deliver_all(
    outbox: Outbox,
    client: httpx2.AsyncClient,
    entries: list[OutboxEntry],
    request: Callable[[OutboxEntry], tuple[str, Any]],
    now: float,
) -> None:
    """Send one receiver its due entries. If the receiver is down or throttles, the rest wait too."""
    waiting, wait_s = list(entries), None
    with suppress(TimeoutError, httpx2.HTTPError, httpx2.InvalidURL):
        async with asyncio.timeout(TIMEOUT_S):
            while waiting and wait_s is None:
                url, body = request(waiting[0])
                answer = await client.post(url, json=body)
                if answer.is_success:
                    outbox.mark_delivered(waiting.pop(0), now)
                elif answer.status_code in REFUSED:
                    _fail(outbox, waiting.pop(0), now, refused=True)
                elif (wait_s := retry_after_s(answer.headers.get("retry-after"), now)) is None:
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
        kind, key = outbox.receivers[entry.receiver].kind, entry.notice.dedup_key
        log.error("page.given_up", receiver=kind, refused=refused, dedup_key=key, notice=entry.notice.event)


def request_for(
    receiver: Receiver,
    entry: OutboxEntry,
    now: float,
    console: str | None = None,
    public: str | None = None,
) -> tuple[str, Any]:
    """(url, JSON body) of a delivery."""
    notice = entry.notice
    link = link_to(notice, console)
    if receiver.kind == "alertmanager":
        return f"{receiver.url.rstrip('/')}/api/v2/alerts", alertmanager_payload(notice, now, link)
    if receiver.kind == "pagerduty":
        return receiver.url, pagerduty_payload(notice, receiver.key or "", link)
    if receiver.kind == "slack":
        return receiver.url, slack_payload(notice, link, public)
    return receiver.url, webhook_payload(notice, link)


def retry_after_s(header: str | None, now: float) -> float | None:
    """The seconds to wait from a Retry-After header (RFC 9110 §10.2.3: seconds or a date), or None."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)


SHOWN_FOR = timedelta(hours=1)
"""How long Alertmanager shows an announcement. It has only alerts, so it gets one of severity `info`."""

_ENQUEUE, _CHANGE = "/v2/enqueue", "/v2/change/enqueue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """One announcement. `kind` is machine-readable, for example `model_released`.

    `about` has what else a webhook gets: the `model` or `canary` first, and figures. `at` is in UTC seconds.
    `offers` are what Slack's message links to on the canary's page; `reason` fills their dialogs.
    """

    kind: str
    about: Mapping[str, str | int | None]
    headline: str
    at: float
    offers: Sequence[Offer] = ()
    reason: str = ""


def announcement(receiver: Receiver, news: Announcement, console: str | None = None) -> tuple[str, Any]:
    """(url, JSON body) of a message. PagerDuty gets a change event, which opens no incident. `console` is the
    page's public URL, None if nobody said."""
    at = utc_text(news.at)
    if receiver.kind == "alertmanager":
        labels = {"alertname": "CanaryNews", "kind": news.kind, **_subject(news), "severity": "info"}
        until = utc_text(news.at + SHOWN_FOR.total_seconds())
        alert = {"labels": labels, "annotations": {"summary": news.headline}, "startsAt": at, "endsAt": until}
        return f"{receiver.url.rstrip('/')}/api/v2/alerts", [alert]
    if receiver.kind == "pagerduty":
        url = receiver.url.removesuffix(_ENQUEUE) + _CHANGE
        payload = {"summary": news.headline[:PAGERDUTY_SUMMARY], "source": "canary", "timestamp": at}
        return url, {"routing_key": receiver.key or "", "payload": payload}
    if receiver.kind == "slack":
        text = news.headline.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        links = slack_links(console, str(news.about.get("canary")), news.offers, news.reason)
        return receiver.url, {"text": f":package: {text}{links}"}
    return receiver.url, {"event": news.kind, "at": at, **news.about, "headline": news.headline}


def _subject(news: Announcement) -> dict[str, str]:
    """The model or canary that it is about."""
    return {name: str(value) for name, value in news.about.items() if name in ("model", "canary")}


async def announce(
    client: httpx2.AsyncClient, receiver: Receiver, news: Announcement, console: str | None = None
) -> str | None:
    """Send to one receiver. The error in words, without the address; None after success."""
    url, body = announcement(receiver, news, console)
    try:
        answer = await client.post(url, json=body)
    except (httpx2.HTTPError, httpx2.InvalidURL) as problem:
        return type(problem).__name__
    return None if answer.is_success else f"HTTP status {answer.status_code}"
