"""Sends what is due to Alertmanager, PagerDuty, Slack and webhooks. Decides nothing about incidents."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import httpx2
import structlog

from alerts.outbox import Outbox, OutboxEntry
from alerts.payloads import (
    alertmanager_payload,
    link_to,
    pagerduty_payload,
    slack_payload,
    webhook_payload,
)
from alerts.receiver import Receiver

log = structlog.get_logger()

TIMEOUT_S = 10.0
REFUSED = frozenset({400, 413, 415, 422})
"""Statuses that blame the content: it would be refused again."""


def notifier_client() -> httpx2.AsyncClient:
    """A client for `deliver`: no proxies from the environment, no redirects, ten seconds at most a step."""
    return httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=TIMEOUT_S)


async def deliver(outbox: Outbox, client: httpx2.AsyncClient, now: float, console: str | None = None) -> bool:
    """One pass over what is due at UTC second `now`, of ten seconds at most; receivers do not wait for one
    another. True when something was tried. `console` is where people reach the page.

    The owner persists the outbox afterwards: after a crash in between, a receiver gets the same notice under
    the same key once more, and keeps it as one.
    """
    queues: dict[str, list[OutboxEntry]] = {}
    for entry in outbox.due(now):
        queues.setdefault(entry.receiver, []).append(entry)
    async with asyncio.TaskGroup() as group:
        for name, entries in queues.items():
            request = partial(request_for, outbox.receivers[name], now=now, console=console)
            group.create_task(_deliver_all(outbox, client, entries, request, now))
    return bool(queues)


async def _deliver_all(
    outbox: Outbox,
    client: httpx2.AsyncClient,
    entries: list[OutboxEntry],
    request: Callable[[OutboxEntry], tuple[str, Any]],
    now: float,
) -> None:
    """Send one receiver what is due. One that is away, or throttles, gets the rest later too."""
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
    """Nobody will hear of what is given up but from the log."""
    if outbox.mark_failed(entry, now, retry_after_s=retry_after_s, refused=refused):
        kind, key = outbox.receivers[entry.receiver].kind, entry.notice.dedup_key
        log.error("page.given_up", receiver=kind, refused=refused, dedup_key=key, notice=entry.notice.event)


def request_for(
    receiver: Receiver, entry: OutboxEntry, now: float, console: str | None = None
) -> tuple[str, Any]:
    """(url, JSON body) of one delivery."""
    notice = entry.notice
    link = link_to(notice, console)
    if receiver.kind == "alertmanager":
        return f"{receiver.url.rstrip('/')}/api/v2/alerts", alertmanager_payload(notice, now, link)
    if receiver.kind == "pagerduty":
        return receiver.url, pagerduty_payload(notice, receiver.key or "", link)
    if receiver.kind == "slack":
        return receiver.url, slack_payload(notice, link)
    return receiver.url, webhook_payload(notice, link)


def retry_after_s(header: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110 §10.2.3: seconds or a date); None: it says none."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
