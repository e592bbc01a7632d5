"""Which connection an exchange gets, what it may cost the others, and how long anything may take."""

import asyncio
import gc
import socket
import threading
from pathlib import Path

import pytest

from proxy.network.file_descriptors import FileDescriptors
from proxy.network.ticker import Ticker
from proxy.network.upstream.pool import OriginPool
from proxy.network.upstream.response import UpstreamError
from proxy.providers.provider import Provider, Timeout
from tests.proxy.raw_provider import OK, playing, pool, post, read_all, turns
from tests.serving import eventually


async def silent(wire):
    """A play: reads, and never answers."""
    await wire.closed()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def caught(exchange) -> UpstreamError:
    with pytest.raises(UpstreamError) as error:
        await exchange
    return error.value


def test_the_request_carries_the_raw_target_the_base_path_and_the_base_host(run, raw):
    async def scene():
        requests = []

        async def play(wire):
            requests.append(await wire.request())
            await wire.send(OK)
            await wire.closed()

        async with raw(play) as provider, pool() as upstreams:
            await post(
                upstreams,
                provider.entry(base_path="/base/v1"),
                body=b'{"model": "m"}',
                target=b"/a%2Fb/../c//d?x=%20&y=a+b;c#not",
                headers=[(b"accept", b"*/*"), (b"x-b", b"1"), (b"x-b", b"2")],
            )
            host = b"127.0.0.1:%d" % provider.port
        assert requests[0].line == b"POST /base/v1/a%2Fb/../c//d?x=%20&y=a+b;c#not HTTP/1.1"
        assert requests[0].headers == [
            (b"host", host), (b"accept", b"*/*"), (b"x-b", b"1"), (b"x-b", b"2"), (b"content-length", b"14"),
        ]  # fmt: skip
        assert requests[0].body == b'{"model": "m"}'

    run(scene())


def test_framing_and_host_are_never_the_callers(run, raw):
    async def scene():
        heads = []

        async def play(wire):
            heads.append(await wire.request())
            await wire.send(OK)
            await wire.closed()

        sent = [
            (b"host", b"evil"), (b"content-length", b"99"), (b"transfer-encoding", b"chunked"),
            (b"connection", b"close"), (b"expect", b"100-continue"), (b"upgrade", b"h2c"),
        ]  # fmt: skip
        async with raw(play) as provider, pool() as upstreams:
            await post(upstreams, provider.entry(), headers=sent, body=b"four")
            host = b"127.0.0.1:%d" % provider.port
        assert heads[0].headers == [(b"host", host), (b"content-length", b"4")]

    run(scene())


@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\nb", b"a\rb", b"a\n\r"])
def test_a_line_break_in_a_header_is_never_sent(run, raw, value):
    async def scene():
        async with raw(silent) as provider, pool() as upstreams:
            with pytest.raises(ValueError, match="line break"):
                await post(upstreams, provider.entry(), headers=[(b"authorization", value)])
            assert not provider.wires

    run(scene())


def test_a_get_without_a_body_announces_none(run, raw):
    async def scene():
        heads = []

        async def play(wire):
            heads.append(await wire.request())
            await wire.send(OK)
            await wire.closed()

        async with raw(play) as provider, pool() as upstreams:
            await post(upstreams, provider.entry(), method=b"GET", body=b"")
        assert [name for name, _ in heads[0].headers] == [b"host"]

    run(scene())


def test_a_streamed_body_keeps_the_length_its_caller_declared(run, raw):
    async def scene():
        async def play(wire):
            request = await wire.request()
            assert (b"content-length", b"10") in request.headers
            assert request.body == b"helloworld"
            await wire.send(OK)
            await wire.closed()

        async def body():
            yield b"hello"
            yield b"world"

        async with raw(play) as provider, pool() as upstreams:
            headers = [(b"content-length", b"10")]
            answer = await post(upstreams, provider.entry(), headers=headers, body=body())
            assert await read_all(answer) == b"ok"

    run(scene())


