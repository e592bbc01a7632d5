"""Sends an answer over HTTP/1.1, with the pace and faults of its conduct."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from demo.behaviour import Behaviour, Conduct, Fault
from demo.connection import Headers, LocalConnection, chunk, head
from demo.wire import Event

HTML = (
    b"<html>\r\n<head><title>Bad gateway</title></head>\r\n<body><h1>Bad gateway</h1></body>\r\n</html>\r\n"
)
MIDWAY: frozenset[Fault | None] = frozenset(("truncate", "cut", "stall", "stream_error", "bad_json"))
BREAKS: frozenset[Fault | None] = frozenset(("truncate", "cut", "stall", "reset", "close", "hang"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAnswer:
    """An answer to send: `body`, or a stream of `events`. `tokens` paces documents; `failure` is an error."""

    status: int = 200
    content_type: str = "application/json"
    headers: Headers = ()
    body: bytes = b""
    events: Sequence[Event] | None = None
    failure: bytes = b""
    tokens: int = 0


def disguise(answer: LocalAnswer, fault: Fault | None) -> LocalAnswer:
    """The answer that replaces this one under a fault."""
    match fault:
        case "empty":
            return replace(answer, body=b"", events=None)
        case "html":
            return replace(answer, body=HTML, events=None, content_type="text/html")
        case "bad_json" if answer.events is None:
            return replace(answer, body=answer.body.rstrip()[:-1])
        case _:
            return answer


async def send(
    line: LocalConnection, answer: LocalAnswer, conduct: Conduct, behaviour: Behaviour, *, gzip: bool
) -> None:
    """Send one answer. Raises CallerLeft if the caller closes first."""
    if conduct.fault in ("reset", "close", "hang"):
        await line.idle(conduct.ttfb_s)
        await _break_off(line, conduct.fault)
        return
    answer = disguise(answer, conduct.fault)
    coding = _Coding(gzip=gzip, slice_bytes=behaviour.slice_bytes)
    if answer.events is None:
        await _send_document(line, answer, conduct, coding)
    else:
        await _send_stream(line, answer, answer.events, conduct, behaviour.after_events, coding)


async def _send_document(
    line: LocalConnection, answer: LocalAnswer, conduct: Conduct, coding: "_Coding"
) -> None:
    await line.idle(conduct.ttft_s + conduct.pace_s * answer.tokens)
    pieces = [*coding.encode(answer.body), *coding.finish()]
    length = ("content-length", str(sum(map(len, pieces))))
    start = head(answer.status, _headers(answer, coding, length))
    if conduct.fault in ("truncate", "cut", "stall"):
        whole = b"".join(pieces)
        line.write(start + whole[: len(whole) // 2])
        await _break_off(line, conduct.fault)
        return
    line.write(start + (pieces[0] if pieces else b""))  # head and body in one write
    for piece in pieces[1:]:
        line.write(piece)
    await line.drain()


async def _send_stream(
    line: LocalConnection,
    answer: LocalAnswer,
    events: Sequence[Event],
    conduct: Conduct,
    after_events: int,
    coding: "_Coding",
) -> None:
    await line.idle(conduct.ttfb_s)
    line.write(head(answer.status, _headers(answer, coding, ("transfer-encoding", "chunked"))))
    wait_s = conduct.ttft_s - conduct.ttfb_s
    breaks_at = min(after_events, len(events) - 1) if conduct.fault in MIDWAY else None
    for place, event in enumerate(events):
        data = event.data
        if place == breaks_at:
            if conduct.fault in ("truncate", "cut", "stall"):
                await _break_off(line, conduct.fault)
                return
            data = answer.failure if conduct.fault == "stream_error" else data[: len(data) // 2] + b"\n\n"
        elif event.token:
            await line.idle(wait_s)
            wait_s = conduct.pace_s
        for piece in coding.encode(data):
            line.write(chunk(piece))
        await line.drain()
        if place == breaks_at and conduct.fault == "stream_error":
            break
    for piece in coding.finish():
        line.write(chunk(piece))
    line.write(chunk(b""))


async def _break_off(line: LocalConnection, fault: Fault) -> None:
    if fault in ("hang", "stall"):
        await line.idle(None)
    elif fault in ("reset", "cut"):
        line.reset()
    else:
        line.close()


def _headers(answer: LocalAnswer, coding: "_Coding", framing: tuple[str, str]) -> Headers:
    encoded: Headers = (("content-encoding", "gzip"),) if coding.gzip else ()
    return (("content-type", answer.content_type), *encoded, *answer.headers, framing)


class _Coding:
    """Encodes a body: compressed with a flush per event, cut into fixed slices, or both."""

    def __init__(self, *, gzip: bool, slice_bytes: int | None) -> None:
        self.gzip = gzip
        self._deflate = zlib.compressobj(wbits=31) if gzip else None
        self._slice_bytes = slice_bytes
        self._rest = b""

    def encode(self, data: bytes) -> list[bytes]:
        """The bytes that can be written now."""
        if self._deflate:
            data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        if self._slice_bytes is None:
            return [data] if data else []
        self._rest += data
        whole = len(self._rest) // self._slice_bytes * self._slice_bytes
        ready, self._rest = self._rest[:whole], self._rest[whole:]
        return [ready[start : start + self._slice_bytes] for start in range(0, whole, self._slice_bytes)]

    def finish(self) -> list[bytes]:
        """The remaining bytes at the end."""
        rest = self._rest + (self._deflate.flush() if self._deflate else b"")
        return [rest] if rest else []
