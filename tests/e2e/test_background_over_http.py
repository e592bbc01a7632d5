"""Answers in the background through `canary serve`, by the real SDK."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai

from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "URL"}}
canaries:
  - name: thinkers
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o}}
    candidate: {{provider: openai, model: gpt-4o-mini}}
    share: 50%
    guardrails: []
"""
USAGE = {
    "input_tokens": 40,
    "output_tokens": 7,
    "total_tokens": 47,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}
SAID = {"type": "message", "id": "m1", "role": "assistant", "status": "completed"}
PART = {"type": "output_text", "text": "done", "annotations": []}


class InBackground(BaseHTTPRequestHandler):
    """Makes every response in the background: the second look at one finds it whole."""

    protocol_version = "HTTP/1.1"
    looks: dict[str, int]

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = f"resp_{len(self.looks)}"
        self.looks[key] = 0
        self._say({"id": key, "model": body["model"], "status": "queued", "output": []})

    def do_GET(self) -> None:
        key = self.path.rpartition("/")[2]
        self.looks[key] += 1
        whole = {"status": "completed", "output": [SAID | {"content": [PART]}], "usage": USAGE}
        self._say({"id": key, "model": "m", "status": "in_progress"} | (whole if self.looks[key] > 1 else {}))

    def _say(self, response: dict[str, Any]) -> None:
        data = json.dumps({"object": "response", "background": True, "error": None, **response}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def provider() -> Iterator[str]:
    handler = type("Handler", (InBackground,), {"looks": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            serving.join()


def of_canary(stage: Stage, number: int) -> list[dict[str, Any]]:
    found = eventually(
        lambda: rows if len(rows := [row for row in stage.outcomes() if row["canary"]]) >= number else None
    )
    return sorted(found, key=lambda row: str(row["at"]))


def test_an_answer_in_the_background_is_one_exchange_with_what_was_fetched(tmp_path: Path) -> None:
    with provider() as url, on_stage(tmp_path, CONFIG.replace("URL", url)) as stage:
        base_url = f"{stage.server.traffic}/v1"
        with openai.OpenAI(base_url=base_url, api_key="sk-caller", max_retries=0) as client:
            for user in ("fetches", "leaves"):
                made = client.responses.create(
                    model="gpt-4o", input="think", background=True, safety_identifier=user
                )
                assert made.status == "queued"
                while user == "fetches" and client.responses.retrieve(made.id).status != "completed":
                    pass
            client.responses.retrieve("resp_0")
        (fetched,) = of_canary(stage, 1)
        assert (fetched["finish"], fetched["faults"]) == ("stop", "")
        assert (fetched["input_tokens"], fetched["output_tokens"]) == (40, 7)
        assert fetched["cost_usd"] > 0
        stage.restart()  # a drain closes what waits
        again, left = of_canary(stage, 2)
        assert again == fetched
        assert (left["outcome"], left["finish"], left["cost_usd"]) == ("ok", "unknown", None)
        polls = [row for row in stage.outcomes() if not row["canary"]]
        assert [(row["input_tokens"], row["finish"]) for row in polls] == [(None, None)] * 3