@pytest.mark.parametrize("pieces", [[b"short"], [b"much too", b" long"]])
def test_a_streamed_body_that_breaks_its_promise_breaks_the_request(run, raw, pieces):
    async def scene():
        async def body():
            for piece in pieces:
                yield piece

        async with raw(silent) as provider, pool() as upstreams:
            with pytest.raises(ValueError, match="Content-Length"):
                await post(upstreams, provider.entry(), headers=[(b"content-length", b"9")], body=body())
            await provider.wires[0].ended.wait()

    run(scene())


def test_a_body_whose_source_fails_is_never_ended_as_if_it_were_whole(run, raw):
    async def scene():
        received = []

        async def play(wire):
            received.append(await wire.closed())

        async def body():
            yield b"half"
            raise LookupError("the caller has gone")

        async with raw(play) as provider, pool() as upstreams:
            with pytest.raises(LookupError):
                await post(upstreams, provider.entry(), body=body())
            await provider.wires[0].ended.wait()
        assert not received[0].endswith(b"0\r\n\r\n")

    run(scene())


def test_redirects_are_relayed(run, raw):
    async def scene():
        response = b"HTTP/1.1 307 Temporary\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
        async with raw(playing(response)) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry())
            assert answer.status == 307
            assert (b"location", b"http://127.0.0.1:1/") in answer.headers

    run(scene())


