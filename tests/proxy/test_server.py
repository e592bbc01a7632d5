"""What a caller may do to the traffic listener, byte by byte, against a real uvicorn in a thread. All of it
without TLS and with it."""

import asyncio
import gc
import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from time import monotonic

import pytest
import trustme
import uvicorn
import uvloop

from canary.config.certificate import server_context
from proxy.network.server import caller_connection
from proxy.network.server.caller_connection import RequestParser, TrafficProtocol
from proxy.network.server.caller_request import CallerRequest, sendable
from proxy.network.server.endpoints import serve_asgi
from proxy.network.server.tls import CallerTls
from proxy.network.ticker import Ticker
from tests.serving import eventually


class App:
    """A tiny handler; what it saw is read by the tests. Its answer is chosen by the path."""

    def __init__(self) -> None:
        self.seen: list[CallerRequest] = []
        self.bodies: list[bytes] = []
        self.began = threading.Event()
        self.gone = threading.Event()
        self.go_on = threading.Event()
        self.calls = 0

    async def __call__(self, incoming) -> None:
        self.seen.append(incoming)
        try:
            await getattr(self, incoming.path.strip("/"), self.echo)(incoming)
        except asyncio.CancelledError:
            self.calls += 1
            self.gone.set()

    async def body(self, incoming) -> bytes:
        body = b""
        try:
            while part := await incoming.read():
                body += part
        except asyncio.CancelledError:
            self.bodies.append(b"left")
            raise
        self.bodies.append(body)
        return body

    async def echo(self, incoming) -> None:
        self.answer(incoming, await self.body(incoming))

    def answer(self, incoming, body: bytes, status: int = 200) -> None:
        incoming.start(status, [], length=len(body))
        incoming.end(body)

    async def until_told(self) -> None:
        self.began.set()
        await asyncio.get_running_loop().run_in_executor(None, self.go_on.wait)

    async def slow(self, incoming) -> None:
        await self.body(incoming)
        await self.until_told()
        self.answer(incoming, b"late")

    async def early(self, incoming) -> None:
        self.answer(incoming, b"no", 413)

    async def closing(self, incoming) -> None:
        incoming.keep_alive = False
        incoming.start(200, [], length=2)
        incoming.end(b"ok")

    async def stream(self, incoming) -> None:
        incoming.start(200, [], length=None)
        incoming.write(b"one")
        incoming.end(b"two")

    async def phrased(self, incoming) -> None:
        incoming.start(200, [], length=0, reason=b"Quite Well")
        incoming.end()

    async def head_first(self, incoming) -> None:
        incoming.start(200, [], length=None)
        incoming.write(b"")
        await self.until_told()
        incoming.end(b"then")

    async def not_modified(self, incoming) -> None:
        incoming.start(304, [], length=9)
        incoming.end()

    async def asgi(self, incoming) -> None:
        await serve_asgi(self.as_asgi, incoming)

    async def as_asgi(self, scope, receive, send) -> None:
        message, body = await receive(), b""
        while message["more_body"]:
            body, message = body + message["body"], await receive()
        said = f"{scope['method']} {scope['path']} {scope['query_string'].decode()}".encode()
        headers = [(b"x", b"a\r\nx-evil: 1")] if b"evil" in scope["query_string"] else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said, "more_body": True})
        await send({"type": "http.response.body", "body": body + message["body"]})
        if b"wait" in scope["query_string"]:
            await receive()

    async def broken(self, incoming) -> None:
        incoming.start(200, [], length=None)
        incoming.write(b"half")
        await self.until_told()
        incoming.abort()

    async def crash(self, incoming) -> None:
        raise LookupError("a bug")

    async def crash_later(self, incoming) -> None:
        incoming.start(200, [], length=None)
        incoming.write(b"half")
        raise LookupError("a bug")

    async def short(self, incoming) -> None:
        incoming.start(200, [], length=9)
        incoming.end(b"half")

    async def talk(self, incoming) -> None:
        """Agrees to another protocol: says back what comes, and closes at "bye" or when the caller does."""
        if b"late" in incoming.query:
            await self.until_told()
        assert incoming.upgrades
        incoming.switch([(b"x-ours", b"1")])
        said = b""
        while not said.endswith(b"bye") and (data := await incoming.read()):
            said += data
            incoming.write(data)
            await incoming.drain()
        self.bodies.append(said)
        if b"crash" in incoming.query:
            raise LookupError("a bug")
        incoming.close()

    async def flood(self, incoming) -> None:
        incoming.start(200, [], length=None)
        self.began.set()
        while True:
            incoming.write(b"x" * 65536)
            await incoming.drain()


