"""Well-formed requests broken at random, thrown at a proxy, and what came of them."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from tests.reliability.answers import chunk
from tests.reliability.callers import request
from tests.reliability.smuggling import SENTINEL
from tests.reliability.strict_http import Ambiguous, Reader

AT_ONCE = 32
QUIET_S = 0.5
SPOKEN_ELSEWHERE = 505
TALK = {"model": "gpt-4o", "user": "user-1", "messages": [{"role": "user", "content": "h\u00e9llo \u2603"}]}
ADDRESS = "http://a:8080"
FEEDBACK = {"unit": "user-1", "metric": "csat", "value": 4}
MULTIPART = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--x--\r\n'
BODY = json.dumps(TALK).encode()
SEEDS = [
    request(ADDRESS, TALK),
    request(ADDRESS, TALK | {"stream": True}),
    request(ADDRESS, TALK | {"model": "gpt-4o-mini", "n": 2, "temperature": 1e-3}),
    request(ADDRESS, TALK, {"x-canary-unit": "u", "x-canary-tags": "region=eu", "x-canary-session": "s"}),
    request(ADDRESS, TALK | {"max_tokens": 9}, {"anthropic-version": "2026-10-21"}, path="/v1/messages"),
    request(ADDRESS, {"contents": []}, path="/v1beta/models/gemini-2.5:streamGenerateContent?alt=sse&key=k"),
    request(ADDRESS, FEEDBACK, path="/canary/feedback"),
    request(ADDRESS, MULTIPART, {"content-type": "multipart/form-data; boundary=x"}, path="/v1/files"),
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    + chunk(BODY[:30]) + chunk(BODY[30:]) + chunk(b""),
    b"POST /v1/files HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n"
    + chunk(b"hello") + chunk(b""),
    b"GET /v1/models?limit=2 HTTP/1.1\r\nhost: a\r\naccept: */*\r\n\r\n",
    b"GET /readyz HTTP/1.1\r\nhost: [::1]:80\r\n\r\n",
]  # fmt: skip
SPLINTERS = [
    b"\r", b"\n", b"\0", b" ", b":", b",", b"\t", b"\r\n", b"\r\n\r\n", b"%", b"..", b"/", b"?", b"#",
    b"\xff", b"\x80", b'"', b"{", b"[" * 3000, b'{"a":' * 500, b"1e999", b"-", b"0x", b"\\ud800", b"\xc3",
    b"null", b"HTTP/1.0", b"HTTP/2.0", b"x" * 70_000, b"x: 1\r\n" * 250,
    b"transfer-encoding: chunked\r\n",
    b"content-length: 3\r\n",
    b"host: b\r\n",
    b"connection: host\r\n",
    b"expect: 100-continue\r\n",
    b"upgrade: websocket\r\nconnection: upgrade\r\n",
    b"x-canary-pin: candidate\r\n",
    b"content-encoding: gzip\r\n",
]  # fmt: skip


def mutated(draws: Random) -> bytes:
    """A seed with one to four things done to it."""
    data = draws.choice(SEEDS)
    for _ in range(draws.randint(1, 4)):
        at = draws.randrange(len(data) + 1)
        end = min(len(data), at + draws.choice((1, 1, 2, 8, 40)))
        match draws.randrange(8):
            case 0 | 1:
                data = data[:at] + draws.choice(SPLINTERS) + data[at:]
            case 2:
                data = data[:at] + bytes(draws.randrange(256) for _ in range(end - at)) + data[end:]
            case 3:
                data = data[:at] + data[end:]
            case 4:
                data = data[:end] + data[at:end] + data[end:]
            case 5:
                lines = data.split(b"\r\n")
                data = b"\r\n".join([lines[0], *draws.sample(lines[1:], len(lines) - 1)])
            case 6:
                data = data[:at] + draws.choice(SEEDS)[at:]
            case _:
                line = draws.choice(data.split(b"\r\n"))
                data = data.replace(line, line + b"\r\n" + line, 1) if line else data[:at]
    return data


@dataclass
class Course:
    """What came of all of them."""

    statuses: Counter[int] = field(default_factory=Counter)
    closed: int = 0
    own_5xx: list[tuple[int, bytes]] = field(default_factory=list)
    ambiguous: list[tuple[str, bytes]] = field(default_factory=list)


async def throw(address: str, requests: list[bytes]) -> Course:
    """Each on a connection of its own, with the sentinel behind it; a few at once."""
    course, left = Course(), iter(requests)
    host, port = address.removeprefix("http://").split(":")

    async def one_by_one() -> None:
        for data in left:
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(data + SENTINEL)
                await read(course, data, reader, writer)
            finally:
                writer.transport.abort()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_by_one())
    return course


async def read(
    course: Course, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Note the answers. Who waits for more is told after a while that there is none."""
    answers = Reader(responses=True)
    final = 0
    try:
        while part := await reading(reader, writer):
            for answer in answers.feed(part):
                if answer.status >= 200:
                    final += 1
                    course.statuses[answer.status] += 1
                    served = answer.first(b"x-served") is not None
                    if answer.status >= 500 and answer.status != SPOKEN_ELSEWHERE and not served:
                        course.own_5xx.append((answer.status, data))
    except Ambiguous as why:
        course.ambiguous.append((str(why), data))
    except ConnectionError:
        pass
    course.closed += final == 0


async def reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    try:
        async with asyncio.timeout(QUIET_S):
            return await reader.read(1 << 16)
    except TimeoutError:
        writer.write_eof()
        return await reader.read(1 << 16)
