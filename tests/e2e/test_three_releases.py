"""A team's year in compressed time, over HTTP: one release is rolled back, one ships, one arrives meanwhile.

A person writes the config once. Afterwards nobody edits it: the watcher, which a timer starts, finds the
models, measures them and begins each next trial. The test counts what persons did.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage, on_stage
from tests.serving import WAIT_S, eventually

pytestmark = pytest.mark.more  # a year of what the other tests hold

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
canaries:
  - name: support
    standing: true
    settle: 0s
    match: {{models: [support-chat]}}
    baseline: {{provider: openai, model: gpt-1}}
    candidate: {{provider: openai}}
    share: 50%
    minimum_days: 0
    guardrails: [{{rule: error_rate}}]
    rubric:
      - {{metric: error_rate, acceptable: "< 20%", ideal: "< 10%", weight: 2, question: "Do answers come?"}}
      - metric: cost_per_request
        acceptable: "<= 2x baseline"
        ideal: "<= 1.5x baseline"
        weight: 1
        question: "What does it cost?"
prices:
  gpt-1: {{input: 2, output: 8}}
  gpt-2: {{input: 1, output: 4}}
  gpt-3: {{input: 1, output: 4}}
  gpt-4: {{input: 1, output: 4}}
datasets:
  sums: {{file: sums.jsonl, layer: synthetic, floor: 80%}}
retires: {{gpt-1: RETIRES}}
notify: [{{webhook: "HOOK"}}]
"""
KNOWS = Behaviour(words=6, says={f"{n} + 1 = ?": str(n + 1) for n in reversed(range(60))})
FAILS_REFUNDS = Behaviour(words=6, says=KNOWS.says, rejects=("seed",), reject_status=500)
REFUNDS = 4
"""One user in so many asks for a refund. The app then sends a member that the first candidate breaks at."""

USERS = 600


