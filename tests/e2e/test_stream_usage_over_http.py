"""A provider that refuses `stream_options`, behind the real server: its streams work, and are priced."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from tests.e2e.stage import chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  mistral: {{api: openai, base_url: "{elsewhere}/v1", api_key: sk-mistral}}
canaries:
  - name: move
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o}}
    candidate: {{provider: mistral, model: small}}
    share: 100%
prices:
  small: {{input: 1.0, output: 10.0}}
"""
STRICT = Behaviour(rejects=("stream_options",), reject_status=422, states_usage=True)


def test_the_first_stream_works_and_the_second_is_not_asked_for_usage(tmp_path: Path) -> None:
    with on_stage(tmp_path, CONFIG, provider=LocalProvider({"small": STRICT})) as stage:
        url = f"{stage.server.traffic}/v1/chat/completions"
        headers = {"authorization": "Bearer sk-caller"}
        stage.provider.log.clear()  # the preflight's
        for user in ("one", "two"):
            document = chat("gpt-4o", user, stream=True)
            answer = httpx2.post(url, json=document, headers=headers, trust_env=False, timeout=30.0)
            assert (answer.status_code, answer.headers["x-canary-arm"]) == (200, "candidate")
            assert "x-canary-served-by" not in answer.headers
            assert answer.text.endswith("data: [DONE]\n\n")
        asked = ["stream_options" in json.loads(entry.body) for entry in stage.provider.log.of("small")]
        assert asked == [True, False, False]
        rows: list[dict[str, Any]] = eventually(lambda: rows if len(rows := stage.outcomes()) == 2 else None)
        for row in rows:
            assert (row["outcome"], row["error_type"], row["status"]) == ("ok", None, 200)
            assert row["cost_usd"] == pytest.approx(row["input_tokens"] * 1e-6 + row["output_tokens"] * 1e-5)
            (attempt,) = json.loads(row["attempts"])
            assert (attempt["arm"], attempt["status"], attempt["error_type"]) == ("candidate", 200, None)
        metrics = httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).text
        assert 'canary_breaker_open{canary="move"} 0.0' in metrics
        assert stage.provider.log.of("gpt-4o") == []
