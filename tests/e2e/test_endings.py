"""Every way in which an answer can go wrong, and what the caller, the provider and the record get of it.

Each case has a canary of its own, so that no breaker of one stands in another's way.
"""

import socket
from collections.abc import Iterator

import httpx2
import pytest

from demo.provider.behaviour import Behaviour, Fault
from demo.provider.server import LocalProvider
from routing.canary import ArmName
from tests.e2e.stage import Stage, chat, on_stage

HEAD = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  nobody: {{api: openai, base_url: "http://127.0.0.1:CLOSED/v1", api_key: sk-nobody}}
  alone: {{api: openai, base_url: "{elsewhere}/v1", api_key: sk-alone}}
canaries:
"""
CASE = """
  - name: NAME
    match: {{models: [NAME]}}
    baseline: {{provider: openai, model: NAME-baseline, timeout: {{first_byte: 60s, idle: IDLE, total: 60s}}}}
    candidate: {{provider: WHERE, model: NAME-candidate,
                timeout: {{first_byte: WHOLE, idle: IDLE, total: WHOLE}}}}
    share: 50%
    guardrails: []
"""
KEY = {"authorization": "Bearer sk-caller"}
BOUND = 64 << 20


def always(fault: Fault, *, status: int = 500, after_events: int = 0) -> Behaviour:
    return Behaviour(faults={fault: 1.0}, status=status, after_events=after_events)


COVERED: dict[str, tuple[Behaviour, str, str]] = {
    # name: (the candidate's behaviour, error_type of a document, error_type of a stream)
    "refused": (Behaviour(), "provider_connect", "provider_connect"),
    "reset": (always("reset"), "provider_reset", "provider_reset"),
    "closed": (always("close"), "provider_reset", "provider_reset"),
    "broken-500": (always("status"), "provider_5xx", "provider_5xx"),
    "overloaded-529": (always("status", status=529), "provider_5xx", "provider_5xx"),
    "limited-429": (always("status", status=429), "provider_429", "provider_429"),
    "hanging": (always("hang"), "provider_timeout", "provider_timeout"),
    "html": (always("html"), "provider_malformed", "provider_malformed"),
    "empty": (always("empty"), "provider_malformed", "provider_malformed"),
    "rejecting": (Behaviour(rejects=("messages",)), "candidate_rejects", "candidate_rejects"),
    "unauthorized": (always("status", status=401), "candidate_rejects", "candidate_rejects"),
}
DOCUMENTS_ONLY: dict[str, tuple[Behaviour, str]] = {
    "bad-json": (always("bad_json"), "provider_malformed"),
    "cut-document": (always("cut"), "provider_reset"),
    "truncated-document": (always("truncate"), "provider_truncated"),
    "stalled-document": (always("stall"), "provider_timeout"),
}
STREAMS_ONLY: dict[str, tuple[Behaviour, str]] = {
    "error-first": (always("stream_error"), "provider_stream_error"),
    "cut-first": (always("cut"), "provider_reset"),
    "stall-first": (always("stall"), "provider_timeout"),
}
MIDWAY: dict[str, tuple[Behaviour, str]] = {
    "truncate": (always("truncate", after_events=5), "provider_truncated"),
    "cut": (always("cut", after_events=5), "provider_reset"),
    "stall": (always("stall", after_events=5), "provider_timeout"),
}
CALM, GONE = "calm", "gone"
TOO_LATE = {
    "WHOLE": ("hanging", "stalled-document", "stall-first"),
    "IDLE": ("stalled-document", "stall-first", "stall"),
}
"""The cases that a deadline ends; no other's may, on however slow a machine."""
ELSEWHERE = {"refused": "nobody", "reset": "alone", "closed": "alone"}
"""Where a candidate is not at the baseline's address: breaks must not meet a connection that others kept,
which would be `provider_stale`, nobody's fault."""
CASES = [*COVERED, *DOCUMENTS_ONLY, *STREAMS_ONLY, *MIDWAY, CALM, GONE]
FALLBACKS = [
    *((name, stream, case[1 + stream]) for name, case in COVERED.items() for stream in (False, True)),
    *((name, False, case[1]) for name, case in DOCUMENTS_ONLY.items()),
    *((name, True, case[1]) for name, case in STREAMS_ONLY.items()),
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    behaviours = {f"{name}-candidate": case[0] for name, case in COVERED.items()}
    for name, (behaviour, _) in (DOCUMENTS_ONLY | STREAMS_ONLY | MIDWAY).items():
        behaviours[f"{name}-candidate"] = behaviour
    behaviours |= {f"{name}-baseline": behaviour for name, (behaviour, _) in MIDWAY.items()}
    behaviours |= {f"{GONE}-{arm}": always("reset") for arm in ("baseline", "candidate")}
    cases = (case(name) for name in CASES)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        config = HEAD.replace("CLOSED", str(closed.getsockname()[1])) + "".join(cases)
        with on_stage(tmp_path_factory.mktemp("endings"), config, provider=LocalProvider(behaviours)) as up:
            yield up


def case(name: str) -> str:
    """The canary of one case."""
    text = CASE.replace("NAME", name).replace("WHERE", ELSEWHERE.get(name, "openai"))
    for limit, late in TOO_LATE.items():
        text = text.replace(limit, "500ms" if name in late else "60s")
    return text


def ask(stage: Stage, name: str, arm: ArmName, *, stream: bool) -> httpx2.Response:
    user = next(stage.users(arm, name, 0.5))
    url = f"{stage.server.traffic}/v1/chat/completions"
    return httpx2.post(url, json=chat(name, user, stream=stream), headers=KEY, trust_env=False)


def models_reached(stage: Stage, name: str) -> list[str]:
    return [entry.model for entry in stage.provider.log.entries if entry.model.startswith(f"{name}-")]


@pytest.mark.parametrize(("name", "stream", "error_type"), FALLBACKS)
def test_the_baseline_answers_where_the_candidate_fails_before_its_first_byte(
    stage: Stage, name: str, stream: bool, error_type: str
) -> None:
    stage.provider.log.clear()
    answer = ask(stage, name, "candidate", stream=stream)
    assert answer.status_code == 200
    assert (answer.headers["x-canary-arm"], answer.headers["x-canary-served-by"]) == ("candidate", "baseline")
    assert f'{name}-baseline"' in answer.text
    assert f"{name}-candidate" not in answer.text
    assert answer.text.endswith("data: [DONE]\n\n") if stream else answer.json()["choices"]
    tried = [] if name == "refused" else [f"{name}-candidate"]
    assert models_reached(stage, name) == [*tried, f"{name}-baseline"]
    row = stage.outcome(answer.headers["x-canary-exchange"])
    assert (row["outcome"], row["error_type"]) == ("fallback", error_type)
    assert (row["arm"], row["served_by"], row["status"]) == ("candidate", "baseline", 200)


def test_where_no_provider_answers_nobody_is_said_to_have_served(stage: Stage) -> None:
    answer = ask(stage, GONE, "candidate", stream=False)
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "canary_proxy")
    assert (answer.headers["x-canary-arm"], "x-canary-served-by" in answer.headers) == ("candidate", False)
    assert models_reached(stage, GONE) == [f"{GONE}-candidate", f"{GONE}-baseline"]
    assert stage.outcome(answer.headers["x-canary-exchange"])["arm"] == "candidate"


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
@pytest.mark.parametrize("name", MIDWAY)
def test_a_stream_that_breaks_midway_ends_broken(stage: Stage, name: str, arm: ArmName) -> None:
    stage.provider.log.clear()
    user, came = next(stage.users(arm, name, 0.5)), b""
    url = f"{stage.server.traffic}/v1/chat/completions"
    with (
        pytest.raises(httpx2.TransportError),
        httpx2.stream(
            "POST", url, json=chat(name, user, stream=True), headers=KEY, trust_env=False
        ) as answer,
    ):
        for part in answer.iter_raw():
            came += part
    assert answer.status_code == 200
    assert came.count(b"\n\n") == 5
    assert came.count(f'"{name}-{arm}"'.encode()) == 5
    assert b"[DONE]" not in came
    assert models_reached(stage, name) == [f"{name}-{arm}"]
    row = stage.outcome(answer.headers["x-canary-exchange"])
    assert (row["outcome"], row["error_type"], row["arm"]) == ("error", MIDWAY[name][1], arm)