WOULD_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class TlsCaller(ssl.SSLSocket):
    """A caller's socket whose sending side can be shut down alone, as a plain one's can."""

    def shutdown(self, how: int) -> None:
        socket.socket.shutdown(self, how)


class Server:
    """A uvicorn server with the traffic protocol on a free loopback port, inside TLS with an `authority`."""

    def __init__(self, authority: trustme.CA | None) -> None:
        self.app = App()
        self.loop = uvloop.new_event_loop()
        self.authority = authority
        http = TrafficProtocol
        if authority is not None:
            pair = authority.issue_cert("127.0.0.1")
            self.context = server_context(pair.cert_chain_pems[0].bytes(), pair.private_key_pem.bytes())
            http = partial(CallerTls, lambda: self.context, TrafficProtocol, Ticker(self.loop))
        config = uvicorn.Config(
            self.app, http=http, ws="none", lifespan="off", loop="none", log_config=None,
            access_log=False, server_header=False, date_header=False,
        )  # fmt: skip
        self.uvicorn = uvicorn.Server(config)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.loop.run_until_complete(self.uvicorn.serve([self.listener]))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def __enter__(self) -> "Server":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.app.go_on.set()
        self.uvicorn.should_exit = self.uvicorn.force_exit = True
        self.thread.join()
        self.listener.close()

    def connect(self) -> socket.socket:
        line = self.connect_plain()
        if self.authority is None:
            return line
        context = ssl.create_default_context()
        context.sslsocket_class = TlsCaller
        self.authority.configure_trust(context)
        return context.wrap_socket(line, server_hostname="127.0.0.1")

    def connect_plain(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=60.0)

    def say(self, *pieces: bytes) -> bytes:
        """Send, and read until the server closes."""
        with self.connect() as caller:
            for piece in pieces:
                caller.sendall(piece)
            return rest(caller)

    def later(self, seconds: float) -> None:
        """Turn the deadlines' clock forward once."""
        done = threading.Event()

        def tick() -> None:
            for connection in list(self.uvicorn.server_state.connections):
                connection.shared.ticker.tick(monotonic())
                connection.shared.ticker.tick(monotonic() + seconds)
                break
            done.set()

        self.loop.call_soon_threadsafe(tick)
        assert done.wait(10)


def rest(caller: socket.socket) -> bytes:
    received = b""
    while piece := caller.recv(65536):
        received += piece
    return received


def send_what_fits(caller: socket.socket, data: bytes) -> bytes:
    """Send without waiting for the server to read; return what did not fit."""
    caller.setblocking(False)
    with suppress(*WOULD_WAIT):
        while data:
            data = data[caller.send(data[:16384]) :]
    return data


def rest_while_sending(caller: socket.socket, data: bytes) -> bytes:
    """Send all and read to the end in one thread: two threads must not use one TLS connection at once."""
    received = b""
    while True:
        assert any(select.select([caller], [caller] if data else [], [], 60.0)), received
        data = send_what_fits(caller, data)
        with suppress(*WOULD_WAIT):
            piece = caller.recv(65536)
            if not piece:
                return received
            received += piece