class Team:
    """Persons and timers before a running server. `acts` are the persons' commands, in order."""

    def __init__(self, stage: Stage, hook: Hook) -> None:
        self.stage, self.hook = stage, hook
        self.acts: list[str] = []
        self._users = iter(range(100_000))

    def does(self, *words: str) -> str:
        """A person's command, which must succeed."""
        self.acts.append(" ".join(words))
        return self._run(*words)

    def timer(self) -> None:
        """The watcher's timer comes round."""
        self._run("watch", "--once", "--bench", "--match", "gpt-*", "--begin", "support")

    def read(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._run(*words, "-o", "json"))
        return found

    def _run(self, *words: str) -> str:
        done = self.stage.canary(*words, "--config", str(self.stage.server.config))
        begun = words[0] == "bench" and done.returncode == 4  # its canary has no users yet
        assert done.returncode == 0 or begun, (words, done.stdout, done.stderr)
        return done.stdout

    def traffic(self, until: Any, most: int = 3000) -> None:
        """Users ask, one request each, until it is true."""
        with (
            httpx2.Client(base_url=self.stage.server.traffic, trust_env=False, timeout=WAIT_S) as http,
            ThreadPoolExecutor(8) as pool,
        ):
            for _ in range(most // 100):
                list(pool.map(lambda number: _ask(http, number), [next(self._users) for _ in range(100)]))
                if until():
                    return
        assert until()

    def state(self, canary: str) -> str | None:
        """The state of a canary of the present config; None if it has none of this name."""
        canaries = self.stage.api("GET", "/api/status").json()["canaries"]
        return next((each["state"] for each in canaries if each["name"] == canary), None)

    def seen(self, canary: str) -> int:
        """The requests that the canary's candidate has answered."""
        return int(self.stage.status(canary)["arms"]["candidate"]["requests"])

    def told(self, event: str) -> list[str]:
        return [body["model"] for body in self.hook.bodies if body["event"] == event]


def _ask(http: httpx2.Client, number: int) -> None:
    body: dict[str, Any] = {
        "model": "support-chat",
        "user": f"u{number}",
        "messages": [{"role": "user", "content": "hello"}],
    }
    refund = number % REFUNDS == 0
    headers = {"x-canary-category": "refund" if refund else "other"}
    http.post("/v1/chat/completions", json=body | ({"seed": 7} if refund else {}), headers=headers)


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    retires = (datetime.now(UTC) + timedelta(days=20)).date().isoformat()
    provider = LocalProvider({"gpt-1": KNOWS, "gpt-2": FAILS_REFUNDS}, other=None)
    with listening_hook() as hook:
        config = CONFIG.replace("RETIRES", retires).replace("HOOK", hook.url)
        with on_stage(tmp_path, config, provider=provider) as stage:
            examples = [
                {"id": f"s{n}", "task": "exact", "input": f"{n} + 1 = ?", "expected": str(n + 1)}
                for n in range(60)
            ]
            file = stage.server.config.with_name("sums.jsonl")
            file.write_text("\n".join(map(json.dumps, examples)))
            yield Team(stage, hook)


def test_three_releases_of_a_year_are_told_truly_on_one_page(team: Team) -> None:
    config = team.stage.server.config.read_bytes()
    team.timer()
    assert team.told("model_retires") == ["openai/gpt-1"]

    # The first: its examples are fine, its users' refunds are not.
    team.does("begin", "support", "--model", "gpt-2")
    team.does("bench", "gpt-2")
    team.traffic(lambda: team.state("support-gpt-2") == "rolled_back")
    first = team.acts.copy()

    # The second follows by itself, and the third arrives while it runs.
    team.stage.provider.behave("gpt-3", KNOWS)
    team.timer()
    eventually(lambda: team.state("support-gpt-3") == "running")
    team.stage.provider.behave("gpt-4", KNOWS)
    team.timer()
    assert team.state("support-gpt-4") is None
    team.traffic(lambda: team.seen("support-gpt-3") >= USERS)
    eventually(lambda: team.read("report", "support-gpt-3")["verdict"] == "ship_now")
    team.does("report", "support-gpt-3")
    team.does("promote", "support-gpt-3", "--reason", "as good, at half the price", "--minutes", "10")

    # The third is taken up when the second has ended its trial, against the model that users now have.
    team.timer()
    eventually(lambda: team.state("support-gpt-4") == "running")
    team.traffic(lambda: team.seen("support-gpt-4") >= USERS)
    eventually(lambda: team.read("report", "support-gpt-4")["verdict"] == "ship_now")
    team.does("report", "support-gpt-4")
    team.does("promote", "support-gpt-4", "--reason", "no worse", "--minutes", "5")

    releases = eventually(lambda: _decided(team.read("release", "list")["releases"]))
    assert [each["candidate"]["model"] for each in releases] == ["gpt-4", "gpt-3", "gpt-2"]
    assert [(each["state"], each["verdict"]) for each in releases] == [
        ("promoted", "ship"),
        ("promoted", "ship"),
        ("rolled_back", "dont_ship"),
    ]
    assert [each["baseline"]["model"] for each in releases] == ["gpt-3", "gpt-1", "gpt-1"]
    assert [each["minutes"] for each in releases] == [5.0, 10.0, None]
    assert all(each["days"] is not None for each in releases)
    assert releases[0]["stages"]["noticed"] is not None
    assert releases[0]["stages"]["noticed"] < releases[1]["stages"]["decided"]
    page = team.stage.api("GET", "/releases").text
    for each in releases:
        assert f'/releases/{each["id"]}">openai/{each["candidate"]["model"]}' in page
    whole = team.stage.api("GET", f"/api/releases/{releases[2]['id']}").json()
    assert "the benchmark says ship and canary support-gpt-2 says don’t ship" in whole["reasons"][1]
    assert "refund" in json.dumps(whole["runs"][0]["report"]["details"]["where"])

    assert team.stage.server.config.read_bytes() == config
    later = team.acts[len(first) :]
    print(f"\nthe first release: {len(first)} commands; the second and third: {len(later)}, no edit")
    print("\n".join(later))
    assert len(later) <= 12


def _decided(releases: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Those that users tried, newest first, once each has a verdict."""
    tried = [each for each in releases if each["state"] != "superseded"]
    return tried if all(each["verdict"] is not None for each in tried) else None
