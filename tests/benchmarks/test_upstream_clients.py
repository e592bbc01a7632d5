"""The client libraries beside our pool: each reads whole answers, and a wrong answer ends the run."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from benchmarks.client_libraries import LIBRARIES, ProviderUrl, ReceivedAnswer
from benchmarks.request import RequestDialect
from benchmarks.upstream_clients import ClientLoad, importable, load, provider, table
from tests.benchmarks.test_probers import needs_compiler
from tests.proxy.raw_provider import RawProvider, Wire


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderUrl]:
    with provider(tmp_path_factory.mktemp("provider")) as plain:
        yield ProviderUrl(f"http://127.0.0.1:{plain.port}")


@needs_compiler
@pytest.mark.parametrize("library", importable()[0])
def test_a_library_reads_the_same_as_ours(library: str, target: ProviderUrl) -> None:
    async def answers(name: str) -> list[tuple[int, int]]:
        document, stream = ReceivedAnswer(), ReceivedAnswer()
        async with LIBRARIES[name](target) as ask:
            await ask(RequestDialect().body(), False, document)
            await ask(RequestDialect().body(stream=True, max_tokens=7), True, stream)
        return [(found.status, found.size) for found in (document, stream)]

    assert uvloop.run(answers(library)) == uvloop.run(answers("ours"))


@pytest.mark.parametrize("library", importable()[0])
def test_a_library_passes_a_stream_on_as_it_comes(library: str) -> None:
    arrived = asyncio.Event()

    class Heard(ReceivedAnswer):
        def take(self, piece: bytes) -> bool:
            arrived.set()
            return super().take(piece)

    found = Heard()

    async def play(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await arrived.wait()
        await wire.send(b"0\r\n\r\n")
        await wire.closed()

    async def scene() -> None:
        async with (
            RawProvider(play) as raw,
            LIBRARIES[library](ProviderUrl(f"http://127.0.0.1:{raw.port}")) as ask,
        ):
            await asyncio.wait_for(ask(b"{}", True, found), 30)

    uvloop.run(scene())
    assert (found.status, found.last) == (200, b"abc")


@pytest.mark.parametrize("wrong", [(500, b"}"), (200, b"{")], ids=["status", "cut"])
def test_a_wrong_answer_ends_the_run(wrong: tuple[int, bytes]) -> None:
    async def ask(_: bytes, __: bool, found: ReceivedAnswer) -> None:
        found.status, found.last = wrong

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(load(ask, ClientLoad(title="", count=1, at_once=1)))
    assert "a wrong answer" in str(caught.value.exceptions[0])


def test_a_ratio_is_taken_within_its_round() -> None:
    rounds = [
        {"ours": {"JSON": ours}, "aiohttp": {"JSON": theirs}} for ours, theirs in [(10, 20), (30, 90), (2, 8)]
    ]
    _, ours, theirs = table(rounds)
    assert "10 (2–30)" in ours and "×" not in ours
    assert "20 (8–90) ×3" in theirs
