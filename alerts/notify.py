"""Sends what is due to Alertmanager, PagerDuty, Slack and webhooks. Decides nothing about incidents."""

import asyncio
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from alerts.outbox import Entry, Outbox
from alerts.payloads import alertmanager_payload, pagerduty_payload, slack_payload, webhook_payload
from alerts.receiver import Receiver

TIMEOUT_S = 10.0
REFUSED = frozenset({400, 413, 415, 422})
"""Statuses that blame the content: it would be refused again."""


def notifier_client() -> httpx2.AsyncClient:
    """A client for `deliver`: no proxies from the environment, no redirects, ten seconds at most a step."""
    return httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=TIMEOUT_S)


async def deliver(outbox: Outbox, client: httpx2.AsyncClient, now: float) -> None:
    """One pass over what is due at UTC second `now`; receivers do not wait for one another.

    The owner persists the outbox afterwards: after a crash in between, a receiver gets the same notice under
    the same key once more, and keeps it as one.
    """
    queues: dict[str, list[Entry]] = {}
    for entry in outbox.due(now):
        queues.setdefault(entry.receiver, []).append(entry)
    async with asyncio.TaskGroup() as group:
        for entries in queues.values():
            group.create_task(_deliver_all(outbox, client, entries, now))


async def _deliver_all(outbox: Outbox, client: httpx2.AsyncClient, entries: list[Entry], now: float) -> None:
    for entry in entries:
        url, body = request_for(outbox.receivers[entry.receiver], entry, now)
        try:
            response = await client.post(url, json=body)
        except (httpx2.HTTPError, httpx2.InvalidURL):
            outbox.mark_failed(entry, now)
            continue
        if response.is_success:
            outbox.mark_delivered(entry, now)
        else:
            outbox.mark_failed(
                entry,
                now,
                retry_after_s=retry_after_s(response.headers.get("retry-after"), now),
                refused=response.status_code in REFUSED,
            )


def request_for(receiver: Receiver, entry: Entry, now: float) -> tuple[str, Any]:
    """(url, JSON body) of one delivery."""
    notice = entry.notice
    if receiver.kind == "alertmanager":
        return f"{receiver.url.rstrip('/')}/api/v2/alerts", alertmanager_payload(notice, now)
    if receiver.kind == "pagerduty":
        return receiver.url, pagerduty_payload(notice, receiver.key or "")
    if receiver.kind == "slack":
        return receiver.url, slack_payload(notice)
    return receiver.url, webhook_payload(notice)


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
