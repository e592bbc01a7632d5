"""What a provider's connection must do that the other files about it leave open, and the table of it all."""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest
import trustme

from proxy.network.ticker import Ticker
from proxy.network.upstream.pool import HEAD_START_S
from proxy.network.upstream.response import UpstreamError
from proxy.providers.provider import Timeout
from tests.proxy.raw_provider import OK, playing, pool, post, read_all, turns

ROOT = Path(__file__).parents[2]
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# 3 and 6: the end of input


@pytest.mark.parametrize("response", [OK, CHUNKED], ids=["length", "chunks"])
def test_an_end_of_input_that_comes_with_the_last_byte_is_a_clean_end_and_no_reuse(run, raw, response):
    async def scene():
        async def play(wire):
            await wire.request()
            wire.writer.write(response)
            wire.writer.close()  # in the same turn

        async with raw(play) as provider, pool() as upstreams:
            for _ in range(3):
                assert await read_all(await post(upstreams, provider.entry())) == b"ok"
                await turns()
            assert len(provider.wires) == 3

    run(scene())


# 8: bounds


@pytest.mark.parametrize(
    "fields",
    [
        b"x: 1\r\n" * 199,
        b"x: " + b"a" * 60_000 + b"\r\n",
        b"".join(b"x-%d: %b\r\n" % (n, b"a" * 600) for n in range(100)),
    ],
    ids=["200 fields", "a field of 60 kB", "60 kB of fields"],
)
def test_a_head_just_within_its_bounds_is_relayed(run, raw, fields):
    async def scene():
        response = b"HTTP/1.1 200 OK\r\n" + fields + b"content-length: 2\r\n\r\nok"
        async with raw(playing(response)) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry())
            assert sum(len(name) + len(value) + 4 for name, value in answer.headers) == len(fields) + 19
            assert await read_all(answer) == b"ok"

    run(scene())


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 099 Odd\r\n", b"HTTP/1.1 600 Odd\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: 1\r\n" * 200,
     b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000 + b"\r\n"],
    ids=["status 99", "status 600", "201 fields", "70 kB"],
)  # fmt: skip
def test_a_head_that_must_not_be_relayed_is_never_seen_even_when_its_body_came_along(run, raw, head):
    async def scene():
        async with raw(playing(head + b"content-length: 2\r\n\r\nok")) as provider, pool() as upstreams:
            with pytest.raises(UpstreamError) as caught:
                await post(upstreams, provider.entry())  # reading its body is not needed to know
            assert caught.value.error_type == "provider_malformed"
            await provider.wires[0].ended.wait()

    run(scene())


# 9: how long a connection is kept


def test_a_connection_older_than_its_age_is_not_used_again_however_busy_it_was(run, raw, monkeypatch):
    monkeypatch.setattr("proxy.network.upstream.connection.KEEP_AGE_S", 0.0)

    async def scene():
        async with raw(playing(OK)) as provider, pool() as upstreams:
            for _ in range(2):
                assert await read_all(await post(upstreams, provider.entry())) == b"ok"
            assert len(provider.wires) == 2

    run(scene())


@pytest.mark.parametrize(("later_s", "connections"), [(9.0, 1), (11.0, 2)])
def test_an_idle_connection_is_retired_at_its_age(run, raw, monkeypatch, later_s, connections):
    monkeypatch.setattr("proxy.network.upstream.connection.KEEP_AGE_S", 10.0)

    async def scene():
        ticker = Ticker(asyncio.get_running_loop())
        async with raw(playing(OK, OK)) as provider, pool(ticker=ticker) as upstreams:
            await read_all(await post(upstreams, provider.entry()))
            ticker.tick(monotonic() + later_s)
            await read_all(await post(upstreams, provider.entry()))
            assert len(provider.wires) == connections

    run(scene())


# 10: abort, never close


def test_giving_up_over_tls_waits_for_no_farewell_and_no_flush(run, raw, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def scene():
        async def play(wire):
            await wire.head()
            wire.writer.transport.pause_reading()  # neither the request's rest nor a farewell is read
            deaf.set()
            await over.wait()

        deaf, over = asyncio.Event(), asyncio.Event()
        async with raw(play, tls=context) as provider, pool(limit=1) as upstreams:
            entry = provider.entry(ca_file=str(tmp_path / "ca.pem"))
            exchange = asyncio.ensure_future(post(upstreams, entry, body=b"x" * 20_000_000))
            await deaf.wait()
            before = open_files()
            exchange.cancel()
            await asyncio.wait([exchange])
            await turns()
            assert open_files() == before - 1
            assert upstreams.free_slots("baseline") == 1
            over.set()

    run(scene())


# 11: whose time it is


def test_a_byte_is_stamped_when_it_was_read_and_not_when_it_is_taken(run, raw):
    async def scene():
        async with raw(playing(OK)) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry())
            while not answer.buffered:
                await turns(1)
            came = monotonic()
            assert await read_all(answer) == b"ok"
            assert answer.read_at <= came

    run(scene())


