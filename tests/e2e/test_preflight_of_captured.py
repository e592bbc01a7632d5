"""A preflight asks what production asks: the newest captured requests, whole and redacted."""

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx2
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.behaviour import Behaviour
from records.store import Store
from records.store.captures import CaptureStore
from tests.serving import ProviderThread, Running, eventually

CONFIG = """
providers:
  it: {{api: openai, base_url: "{url}/v1", api_key: sk-it}}
canaries:
  - name: trial
    match: {{models: [m]}}
    baseline: {{provider: it, model: old}}
    candidate: {{provider: it, model: new}}
    share: 5%
    start: manual
    capture: {{rate: 100%}}
"""
BEFORE = """
providers:
  it: {{api: openai, base_url: "{url}/v1", api_key: sk-it}}
capture:
  - {{models: [m, other], rate: 100%}}
"""
CANARY = """
canaries:
  - name: trial
    match: {{models: [m]}}
    baseline: {{provider: it, model: old}}
    candidate: {{provider: it, model: new}}
    share: 5%
"""
REFUSED = [("unsupported_parameter", "invalid_request_error", name) for name in ("max_tokens", "temperature")]
SENT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "I am anna@example.com"}],
    "temperature": 0.2,
    "max_tokens": 7,
    "user": "anna",
    "response_format": {"type": "text"},
    "metadata": {"plan": "pro", "owner": "bob@example.com"},
}


def test_the_newest_captured_requests_are_asked_whole_and_redacted(
    serve: Callable[..., Running], provider: ProviderThread
) -> None:
    server = serve(CONFIG.format(url=provider.url), workers=1)
    for number in range(3):
        sent = SENT | {"seed": number}
        httpx2.post(f"{server.traffic}/v1/chat/completions", json=sent, timeout=30.0).raise_for_status()
    with closing(Store.open("sqlite:///canary.db", server.data)) as store:
        eventually(lambda: len(CaptureStore(store).newest(["trial"], 9)) == 3)
    provider.behave("new", Behaviour(rejects=("temperature", "max_tokens")))
    provider.log.clear()

    words = ["--config", str(server.config), "--data", str(server.data), "--sample", "2", "-o", "json"]
    done = CliRunner().invoke(app, ["preflight", "trial", *words])
    assert done.exit_code == 3, done.output
    found = json.loads(done.stdout)
    assert (found["asked"], found["refused"]) == (2, 2)
    (kind,) = found["refusals"]
    assert kind["request"] == {"rename": {"max_tokens": "max_completion_tokens"}, "remove": ["temperature"]}
    assert found["source"] == "the 2 newest captured requests were asked, redacted: 2 of trial"
    said = tuple(kind[name] for name in ("code", "type", "param"))
    assert said in REFUSED
    first = provider.log.of("new")[0].json
    assert first == SENT | {
        "model": "new",
        "messages": [{"role": "user", "content": "I am [email]"}],
        "user": "[unit]",
        "metadata": {"plan": "pro", "owner": "[email]"},
        "seed": first["seed"],
    }
    assert {each.json["seed"] for each in provider.log.of("new")[:2]} == {1, 2}

    headers = {"authorization": f"Bearer {server.token}"}
    url = f"{server.admin}/api/canaries/trial/preflight"
    assert httpx2.post(url, headers=headers, timeout=60.0).json()["refused"] == 3


def test_a_canary_that_starts_by_itself_asks_what_was_captured_before_there_was_one(
    serve: Callable[..., Running], provider: ProviderThread
) -> None:
    server = serve(BEFORE.format(url=provider.url), workers=1)
    for model in ("m", "m", "other"):
        sent = SENT | {"model": model}
        httpx2.post(f"{server.traffic}/v1/chat/completions", json=sent, timeout=30.0).raise_for_status()
    with closing(Store.open("sqlite:///canary.db", server.data)) as store:
        captures = CaptureStore(store)
        eventually(lambda: len(captures.newest(captures.sources(), 9)) == 3)
    provider.behave("new", Behaviour(rejects=("temperature",)))
    server.config.write_text((BEFORE + CANARY).format(url=provider.url))
    headers = {"authorization": f"Bearer {server.token}"}

    def api(path: str) -> Any:
        return httpx2.get(f"{server.admin}/api/{path}", headers=headers, timeout=30.0).json()

    def waits() -> dict[str, Any] | None:
        found: list[dict[str, Any]] = api("status")["canaries"]
        return found[0] if found and found[0]["open_incident"] else None

    found = eventually(waits)
    result = found["preflight"]["result"]
    assert (found["state"], result["asked"], result["refused"]) == ("waiting", 2, 2)
    source = "the 2 newest captured requests were asked, redacted: 2 of m without a canary"
    assert result["source"] == source
    said = "(code unsupported_parameter, type invalid_request_error, param temperature)"
    audit = api("audit")[0]
    told = [found["reason"], found["preflight"]["sentence"], audit["reason"]]
    told.append(found["open_incident"]["headline"])
    assert [said in each for each in told] == [True] * 4
    assert found["reason"].endswith(source)
    assert said in found["preflight"]["text"]
