"""A newer price list takes the place of the last good one whole, or not at all."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from proxy.providers.provider import Provider
from records.facts import price_list
from records.facts.price_list import (
    AGAIN_AFTER_S,
    DAY_S,
    LATE_AFTER_S,
    ListRefused,
    PriceList,
    PriceListUpdates,
    fetch,
    in_force,
    kept_list,
)
from records.facts.prices import Prices
from records.outcome import Usage

OPENAI = Provider(name="openai", api="openai", base_url="https://api.openai.com/v1")
MILLION = Usage(input_tokens=1_000_000, output_tokens=0)
NOW = 1_796_000_000.0
TODAY = date(2026, 11, 30)
"""The day of NOW."""


def a_list(price: float, since: str = "2026-11-20", announced: str = "") -> str:
    """A list in the library's JSON that prices one model since a day, and again from an announced one on."""
    rates = {"input_mtok": price, "output_mtok": 2 * price}
    starts = [{"constraint": {"start_date": day}} for day in (since, announced) if day]
    prices = [{"prices": rates}, *({"prices": rates} | each for each in starts)]
    model = {"id": "gpt-next", "match": {"starts_with": "gpt-next"}, "prices": prices}
    pattern = r"https://api\.openai\.com"
    return json.dumps([{"id": "openai", "name": "OpenAI", "api_pattern": pattern, "models": [model]}])


class ListServer(ThreadingHTTPServer):
    """Answers with what it is told; with no status it answers when the test has ended."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status: int | None = 200
        self.body = b""
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        self.ended = Event()

    @property
    def url(self) -> str:
        return f"http://user:secret@127.0.0.1:{self.server_address[1]}/list.json?key=secret"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        told = self.server
        assert isinstance(told, ListServer)
        told.asked.append(self.path)
        if told.status is None:
            told.ended.wait()
            return
        self.send_response(told.status)
        for name, value in told.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(told.body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.ended.set()
        running.shutdown()
        thread.join()


def from_server(server: ListServer, tmp_path: Path) -> PriceList:
    return PriceList(kept=tmp_path / "prices.json", url=server.url)


def from_file(tmp_path: Path) -> PriceList:
    return PriceList(kept=tmp_path / "prices.json", file=tmp_path / "list.json")


def price(wanted: PriceList) -> float | None:
    return Prices({}, {}, wanted).cost(OPENAI, "gpt-next", MILLION)


def test_a_list_from_a_server_prices_models_that_the_built_in_one_lacks(
    server: ListServer, tmp_path: Path
) -> None:
    wanted = from_server(server, tmp_path)
    assert price(wanted) is None
    server.body = a_list(3).encode()
    fetched = fetch(wanted, NOW)
    assert (price(wanted), server.asked) == (3.0, ["/list.json?key=secret"])
    assert fetched.fetched_at == NOW
    assert str(in_force(wanted, TODAY).newest) == "2026-11-20"
    found = Prices({}, {}, wanted).found(OPENAI, "gpt-next")
    assert (found.by, found.listed, str(found.since)) == ("list", "openai/gpt-next", "2026-11-20")
    assert "secret" not in fetched.source
    assert b"secret" not in wanted.kept.read_bytes()


BAD = {
    "not JSON": ('[{"id": "openai", "na', "is not JSON"),
    "no list": ('{"providers": []}', "is no list of providers"),
    "empty": ("[]", "prices no model"),
    "another shape": ('[{"id": 1}]', "is not a list that genai-prices can read"),
    "a price below 0": (a_list(-1), "has a price of -1"),
    "a bad pattern": (a_list(1).replace("https://api", "https://(api"), "genai-prices can read"),
}


@pytest.mark.parametrize(("body", "says"), BAD.values(), ids=BAD.keys())
def test_a_bad_list_leaves_the_last_good_one(
    body: str, says: str, server: ListServer, tmp_path: Path
) -> None:
    wanted = from_server(server, tmp_path)
    server.body = a_list(3).encode()
    fetch(wanted, NOW)
    server.body = body.encode()
    with pytest.raises(ListRefused, match=says):
        fetch(wanted, NOW + DAY_S)
    assert price(wanted) == 3.0


def test_an_error_or_no_answer_leaves_the_last_good_one(
    server: ListServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = from_server(server, tmp_path)
    server.body = a_list(3).encode()
    fetch(wanted, NOW)
    server.status = 500
    with pytest.raises(ListRefused, match=r"/list\.json answers 500$"):
        fetch(wanted, NOW)
    server.status = None
    monkeypatch.setattr(price_list, "WITHIN_S", 0.2)
    with pytest.raises(ListRefused, match="does not answer"):
        fetch(wanted, NOW)
    nobody = PriceList(kept=wanted.kept, url="http://127.0.0.1:9/list.json")
    with pytest.raises(ListRefused, match="does not answer"):
        fetch(nobody, NOW)
    assert price(wanted) == 3.0


def test_an_older_list_never_replaces_a_newer_one(server: ListServer, tmp_path: Path) -> None:
    wanted = from_server(server, tmp_path)
    server.headers = {"last-modified": "Sat, 28 Nov 2026 10:00:00 GMT"}
    server.body = a_list(3).encode()
    fetch(wanted, NOW)
    server.body = a_list(1, since="2026-11-19").encode()
    with pytest.raises(ListRefused, match="is older than the last good one"):
        fetch(wanted, NOW)
    server.body, server.headers = a_list(2).encode(), {"last-modified": "Fri, 27 Nov 2026 10:00:00 GMT"}
    with pytest.raises(ListRefused, match="is older than the last good one"):
        fetch(wanted, NOW)
    assert price(wanted) == 3.0
    server.headers = {}
    fetch(wanted, NOW)  # a list of the same day, from a server that says no more
    assert price(wanted) == 2.0


@pytest.fixture
def authors(server: ListServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PriceList:
    """The list of the library's authors, from this server."""
    monkeypatch.setattr("genai_prices.update_prices.DEFAULT_UPDATE_URL", server.url)
    return PriceList(kept=tmp_path / "prices.json")


