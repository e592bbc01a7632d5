"""`canary serve` with `tls:`: both listeners, two workers, SDKs, sessions, commands; a certificate that is
replaced under open streams; callers that leave, read slowly, or do not speak TLS."""

import asyncio
import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import openai
import pytest
import trustme
from websockets.asyncio.client import connect

from canary.commands.client import AdminClient, ServerNotReached
from demo.provider.behaviour import Behaviour
from tests.certificates import NAME, TLS, write_pair
from tests.e2e.realtime_provider import RealtimeProvider
from tests.e2e.stage import Stage, chat, on_stage
from tests.reliability.callers import request
from tests.serving import eventually

CONFIG = f"""
{TLS.replace("{", "{{").replace("}", "}}")}
providers:
  openai: {{{{api: openai, base_url: "{{url}}/v1"}}}}
  voice: {{{{api: openai, base_url: "VOICE"}}}}
canaries:
  - name: chat
    match: {{{{models: [gpt-4o]}}}}
    baseline: {{{{provider: openai, model: gpt-4o-2024-08-06}}}}
    candidate: {{{{provider: openai, model: gpt-4o-2024-11-20}}}}
    share: 50%
    guardrails: []
"""
MODELS = ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def voice() -> Iterator[RealtimeProvider]:
    with RealtimeProvider() as running:
        yield running


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, voice: RealtimeProvider
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("tls")
    write_pair(folder / "tls", authority)
    with on_stage(folder, CONFIG.replace("VOICE", voice.url), workers=2) as running:
        yield running


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def sdk(stage: Stage, authority: trustme.CA) -> openai.OpenAI:
    """The SDK with the authority of the certificate; it asks for 127.0.0.1, which the certificate names."""
    http = openai.DefaultHttpxClient(verify=trusting(authority), trust_env=False)
    return openai.OpenAI(base_url=f"{stage.server.traffic}/v1", api_key="sk", http_client=http, max_retries=0)


@contextmanager
def dialled(stage: Stage, authority: trustme.CA) -> Iterator[ssl.SSLSocket]:
    """A connection to the proxy by the name of its certificate."""
    host, port = stage.server.traffic.removeprefix("https://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=120) as line,
        trusting(authority).wrap_socket(line, server_hostname=NAME) as caller,
    ):
        yield caller


def until(caller: socket.socket, end: bytes) -> bytes:
    came = b""
    while end not in came[-(1 << 17) :]:
        piece = caller.recv(1 << 16)
        assert piece, came[-1000:]
        came += piece
    return came


def slow(stage: Stage, **more: float) -> None:
    """Streams that last until they are told to end: a word, and then a long silence."""
    for model in MODELS:
        stage.provider.behave(model, Behaviour(**more))  # type: ignore[arg-type]


def asking(text: str, *, stream: bool = True) -> bytes:
    return request(
        f"http://{NAME}", chat("gpt-4o", "user-1", stream=stream, text=text), {"x-canary-request-id": text}
    )


def row_of(stage: Stage, text: str) -> dict[str, object]:
    return eventually(lambda: next((each for each in stage.outcomes() if each["request_id"] == text), None))


def test_an_sdk_is_answered_and_its_stream_comes_whole_from_either_worker(
    stage: Stage, authority: trustme.CA
) -> None:
    assert stage.server.traffic.startswith("https://")
    for number in range(8):
        with sdk(stage, authority) as client:
            messages = [{"role": "user", "content": "hello"}]
            asked = {"model": "gpt-4o", "messages": messages, "user": f"user-{number}"}
            whole = client.chat.completions.create(**asked)  # type: ignore[call-overload]
            assert whole.model in MODELS
            parts = list(client.chat.completions.create(**asked, stream=True))  # type: ignore[call-overload]
            assert parts[-1].choices == [] or parts[-1].choices[0].finish_reason == "stop"


def test_a_session_over_websocket_passes_through(stage: Stage, authority: trustme.CA) -> None:
    async def scene() -> str:
        address = stage.server.traffic.replace("https://", "wss://")
        headers = {"authorization": "Bearer sk"}
        dial = connect(
            f"{address}/voice/v1/realtime?model=echo",
            additional_headers=headers,
            ssl=trusting(authority),
            max_size=None,
            proxy=None,
        )
        async with dial as line:
            for message in ("text ä 漢", b"\x00\xff binary", "x" * (1 << 20), os.urandom(1 << 20)):
                await line.send(message)
                assert await line.recv() == message
            assert line.response is not None
            return line.response.headers["x-canary-exchange"]

    row = stage.outcome(asyncio.run(asyncio.wait_for(scene(), 60)))
    assert (row["outcome"], row["operation"], row["status"]) == ("ok", "realtime", 101)


def test_commands_find_the_server_by_its_folder_and_trust_exactly_its_certificate(stage: Stage) -> None:
    """The certificate of a real server names no loopback address, and no authority here is the system's."""
    assert stage.server.admin.startswith("https://")
    found = stage.canary("status")
    assert found.returncode == 0, found.stderr
    assert "chat" in found.stdout
    doctor = stage.canary("doctor", "--config", str(stage.server.config), "-o", "json")
    findings = {
        (each["check"], each["state"]): each["says"] for each in json.loads(doctor.stdout)["findings"]
    }
    assert "the certificate is valid until" in findings["tls", "ok"]
    assert not [each for each in findings if each[0] == "server" and each[1] != "ok"]


