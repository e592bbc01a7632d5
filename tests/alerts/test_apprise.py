"""Messages by Apprise: mail to a real SMTP server, a card to a server that records what Teams would get."""

import asyncio
import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs

from alerts.incidents.apprise_receiver import REFUSED_URL, wrong_with
from alerts.incidents.notice import Notice, Receiver
from alerts.incidents.notifier import Announcement, Outbox, announce, deliver, notifier_client, receivers_of
from tests.e2e.mailbox import Mailbox, smtp_server
from tests.serving import child_processes

NOW = 1_790_000_000.0
PAGE = Notice(
    event="page",
    dedup_key="canary:support:1",
    sequence=0,
    at=NOW,
    canary="support",
    incident="1",
    opened_at=NOW,
    headline="Answers of gpt-new fail: 9 of 17 requests. The provider says: [free](http://evil) <b>&",
    title="Answers of gpt-new fail: 9 of 17 requests.",
    rules=("error_rate",),
    details={"error_rate": "9 of 17 failed"},
    done="the candidate is being rolled back",
    page="canaries/support",
    offers=("rollback",),
    owner="anna@example.com",
)
VERDICT = Announcement(
    kind="verdict_reached",
    about={"canary": "support", "verdict": "ship"},
    headline="support: the verdict is ship",
    at=NOW,
    offers=("promote",),
    owners=("anna@example.com", "ben@example.com"),
)


@contextmanager
def teams(status: int = 202) -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """A server of Teams' workflows that records paths and bodies, as HOST:PORT; over TLS, as is usual."""
    taken: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append((self.path, json.loads(body)))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", taken
        finally:
            server.shutdown()
            thread.join()


def delivered(outbox: Outbox, *times: float) -> None:
    async def story() -> None:
        async with notifier_client() as client:
            for at in times:
                await deliver(
                    outbox, client, at, "https://canary.example.com", public="https://canary.example.com"
                )

    asyncio.run(story())


def told(receivers: list[Receiver], news: Announcement) -> list[str | None]:
    async def story() -> list[str | None]:
        async with notifier_client() as client:
            found = receivers_of(news, receivers).values()
            return [await announce(client, each, news, "https://canary.example.com") for each in found]

    return asyncio.run(story())


def test_a_page_by_mail_says_what_slack_says_and_is_tried_again_where_it_was_not_taken() -> None:
    mailbox = Mailbox()
    mailbox.refuses = True
    with smtp_server(mailbox) as address:
        outbox = Outbox(
            [Receiver(kind="apprise", url=f"mailto://{address}/ops@example.com?from=canary@example.com")]
        )
        outbox.put([PAGE], NOW)
        delivered(outbox, NOW)
        assert (mailbox.mails, outbox.state.delivered, len(outbox.state.entries)) == ([], 0, 1)
        mailbox.refuses = False
        delivered(outbox, NOW + 0.5, NOW + 1.0, NOW + 2.0)
    ((recipients, mail),) = mailbox.mails
    assert (recipients, mail["subject"]) == (["ops@example.com"], PAGE.title)
    (text,) = mailbox.texts()
    lines = text.split("\n")
    assert lines[0] == PAGE.headline
    assert lines[1:] == [
        "support: incident since 2026-09-21T14:13:20.000Z",
        "error_rate: 9 of 17 failed",
        "owner: anna@example.com",
        "https://canary.example.com/canaries/support",
        "Roll back… https://canary.example.com/canaries/support?order=rollback&reason="
        "Answers+of+gpt-new+fail%3A+9+of+17+requests.",
    ]


def test_each_owner_gets_a_mail_of_what_asks_for_a_decision_and_of_nothing_else() -> None:
    mailbox = Mailbox()
    with smtp_server(mailbox) as address:
        owners = Receiver(kind="apprise", url=f"mailto://{address}/{{owner}}?from=canary@example.com")
        outbox = Outbox([owners])
        outbox.put([PAGE], NOW)
        assert outbox.state.entries == []
        assert told([owners], VERDICT) == [None, None]
        assert told([owners], Announcement(kind="model_released", about={}, headline="new", at=NOW)) == []
    assert [recipients for recipients, _ in mailbox.mails] == [["anna@example.com"], ["ben@example.com"]]
    assert mailbox.texts()[0].split("\n") == [
        VERDICT.headline,
        "owner: anna@example.com, ben@example.com",
        "Promote… https://canary.example.com/canaries/support?order=promote&reason=",
    ]


def test_teams_gets_a_card_in_which_nothing_that_others_wrote_is_a_link() -> None:
    with teams() as (address, taken):
        receiver = Receiver(kind="apprise", url=f"workflows://{address}/wf/sig?verify=no&image=no")
        outbox = Outbox([receiver])
        outbox.put([PAGE], NOW)
        delivered(outbox, NOW)
    ((path, body),) = taken
    assert path.startswith("/workflows/wf/triggers/manual/paths/invoke")
    (card,) = body["attachments"]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    title, text = card["content"]["body"]
    assert (title["type"], text["type"]) == ("TextBlock", "TextBlock")
    assert "9 of 17 requests" in title["text"]
    assert r"\[free\]\(http" in text["text"]
    assert "owner: anna" in text["text"]


@pytest.mark.parametrize(("status", "left"), [(400, 0), (500, 1)])
def test_what_a_service_refuses_as_invalid_is_given_up_and_no_secret_is_logged(
    status: int, left: int
) -> None:
    with teams(status) as (address, _), capture_logs() as logs:
        outbox = Outbox([Receiver(kind="apprise", url=f"workflows://{address}/wf/s3cret?verify=no")])
        outbox.put([PAGE], NOW)
        delivered(outbox, NOW)
        assert told([*outbox.receivers.values()], VERDICT) == [f"HTTP status {status}"]
    assert len(outbox.state.entries) == left
    assert [each["receiver"] for each in logs] == ["apprise workflows"] * (1 - left)
    assert "s3cret" not in f"{logs}{outbox.snapshot()}{outbox.troubles()}{outbox.receivers}"


def test_a_server_that_never_answers_costs_ten_seconds_and_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is set to what a process takes to start, so that the test need not wait for ten."""
    monkeypatch.setattr("alerts.incidents.notifier.TIMEOUT_S", 0.2)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:
        url = f"mailto://127.0.0.1:{silent.server_port}/ops@example.com?from=canary@example.com"
        outbox = Outbox([Receiver(kind="apprise", url=url)])
        outbox.put([PAGE], NOW)
        delivered(outbox, NOW, NOW + 1, NOW + 3)
    assert outbox.troubles() == ["apprise mailto does not accept pages: 3 attempts failed"]
    assert not Path("/proc/self/task").exists() or not _children()


def _children() -> list[int]:
    """The receivers that this process has started and that still run."""
    return [pid for pid, command in child_processes(os.getpid()).items() if "apprise_receiver" in command]


def test_a_url_that_apprise_does_not_know_is_told_apart() -> None:
    assert wrong_with("mailto://127.0.0.1/anna@example.com?from=canary@example.com") == ""
    assert wrong_with("nonsense://127.0.0.1/x") == REFUSED_URL