# 13: names


def naming(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let the name server know these addresses, an answer a look-up, the last for ever; returns the names."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (address, port)) for address in addresses]

    monkeypatch.setattr("proxy.network.upstream.pool.socket.getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(("response", "lookups"), [(CLOSING, 3), (OK, 1)], ids=["closed", "kept"])
def test_a_name_is_looked_up_for_each_new_connection_and_for_no_other(
    run, raw, monkeypatch, response, lookups
):
    asked = naming(monkeypatch, ["127.0.0.1"])

    async def scene():
        async with raw(playing(response, response, response)) as provider, pool() as upstreams:
            for _ in range(3):
                await read_all(await post(upstreams, provider.entry(host="provider.test")))
        assert asked == ["provider.test"] * lookups

    run(scene())


def test_an_address_that_refuses_is_passed_over(run, raw, monkeypatch):
    naming(monkeypatch, ["127.0.0.2", "127.0.0.1"])  # the provider listens at the second alone

    async def scene():
        async with raw(playing(OK)) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry(host="provider.test"))
            assert await read_all(answer) == b"ok"

    run(scene())


def test_an_address_that_hangs_costs_a_head_start_and_not_the_connect_deadline(run, raw, monkeypatch):
    naming(monkeypatch, ["127.0.0.2", "127.0.0.1"])

    async def scene():
        async with raw(playing(OK)) as provider, pool() as upstreams:
            with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
                deaf.bind(("127.0.0.2", provider.port))
                deaf.listen(0)
                for filler in (first, second):  # its queue is full: a third handshake is not answered
                    filler.setblocking(False)
                    filler.connect_ex(("127.0.0.2", provider.port))
                began = monotonic()
                entry = provider.entry(host="provider.test", timeout=Timeout(connect_s=300.0))
                assert await read_all(await post(upstreams, entry)) == b"ok"
                assert monotonic() - began >= HEAD_START_S

    run(scene())


# 14: TLS


def test_a_provider_has_one_tls_context_for_all_its_connections(run, raw, monkeypatch, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    made = []
    real: Callable[..., ssl.SSLContext] = ssl.create_default_context
    monkeypatch.setattr(
        ssl, "create_default_context", lambda cafile: made.append(cafile) or real(cafile=cafile)
    )

    async def scene():
        async with raw(playing(CLOSING), tls=context) as provider, pool() as upstreams:
            for _ in range(3):
                entry = provider.entry(ca_file=str(tmp_path / "ca.pem"))
                assert await read_all(await post(upstreams, entry)) == b"ok"
            assert len(provider.wires) == 3
        assert made == [str(tmp_path / "ca.pem")]

    run(scene())


def test_no_header_of_a_request_switches_verification_off(run, raw):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def scene():
        async with raw(playing(OK), tls=context) as provider, pool() as upstreams:
            asked = [(b"x-%b" % word, b"true") for word in (b"insecure", b"skip-verify", b"tls-no-verify")]
            with pytest.raises(UpstreamError, match="certificate"):
                await post(upstreams, provider.entry(), headers=[(b"host", b"localhost"), *asked])

    run(scene())


# 15: one clock


class HandLoop:
    """The part of a loop that a ticker needs; its timers go off by hand."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], None]] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], None]:
        self.timers.append(callback)
        return callback

    def call_soon(self, callback: Callable[..., object], *given: object) -> None:
        callback(*given)


class Looked:
    def __init__(self) -> None:
        self.check_at = 0.0
        self.checks = 0

    def check(self, now: float) -> None:
        self.checks += 1


def test_all_deadlines_share_one_timer_which_stands_still_when_nothing_is_watched():
    loop = HandLoop()
    ticker = Ticker(loop)  # type: ignore[arg-type]
    watched = [Looked() for _ in range(100)]
    for each in watched:
        ticker.watch(each)
    for _ in range(3):
        (timer,) = loop.timers
        loop.timers.clear()
        timer()
    assert {each.checks for each in watched} == {3}
    for each in watched:
        ticker.forget(each)
    (timer,) = loop.timers
    loop.timers.clear()
    timer()
    assert loop.timers == []


# The table


def test_every_test_that_the_table_of_points_names_is_there():
    text = Path(__file__).with_name("points.md").read_text()
    rows = re.findall(r"^\| (\d+|server) \|.*$", text, re.MULTILINE)
    assert rows[:18] == [str(number) for number in range(1, 19)]
    named = re.findall(r"`(test_\w+)\.py`", text)
    there = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(named) <= there
    tests = {
        test
        for path in (ROOT / "tests").rglob("test_*.py")
        for test in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    wanted = set(re.findall(r"`(test_\w+)`", text))
    assert len(wanted) > 60
    assert wanted - tests == set()