def test_proxies_of_the_environment_are_ignored(run, raw, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def scene():
        async with raw(playing(OK)) as provider, pool() as upstreams:
            assert await read_all(await post(upstreams, provider.entry())) == b"ok"

    run(scene())


def test_cancelling_before_the_head_closes_the_connection_and_frees_the_slot(run, raw):
    async def scene():
        async with raw(silent) as provider, pool(limit=1) as upstreams:
            exchange = asyncio.ensure_future(post(upstreams, provider.entry()))
            while not provider.wires:
                await turns(1)
            exchange.cancel()
            await asyncio.wait([exchange])
            await provider.wires[0].ended.wait()
            assert upstreams.free_slots("baseline") == 1

    run(scene())


def test_aborting_in_the_body_closes_the_connection_and_wakes_the_reader(run, raw):
    async def scene():
        async def play(wire):
            await wire.request()
            await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
            await wire.closed()

        async with raw(play) as provider, pool(limit=1) as upstreams:
            answer = await post(upstreams, provider.entry(), streaming=True)
            assert await answer.read() == b"ok"
            reading = asyncio.ensure_future(answer.read())
            await turns(2)
            answer.abort()
            answer.abort()
            assert (await caught(reading)).error_type == "aborted"
            await provider.wires[0].ended.wait()
            assert upstreams.free_slots("baseline") == 1

    run(scene())


def test_aborting_a_complete_answer_leaves_its_connection_to_the_next(run, raw):
    async def scene():
        async with raw(playing(OK, OK)) as provider, pool() as upstreams:
            first = await post(upstreams, provider.entry())
            first.abort()
            second = await post(upstreams, provider.entry())
            first.abort()
            assert await read_all(second) == b"ok"
            assert len(provider.wires) == 1

    run(scene())


def test_a_cancelled_half_made_connection_leaks_nothing(run, raw):
    async def scene():
        async with raw(silent) as provider, pool(limit=1) as upstreams:
            tls = Provider(name="tls", api="openai", base_url=f"https://127.0.0.1:{provider.port}")
            before = None
            for _ in range(3):
                exchange = asyncio.ensure_future(post(upstreams, tls))
                while not provider.wires or provider.wires[-1].ended.is_set():
                    await turns(1)
                exchange.cancel()
                await asyncio.wait([exchange])
                await provider.wires[-1].ended.wait()
                await turns()
                assert upstreams.free_slots("baseline") == 1
                before = before or open_files()
            assert open_files() == before

    run(scene())


def test_a_dialling_cancelled_at_any_moment_leaves_nothing_watched(run, raw):
    async def scene():
        ticker = Ticker(asyncio.get_running_loop())
        async with raw(silent) as provider, pool(ticker=ticker) as upstreams:
            for later in range(30):
                exchange = asyncio.ensure_future(post(upstreams, provider.entry()))
                accepted = len(provider.wires)
                while len(provider.wires) == accepted:
                    await turns(1)
                await turns(later)
                exchange.cancel()
                await asyncio.gather(exchange, return_exceptions=True)
            await turns()
            assert not ticker._watched
            assert upstreams.free_slots("baseline") == 2048

    run(scene())


def test_a_lane_that_hangs_does_not_hold_up_another_on_the_same_host(run, raw):
    async def scene():
        async def play(wire):
            if b"/hang" not in (await wire.request()).line:
                await wire.send(OK)
            await wire.closed()

        async with raw(play) as provider, pool(limit=2) as upstreams:
            entry = provider.entry()
            hanging = [
                asyncio.ensure_future(post(upstreams, entry, limit_key="candidate", target=b"/hang"))
                for _ in range(5)
            ]
            assert await read_all(await post(upstreams, entry)) == b"ok"
            assert upstreams.free_slots("candidate") == 0
            assert len(provider.wires) <= 3
            for exchange in hanging:
                exchange.cancel()
            await asyncio.wait(hanging)
            assert upstreams.free_slots("candidate") == 2

    run(scene())


def test_waiters_for_a_slot_are_served_in_their_order(run, raw):
    async def scene():
        order = []

        async def play(wire):
            while True:
                request = await wire.request()
                order.append(request.body)
                await wire.send(OK)

        async with raw(play) as provider, pool(limit=1) as upstreams:

            async def one(number: int) -> None:
                await read_all(await post(upstreams, provider.entry(), body=b"%d" % number))

            tasks = [asyncio.ensure_future(one(number)) for number in range(6)]
            await turns(1)
            tasks[2].cancel()
            await asyncio.wait(tasks)
            assert order == [b"0", b"1", b"3", b"4", b"5"]
            assert upstreams.free_slots("baseline") == 1
            assert len(provider.wires) == 1

    run(scene())


def test_waiting_for_a_slot_is_bounded_by_the_connect_deadline(run, raw):
    async def scene():
        async with raw(silent) as provider, pool(limit=1) as upstreams:
            entry = provider.entry(timeout=Timeout(connect_s=0.1))
            first = asyncio.ensure_future(post(upstreams, entry))
            await turns(1)
            error = await caught(post(upstreams, entry))
            assert error.error_type == "shed"
            assert "limit of baseline is reached" in error.message
            assert upstreams.free_slots("baseline") == 0
            first.cancel()
            await asyncio.wait([first])
            assert upstreams.free_slots("baseline") == 1

    run(scene())


def test_no_more_wait_for_a_slot_than_may(run, raw):
    async def scene():
        async with raw(silent) as provider, pool(limit=1, most_waiting=2) as upstreams:
            inside = [asyncio.ensure_future(post(upstreams, provider.entry())) for _ in range(3)]
            await turns(1)
            assert (await caught(post(upstreams, provider.entry()))).error_type == "shed"
            assert not any(each.done() for each in inside)
            for each in inside:
                each.cancel()
            await asyncio.wait(inside)
            assert upstreams.free_slots("baseline") == 1

    run(scene())


def test_closing_the_pool_ends_what_is_in_flight_and_leaves_no_file_open(run, raw):
    async def scene():
        async def play(wire):
            await wire.request()
            asked.set()
            await wire.closed()

        asked = asyncio.Event()
        async with raw(play) as provider:
            before = open_files()
            async with pool() as upstreams:
                exchange = asyncio.ensure_future(post(upstreams, provider.entry()))
                await asked.wait()
            assert (await caught(exchange)).error_type == "aborted"
            await provider.wires[0].ended.wait()
            await turns()
            assert open_files() == before

    run(scene())


def test_a_connection_that_opens_after_the_pool_closed_is_not_used(run, raw):
    async def scene():
        async with raw(silent) as provider:
            async with pool() as upstreams:
                exchange = asyncio.ensure_future(post(upstreams, provider.entry()))
                await turns(1)
            assert (await caught(exchange)).error_type in ("aborted", "provider_connect")

    run(scene())


def test_a_refused_connection_is_a_connect_failure_and_frees_the_slot(run):
    async def scene():
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        entry = Provider(name="gone", api="openai", base_url=f"http://127.0.0.1:{port}")
        async with pool(limit=1) as upstreams:
            for _ in range(2):
                assert (await caught(post(upstreams, entry))).error_type == "provider_connect"

    run(scene())


def test_without_a_descriptor_it_is_no_failure_of_the_provider(run, raw):
    """As few as there can be: every new one is among the last."""

    async def scene():
        async with (
            raw(playing(OK)) as provider,
            pool(descriptors=FileDescriptors(4), limit=1) as upstreams,
        ):
            before = open_files()
            for _ in range(2):
                assert (await caught(post(upstreams, provider.entry()))).error_type == "proxy_no_descriptors"
            assert open_files() == before
            assert provider.wires == []

    run(scene())


def test_a_kept_connection_needs_no_descriptor(run, raw):
    async def scene():
        few = FileDescriptors(1 << 20)
        async with raw(playing(OK, OK)) as provider, pool(descriptors=few) as upstreams:
            await read_all(await post(upstreams, provider.entry()))
            few.in_reserve = lambda number: True
            assert await read_all(await post(upstreams, provider.entry())) == b"ok"

    run(scene())


def test_a_name_is_resolved_in_a_thread_of_its_own_and_every_address_is_tried(run, raw):
    async def scene():
        async with raw(playing(OK)) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry(host="localhost"))
            assert await read_all(answer) == b"ok"
            assert any(thread.name.startswith("canary-resolve") for thread in threading.enumerate())

    run(scene())


