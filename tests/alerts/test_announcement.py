"""News wakes nobody: a message, an alert of severity info, a change event."""

import asyncio

import httpx2
import pytest

from alerts.incidents.notice import PAGERDUTY_URL, Receiver
from alerts.incidents.notifier import Announcement, announce, announcement

NEWS = Announcement(kind="model_released", about={"model": "p/new"}, headline="p/new is <new>", at=0.0)


def test_each_kind_of_receiver_gets_it_in_its_own_form() -> None:
    url, body = announcement(Receiver(kind="webhook", url="http://h/x"), NEWS)
    assert (url, body["event"], body["model"], body["at"]) == (
        "http://h/x",
        "model_released",
        "p/new",
        "1970-01-01T00:00:00.000Z",
    )
    assert announcement(Receiver(kind="slack", url="http://s"), NEWS)[1] == {
        "text": ":package: p/new is &lt;new&gt;"
    }
    url, body = announcement(Receiver(kind="alertmanager", url="http://a/"), NEWS)
    assert url == "http://a/api/v2/alerts"
    assert (body[0]["labels"]["severity"], body[0]["endsAt"]) == ("info", "1970-01-01T01:00:00.000Z")


@pytest.mark.parametrize("url", [PAGERDUTY_URL, "http://127.0.0.1:9"])
def test_pagerduty_gets_a_change_event_and_no_incident(url: str) -> None:
    where, body = announcement(Receiver(kind="pagerduty", url=url, key="k"), NEWS)
    assert where.endswith("/v2/change/enqueue")
    assert body["routing_key"] == "k"
    assert "event_action" not in body


def test_what_went_wrong_is_said_without_the_address() -> None:
    async def story() -> str | None:
        async with httpx2.AsyncClient(trust_env=False) as client:
            return await announce(client, Receiver(kind="webhook", url="http://127.0.0.1:9/secret"), NEWS)

    assert asyncio.run(story()) == "ConnectError"


def test_a_verdict_is_news_of_a_canary_with_its_figures() -> None:
    about = {"canary": "support", "verdict": "ship"}
    news = Announcement(kind="verdict_reached", about=about, headline="ship", at=0.0)
    assert announcement(Receiver(kind="webhook", url="http://h"), news)[1] == {
        "event": "verdict_reached",
        "at": "1970-01-01T00:00:00.000Z",
        "canary": "support",
        "verdict": "ship",
        "owner": None,
        "headline": "ship",
    }
    labels = announcement(Receiver(kind="alertmanager", url="http://a"), news)[1][0]["labels"]
    assert labels == {
        "alertname": "CanaryNews",
        "kind": "verdict_reached",
        "canary": "support",
        "severity": "info",
    }


def test_every_receiver_is_told_who_decides() -> None:
    news = Announcement(
        kind="benchmark_finished", about={"model": "p/m"}, headline="ship", at=0.0, owners=("a@b",)
    )
    bodies = {
        kind: announcement(Receiver(kind=kind, url="http://h", key="k"), news)[1]
        for kind in ("webhook", "slack", "alertmanager", "pagerduty", "apprise")
    }
    assert (bodies["webhook"]["owner"], bodies["slack"]["text"]) == ("a@b", ":package: ship\nowner: a@b")
    assert bodies["alertmanager"][0]["labels"]["owner"] == "a@b"
    assert bodies["pagerduty"]["payload"]["custom_details"] == {"model": "p/m", "owner": "a@b"}
    assert bodies["apprise"] == {"title": "ship", "body": "ship\nowner: a@b", "type": "info"}
