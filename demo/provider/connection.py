"""One caller's connection to the demo provider: reads requests, and sends answers with their pace and faults.

It sees the caller leave, and can break a connection in every way a provider can; a web framework would not
allow that.

A `Wire` is what a wire API does: it reads requests, writes answers, streams and errors. And state in answers
that only its maker's account can read, as the vendors bind it, and their refusals:

| API       | state                                             | elsewhere                            |
|-----------|---------------------------------------------------|--------------------------------------|
| Responses | `encrypted_content` of a `reasoning` item         | 400 `invalid_encrypted_content`      |
| Responses | a stored response, named by the next request      | 400 `previous_response_not_found`    |
| Messages  | `signature` of a thinking block, redacted `data`  | 400 `invalid_request_error`          |
| Gemini    | `thoughtSignature` of a part                      | 400 `INVALID_ARGUMENT`               |

Such state is sealed with a hash of the caller's credential: no memory is needed to tell whose it is.
"""

import asyncio
import hashlib
import socket
import struct
import time
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from random import Random
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit

import httptools
import msgspec

from demo.provider.behaviour import Behaviour, Fault, LocalReply, Prompt, RequestConduct

Headers = tuple[tuple[str, str], ...]
MAX_BODY = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event, framed. `token` marks events with output, which are paced."""

    data: bytes
    token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A received request. `target` is raw, `path` decoded, header names lower case, `mono` in seconds."""

    method: str
    target: str
    headers: Headers
    body: bytes
    keep_alive: bool
    mono: float

    @property
    def path(self) -> str:
        """The decoded path without the query."""
        return unquote(urlsplit(self.target).path)

    def query(self, name: str) -> str | None:
        """The first value of a query parameter."""
        return next(iter(parse_qs(urlsplit(self.target).query).get(name, ())), None)

    def header(self, name: str) -> str | None:
        """The first header with this lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


class CallerLeft(Exception):
    """The caller closed the connection while an answer was due."""


class LocalConnection(asyncio.Protocol):
    """Passes requests one by one to `serve`; pipelined requests wait. `begin` is told of each connection."""

    def __init__(
        self,
        serve: Callable[[Request, "LocalConnection"], Awaitable[None]],
        begin: Callable[["LocalConnection"], None],
    ) -> None:
        self._serve, self._begin = serve, begin
        self._parser = httptools.HttpRequestParser(self)
        self._requests: asyncio.Queue[Request | None] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._transport: asyncio.Transport
        self._target, self._headers, self._body = b"", list[tuple[str, str]](), bytearray()
        self.left_mono: float | None = None

    async def run(self) -> None:
        """Serve requests until the connection ends."""
        while (request := await self._requests.get()) is not None:
            with suppress(CallerLeft):
                await self._serve(request, self)
            if not request.keep_alive:
                self.close()

    # For answers

    def write(self, data: bytes) -> None:
        """Send bytes. Raises CallerLeft."""
        if self._gone.is_set():
            raise CallerLeft
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the write buffer has room. Raises CallerLeft."""
        await self._writable.wait()
        if self._gone.is_set():
            raise CallerLeft

    async def idle(self, seconds: float | None) -> None:
        """Wait for some seconds (None: forever). Raises CallerLeft as soon as the caller leaves."""
        if seconds == 0.0 and not self._gone.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        if self._gone.is_set():
            raise CallerLeft

    def close(self) -> None:
        """Flush, then close with a FIN."""
        self._transport.close()

    def reset(self) -> None:
        """Close with a RST."""
        peer = self._transport.get_extra_info("socket")  # None once it is closed
        with suppress(OSError, AttributeError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by behaviour only
        self._writable.set()
        self._begin(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.write(head(400, (("content-length", "0"), ("connection", "close"))))
            self._transport.close()

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._requests.put_nowait(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _leave(self) -> None:
        if self.left_mono is None:
            self.left_mono = time.monotonic()
        self._gone.set()
        self._writable.set()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body = b"", [], bytearray()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if ("expect", "100-continue") in self._headers:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_BODY:
            self.reset()

    def on_message_complete(self) -> None:
        self._requests.put_nowait(
            Request(
                method=self._parser.get_method().decode(),
                target=self._target.decode("latin-1"),
                headers=tuple(self._headers),
                body=bytes(self._body),
                keep_alive=self._parser.should_keep_alive(),
                mono=time.monotonic(),
            )
        )


def head(status: int, headers: Headers) -> bytes:
    """An answer's status line and headers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {_reason(status)}\r\n{lines}\r\n".encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body (RFC 9112 §7.1); the empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else "Overloaded"


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
    connection: LocalConnection,
    answer: LocalAnswer,
    conduct: RequestConduct,
    behaviour: Behaviour,
    *,
    gzip: bool,
) -> None:
    """Send one answer. Raises CallerLeft if the caller closes first."""
    if conduct.fault in ("reset", "close", "hang"):
        await connection.idle(conduct.ttfb_s)
        await _break_off(connection, conduct.fault)
        return
    answer = disguise(answer, conduct.fault)
    coding = _Coding(gzip=gzip)
    if answer.events is None:
        await _send_document(connection, answer, conduct, coding)
    else:
        await _send_stream(connection, answer, answer.events, conduct, behaviour.after_events, coding)


async def _send_document(
    connection: LocalConnection, answer: LocalAnswer, conduct: RequestConduct, coding: "_Coding"
) -> None:
    await connection.idle(conduct.ttft_s + conduct.pace_s * answer.tokens)
    body = coding.encode(answer.body) + coding.finish()
    start = head(answer.status, _headers(answer, coding, ("content-length", str(len(body)))))
    if conduct.fault in ("truncate", "cut", "stall"):
        connection.write(start + body[: len(body) // 2])
        await _break_off(connection, conduct.fault)
        return
    connection.write(start + body)
    await connection.drain()


async def _send_stream(
    connection: LocalConnection,
    answer: LocalAnswer,
    events: Sequence[Event],
    conduct: RequestConduct,
    after_events: int,
    coding: "_Coding",
) -> None:
    await connection.idle(conduct.ttfb_s)
    connection.write(head(answer.status, _headers(answer, coding, ("transfer-encoding", "chunked"))))
    wait_s = conduct.ttft_s - conduct.ttfb_s
    breaks_at = min(after_events, len(events) - 1) if conduct.fault in MIDWAY else None
    for place, event in enumerate(events):
        data = event.data
        if place == breaks_at:
            if conduct.fault in ("truncate", "cut", "stall"):
                await _break_off(connection, conduct.fault)
                return
            data = answer.failure if conduct.fault == "stream_error" else data[: len(data) // 2] + b"\n\n"
        elif event.token:
            await connection.idle(wait_s)
            wait_s = conduct.pace_s
        connection.write(chunk(coding.encode(data)))
        await connection.drain()
        if place == breaks_at and conduct.fault == "stream_error":
            break
    if rest := coding.finish():
        connection.write(chunk(rest))
    connection.write(chunk(b""))


async def _break_off(connection: LocalConnection, fault: Fault) -> None:
    if fault in ("hang", "stall"):
        await connection.idle(None)
    elif fault in ("reset", "cut"):
        connection.reset()
    else:
        connection.close()


def _headers(answer: LocalAnswer, coding: "_Coding", framing: tuple[str, str]) -> Headers:
    return (("content-type", answer.content_type), *coding.headers, *answer.headers, framing)


class _Coding:
    """Encodes a body: compressed with a flush per event, or as it is."""

    def __init__(self, *, gzip: bool) -> None:
        self.headers: Headers = (("content-encoding", "gzip"),) if gzip else ()
        self._deflate = zlib.compressobj(wbits=31) if gzip else None

    def encode(self, data: bytes) -> bytes:
        """The bytes that can be written now."""
        if self._deflate is None:
            return data
        return self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """The remaining bytes at the end."""
        return self._deflate.flush() if self._deflate else b""


# The interfaces of a wire API in the demo provider: reads requests, writes answers, streams and errors.


class RequestRefused(Exception):
    """The API refuses the request. `param` is the invalid body field, `code` OpenAI's error code."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class Dialect(Protocol):
    """A provider's conventions, common to all its operations."""

    def key(self, request: Request) -> str | None:
        """The caller's key."""
        ...

    def headers(self, draws: Random, spent_s: float) -> Headers:
        """The answer's headers: request id, processing time, limits, and those that CDNs add."""
        ...

    def error(self, refused: RequestRefused, request_id: str) -> bytes:
        """The error document."""
        ...


def _takes_all(account: str, body: Mapping[str, Any]) -> None:
    """For operations whose requests carry no state of an account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWire:
    """One generating operation of an API. `created` is UTC seconds; `failure` makes its in-stream error,
    given the number of events before; `refuse_others` refuses state of another account than the caller's."""

    dialect: Dialect
    read: Callable[[Request, Mapping[str, Any]], Prompt]
    document: Callable[[Prompt, LocalReply, int], bytes]
    events: Callable[[Prompt, LocalReply, int], Iterator[Event]]
    failure: Callable[[int], bytes]
    refuse_others: Callable[[str, Mapping[str, Any]], None] = _takes_all
    stream_type: str = "text/event-stream; charset=utf-8"
    json_type: str = "application/json"


def compact(value: object) -> bytes:
    """JSON without spaces, for streams."""
    return msgspec.json.encode(value)


def pretty(value: object) -> bytes:
    """JSON indented by two, the documents' format of OpenAI and Google."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def event(name: str, fields: Mapping[str, Any], *, token: bool = False) -> Event:
    """A named event of a stream."""
    return Event(data=b"event: %s\ndata: %s\n\n" % (name.encode(), compact(fields)), token=token)


def missing(name: str) -> RequestRefused:
    """OpenAI's refusal of a request without this member."""
    message = f"Missing required parameter: '{name}'."
    return RequestRefused(400, message, param=name, code="missing_required_parameter")


def parse(body: bytes) -> dict[str, Any]:
    """The request's JSON object. Raises RequestRefused (400)."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise RequestRefused(400, "We could not parse the JSON body of your request.") from exc


REDACT = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING"
"""A prompt with this text gets its thinking redacted, as Anthropic's documented trigger does."""

_SEAL = 16


SEALED_ITEMS = ("reasoning", "compaction")


def sealed(account: str, text: str) -> str:
    """State that only `account`, a credential, can read."""
    nonce = hashlib.sha256(text.encode()).digest()[:_SEAL]
    return urlsafe_b64encode(nonce + _mark(account, nonce)).decode()


def readable(account: str, state: str) -> bool:
    """True when `account` made this state."""
    try:
        raw = urlsafe_b64decode(state)
    except (Error, ValueError):
        return False
    return len(raw) == 2 * _SEAL and raw[_SEAL:] == _mark(account, raw[:_SEAL])


def _mark(account: str, nonce: bytes) -> bytes:
    return hashlib.sha256(account.encode() + b"\0" + nonce).digest()[:_SEAL]


def refuse_others_reasoning(account: str, body: Mapping[str, Any]) -> None:
    """Refuse another account's `reasoning` and `compaction` items, in the words of OpenAI's Responses API."""
    given = body.get("input")
    for item in given if isinstance(given, list) else ():
        state = item.get("encrypted_content")
        if item.get("type") in SEALED_ITEMS and state and not readable(account, state):
            raise RequestRefused(
                400,
                f"The encrypted content {state[:4]}...{state[-4:]} could not be verified. "
                "Reason: Encrypted content could not be decrypted or parsed.",
                code="invalid_encrypted_content",
            )


def refuse_others_thinking(account: str, body: Mapping[str, Any]) -> None:
    """Refuse thinking blocks of another account, in the words of Anthropic's Messages API."""
    for place, block in _blocks(body):
        kind = str(block.get("type"))
        member = {"thinking": "signature", "redacted_thinking": "data"}.get(kind)
        if member and not readable(account, str(block.get(member))):
            raise RequestRefused(400, f"{place}: Invalid `{member}` in `{kind}` block")


def _blocks(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for nth, message in enumerate(body.get("messages") or ()):
        content = message.get("content")
        for mth, block in enumerate(content if isinstance(content, list) else ()):
            yield f"messages.{nth}.content.{mth}", block


UNSIGNED = "skip_thought_signature_validator"
"""What Gemini takes for the signature of a call that another model made."""


def refuse_others_thoughts(account: str, body: Mapping[str, Any]) -> None:
    """Refuse thought signatures of another account, in the words of Gemini's API."""
    parts = [part for content in body.get("contents") or () for part in content.get("parts") or ()]
    for part in parts:
        state = part.get("thoughtSignature") or part.get("thought_signature")
        if state and state != UNSIGNED and not readable(account, str(state)):
            raise RequestRefused(400, "Thought signature is not valid.")