def test_a_name_that_does_not_resolve_is_a_connect_failure(run):
    async def scene():
        entry = Provider(
            name="nowhere", api="openai", base_url="http://nowhere.invalid", timeout=Timeout(connect_s=2.0)
        )
        async with pool() as upstreams:
            error = await caught(post(upstreams, entry))
            assert error.error_type == "provider_connect"

    run(scene())


def test_a_changed_provider_entry_of_the_same_name_is_followed(run, raw):
    async def scene():
        async with raw(playing(OK)) as old, raw(playing(OK)) as new, pool() as upstreams:
            await read_all(await post(upstreams, old.entry()))
            await read_all(await post(upstreams, new.entry()))
            assert (len(old.wires), len(new.wires)) == (1, 1)

    run(scene())


def resolvers() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("canary-resolve")}


@pytest.fixture
def earlier() -> set[threading.Thread]:
    """Resolver threads of other tests, whose look-ups may be long."""
    return resolvers()


def origins() -> int:
    gc.collect()
    return sum(isinstance(each, OriginPool) for each in gc.get_objects())


async def nothing_is_left(earlier: set[threading.Thread]) -> None:
    for thread in resolvers() - earlier:
        await asyncio.to_thread(thread.join, 10.0)
    await turns()
    assert (resolvers() - earlier, origins()) == (set(), 0)


def test_a_provider_that_a_reload_removed_leaves_nothing_behind(run, raw, earlier):
    async def scene():
        async with raw(playing(OK)) as gone, raw(playing(OK, OK)) as kept, pool() as upstreams:
            for provider in (gone, kept):
                await read_all(await post(upstreams, provider.entry()))
            upstreams.keep_only([kept.entry()])
            await gone.wires[0].ended.wait()
            await read_all(await post(upstreams, kept.entry()))
            await asyncio.to_thread(eventually, lambda: len(resolvers() - earlier) == 1)
            assert (len(kept.wires), origins()) == (1, 1)
            upstreams.keep_only([])
            await nothing_is_left(earlier)

    run(scene())


def test_what_is_under_way_when_its_provider_is_removed_ends_as_it_would_have(run, raw, earlier):
    async def scene():
        removed = asyncio.Event()

        async def play(wire):
            await wire.request()
            await wire.send(OK[:-1])
            await removed.wait()
            await wire.send(OK[-1:])
            await wire.closed()

        async with raw(play) as provider, pool(limit=2) as upstreams:
            answer = await post(upstreams, provider.entry())
            upstreams.keep_only([])
            assert upstreams.free_slots("baseline") == 1
            removed.set()
            assert await read_all(answer) == b"ok"
            assert upstreams.free_slots("baseline") == 2
            await provider.wires[0].ended.wait()
            del answer
            await nothing_is_left(earlier)

    run(scene())