def one(caller: socket.socket, end: bytes) -> bytes:
    """Read until `end` has come."""
    received = b""
    while not received.endswith(end):
        piece = caller.recv(65536)
        assert piece, received
        received += piece
    return received


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["plain", "tls"])
def server(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[Server]:
    with Server(authority if request.param == "tls" else None) as running:
        yield running


LAST = b"connection: close\r\n"


def get(path: bytes = b"/", extra: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nhost: a\r\n" + extra + b"\r\n"


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def test_a_request_is_served_and_its_path_is_raw(server):
    request = b"POST /a%2Fb/c?x=%20&y HTTP/1.1\r\nHost: A:80\r\nX-One: 1\r\nx-one: 2\r\nconnection: close\r\n"
    response = server.say(request + b"content-length: 5\r\n\r\nhello")
    assert response == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"
    seen = server.app.seen[0]
    assert (seen.method, seen.path, seen.query) == ("POST", "/a%2Fb/c", b"x=%20&y")
    assert seen.headers == [
        (b"host", b"A:80"), (b"x-one", b"1"), (b"x-one", b"2"), (b"connection", b"close"),
        (b"content-length", b"5"),
    ]  # fmt: skip


def test_connections_are_kept_and_pipelined_requests_answered_in_order(server):
    with server.connect() as caller:
        caller.sendall(
            get(b"/slow") + b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc" + get(b"/", LAST)
        )
        assert server.app.began.wait(10)
        server.app.go_on.set()
        received = rest(caller)
    bodies = [part.split(b"\r\n\r\n")[1] for part in received.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [b"late", b"abc", b""]


@pytest.mark.parametrize(
    "host", [b"a/health?", b"a b", b"a,b", b"a@b", b"http://a", b"", b"a:b", b"[::1", b"a#"]
)
def test_a_host_that_is_none_is_refused(server, host):
    assert status(server.say(b"GET / HTTP/1.1\r\nhost: " + host + b"\r\n\r\n")) == 400
    assert not server.app.seen


@pytest.mark.parametrize(
    "host", [b"a", b"a-b.c_d:8080", b"127.0.0.1:1", b"[::1]:80", b"[fe80::1]", b"A.example"]
)
def test_a_host_that_is_one_is_served(server, host):
    assert status(server.say(b"GET / HTTP/1.1\r\nhost: " + host + b"\r\n" + LAST + b"\r\n")) == 200


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 505),
        (b"nonsense\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", 405),
        (b"PURGE / HTTP/1.1\r\nhost: a\r\n\r\n", 405),
        (b"SOURCE / ICE/1.0\r\nhost: a\r\n\r\n", 405),
        (b"GET / RTSP/1.0\r\nhost: a\r\n\r\n", 400),
        (b"POST / RTSP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n1", 400),
        (b"\r\n\r\nGET  / RTSP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-said: GET / RTSP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx_canary_unit: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent_length: 1\r\n\r\n", 400),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nsession_id: 1\r\nConversation_Id: 1\r\n\r\n",
            200,
        ),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\nContent-Type: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: a/b\r\n\r\n", 200),
        (b"GET * HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx y: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: \x00\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n1", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n1", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: b\r\nconnection: upgrade\r\ncontent-length: 1\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_requests_that_are_none_are_refused_and_the_connection_closed(server, request_, expected):
    assert status(server.say(request_)) == expected


def test_a_refused_method_is_told_which_are_served(server):
    assert b"\r\nallow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n" in server.say(
        b"TRACE / HTTP/1.1\r\nhost: a\r\n\r\n"
    )


def test_another_protocol_is_refused_in_pieces_and_behind_another_request_too(server):
    line = b"GET / RTSP/1.1\r\nhost: a\r\n\r\n"
    with server.connect() as caller:
        for place in range(len(line)):
            caller.sendall(line[place : place + 1])
        assert status(caller.recv(1 << 16)) == 400
    answers = server.say(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" + line)
    assert (answers.count(b"HTTP/1.1 200"), b"RTSP" in answers) == (1, False)


def test_a_connection_keeps_nothing_of_the_heads_that_it_has_read(server):
    with server.connect() as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 60_000 + b"\r\n\r\n")
        one(caller, b"\r\n\r\n")
        kept = [each._data for each in gc.get_objects() if type(each) is RequestParser]
    assert kept
    assert set(kept) == {b""}


@pytest.mark.parametrize(
    "head",
    [
        b"x: " + b"a" * 70_000 + b"\r\n",
        b"".join(b"x-%d: %b\r\n" % (number, b"a" * 700) for number in range(100)),
        b"x: 1\r\n" * 200,
    ],
    ids=["one field", "many bytes", "201 fields"],
)
def test_a_head_over_its_bounds_is_431(server, head):
    assert status(server.say(b"GET / HTTP/1.1\r\nhost: a\r\n" + head + b"\r\n")) == 431
    assert not server.app.seen


def test_a_target_counts_as_part_of_its_head(server):
    assert status(server.say(get(b"/" + b"a" * 70_000))) == 431
    assert not server.app.seen


def test_an_endless_head_is_431_before_its_end(server):
    assert status(server.say(b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 300_000)) == 431
    assert status(server.say(b"GET /" + b"a" * 300_000)) == 431


def test_a_head_just_within_its_bounds_is_served(server):
    fields = b"".join(b"x-%d: %b\r\n" % (number, b"a" * 300) for number in range(197))
    assert status(server.say(get(b"/", fields + LAST))) == 200


def test_endless_trailers_are_refused(server):
    request = b"POST /slow HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"a" * 300_000
    assert status(server.say(request)) == 431
    assert server.app.gone.wait(10)


def test_trailers_do_not_become_headers(server):
    request = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    assert server.say(request + b"2\r\nok\r\n0\r\nx-canary-pin: candidate\r\n\r\n").endswith(b"ok")
    assert all(name != b"x-canary-pin" for name, _ in server.app.seen[0].headers)


def test_an_offer_to_upgrade_is_ignored(server):
    response = server.say(get(b"/", b"upgrade: websocket\r\nconnection: upgrade\r\n"))
    assert status(response) == 200


UPGRADE = b"upgrade: websocket\r\nconnection: upgrade\r\n"
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nx-ours: 1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
)


def test_a_switched_connection_carries_raw_bytes_until_it_is_closed(server):
    with server.connect() as caller:
        caller.sendall(get(b"/talk", UPGRADE))
        assert one(caller, b"\r\n\r\n") == SWITCHED
        for said in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)), *[b"x" * 30_000 + b"end"] * 10):
            caller.sendall(said)
            assert one(caller, said[-3:]) == said
        caller.sendall(b"bye")
        assert rest(caller) == b"bye"
    assert server.app.calls == 0