def test_a_document_of_the_baseline_that_breaks_ends_broken(stage: Stage) -> None:
    user = next(stage.users("baseline", "truncate", 0.5))
    url = f"{stage.server.traffic}/v1/chat/completions"
    with pytest.raises(httpx2.RemoteProtocolError, match="without sending complete message body"):
        httpx2.post(url, json=chat("truncate", user), headers=KEY, trust_env=False)


def test_json_that_is_none_reaches_the_provider_untouched(stage: Stage) -> None:
    for body in (b'{"model": "calm", "messages": [', b"\xff\xfe", b"[1]", b'"calm"'):
        url = f"{stage.server.traffic}/v1/chat/completions"
        headers = KEY | {"content-type": "application/json", "x-canary-unit": "user-1"}
        answer = httpx2.post(url, content=body, headers=headers, trust_env=False)
        assert answer.status_code == 400
        assert "parse the JSON body" in answer.json()["error"]["message"]
        assert stage.provider.log.entries[-1].body == body
        row = stage.outcome(answer.headers["x-canary-exchange"])
        assert (row["outcome"], row["error_type"], row["canary"]) == ("caller_error", "caller_rejected", "")


def test_a_body_at_the_bound_passes_and_one_over_it_does_not(stage: Stage) -> None:
    user = next(stage.users("candidate", CALM, 0.5))
    start = f'{{"model":"calm","user":"{user}","messages":[{{"role":"user","content":"'.encode()
    end = b'"}]}'
    url = f"{stage.server.traffic}/v1/chat/completions"
    headers = KEY | {"content-type": "application/json"}
    with httpx2.Client(headers=headers, trust_env=False, timeout=30.0) as http:
        fits = start + b"x" * (BOUND - len(start) - len(end)) + end
        answer = http.post(url, content=fits)
        assert (answer.status_code, answer.headers["x-canary-arm"]) == (200, "candidate")
        assert stage.provider.log.entries[-1].body == fits.replace(b'"calm"', b'"calm-candidate"', 1)
        reached = len(stage.provider.log.entries)
        refused = http.post(url, content=fits + b" ")
    assert refused.status_code == 413
    assert "over 64 MiB" in refused.json()["error"]["message"]
    assert len(stage.provider.log.entries) == reached


