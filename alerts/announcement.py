"""Sends announcements that page nobody: a new model, a benchmark, a verdict. `notify` sends pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2

from alerts.order_links import Offer, slack_links
from alerts.payloads import PAGERDUTY_SUMMARY, utc_text
from alerts.receiver import Receiver

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
