"""The first hour over the real server: from `canary init` to a candidate's first request."""

import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from itertools import count
from pathlib import Path

import httpx2
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.server import LocalProvider
from tests.docs.casts import output, play, until
from tests.e2e.stage import chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}
canaries:
  - name: support
    standing: true
    match: {models: [bot]}
    baseline: {provider: openai, model: first}
    candidate: {provider: openai}
    share: 5%
  - name: trial
    match: {models: [other]}
    baseline: {provider: openai, model: first}
    candidate: {provider: openai, model: second}
    share: 5%
    start: manual
"""


def test_in_a_terminal_serve_says_where_it_is_and_signs_in_once(tmp_path: Path) -> None:
    (tmp_path / "canary.yaml").write_text(CONFIG)
    ours, theirs = os.openpty()
    where = ["--traffic", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", str(tmp_path / "data")]
    command = [sys.executable, "-m", "canary", "serve", "--config", str(tmp_path / "canary.yaml"), *where]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as server:
        os.close(theirs)
        said, told = output(ours), ""
        try:
            while "MODEL` tries another" not in told or "trial: " not in told:
                told += next(said)[1]
            link = re.search(r"http://\S+/login\?once=\S+", told)
            assert link is not None
            with httpx2.Client(trust_env=False, follow_redirects=True, timeout=120) as browser:
                assert "everybody gets" in browser.get(link[0]).text
            assert httpx2.get(link[0], trust_env=False, timeout=120).status_code == 403
        finally:
            server.send_signal(signal.SIGINT)
            told += "".join(text for _, text in said)
    os.close(ours)
    assert "/v1 (OpenAI)" in told
    assert "trial: waits for `canary start trial`" in told
    assert "{" not in told


def test_the_demos_provider_answers_alone_without_a_key(tmp_path: Path) -> None:
    with closing(play("canary demo --provider", tmp_path)) as playing:
        told = "".join(text for _, text in until(playing, "8082"))
        if "listening on" not in told:  # another program has its port
            assert "127.0.0.1:8082: " in told
            return
        url = told.rpartition("listening on ")[2].strip()
        answer = httpx2.post(
            f"{url}/v1/chat/completions",
            json=chat("any", "ann"),
            headers={"authorization": "Bearer any"},
            trust_env=False,
            timeout=120,
        )
    assert answer.json()["choices"][0]["message"]["content"]


def test_from_init_to_the_first_request_of_a_candidate(tmp_path: Path) -> None:
    file = tmp_path / "canary.yaml"
    # As on_stage fills in the provider's address.
    flags = ["--api", "openai", "--model", "first", "--base-url", "http://{url}/v1", "--share", "50%"]
    flags += ["--users", "9000", "--raters", "20%"]
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

        def ordered(*words: str) -> str:
            told = stage.canary(*words, "--config", str(stage.server.config))
            assert told.returncode == 0, told.stderr
            return told.stdout

        ordered("begin", "app", "--model", "second")
        line = ordered("plan", "app-second").splitlines()[0]
        assert "with 9,000 users (from the config)" in line
        assert line.partition(": ")[2] in done.stdout
        assert line in " ".join(stage.api("GET", "/canaries/app-second/plan").text.split())
        ordered("start", "app-second", "--reason", "r")
        new = (f"u{number}" for number in count(4))  # who asks in the moment of the start keeps the baseline
        eventually(lambda: {asked(next(new)) for _ in range(20)} == {"first", "second"} or None)
        reached = stage.status("app-second")
        assert reached["state"] == "running"
