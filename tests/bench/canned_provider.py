"""The benchmark's provider: canned answers over bare asyncio, as cheap as Python gets.

A body with `"stream":true` gets `max_tokens` chunks, one each `seed` milliseconds (0: as fast as they go).
"""

import asyncio
import re
import sys

import uvloop

USAGE = (
    b'{"prompt_tokens":120,"completion_tokens":40,"total_tokens":160,'
    b'"prompt_tokens_details":{"cached_tokens":0}}'
)
ANSWER = (
    b'{"id":"chatcmpl-canned","object":"chat.completion","created":1732400000,"model":"gpt-4o-2024-08-06",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"%s","refusal":null},"logprobs":null,'
    b'"finish_reason":"stop"}],"usage":%s,"service_tier":"default","system_fingerprint":"fp_canned"}'
) % (b"Your refund was approved and reaches you within three days. " * 8, USAGE)
HEAD = b"HTTP/1.1 200 OK\r\nx-request-id: req_canned\r\nopenai-processing-ms: 5\r\n"
DOCUMENT = HEAD + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
STREAM_HEAD = HEAD + b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def event(choices: bytes, usage: bytes) -> bytes:
    """One chat completion chunk as an HTTP chunk; `usage` is empty or its JSON."""
    counted = b',"usage":' + usage if usage else b""
    data = (
        b'data: {"id":"chatcmpl-canned","object":"chat.completion.chunk","created":1732400000,'
        b'"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_canned",'
        b'"choices":%s%s}\n\n'
    ) % (choices, counted)
    return b"%x\r\n%s\r\n" % (len(data), data)


class Script:
    """The stream's chunks, with or without usage."""

    def __init__(self, *, usage: bool) -> None:
        null = b"null" if usage else b""
        choice = b'[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}]'
        self.token = event(choice % (b'{"content":" refund"}', b"null"), null)
        end = event(choice % (b"{}", b'"stop"'), null) + (event(b"[]", USAGE) if usage else b"")
        self.end = end + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


PLAIN, COUNTED = Script(usage=False), Script(usage=True)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKS = re.compile(rb'"max_tokens": ?(\d+)')
PACE_MS = re.compile(rb'"seed": ?(\d+)')


def number(pattern: re.Pattern[bytes], text: bytes) -> int:
    """The number that a pattern finds; 0 where it finds none."""
    found = pattern.search(text)
    return int(found[1]) if found else 0


class Canned(asyncio.Protocol):
    """One connection. Requests come one after another."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._script = PLAIN
        self._left = 0
        self._pace_s = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        size = end + 4 + number(LENGTH, self._buffer[:end])
        if len(self._buffer) < size:
            return
        body, self._buffer = self._buffer[end + 4 : size], self._buffer[size:]
        if b'"stream":true' not in body:
            self._transport.write(DOCUMENT)
            return
        self._script = COUNTED if b"include_usage" in body else PLAIN
        self._left, self._pace_s = number(CHUNKS, body), number(PACE_MS, body) / 1e3
        self._transport.write(STREAM_HEAD)
        self._next()

    def _next(self) -> None:
        if self._transport.is_closing():
            return
        if not self._left:
            self._transport.write(self._script.end)
            return
        self._left -= 1
        self._transport.write(self._script.token)
        if self._pace_s:
            self._loop.call_later(self._pace_s, self._next)
        else:
            self._loop.call_soon(self._next)


async def main() -> None:
    """Listen on a free port, print it, and serve until killed."""
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