@pytest.mark.parametrize("path", ["/", "/nothing/here", "/v2/chat/completions", "/nobody-known/v1/models"])
def test_an_unknown_path_is_a_404_that_names_the_known_ones(stage: Stage, path: str) -> None:
    reached = len(stage.provider.log.entries)
    answer = httpx2.get(f"{stage.server.traffic}{path}", headers=KEY, trust_env=False)
    assert answer.status_code == 404
    assert "/v1/messages (Anthropic)" in answer.json()["error"]["message"]
    assert len(stage.provider.log.entries) == reached
    row = stage.outcome(answer.headers["x-canary-exchange"])
    assert (row["outcome"], row["error_type"], row["canary"]) == ("caller_error", "caller_not_found", "")


def test_a_refusal_has_an_exchange_and_names_no_arm(stage: Stage) -> None:
    url = f"{stage.server.traffic}/v1/chat/completions"
    answer = httpx2.post(url, json=chat(CALM, "user-1"), headers=KEY | {"x-canary-pin": "candidate"})
    assert answer.status_code == 403
    assert [name for name in answer.headers if name.startswith("x-canary")] == ["x-canary-exchange"]
    row = stage.outcome(answer.headers["x-canary-exchange"])
    assert (row["error_type"], row["canary"], row["run"]) == ("caller_unauthorized", CALM, 0)
    said = {"exchange_id": row["exchange_id"], "metric": "csat", "value": 1}
    assert httpx2.post(f"{stage.server.traffic}/canary/feedback", json=said).status_code == 202


def test_a_refusal_before_the_body_has_come_says_that_the_connection_closes(stage: Stage) -> None:
    address = stage.server.traffic.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=60.0) as caller:
        caller.sendall(b"POST /nothing/here HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += caller.recv(4096)
    assert head.startswith(b"HTTP/1.1 404 ")
    assert b"\r\nconnection: close\r\n" in head