@pytest.mark.parametrize("together", [True, False])
def test_what_came_before_the_switch_is_the_first_that_is_read(server, together):
    with server.connect() as caller:
        early = b"\x81\x00" * 100_000 + b"bye"
        if together:
            caller.sendall(get(b"/talk?late", UPGRADE) + early[:5])
        else:
            caller.sendall(get(b"/", b"") + get(b"/talk?late", UPGRADE))
            caller.sendall(early[:5])
            one(caller, b"content-length: 0\r\n\r\n")
        assert server.app.began.wait(10)
        left = send_what_fits(caller, early[5:])
        server.app.go_on.set()
        assert rest_while_sending(caller, left) == SWITCHED + early


def test_what_follows_an_offer_that_was_not_taken_is_no_request_and_no_body(server):
    with server.connect() as caller:
        caller.sendall(get(b"/slow", UPGRADE) + get(b"/smuggled"))
        assert server.app.began.wait(10)
        caller.sendall(b"x" * 1000)
        server.app.go_on.set()
        assert rest(caller).endswith(b"late")
    assert server.app.bodies == [b""]
    assert [seen.path for seen in server.app.seen] == ["/slow"]


@pytest.mark.parametrize("reset", [True, False])
def test_a_caller_that_leaves_a_switched_connection_is_its_end_and_no_cancellation(server, reset):
    with server.connect() as caller:
        caller.sendall(get(b"/talk", UPGRADE) + b"hello")
        assert one(caller, b"hello") == SWITCHED + b"hello"
        if reset:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert status(server.say(get(b"/", LAST))) == 200
    deadline = monotonic() + 10
    while len(server.app.bodies) < 2 and monotonic() < deadline:
        pass
    assert sorted(server.app.bodies) == [b"", b"hello"]
    assert server.app.calls == 0


def test_a_switched_connection_may_be_silent_and_is_not_the_end_of_a_slow_handler(server):
    with server.connect() as caller:
        caller.sendall(get(b"/talk", UPGRADE))
        one(caller, b"\r\n\r\n")
        server.later(10_000)
        caller.sendall(b"bye")
        assert rest(caller) == b"bye"


def test_a_handler_that_crashes_cuts_its_switched_connection(server):
    with server.connect() as caller:
        caller.sendall(get(b"/talk?crash", UPGRADE) + b"bye")
        received = b""
        with suppress(ConnectionResetError):
            received = rest(caller)
        assert b"500" not in received


def test_a_server_that_ends_waits_for_its_switched_connections(server):
    with server.connect() as caller:
        caller.sendall(get(b"/talk", UPGRADE) + b"hello")
        one(caller, b"hello")
        server.uvicorn.should_exit = True
        with pytest.raises(ConnectionError):
            while True:
                server.connect().close()
        caller.sendall(b"still bye")
        assert rest(caller) == b"still bye"


