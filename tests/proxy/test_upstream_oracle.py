"""The same raw responses, read by aiohttp and by us: same status, same headers, same bytes."""

import aiohttp
import pytest

from tests.proxy.raw_provider import playing, pool, post, read_all

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
RESPONSES = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello",
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no reason": b"HTTP/1.1 500 \r\nContent-Length: 2\r\n\r\nno",
    "chunked": CHUNKED + b"6\r\ndata: \r\n3;x=y\r\nabc\r\n2\r\n\n\n\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
    "no content": b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
    "until the end": b"HTTP/1.1 200 OK\r\nX-A: \t b c\r\n\r\nall of it",
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
    "close": b"HTTP/1.1 429 Too Many\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}",
    "large": b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"0123456789" * 30000,
    "latin": b"HTTP/1.1 200 OK\r\nX-A: caf\xc3\xa9\r\nContent-Length: 6\r\n\r\nna\xc3\xafve",
}


async def by_aiohttp(url: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(url, data=b"{}", allow_redirects=False) as response,
    ):
        headers = [(name.lower(), value) for name, value in response.raw_headers]
        return response.status, headers, await response.read()


async def by_us(provider) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    async with pool() as upstreams:
        answer = await post(upstreams, provider.entry())
        return answer.status, answer.headers, await read_all(answer)


@pytest.mark.parametrize("cut", [0, 1, 7], ids=["whole", "byte by byte", "by sevens"])
@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES.keys())
def test_aiohttp_reads_the_same(run, raw, response, cut):
    if cut and len(response) > 10_000:
        cut = 10_000 * cut
    pieces = [response[at : at + cut] for at in range(0, len(response), cut)] if cut else [response]

    async def play(wire):
        await wire.request()
        await wire.send(*pieces)

    async def scene():
        async with raw(play) as provider:
            theirs = await by_aiohttp(f"http://127.0.0.1:{provider.port}/v1/chat")
            assert await by_us(provider) == theirs

    run(scene())


def test_the_play_answers_as_written(run, raw):
    """The oracle is no mirror of ours: it sees the bytes that the provider was told to send."""

    async def scene():
        async with raw(playing(RESPONSES["length"])) as provider:
            status, headers, body = await by_aiohttp(f"http://127.0.0.1:{provider.port}/")
            assert (status, body) == (200, b"hello")
            assert headers == [(b"content-length", b"5"), (b"x-a", b"1"), (b"x-a", b"2")]

    run(scene())
