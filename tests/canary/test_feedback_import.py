"""Sending a file of feedback: checked as a whole, sent in parts, told what came of it."""

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from canary.commands.client import ServerAddress
from canary.commands.feedback import (
    MOST_BYTES,
    MOST_VALUES,
    TRIES,
    FeedbackClient,
    FeedbackNotTaken,
    batches,
    import_file,
)
from records.facts.feedback import FeedbackLine

NOW = 1_795_000_000.0


class Endpoint(ThreadingHTTPServer):
    """A feedback endpoint that refuses the value 9, and answers 503 while `full` is above 0."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.checked: list[list[dict[str, Any]]] = []
        self.taken: list[list[dict[str, Any]]] = []
        self.tokens: set[str | None] = set()
        self.full = 0
        self.full_after: int | None = None
        self.foreign: bytes | None = None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        up = self.server
        assert isinstance(up, Endpoint)
        values = msgspec.json.decode(self.rfile.read(int(self.headers["content-length"])))
        up.tokens.add(self.headers["authorization"])
        if up.foreign is not None:
            return self._send(200, up.foreign)
        if urlsplit(self.path).query:
            up.checked.append(values)
            problems = [
                {"place": place, "error": "9 is too much"}
                for place, v in enumerate(values)
                if v["value"] == 9
            ]
            return self._answer(200, {"problems": problems})
        if up.full or (up.full_after is not None and len(up.taken) >= up.full_after):
            up.full = max(up.full - 1, 0)
            return self._answer(503, {"error": "the spool is full"})
        up.taken.append(values)
        return self._answer(202, {"accepted": len(values)})

    def _answer(self, status: int, document: Any) -> None:
        self._send(status, msgspec.json.encode(document))

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as up:
        thread = Thread(target=up.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield up
        up.shutdown()
        thread.join()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "feedback.csv"


def write(file: Path, *values: object) -> None:
    file.write_text("unit,metric,value\n" + "".join(f"u{n},csat,{value}\n" for n, value in enumerate(values)))


def client(endpoint: Endpoint, waits: list[float] | None = None) -> FeedbackClient:
    return FeedbackClient(
        ServerAddress(url=endpoint.url), "tok", pause=(waits if waits is not None else []).append
    )


def test_every_row_is_sent_in_arrays_of_at_most_a_thousand(endpoint: Endpoint, file: Path) -> None:
    write(file, *[4] * 2300)
    done = import_file(file, client(endpoint), now=NOW)
    assert (done.rows, done.accepted, done.bad) == (2300, 2300, 0)
    assert [len(each) for each in endpoint.checked] == [1000, 1000, 300]
    assert endpoint.taken == endpoint.checked
    assert endpoint.tokens == {"Bearer tok"}


def test_one_bad_row_and_nothing_is_sent_and_each_is_named(endpoint: Endpoint, file: Path) -> None:
    write(file, 4, 9, "x", *[4] * 1500, 9)
    done = import_file(file, client(endpoint), now=NOW)
    assert (done.rows, done.accepted, done.bad) == (1504, 0, 3)
    assert done.problems == [
        {"line": 3, "error": "9 is too much"},
        {"line": 4, "error": "value 'x' is neither a number nor true or false"},
        {"line": 1505, "error": "9 is too much"},
    ]
    assert endpoint.taken == []


def test_the_21st_feedback_id_of_a_subject_is_named_wherever_in_the_file_it_stands(
    endpoint: Endpoint, file: Path
) -> None:
    orders = "".join(f"u,revenue,5,ch-{number}\n" + "v,csat,4,same\n" * 99 for number in (*range(21), 0))
    file.write_text(f"unit,metric,value,feedback_id\n{orders}")
    done = import_file(file, client(endpoint), now=NOW)
    assert [each["line"] for each in done.problems] == [2002]
    assert done.problems[0]["error"].startswith("more than 20 feedback ids for revenue of one exchange")
    assert endpoint.taken == []
    unsigned = FeedbackClient(ServerAddress(url=endpoint.url), None)
    assert import_file(file, unsigned, now=NOW).accepted == 2200


def test_twice_the_same_file_is_twice_the_same_values(endpoint: Endpoint, file: Path) -> None:
    write(file, 4, 5)
    os.utime(file, (NOW - 60, NOW - 60))
    import_file(file, client(endpoint), now=NOW)
    import_file(file, client(endpoint), now=NOW + 3600)
    assert endpoint.taken[0] == endpoint.taken[1]
    assert endpoint.taken[0][0]["at"] == "2026-11-18T11:05:40+00:00"


def test_a_file_from_the_future_counts_as_of_now(endpoint: Endpoint, file: Path) -> None:
    write(file, 4)
    os.utime(file, (NOW + 9e6, NOW + 9e6))
    import_file(file, client(endpoint), now=NOW)
    assert endpoint.taken[0][0]["at"] == "2026-11-18T11:06:40+00:00"


def test_a_server_without_room_is_asked_again(endpoint: Endpoint, file: Path) -> None:
    write(file, 4)
    endpoint.full, waits = 2, list[float]()
    assert import_file(file, client(endpoint, waits), now=NOW).accepted == 1
    assert waits == [1.0, 2.0]


def test_a_server_that_stays_full_leaves_word_of_what_was_accepted(endpoint: Endpoint, file: Path) -> None:
    write(file, *[4] * 1500)
    endpoint.full_after, waits = 1, list[float]()
    with pytest.raises(FeedbackNotTaken) as caught:
        import_file(file, client(endpoint, waits), now=NOW)
    assert "the spool is full" in str(caught.value)
    assert "1000 of 1500 rows were accepted, up to line 1001" in str(caught.value)
    assert "Import the file again" in str(caught.value)
    assert len(waits) == TRIES - 1


def test_nobody_there_is_said(file: Path, tmp_path: Path) -> None:
    write(file, 4)
    nobody = FeedbackClient(ServerAddress(url="http://127.0.0.1:9"), None, pause=lambda _: None)
    with pytest.raises(FeedbackNotTaken, match="is `canary serve` running"):
        import_file(file, nobody, now=NOW)


def test_an_address_that_is_none_is_not_tried_again(file: Path) -> None:
    write(file, 4)
    waits = list[float]()
    with pytest.raises(FeedbackNotTaken, match="is not an address; write HOST:PORT"):
        import_file(
            file, FeedbackClient(ServerAddress(url="ftp://127.0.0.1"), None, pause=waits.append), now=NOW
        )
    assert waits == []


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}"])
def test_a_server_that_is_no_canarys_is_told(endpoint: Endpoint, file: Path, answer: bytes) -> None:
    write(file, 4)
    endpoint.foreign = answer
    with pytest.raises(FeedbackNotTaken, match="is not a canary traffic listener"):
        import_file(file, client(endpoint), now=NOW)


def test_a_request_stays_within_what_the_endpoint_takes() -> None:
    rows = [
        FeedbackLine(n, ({"unit": "u", "metric": "csat", "value": 4, "comment": "ü" * 8000},))
        for n in range(1200)
    ]
    found = list(batches(rows))
    assert [line for batch in found for line in batch] == rows
    for batch in found:
        assert len(batch) <= MOST_VALUES
        assert len(msgspec.json.encode([line.values[0] for line in batch])) <= MOST_BYTES