def test_what_began_before_its_provider_was_removed_still_finds_its_way(run, raw, earlier):
    async def scene():
        async with raw(playing(OK)) as provider, pool() as upstreams:
            upstreams.keep_only([])
            for _ in range(2):
                assert await read_all(await post(upstreams, provider.entry())) == b"ok"
            for wire in provider.wires:
                await wire.ended.wait()
            assert len(provider.wires) == 2
            await nothing_is_left(earlier)

    run(scene())


def test_closing_the_pool_ends_what_is_under_way_to_a_removed_provider(run, raw):
    async def scene():
        async def play(wire):
            await wire.request()
            await wire.send(OK[:-1])
            await wire.closed()

        async with raw(play) as provider:
            async with pool() as upstreams:
                answer = await post(upstreams, provider.entry())
                upstreams.keep_only([])
            assert (await caught(read_all(answer))).error_type == "aborted"
            await provider.wires[0].ended.wait()

    run(scene())


def test_a_handshake_that_hangs_ends_at_the_connect_deadline(run, raw):
    async def scene():
        async with raw(silent) as provider, pool() as upstreams:
            entry = Provider(
                name="tls",
                api="openai",
                base_url=f"https://127.0.0.1:{provider.port}",
                timeout=Timeout(connect_s=0.1),
            )
            assert (await caught(post(upstreams, entry))).error_type == "provider_connect"
            await provider.wires[0].ended.wait()

    run(scene())


def stalling(head: bytes):
    async def play(wire):
        await wire.request()
        await wire.send(head)
        await wire.closed()

    return play


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "streaming", "timeout", "why"),
    [
        (b"", True, Timeout(first_byte_s=0.2), "within 0.2"),
        (HEAD, True, Timeout(first_byte_s=0.2), "within 0.2"),
        (HEAD + b"1", True, Timeout(idle_s=0.2), "no body byte for 0.2"),
        (HEAD + b"1", False, Timeout(idle_s=0.2), "no body byte for 0.2"),
        (b"", True, Timeout(total_s=0.2), "no complete response"),
        (b"", False, Timeout(total_s=0.2, first_byte_s=0.1), "no complete response"),
        (HEAD, False, Timeout(total_s=0.2, idle_s=0.1), "no complete response"),
    ],
)
def test_a_provider_that_is_too_slow_is_a_timeout_and_sees_the_close(
    run, raw, response, streaming, timeout, why
):
    async def scene():
        async with raw(stalling(response)) as provider, pool() as upstreams:

            async def exchange():
                await read_all(await post(upstreams, provider.entry(), streaming=streaming, timeout=timeout))

            error = await caught(exchange())
            assert error.error_type == "provider_timeout"
            assert why in error.message
            await provider.wires[0].ended.wait()

    run(scene())


def test_a_provider_that_takes_no_request_bytes_is_a_timeout(run, raw):
    async def scene():
        async def play(wire):
            await wire.head()
            wire.writer.transport.pause_reading()
            await over.wait()

        over = asyncio.Event()
        async with raw(play) as provider, pool() as upstreams:
            entry = provider.entry(timeout=Timeout(write_s=0.2))
            error = await caught(post(upstreams, entry, body=b"x" * 20_000_000))
            over.set()
            assert error.error_type == "provider_timeout"
            assert "request byte" in error.message

    run(scene())


def test_a_steady_stream_outlives_the_idle_deadline(run, raw):
    async def scene():
        async def play(wire):
            await wire.request()
            await wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(8):
                await asyncio.sleep(0.1)  # the pace under test
                await wire.send(b"x")

        async with raw(play) as provider, pool() as upstreams:
            entry = provider.entry(timeout=Timeout(idle_s=0.4, first_byte_s=0.4))
            assert await read_all(await post(upstreams, entry, streaming=True)) == b"x" * 8

    run(scene())
