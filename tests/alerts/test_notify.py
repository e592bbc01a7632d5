"""Delivery to real receivers on loopback: a small webhook server and a real Alertmanager."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
from structlog.testing import capture_logs

from alerts.incidents.notice import EventName, Notice, Receiver, ReceiverKind
from alerts.incidents.notifier import Outbox, deliver, notifier_client
from tests.e2e.receivers import alertmanager
from tests.servers.ports import free_port

NOW = 1_790_000_000.0
KEY = "canary:support-nov:20260921T142640Z"


def notice(sequence: int, event: EventName, *, at: float = NOW, key: str = KEY) -> Notice:
    return Notice(
        event=event,
        dedup_key=key,
        sequence=sequence,
        at=at,
        canary="support-nov",
        incident="20260921T142640Z",
        opened_at=at,
        headline="support-nov: error_rate: 12 of 20 failed",
        rules=("error_rate",),
        details={"error_rate": "12 of 20 failed"},
        done="the candidate is being rolled back",
        page="canaries/support-nov/why?run=1",
    )


class Hook:
    """A receiver over raw asyncio: answers with the queued statuses (then 202) and keeps every body."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.answers: list[str] = []
        self.port = 0
        self.asked = asyncio.Event()
        self.slow: asyncio.Event | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.split("\r\n") if "content-length" in line.lower()
        )
        body = json.loads(await reader.readexactly(length))
        self.asked.set()
        if self.slow is not None:
            await self.slow.wait()
        answer = self.answers.pop(0) if self.answers else "202 Accepted"
        if answer.startswith("2"):
            self.bodies.append(body)
            self.paths.append(head.split()[1])
        writer.write(f"HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    def receiver(self, kind: ReceiverKind = "webhook", key: str | None = None) -> Receiver:
        return Receiver(kind=kind, url=f"http://127.0.0.1:{self.port}/hook", key=key)


@asynccontextmanager
async def listening(hook: Hook) -> AsyncIterator[Hook]:
    server = await asyncio.start_server(hook.serve, "127.0.0.1", hook.port)
    hook.port = server.sockets[0].getsockname()[1]
    async with server:
        yield hook


async def alerts_of(client: httpx2.AsyncClient, url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get(f"{url}/api/v2/alerts")).json()
    return found


def test_a_page_is_delivered_once() -> None:
    async def scenario() -> None:
        async with listening(Hook()) as hook, notifier_client() as client:
            outbox = Outbox([hook.receiver()])
            outbox.put([notice(0, "page")], NOW)
            for second in range(5):
                await deliver(outbox, client, NOW + second)
            (body,) = hook.bodies
            assert (body["event"], body["dedup_key"], body["sequence"]) == ("page", KEY, 0)

    asyncio.run(scenario())


def test_a_receiver_that_was_down_ten_minutes_gets_everything_once_and_in_order() -> None:
    async def scenario() -> None:
        hook = Hook()
        async with listening(hook):
            pass  # its port is known, and nobody listens
        async with notifier_client() as client:
            outbox = Outbox([hook.receiver()])
            outbox.put([notice(0, "page"), notice(1, "update")], NOW)
            for second in range(600):
                await deliver(outbox, client, NOW + second)
            assert outbox.state.delivered == 0
            async with listening(hook):
                for second in range(600, 720):
                    await deliver(outbox, client, NOW + second)
            assert [body["event"] for body in hook.bodies] == ["page", "update"]
            assert {body["dedup_key"] for body in hook.bodies} == {KEY}

    asyncio.run(scenario())


def test_a_restart_between_two_attempts_loses_and_doubles_nothing() -> None:
    async def scenario() -> None:
        async with listening(Hook()) as hook, notifier_client() as client:
            hook.answers = ["500 Oops"]
            before = Outbox([hook.receiver()])
            before.put([notice(0, "page")], NOW)
            await deliver(before, client, NOW)
            after = Outbox([hook.receiver()])
            after.restore(json.loads(json.dumps(before.snapshot())))
            await deliver(after, client, NOW + 60)
            await deliver(after, client, NOW + 120)
            assert len(hook.bodies) == 1

    asyncio.run(scenario())


def test_a_429_is_left_alone_for_as_long_as_it_asks() -> None:
    async def scenario() -> None:
        async with listening(Hook()) as hook, notifier_client() as client:
            hook.answers = ["429 Too Many Requests\r\nretry-after: 90"]
            outbox = Outbox([hook.receiver()])
            outbox.put([notice(0, "page")], NOW)
            await deliver(outbox, client, NOW)
            await deliver(outbox, client, NOW + 89)
            assert hook.bodies == []
            await deliver(outbox, client, NOW + 90)
            assert len(hook.bodies) == 1

    asyncio.run(scenario())


def test_a_receiver_that_throttles_gets_its_other_incidents_after_that_time_too() -> None:
    async def scenario() -> None:
        async with listening(Hook()) as hook, notifier_client() as client:
            hook.answers = ["429 Too Many Requests\r\nretry-after: 90"]
            outbox = Outbox([hook.receiver()])
            outbox.put([notice(0, "page"), notice(0, "page", key="canary:other:1")], NOW)
            await deliver(outbox, client, NOW)
            await deliver(outbox, client, NOW + 89)
            assert hook.bodies == []
            await deliver(outbox, client, NOW + 90)
            assert [body["dedup_key"] for body in hook.bodies] == [KEY, "canary:other:1"]

    asyncio.run(scenario())


def test_an_incident_that_fails_alone_keeps_no_other_from_going_out() -> None:
    async def scenario() -> None:
        async with listening(Hook()) as hook, notifier_client() as client:
            hook.answers = ["500 Oops"]
            outbox = Outbox([hook.receiver()])
            outbox.put([notice(0, "page"), notice(0, "page", key="canary:other:1")], NOW)
            await deliver(outbox, client, NOW)
            assert [body["dedup_key"] for body in hook.bodies] == ["canary:other:1"]

    asyncio.run(scenario())


def test_a_config_that_is_read_again_while_a_page_is_on_its_way_sends_it_no_second_time() -> None:
    async def scenario() -> None:
        async with listening(Hook()) as hook, notifier_client() as client:
            hook.slow = asyncio.Event()
            outbox = Outbox([hook.receiver()])
            outbox.put([notice(0, "page")], NOW)
            on_its_way = asyncio.create_task(deliver(outbox, client, NOW))
            await asyncio.wait_for(hook.asked.wait(), 10.0)
            outbox.set_receivers([hook.receiver(), Receiver(kind="webhook", url="http://127.0.0.1:1/new")])
            hook.slow.set()
            await on_its_way
            await deliver(outbox, client, NOW + 60)
            assert len(hook.bodies) == 1

    asyncio.run(scenario())


def test_slack_gets_links_to_orders_at_the_page_s_public_url_only() -> None:
    async def sent(public: str | None) -> str:
        async with listening(Hook()) as hook, notifier_client() as client:
            outbox = Outbox([hook.receiver("slack")])
            outbox.put([replace(notice(0, "page"), offers=("rollback", "pause"))], NOW)
            await deliver(outbox, client, NOW, "http://127.0.0.1:8081", public=public)
            (body,) = hook.bodies
            return str(body["text"])

    at = "<https://canary.example/canaries/support-nov?order="
    told = asyncio.run(sent("https://canary.example"))
    assert (told.count(f"{at}rollback&amp;reason="), told.count(f"{at}pause&amp;reason=")) == (1, 1)
    assert "order=" not in asyncio.run(sent(None))


def test_a_notice_leads_to_the_evidence() -> None:
    async def scenario() -> None:
        async with listening(Hook()) as hook, notifier_client() as client:
            kinds: list[ReceiverKind] = ["webhook", "slack", "pagerduty", "alertmanager"]
            outbox = Outbox([hook.receiver(kind) for kind in kinds])
            outbox.put([notice(0, "page")], NOW)
            await deliver(outbox, client, NOW, "https://canary.example/")
            link = "https://canary.example/canaries/support-nov/why?run=1"
            assert [json.dumps(body).count(link) >= 1 for body in hook.bodies] == [True] * 4
            webhook = next(body for body in hook.bodies if "event" in body)
            duty = next(body for body in hook.bodies if "routing_key" in body)
            (alert,) = next(body for body in hook.bodies if isinstance(body, list))
            assert (webhook["link"], duty["links"][0]["href"], alert["generatorURL"]) == (link, link, link)

    asyncio.run(scenario())


def test_what_a_receiver_refuses_does_not_block_what_follows() -> None:
    async def scenario() -> None:
        async with listening(Hook()) as hook, notifier_client() as client:
            hook.answers = ["400 Bad Request"]
            outbox = Outbox([hook.receiver()])
            outbox.put([notice(0, "page"), notice(1, "update")], NOW)
            with capture_logs() as logs:
                await deliver(outbox, client, NOW)
            await deliver(outbox, client, NOW)
            assert [body["sequence"] for body in hook.bodies] == [1]
            assert outbox.state.given_up == 1
            assert [(each["event"], each["receiver"], each["notice"]) for each in logs] == [
                ("page.given_up", "webhook", "page")
            ]

    asyncio.run(scenario())


def test_a_redirect_is_not_followed() -> None:
    async def scenario() -> None:
        async with listening(Hook()) as hook, listening(Hook()) as elsewhere, notifier_client() as client:
            hook.answers = [f"307 Temporary Redirect\r\nlocation: http://127.0.0.1:{elsewhere.port}/"]
            outbox = Outbox([hook.receiver()])
            outbox.put([notice(0, "page")], NOW)
            await deliver(outbox, client, NOW)
            assert elsewhere.bodies == []

    asyncio.run(scenario())


def test_pagerduty_and_slack_get_their_own_shapes_and_a_dead_receiver_holds_up_neither() -> None:
    async def scenario() -> None:
        async with listening(Hook()) as duty, listening(Hook()) as slack, notifier_client() as client:
            dead = Receiver(kind="webhook", url=f"http://127.0.0.1:{free_port()}/")
            outbox = Outbox([dead, duty.receiver("pagerduty", "routing"), slack.receiver("slack")])
            outbox.put([notice(0, "page"), notice(1, "resolved")], NOW)
            await deliver(outbox, client, NOW)
            await deliver(outbox, client, NOW)
            assert [body["event_action"] for body in duty.bodies] == ["trigger", "resolve"]
            assert [body["routing_key"] for body in duty.bodies] == ["routing", "routing"]
            assert [list(body) for body in slack.bodies] == [["text"], ["text"]]

    asyncio.run(scenario())


def test_a_real_alertmanager_keeps_one_alert_from_the_page_to_its_end(tmp_path: Path) -> None:
    async def scenario(url: str, now: float) -> None:
        async with notifier_client() as client:
            outbox = Outbox([Receiver(kind="alertmanager", url=url)])
            outbox.put([notice(0, "page", at=now), notice(1, "update", at=now)], now)
            await deliver(outbox, client, now)
            await deliver(outbox, client, now)
            await deliver(outbox, client, now + 60)  # the re-post
            (alert,) = await alerts_of(client, url)
            assert alert["labels"]["dedup_key"] == KEY
            assert alert["status"]["state"] in ("active", "unprocessed")
            assert alert["annotations"]["summary"] == "support-nov: error_rate: 12 of 20 failed"
            outbox.put([notice(2, "resolved", at=now)], now)
            await deliver(outbox, client, now)
            assert await alerts_of(client, url) == []
            assert outbox.state.entries == []

    with alertmanager(tmp_path) as url:
        assert url is not None
        asyncio.run(scenario(url, time.time()))


def test_a_page_for_an_alertmanager_that_is_down_reaches_it_once_it_is_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        now = time.time()
        port = free_port()
        async with notifier_client() as client:
            outbox = Outbox([Receiver(kind="alertmanager", url=f"http://127.0.0.1:{port}")])
            outbox.put([notice(0, "page", at=now)], now)
            await deliver(outbox, client, now)
            assert outbox.state.delivered == 0
            with alertmanager(tmp_path, f"127.0.0.1:{port}") as url:
                assert url is not None
                await deliver(outbox, client, now + 1)
                assert [alert["labels"]["dedup_key"] for alert in await alerts_of(client, url)] == [KEY]
        assert outbox.state.delivered == 1

    asyncio.run(scenario())
