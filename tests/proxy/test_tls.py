"""What is TLS's own on the traffic listener: handshakes that fail or never end, its end, new certificates.
All that a caller may do behind a handshake is in test_server.py."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic

import pytest
import trustme
from structlog.testing import capture_logs

from canary.config.certificate import server_context
from proxy.network.server.tls import HANDSHAKE_S, CallerTls
from tests.proxy.test_server import LAST, Server, get, one, rest, say_all, status
from tests.serving import eventually


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    with Server(authority) as running:
        yield running


def shaking(server: Server) -> list[CallerTls]:
    """The connections whose handshake is not complete."""
    return [each for each in list(server.uvicorn.server_state.connections) if isinstance(each, CallerTls)]


@contextmanager
def silent(server: Server, sent: bytes = b"") -> Iterator[socket.socket]:
    """A caller that does not shake hands, once the server has seen it."""
    with server.connect_plain() as caller:
        caller.sendall(sent)
        eventually(lambda: shaking(server))
        yield caller


def on_loop(server: Server, call: Callable[[], None]) -> None:
    server.loop.call_soon_threadsafe(call)


def test_a_caller_without_tls_is_told_so_in_http_and_not_served(server: Server) -> None:
    with server.connect_plain() as caller:
        caller.sendall(get())
        answer = rest(caller)
    assert status(answer) == 400
    assert answer.endswith(b"This port speaks TLS: use https://.")
    assert not server.app.seen
    eventually(lambda: not shaking(server))
    assert status(server.say(get(b"/", LAST))) == 200


def test_what_is_no_handshake_is_closed_with_one_line_in_the_log(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs, silent(server) as caller:
        caller.sendall(b"SSH-2.0-scanner\r\n" + b"x" * 40)
        assert rest(caller) == b""
        eventually(lambda: not shaking(server))
    assert [(each["event"], each["log_level"]) for each in logs] == [("tls.refused", "debug")]
    assert not [each for each in caplog.records if each.levelname in ("ERROR", "CRITICAL")]


def test_a_caller_that_only_looks_whether_the_port_is_open_is_no_line_in_the_log(server: Server) -> None:
    with capture_logs() as logs:
        with silent(server):
            pass
        eventually(lambda: not shaking(server))
    assert logs == []


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00"], ids=["nothing", "half a record"])
def test_a_handshake_that_does_not_end_is_closed_after_10_seconds_and_holds_nothing(
    server: Server, sent: bytes
) -> None:
    with silent(server, sent) as caller:
        (connection,) = shaking(server)
        on_loop(server, lambda: connection._ticker.tick(monotonic() + HANDSHAKE_S - 1))
        caller.settimeout(0.2)
        with pytest.raises(TimeoutError):
            caller.recv(1)
        caller.settimeout(10)
        on_loop(server, lambda: connection._ticker.tick(monotonic() + HANDSHAKE_S + 1))
        with suppress(ConnectionResetError):
            assert caller.recv(1) == b""
        eventually(lambda: not server.uvicorn.server_state.connections)


def test_a_server_that_ends_does_not_wait_for_a_handshake_that_does_not_end(server: Server) -> None:
    with silent(server):
        server.uvicorn.should_exit = True
        server.thread.join(60)
        assert not server.thread.is_alive()


def test_a_server_that_ends_serves_the_caller_whose_handshake_was_on_its_way(
    server: Server, authority: trustme.CA
) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with silent(server) as line:
        server.uvicorn.should_exit = True
        eventually(lambda: all(each.ending for each in shaking(server)))
        with context.wrap_socket(line.dup(), server_hostname="127.0.0.1") as caller:
            caller.sendall(get())
            assert b"connection: close" in rest(caller)
    server.thread.join(60)
    assert not server.thread.is_alive()


@pytest.mark.parametrize(
    ("offered", "spoken"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)]
)
def test_only_http_1_1_is_agreed_upon(
    server: Server, authority: trustme.CA, offered: list[str], spoken: str | None
) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if offered:
        context.set_alpn_protocols(offered)
    with context.wrap_socket(server.connect_plain(), server_hostname="127.0.0.1") as caller:
        assert caller.selected_alpn_protocol() == spoken
        caller.sendall(get(b"/", LAST))
        assert status(rest(caller)) == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(server: Server, authority: trustme.CA, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.minimum_version = context.maximum_version = version
    body = b"x" * 3_000_000
    with context.wrap_socket(server.connect_plain(), server_hostname="127.0.0.1") as caller:
        caller.sendall(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n" % len(body) + LAST + b"\r\n" + body
        )
        assert rest(caller).endswith(body)


def test_tls_1_1_is_not_spoken(server: Server) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with server.connect_plain() as line, pytest.raises(ssl.SSLError):
        context.wrap_socket(line)


def test_a_caller_that_ends_tls_but_not_its_socket_gets_the_answer_it_waits_for(server: Server) -> None:
    with server.connect() as caller:
        say_all(caller, get(b"/slow"))
        assert server.app.began.wait(10)
        server.app.go_on.set()
        assert rest(caller).endswith(b"late")
    assert not server.app.gone.is_set()


def test_a_caller_that_says_its_end_while_it_waits_has_left(server: Server) -> None:
    with server.connect() as caller:
        assert isinstance(caller, ssl.SSLSocket)
        caller.sendall(get(b"/slow"))
        assert server.app.began.wait(10)
        caller.settimeout(10)
        with pytest.raises(OSError):
            caller.unwrap()
            raise ConnectionAbortedError
    assert server.app.gone.wait(10)
    assert server.app.calls == 1


def test_bytes_that_were_changed_on_the_way_end_the_connection_and_its_exchange(server: Server) -> None:
    with capture_logs() as logs, server.connect() as caller:
        caller.sendall(get(b"/slow"))
        assert server.app.began.wait(10)
        socket.socket.sendall(caller, b"\x17\x03\x03\x00\x20" + b"x" * 32)
        assert server.app.gone.wait(10)
        eventually(lambda: not server.uvicorn.server_state.connections)
    assert [each["event"] for each in logs] == ["tls.broken"]


def test_what_a_paused_connection_holds_is_read_when_it_goes_on(server: Server) -> None:
    """More than the handler takes at once: most waits decrypted, or to be, while reading pauses."""
    requests = [
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 60000\r\n\r\n" + b"%d" % n * 60_000 for n in range(5)
    ]
    with server.connect() as caller:
        caller.sendall(b"".join(requests) + get(b"/", LAST))
        assert rest(caller).count(b"HTTP/1.1 200 OK") == 6


def test_each_new_connection_has_the_newest_certificate_and_the_others_go_on(
    server: Server, authority: trustme.CA
) -> None:
    def shown(caller: socket.socket) -> bytes | None:
        assert isinstance(caller, ssl.SSLSocket)
        return caller.getpeercert(binary_form=True)

    with server.connect() as before:
        pair = authority.issue_cert("127.0.0.1")
        server.context = server_context(pair.cert_chain_pems[0].bytes(), pair.private_key_pem.bytes())
        with server.connect() as after:
            assert shown(after) == ssl.PEM_cert_to_DER_cert(pair.cert_chain_pems[0].bytes().decode())
            assert shown(after) != shown(before)
        before.sendall(get())
        assert status(one(before, b"\r\n\r\n")) == 200
