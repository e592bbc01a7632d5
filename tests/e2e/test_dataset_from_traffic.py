"""From users' traffic to a benchmark: captured, sampled, labelled; then only the model's name changes."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx2
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.behaviour import Behaviour
from tests.serving import ProviderThread, Running, eventually

CONFIG = """\
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 1%
    capture: {{rate: 100%}}
datasets:
  users: {{file: users.jsonl, layer: real, floor: 80%}}
"""
QUESTIONS = [f"Where is parcel {number:03d}?" for number in range(70)]
KNOWS = {each: f"in {each[-4:-1]}" for each in QUESTIONS}
ASKED_WITH = {"temperature": 0.2, "max_tokens": 64, "stream": False}


def test_traffic_becomes_a_benchmark(
    tmp_path: Path, provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    provider.behave("old", Behaviour(says=KNOWS))
    provider.behave("new", Behaviour(says=KNOWS))
    provider.behave("newer", Behaviour(says={**KNOWS, **dict.fromkeys(QUESTIONS[:12], "lost")}))
    server = serve(CONFIG.format(url=provider.url), workers=1)
    file = server.config.with_name("users.jsonl")
    where = ["--config", str(server.config), "--data", str(server.data), "-o", "json"]
    with httpx2.Client(headers={"authorization": "Bearer k"}) as http:
        for number, each in enumerate(QUESTIONS):
            headers = {"x-canary-unit": f"u{number}", "x-canary-category": "rare" if number < 6 else "common"}
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": each}], **ASKED_WITH}
            answer = http.post(f"{server.traffic}/v1/chat/completions", json=body, headers=headers)
            assert answer.status_code == 200

    def sampled() -> dict[str, int] | None:
        words = ["dataset", "sample", "trial", str(file), "--size", "60", "--task", "exact"]
        done = CliRunner().invoke(app, [*words, *where])
        if done.exit_code or json.loads(done.stdout)["examples"] < 60:
            file.unlink(missing_ok=True)
            return None
        found: dict[str, int] = json.loads(done.stdout)["categories"]
        return found

    categories = eventually(sampled)
    # A candidate's own user or two are not in it: labels are the current model's answers.
    assert categories["rare"] >= 5
    assert sum(categories.values()) == 60
    proposed = CliRunner().invoke(app, ["bench", "new", *where])
    assert proposed.exit_code == 4
    review = "review them with `canary dataset label users.jsonl`"
    own = json.loads(proposed.stdout)["examples"]["reasons"]
    assert own == [f"users: 60 labels are unreviewed proposals; {review}"]
    labelled = CliRunner().invoke(app, ["dataset", "label", str(file), "-o", "json"], input="a\n" * 60)
    told = labelled.stdout[labelled.stdout.index("{") :]  # what was typed is echoed before
    assert json.loads(told) == {"file": str(file), "labels": {"accepted": 60}, "tier": "partial"}
    provider.log.clear()
    shipping = CliRunner().invoke(app, ["bench", "new", *where])  # as far as examples say; its canary is open
    assert (shipping.exit_code, json.loads(shipping.stdout)["examples"]["verdict"]) == (4, "ship")
    asked = {(each.model, each.json["temperature"], each.json["max_tokens"]) for each in provider.log.entries}
    assert asked == {("old", 0.2, 64), ("new", 0.2, 64)}
    provider.behave("strict", Behaviour(says=KNOWS, rejects=("temperature",)))
    refused = CliRunner().invoke(app, ["bench", "strict", *where])
    assert refused.exit_code == 3, "what production sends, the benchmark sends"
    assert "refuses every request; 60 times caller_rejected: unsupported" in refused.stdout
    worse = CliRunner().invoke(app, ["bench", "newer", *where])
    assert worse.exit_code == 3
    assert json.loads(worse.stdout)["layers"][0]["baseline"]["correct"] == 60