def newest_built_in(today: date) -> date:
    newest = in_force(None, today).newest
    assert newest is not None
    return newest


def test_the_authors_list_is_never_older_than_the_built_in_one(
    server: ListServer, authors: PriceList
) -> None:
    server.body = a_list(3, since="2025-01-01").encode()
    with pytest.raises(ListRefused, match="is older than the built-in one"):
        fetch(authors, NOW)
    server.body = a_list(3, since=newest_built_in(TODAY).isoformat()).encode()
    fetch(authors, NOW)
    assert in_force(authors, TODAY).kept is not None


def test_a_fetched_list_stays_in_force_when_a_price_that_both_lists_announced_begins(
    server: ListServer, authors: PriceList
) -> None:
    begins = newest_built_in(date.max)
    eve = begins - timedelta(days=1)
    server.body = a_list(3, since=eve.isoformat(), announced=begins.isoformat()).encode()
    fetch(authors, (eve - date(1970, 1, 1)).days * DAY_S)
    assert (in_force(authors, eve).kept, in_force(authors, begins).kept) == (kept_list(authors),) * 2


def test_one_of_another_source_or_a_damaged_one_does_not_count(tmp_path: Path) -> None:
    wanted = from_file(tmp_path)
    (tmp_path / "list.json").write_text(a_list(3))
    fetch(wanted, NOW)
    other = PriceList(kept=wanted.kept, url="https://prices.example/list.json")
    assert (price(wanted), price(other), kept_list(other)) == (3.0, None, None)
    wanted.kept.write_bytes(wanted.kept.read_bytes()[:-9])
    assert (price(wanted), kept_list(wanted)) == (None, None)
    fetch(wanted, NOW)
    assert price(wanted) == 3.0


def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path) -> None:
    wanted = from_file(tmp_path)
    (tmp_path / "list.json").write_text(a_list(3))
    fetch(wanted, NOW)
    (tmp_path / "list.json").write_text(a_list(4))
    script = (
        "import resource, sys; from pathlib import Path; from records.facts.price_list import *;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "fetch(PriceList(kept=Path(sys.argv[1]), file=Path(sys.argv[2])), 1_796_000_000.0)"
    )
    command = [sys.executable, "-c", script, str(wanted.kept), str(wanted.file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "prices.json cannot be written: File too large" in done.stderr
    assert price(wanted) == 3.0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["list.json", "prices.json"]


def test_threads_that_begin_at_different_ends_of_the_library_find_all_of_it(tmp_path: Path) -> None:
    script = (
        "import threading; from concurrent.futures import ThreadPoolExecutor as Pool;"
        "from datetime import date; from pathlib import Path;"
        "from records.facts.price_list import *; start = threading.Barrier(8);"
        "ways = [lambda: PriceList(kept=Path('x')).source, lambda: in_force(None, date.max).newest];"
        "run = lambda number: (start.wait(), ways[number % 2]());"
        "print(len(list(Pool(8).map(run, range(8)))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("8\n", "")


def test_a_proxy_that_cannot_be_used_is_told(
    server: ListServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "nonsense://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ListRefused, match="does not answer"):
        fetch(from_server(server, tmp_path), NOW)


def test_a_server_is_asked_once_a_day_and_again_an_hour_after_it_failed(
    server: ListServer, tmp_path: Path
) -> None:
    wanted = from_server(server, tmp_path)
    updates = PriceListUpdates(lambda: wanted)

    def asked(now: float) -> int:
        before = len(server.asked)
        updates.look(now)
        return len(server.asked) - before

    server.status, server.body = 500, a_list(3).encode()
    assert [asked(NOW), asked(NOW + AGAIN_AFTER_S - 1)] == [1, 0]
    assert updates.troubles() == [f"the price list is not up to date: {wanted.source} answers 500"]
    server.status = 200
    good = NOW + AGAIN_AFTER_S
    assert [asked(good), asked(good + DAY_S - 1), updates.troubles()] == [1, 0, []]
    updates = PriceListUpdates(lambda: wanted)  # the server starts again
    assert [asked(good + 60), asked(good + DAY_S - 1), asked(good + DAY_S)] == [0, 0, 1]
    server.status = 500
    assert (asked(good + 2 * DAY_S), updates.troubles()) == (1, [])
    assert asked(good + 3 * DAY_S + LATE_AFTER_S) == 1
    assert updates.troubles() != []


def test_a_file_is_taken_when_it_changes(tmp_path: Path) -> None:
    wanted: PriceList | None = from_file(tmp_path)
    updates = PriceListUpdates(lambda: wanted)
    updates.look(NOW)
    assert "list.json: there is no such file" in updates.troubles()[0]
    assert wanted is not None
    assert wanted.file is not None
    wanted.file.write_text(a_list(3))
    updates.look(NOW + 1)
    assert (price(wanted), updates.troubles()) == (3.0, [])
    changed = wanted.file.stat().st_mtime_ns
    wanted.file.write_text(a_list(4.5))
    os.utime(wanted.file, ns=(changed + 1, changed + 1))
    updates.look(NOW + 2)
    assert price(wanted) == 4.5
    wanted = None
    updates.look(NOW + 3)
    assert updates.troubles() == []
