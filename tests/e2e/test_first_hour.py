"""The first hour over the real server: from `canary init` to a candidate's first request."""

from pathlib import Path

import httpx2
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.server import LocalProvider
from tests.e2e.stage import chat, on_stage
from tests.serving import eventually


def test_from_init_to_the_first_request_of_a_candidate(tmp_path: Path) -> None:
    file = tmp_path / "canary.yaml"
    # As on_stage fills in the provider's address.
    flags = ["--api", "openai", "--model", "first", "--base-url", "http://{url}/v1", "--share", "50%"]
    done = CliRunner().invoke(app, ["init", "--config", str(file), *flags])
    assert done.exit_code == 0, done.output
    config = file.read_text().replace("{", "{{").replace("}", "}}").replace("http://{{url}}", "{url}")
    with on_stage(tmp_path / "server", config, provider=LocalProvider()) as stage:

        def asked(user: str) -> str:
            answer = httpx2.post(
                f"{stage.server.traffic}/v1/chat/completions",
                json=chat("first", user),
                headers={"authorization": "Bearer k"},
                trust_env=False,
                timeout=30,
            )
            assert answer.status_code == 200, answer.text
            return stage.provider.log.entries[-1].model

        assert {asked(f"u{number}") for number in range(4)} == {"first"}
        for words in (("begin", "app", "--model", "second"), ("start", "app-second", "--reason", "r")):
            told = stage.canary(*words, "--config", str(stage.server.config))
            assert told.returncode == 0, told.stderr
        eventually(lambda: {asked(f"u{number}") for number in range(20)} == {"first", "second"} or None)
        reached = stage.status("app-second")
        assert reached["state"] == "running"