def test_a_url_is_verified_by_the_systems_authorities_and_those_of_ssl_cert_file(
    stage: Stage, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, data = stage.server.admin, stage.server.data
    with pytest.raises(ServerNotReached, match="is not trusted; set SSL_CERT_FILE"):
        AdminClient(admin=admin, data=data, environment={}).get("/api/status")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert AdminClient(admin=admin, data=data, environment={}).get("/api/status")["canaries"]
    monkeypatch.delenv("SSL_CERT_FILE")
    bare = admin.removeprefix("https://")
    assert AdminClient(admin=bare, data=data, environment={}).get("/api/status")["canaries"]
    with pytest.raises(ServerNotReached, match="This port speaks TLS: use https://"):
        AdminClient(admin=f"http://{bare}", data=data, environment={}).get("/api/status")
    with pytest.raises(ServerNotReached, match="This port speaks TLS: use https://"):
        AdminClient(admin=bare, data=tmp_path, environment={"CANARY_ADMIN_TOKEN": "t"}).get("/api/status")


def test_the_pages_cookies_are_for_https_only(stage: Stage) -> None:
    with httpx2.Client(base_url=stage.server.admin, verify=stage.server.verify, trust_env=False) as browser:
        answer = browser.get("/login")
    assert "secure" in answer.headers["set-cookie"].lower()


def test_feedback_is_imported_over_tls(stage: Stage, authority: trustme.CA, tmp_path: Path) -> None:
    with sdk(stage, authority) as client:
        asked = client.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hello"}], user="user-9"
        )
    file = tmp_path / "november.csv"
    file.write_text(f"exchange_id,metric,value\n{asked.headers['x-canary-exchange']},csat,5\n")
    done = stage.canary("feedback", "import", str(file))
    assert "1 of 1 rows accepted" in done.stderr


def test_a_caller_without_tls_is_told_so_on_both_listeners(stage: Stage) -> None:
    for url in (stage.server.traffic, stage.server.admin):
        answer = httpx2.get(f"{url.replace('https', 'http')}/healthz", trust_env=False)
        assert (answer.status_code, answer.text) == (400, "This port speaks TLS: use https://.")
    assert "Traceback" not in stage.server.log_file.read_text()


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_caller_that_leaves_is_recorded_and_its_provider_let_go(
    stage: Stage, authority: trustme.CA, way: str
) -> None:
    slow(stage, words=100, pace_s=600.0)
    with dialled(stage, authority) as caller:
        caller.sendall(asking(f"leaves by {way}"))
        until(caller, b"data: ")
        if way == "reset":
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert row_of(stage, f"leaves by {way}")["outcome"] == "aborted"
    stage.provider.settled()
    slow(stage)


def test_a_new_certificate_serves_new_connections_while_an_open_stream_goes_on(
    stage: Stage, authority: trustme.CA
) -> None:
    slow(stage, words=40, pace_s=0.1)

    def shown() -> bytes | None:
        with dialled(stage, authority) as caller:
            return caller.getpeercert(binary_form=True)

    folder = stage.server.config.parent / "tls"
    with dialled(stage, authority) as caller:
        before = caller.getpeercert(binary_form=True)
        caller.sendall(asking("through a reload"))
        came = until(caller, b"data: ")
        pair = write_pair(folder, authority)
        new = ssl.PEM_cert_to_DER_cert(pair.cert_chain_pems[0].bytes().decode())
        eventually(lambda: {shown() for _ in range(8)} == {new})  # either worker
        assert before != new
        came += until(caller, b"[DONE]") if b"[DONE]" not in came else b""
    assert row_of(stage, "through a reload")["outcome"] == "ok"
    eventually(lambda: stage.canary("status").returncode == 0)
    slow(stage)


def test_a_pair_that_does_not_fit_keeps_the_old_one_and_says_so_until_it_fits(
    stage: Stage, authority: trustme.CA
) -> None:
    folder = stage.server.config.parent / "tls"
    write_pair(folder.with_name("other"), authority)
    (folder.with_name("other") / "tls.crt").replace(folder / "tls.crt")

    def readiness() -> str:
        with suppress(httpx2.ConnectError):  # the file in the data folder follows in a moment
            return httpx2.get(
                f"{stage.server.admin}/readyz", verify=stage.server.verify, trust_env=False
            ).text
        return ""

    bad = eventually(lambda: said if "certificate" in (said := readiness()) else None)
    assert bad.startswith("degraded: the new certificate is bad, the old one stays: ")
    assert "tls.key_file: is not the key of the certificate in cert_file" in bad
    with sdk(stage, authority) as client:
        assert client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hello"}])
    (folder.with_name("other") / "tls.key").replace(folder / "tls.key")
    eventually(lambda: readiness() == "ready\n")


def test_a_slow_reader_gets_all_of_its_stream_and_keeps_nobody_waiting(
    stage: Stage, authority: trustme.CA
) -> None:
    slow(stage, words=30_000)
    with dialled(stage, authority) as caller:
        caller.sendall(asking("reads late"))
        came = until(caller, b"data: ")
        with sdk(stage, authority) as client:
            assert client.models.list().data
        came += until(caller, b"[DONE]") if b"[DONE]" not in came else b""
    assert row_of(stage, "reads late")["outcome"] == "ok"
    slow(stage)


@pytest.mark.more
def test_a_server_that_is_told_to_end_finishes_an_open_stream(stage: Stage, authority: trustme.CA) -> None:
    slow(stage, words=20, pace_s=0.1)
    with dialled(stage, authority) as caller:
        caller.sendall(asking("drained"))
        came = until(caller, b"data: ")
        stage.server.process.send_signal(signal.SIGTERM)
        if b"[DONE]" not in came:
            until(caller, b"[DONE]")
        assert caller.recv(1 << 16)[-5:] in (b"", b"0\r\n\r\n")
    assert stage.server.process.wait(60) == 0
    assert row_of(stage, "drained")["outcome"] == "ok"
    slow(stage)
    stage.restart()
