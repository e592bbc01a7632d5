"""A preflight asks what production asks: the newest captured requests, whole and redacted."""

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx2
from typer.testing import CliRunner

from canary.cli import app
from demo.behaviour import Behaviour
from records.capture_store import CaptureStore
from records.store import Store
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
        eventually(lambda: len(CaptureStore(store).newest("trial", 9)) == 3)
    provider.behave("new", Behaviour(rejects=("temperature", "max_tokens")))
    provider.log.clear()

    words = ["--config", str(server.config), "--data", str(server.data), "--sample", "2", "-o", "json"]
    done = CliRunner().invoke(app, ["preflight", "trial", *words])
    assert done.exit_code == 3, done.output
    found = json.loads(done.stdout)
    assert (found["asked"], found["refused"]) == (2, 2)
    (kind,) = found["refusals"]
    assert kind["request"] == {"rename": {"max_tokens": "max_completion_tokens"}, "remove": ["temperature"]}
    assert found["notes"] == ["the 2 newest captured requests were asked, redacted"]
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