def test_the_absolute_form_is_reduced_to_its_path(server):
    server.say(b"GET http://elsewhere/p?q HTTP/1.1\r\nhost: a\r\n" + LAST + b"\r\n")
    assert (server.app.seen[0].path, server.app.seen[0].query) == ("/p", b"q")


def test_head_and_body_leave_together(server):
    with server.connect() as caller:
        caller.sendall(get())
        assert one(caller, b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 0")
        caller.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")
        assert caller.recv(65536).endswith(b"\r\n\r\nhi")


def test_a_reason_may_be_somebody_elses(server):
    assert server.say(get(b"/phrased", LAST)).startswith(b"HTTP/1.1 200 Quite Well\r\n")


def test_the_head_of_a_stream_does_not_wait_for_its_body(server):
    with server.connect() as caller:
        caller.sendall(get(b"/head_first", LAST))
        assert one(caller, b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
        assert not server.app.go_on.is_set()
        server.app.go_on.set()
        assert rest(caller) == b"4\r\nthen\r\n0\r\n\r\n"


def test_a_stream_is_chunked_and_for_http_1_0_ends_with_the_connection(server):
    assert server.say(get(b"/stream", LAST)).endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    old = server.say(b"GET /stream HTTP/1.0\r\n\r\n")
    assert b"transfer-encoding" not in old
    assert old.endswith(b"\r\n\r\nonetwo")


def test_a_head_request_gets_no_body(server):
    response = server.say(b"HEAD /stream HTTP/1.1\r\nhost: a\r\n" + LAST + b"\r\n")
    assert response.endswith(b"\r\n\r\n")


def test_a_response_that_has_no_body_may_tell_its_length(server):
    response = server.say(get(b"/not_modified", LAST))
    assert response == b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\nconnection: close\r\n\r\n"


def test_an_asgi_app_is_served_and_may_wait_until_its_caller_leaves(server):
    request = b"POST /asgi?wait HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n"
    with server.connect() as caller:
        caller.sendall(request + b"more")
        assert one(caller, b"0\r\n\r\n").endswith(b"\r\n\r\nf\r\nPOST /asgi wait\r\n4\r\nmore\r\n0\r\n\r\n")


def test_an_asgi_apps_header_never_splits_the_response(server, caplog):
    response = server.say(get(b"/asgi?evil"))
    assert status(response) == 500
    assert b"evil" not in response
    assert "that HTTP does not allow" in caplog.text


def test_a_body_shorter_than_its_length_never_passes_for_a_whole_one(server):
    response = server.say(get(b"/short"))
    assert status(response) == 500
    assert b"half" not in response


@pytest.mark.parametrize("expected", [b"100-continue", b"100-Continue"])
def test_continue_is_said_when_the_body_is_wanted(server, expected):
    with server.connect() as caller:
        caller.sendall(
            b"POST / HTTP/1.1\r\nhost: a\r\nexpect: " + expected + b"\r\ncontent-length: 2\r\n\r\n"
        )
        assert one(caller, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.sendall(b"hi")
        assert one(caller, b"hi").startswith(b"HTTP/1.1 200 OK")


def test_a_large_body_arrives_whole(server):
    body = bytes(range(256)) * 10_000
    head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    assert server.say(head, body).endswith(b"\r\n\r\n" + body)
    assert server.app.bodies == [body]


def test_an_early_response_reaches_a_caller_that_is_still_sending(server):
    body = b"x" * 3_000_000
    head = b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (2 * len(body))
    with server.connect() as caller:
        caller.sendall(head + body)
        response = rest(caller)
    assert status(response) == 413
    assert response.endswith(b"no")


@pytest.mark.parametrize("path", [b"/slow", b"/broken"], ids=["before the head", "in a stream"])
def test_a_caller_that_leaves_is_noticed_once(server, path):
    with server.connect() as caller:
        caller.sendall(get(path))
        assert server.app.began.wait(10)
    assert server.app.gone.wait(10)
    server.app.go_on.set()
    assert status(server.say(get(b"/", LAST))) == 200
    assert server.app.calls == 1


def test_a_caller_that_leaves_in_its_body_is_noticed(server):
    with server.connect() as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf")
        while not server.app.seen:
            pass
    assert server.app.gone.wait(10)
    assert status(server.say(get(b"/", LAST))) == 200
    assert server.app.bodies[0] == b"left"


def test_a_caller_whose_response_is_complete_does_not_leave_it(server):
    with server.connect() as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")
        one(caller, b"hi")
    assert status(server.say(get(b"/", LAST))) == 200
    assert server.app.calls == 0


def say_all(caller: socket.socket, data: bytes) -> None:
    """Send, and close the sending side: the FIN travels with the last byte."""
    caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    caller.sendall(data)
    caller.shutdown(socket.SHUT_WR)


def test_a_caller_that_only_closed_its_sending_side_gets_its_response(server):
    with server.connect() as caller:
        say_all(caller, get(b"/slow"))
        assert server.app.began.wait(10)
        server.app.go_on.set()
        assert rest(caller).endswith(b"late")
    assert not server.app.gone.is_set()


def test_a_half_closed_caller_that_waits_is_probed_by_an_interim_response(server):
    with server.connect() as caller:
        say_all(caller, get(b"/slow"))
        assert one(caller, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        server.later(1)
        server.app.go_on.set()
        assert rest(caller).startswith(b"HTTP/1.1 200 OK")
    assert server.app.calls == 0


def test_a_caller_that_closes_right_after_its_request_is_noticed_by_the_probe(server):
    with server.connect() as caller:
        caller.sendall(get(b"/slow"))
    assert server.app.gone.wait(10)
    assert server.app.calls == 1


def test_a_broken_stream_ends_without_its_final_chunk(server):
    with server.connect() as caller:
        caller.sendall(get(b"/broken"))
        assert server.app.began.wait(10)
        one(caller, b"4\r\nhalf\r\n")
        server.app.go_on.set()
        assert rest(caller) == b""
    assert server.app.calls == 0


def test_a_broken_stream_is_a_reset_to_an_http_1_0_caller(server):
    with server.connect() as caller:
        caller.sendall(b"GET /broken HTTP/1.0\r\n\r\n")
        assert server.app.began.wait(10)
        one(caller, b"half")
        server.app.go_on.set()
        with pytest.raises(ConnectionResetError):
            rest(caller)


def test_a_crash_before_the_head_is_a_500_and_after_it_a_broken_stream(server, caplog):
    assert status(server.say(get(b"/crash"))) == 500
    assert not server.say(get(b"/crash_later")).endswith(b"0\r\n\r\n")
    crashed = [each for each in caplog.records if "handler of a request crashed" in each.message]
    # What an earlier test's loop left pending is destroyed at some time, too, and is none of these.
    assert [type(each.exc_info[1]) for each in crashed].count(LookupError) == 2


def test_a_malformed_request_behind_another_does_not_touch_its_response(server):
    with server.connect() as caller:
        caller.sendall(get(b"/slow") + b"garbage\r\n\r\n")
        assert server.app.began.wait(10)
        server.app.go_on.set()
        assert rest(caller).count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("sent", "deadline_s", "answer"),
    [
        (b"", caller_connection.IDLE_S, b""),
        (b"GET / HTTP/1.1\r\n", caller_connection.HEAD_S, b"HTTP/1.1 408"),
        (
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab",
            caller_connection.BODY_S,
            b"HTTP/1.1 408",
        ),
    ],
    ids=["idle", "head", "body"],
)
def test_a_caller_that_keeps_us_waiting_is_closed_at_the_deadline(server, sent, deadline_s, answer):
    with server.connect() as caller, server.connect() as idle:
        for other in (idle, caller):
            other.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n1")
            one(other, b"1")
        if sent:
            caller.sendall(sent)
            wait_for_stage(server, caller_connection.HEAD, caller_connection.BODY)
        server.later(deadline_s - 1)
        caller.settimeout(0.2)
        with pytest.raises(TimeoutError):
            caller.recv(1)
        caller.settimeout(10)
        server.later(deadline_s + 1)
        assert rest(caller).startswith(answer)


def wait_for_stage(server: Server, *stages: int) -> None:
    def reached() -> bool:
        connections = list(server.uvicorn.server_state.connections)  # without a stage: still shaking hands
        return any(getattr(each, "stage", None) in stages for each in connections)

    eventually(reached)


def test_a_head_sent_byte_by_byte_has_10_seconds_in_all(server):
    with server.connect() as caller:
        caller.sendall(b"GET / HT")
        wait_for_stage(server, caller_connection.HEAD)
        server.later(6)
        caller.sendall(b"TP/1.1\r\n")
        server.later(11)
        assert status(rest(caller)) == 408


def test_a_slow_response_is_no_deadline_of_the_callers(server):
    with server.connect() as caller:
        caller.sendall(get(b"/slow", LAST))
        assert server.app.began.wait(10)
        server.later(10_000)
        server.app.go_on.set()
        assert rest(caller).endswith(b"late")


def test_a_reader_without_progress_for_60_s_is_dropped_and_held_little(server):
    with server.connect() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.sendall(get(b"/flood"))
        assert server.app.began.wait(10)
        (connection,) = server.uvicorn.server_state.connections
        while not connection.flow.write_paused:
            pass
        assert connection.transport.get_write_buffer_size() <= 256 * 1024
        server.later(59)
        assert not server.app.gone.is_set()
        server.later(61)
        assert server.app.gone.wait(10)


def test_what_a_slow_reader_takes_is_progress_before_the_kernel_asks_for_more(server):
    with server.connect() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.sendall(get(b"/flood"))
        assert server.app.began.wait(10)
        (connection,) = server.uvicorn.server_state.connections
        while not connection.flow.write_paused:
            pass
        server.later(0)
        left, held = connection.flow.backlog(), connection.transport.get_write_buffer_size()
        progress_at = connection.flow.progress_at
        while connection.flow.backlog() >= left:
            assert caller.recv(1024)
        assert connection.transport.get_write_buffer_size() == held
        server.later(0)
        assert connection.flow.progress_at > progress_at


def exchanges_in_memory() -> list[CallerRequest]:
    return [each for each in gc.get_objects() if type(each) is CallerRequest]


def test_nothing_is_left_of_an_exchange_for_the_collector(server):
    with server.connect() as caller:
        for _ in range(3):
            caller.sendall(get())
            one(caller, b"\r\n\r\n")
    gc.collect()
    gc.disable()
    before = {id(each) for each in exchanges_in_memory()}  # an earlier test's, held by its log
    try:
        with server.connect() as caller:
            for _ in range(50):
                caller.sendall(get())
                one(caller, b"\r\n\r\n")
            server.app.seen.clear()
            assert sum(id(each) not in before for each in exchanges_in_memory()) <= 3
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("header", "fine"),
    [
        ((b"x-a", b"plain \t text \xff"), True), ((b"x-a", b""), True), ((b"", b"x"), False),
        ((b"x a", b"x"), False), ((b"x:a", b"x"), False), ((b"x", b"a\r\nb: c"), False),
        ((b"x", b"a\x00"), False), ((b"x", b"a\x7f"), False), ((b"x\xff", b"a"), False),
    ],
)  # fmt: skip
def test_only_headers_that_http_allows_are_sendable(header, fine):
    assert sendable([(b"date", b"now"), header]) is fine


def test_a_reset_by_the_caller_is_noticed(server):
    with server.connect() as caller:
        caller.sendall(get(b"/slow"))
        assert server.app.began.wait(10)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert server.app.gone.wait(10)


def ending(server: Server) -> None:
    """Tell the server to end, and wait until its connections know."""
    server.uvicorn.should_exit = True

    def known() -> bool:
        return all(each.ending for each in list(server.uvicorn.server_state.connections))  # type: ignore[attr-defined]

    eventually(known)


def test_an_ending_server_serves_the_request_that_was_on_its_way_to_an_idle_connection(server):
    with server.connect() as caller:
        caller.sendall(get(b"/"))
        one(caller, b"\r\n\r\n")
        ending(server)
        caller.sendall(get(b"/"))
        assert b"connection: close" in rest(caller)
    server.thread.join(10)
    assert not server.thread.is_alive()


def test_an_ending_server_serves_one_more_request_behind_an_answer_that_had_begun(server):
    with server.connect() as caller:
        caller.sendall(get(b"/head_first"))
        assert server.app.began.wait(10)
        ending(server)
        server.app.go_on.set()
        assert b"connection: close" not in one(caller, b"0\r\n\r\n")
        caller.sendall(get(b"/"))
        assert b"connection: close" in rest(caller)
    server.thread.join(10)
    assert not server.thread.is_alive()
