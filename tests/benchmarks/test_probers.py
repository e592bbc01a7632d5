"""The programs that measure: what they must notice, they notice."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.build import Programs, compiled
from benchmarks.contender import CLIENT_CORE
from benchmarks.prober import BrokenAnswersError, Prober, probers
from benchmarks.request import RequestDialect

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
pytestmark = needs_compiler

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return compiled(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def prober(programs: Programs) -> Iterator[Prober]:
    with probers(programs, CLIENT_CORE) as found:
        yield found


@pytest.fixture
def document(tmp_path: Path) -> Path:
    return RequestDialect().write(tmp_path / "document.http")


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    return RequestDialect().write(tmp_path / "stream.http", stream=True, max_tokens=5, seed=2)


@contextmanager
def answering(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server for one connection and one request, which `talk` answers; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                talk(connection)
                connection.recv(1)  # until the client has gone

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def token(sent_ns: int) -> bytes:
    data = b'data: {"choices":[{"delta":{"content":" @%019d"}}]}\n\n' % sent_ns
    return b"%x\r\n%s\r\n" % (len(data), data)


def asked(prober: Prober, port: int, request: Path, tokens: int = 0) -> dict[str, object]:
    prober.run("open", port, 1, 1)
    try:
        return prober.run("spread", request, tokens, 0)
    finally:
        prober.run("close")


def test_the_canned_provider_gives_what_the_client_demands(prober: Prober, document: Path) -> None:
    prober.run("open", prober.upstream, 4, 1)
    assert prober.run("closed", document, 10, 400)["answers"] == 400


def test_a_stream_has_its_chunks_at_its_pace_and_each_is_timed(prober: Prober, stream: Path) -> None:
    prober.run("open", prober.upstream, 8, 1)
    result = prober.run("spread", stream, 5, 2)
    assert (result["answers"], result["chunks"], result["gaps"]) == (8, 40, 0)
    assert result["latency_s"]["p50"] >= 5 * 0.002
    assert 0 <= result["first_token_s"]["p50"] < result["latency_s"]["p50"]


def test_a_document_that_is_not_the_providers_is_blamed(prober: Prober, document: Path) -> None:
    with (
        answering(lambda caller: caller.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")) as port,
        pytest.raises(BrokenAnswersError, match="content-length: 2"),
    ):
        asked(prober, port, document)


def test_a_document_comes_as_late_as_was_asked(prober: Prober, tmp_path: Path) -> None:
    late = RequestDialect().write(tmp_path / "late.http", seed=50)
    prober.run("open", prober.upstream, 4, 1)
    assert prober.run("closed", late, 10, 8)["latency_s"]["p50"] >= 0.05


def test_a_refusal_under_overload_is_counted_apart(prober: Prober, document: Path) -> None:
    refusal = b"HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
    with answering(lambda caller: caller.sendall(refusal)) as port:
        prober.run("open", port, 1, 1)
        result = prober.run("overload", document, 1, 0.5)
        prober.run("close")
    assert (result["answers"], result["refused"]) == (0, 1)


def test_a_refusal_is_blamed(prober: Prober, document: Path) -> None:
    with (
        answering(lambda caller: caller.sendall(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")) as port,
        pytest.raises(BrokenAnswersError, match="503 Busy"),
    ):
        asked(prober, port, document)


def test_a_stream_that_lacks_a_chunk_is_blamed(prober: Prober, stream: Path) -> None:
    sent = HEAD + token(time.monotonic_ns()) * 4 + END
    with (
        answering(lambda caller: caller.sendall(sent)) as port,
        pytest.raises(BrokenAnswersError),
    ):
        asked(prober, port, stream, 5)


def test_a_stream_that_breaks_off_is_blamed(prober: Prober, stream: Path) -> None:
    def talk(caller: socket.socket) -> None:
        caller.sendall(HEAD + token(time.monotonic_ns()))
        caller.shutdown(socket.SHUT_WR)

    with answering(talk) as port, pytest.raises(BrokenAnswersError, match="lost"):
        asked(prober, port, stream, 5)


@pytest.mark.parametrize(("held_back", "gaps"), [(True, 1), (False, 0)])
def test_a_gap_is_the_proxys_unless_the_provider_made_it(
    prober: Prober, stream: Path, held_back: bool, gaps: int
) -> None:
    def talk(caller: socket.socket) -> None:
        first = time.monotonic_ns()
        caller.sendall(HEAD + token(first))
        time.sleep(0.12)
        caller.sendall(token(first + 20_000_000 if held_back else time.monotonic_ns()) + END)

    with answering(talk) as port:
        assert asked(prober, port, stream, 2)["gaps"] == gaps


def test_an_answer_cut_anywhere_into_pieces_is_read_as_one(prober: Prober, stream: Path) -> None:
    sent = HEAD + token(time.monotonic_ns()) + token(time.monotonic_ns()) + END

    def talk(caller: socket.socket) -> None:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(sent)):
            caller.sendall(sent[place : place + 1])

    with answering(talk) as port:
        assert asked(prober, port, stream, 2)["chunks"] == 2
