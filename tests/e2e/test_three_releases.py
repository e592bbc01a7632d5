"""Three releases of a team, over HTTP and by a clock that the test sets: one is pulled back, one ships, one
is tried beside a variant.

A person writes the config once. What persons do is the table in `docs/releases.md`, command by command; the
watcher, which a timer starts, does the rest.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from canary.commands.shell import user
from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage, on_stage
from tests.serving import WAIT_S, HandClock, eventually

pytestmark = [pytest.mark.more, pytest.mark.timeout(900)]  # weeks of what others hold

PAGE = Path(__file__).parents[2] / "docs" / "releases.md"
ROW = re.compile(r"^\| ([ABC]) .*\| (\d) commands?(, 1 edit)? \| (.*) \|$", re.M)
"""A release in the page's table: what it costs, and the commands."""
MOST = {"A": (12, 1), "B": (6, 0), "C": (6, 0)}
"""The commands and the edits of the config that a release may cost a team."""

OLD, A, B, C = "gpt-5.6-terra", "gpt-6-luna", "gpt-6.1-terra", "gpt-6.1-sol"
CONFIG = f"""
providers:
  openai: {{{{api: openai, base_url: "{{url}}/v1", api_key: k}}}}
canaries:
  - name: support
    standing: true
    owner: anna@example.com
    settle: 0s
    match: {{{{models: [support-bot]}}}}
    baseline: {{{{provider: openai, model: {OLD}}}}}
    candidate: {{{{provider: openai}}}}
    lane: 50%
    share: 50%
    promote: two_people
    minimum_days: 1
    planned_days: 2
    critical_categories: [refund]
    rubric:
      - {{{{metric: error_rate, acceptable: "< 20%", ideal: "< 10%", weight: 2, question: "Answers?"}}}}
      - metric: cost_per_request
        acceptable: "<= 2x baseline"
        ideal: "<= 0.9x baseline"
        weight: 1
        question: "What does it cost?"
prices:
  {OLD}: {{{{input: 2, output: 8}}}}
  {A}: {{{{input: 1, output: 4}}}}
  {B}: {{{{input: 1, output: 4}}}}
  {C}: {{{{input: 1, output: 4}}}}
datasets:
  sums: {{{{file: sums.jsonl, layer: synthetic, floor: 80%}}}}
retires: {{{{{OLD}: 2027-03-31}}}}
notify: [{{{{webhook: "HOOK"}}}}]
"""
KNOWS = Behaviour(words=6, says={f"{n} + 1 = ?": str(n + 1) for n in reversed(range(60))})
FAILS_REFUNDS = Behaviour(words=6, says=KNOWS.says, rejects=("seed",), reject_status=500)
REFUNDS = 4
"""One user in so many asks for a refund. The app then sends a member that the first candidate breaks at."""

BEGINS = datetime(2027, 3, 1, 9, tzinfo=UTC)
DAY_S = 86_400
USERS = 300
"""Of a candidate, on each day of its trial."""


class Team:
    """Persons and timers before a running server. `acts` are what persons did, in order."""

    def __init__(self, stage: Stage, hook: Hook, clock: HandClock) -> None:
        self.stage, self.hook = stage, hook
        self.acts = ["canary serve"]
        self._clock, self._at = clock, 0
        self._users = iter(range(1_000_000))

    def does(self, words: str, *, exits: int = 0) -> str:
        """A person's command."""
        self.acts.append(f"canary {words}")
        return self._run(*shlex.split(words), exits=exits)

    def timer(self) -> None:
        """The watcher's timer comes round."""
        self._run("watch", "--once", "--bench", "--match", "gpt-*", "--begin", "support")

    def read(self, *words: str) -> Any:
        return json.loads(self._run(*words, "-o", "json"))

    def _run(self, *words: str, exits: int = 0) -> str:
        server = self.stage.server
        where = ["--config", server.config, *([] if words[0] == "check" else ["--data", server.data])]
        command = [sys.executable, "-m", "canary", *words, *map(str, where)]
        env = {**self._clock.env, "CANARY_DATA": str(server.data), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, env=env, cwd=server.config.parent, capture_output=True, text=True)
        assert done.returncode == exits, "\n".join((*words, done.stdout, done.stderr))
        return done.stdout

    def a_day_passes(self) -> None:
        self._at += DAY_S
        self._set()

    def _set(self) -> None:
        ahead = BEGINS + timedelta(seconds=self._at) - datetime.now(UTC)
        self._clock.set(int(ahead.total_seconds()))

    def traffic(self, until: Callable[[], bool], most: int = 6000) -> None:
        """Users ask, one request each, until it is true."""
        with (
            httpx2.Client(base_url=self.stage.server.traffic, trust_env=False, timeout=WAIT_S) as http,
            ThreadPoolExecutor(8) as pool,
        ):
            for _ in range(most // 100):
                list(pool.map(lambda number: _ask(http, number), [next(self._users) for _ in range(100)]))
                if until():
                    return
        eventually(until)  # the last of them may not be counted yet

    def days_of_traffic(self, *canaries: str) -> None:
        """The planned days of these trials pass."""
        for day in (1, 2):
            self.traffic(lambda day=day: all(self.seen(each) >= day * USERS for each in canaries))  # type: ignore[misc]
            self.a_day_passes()

    def state(self, canary: str) -> str | None:
        """The state of a canary of the present config; None if it has none of this name."""
        canaries = self.stage.api("GET", "/api/status").json()["canaries"]
        return next((each["state"] for each in canaries if each["name"] == canary), None)

    def seen(self, canary: str) -> int:
        """The requests that the canary's candidate has answered."""
        return int(self.stage.status(canary)["arms"]["candidate"]["requests"])

    def page(self, path: str) -> str:
        """What a page says."""
        text = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", self.stage.api("GET", path).text, flags=re.S)
        return " ".join(unescape(text).split())


def _ask(http: httpx2.Client, number: int) -> None:
    body: dict[str, Any] = {
        "model": "support-bot",
        "user": f"u{number}",
        "messages": [{"role": "user", "content": "hello"}],
    }
    refund = number % REFUNDS == 0
    headers = {"x-canary-category": "refund" if refund else "other"}
    http.post("/v1/chat/completions", json=body | ({"seed": 7} if refund else {}), headers=headers)


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    clock = HandClock(tmp_path)
    clock.set(int((BEGINS - datetime.now(UTC)).total_seconds()))
    provider = LocalProvider({OLD: KNOWS, A: FAILS_REFUNDS}, other=None)
    with (
        listening_hook() as hook,
        on_stage(tmp_path, CONFIG.replace("HOOK", hook.url), provider=provider, env=clock.env) as stage,
    ):
        examples = [
            {"id": f"s{n}", "task": "exact", "input": f"{n} + 1 = ?", "expected": str(n + 1)}
            for n in range(60)
        ]
        file = stage.server.config.with_name("sums.jsonl")
        file.write_text("\n".join(map(json.dumps, examples)))
        yield Team(stage, hook, clock)


def test_three_releases_cost_what_the_page_says_and_are_told_truly(team: Team) -> None:
    config = team.stage.server.config.read_bytes()
    acts = {}

    # A: its examples are fine, its users' refunds are not.
    team.does("check")
    team.timer()
    team.does(f"bench {A}")
    team.does(f"begin support --model {A}")
    team.traffic(lambda: team.state(f"support-{A}") == "rolled_back")
    assert "Critical category refund: error rate is worse" in team.does(f"report support-{A}", exits=3)
    shown = team.does(f"release show {A}")
    assert "rolled back in category refund" in shown
    assert "No user has tried it yet" not in shown
    acts["A"], team.acts = team.acts, []

    # B: found, measured and begun by the watcher; two people promote it.
    team.stage.provider.behave(B, KNOWS)
    team.timer()
    eventually(lambda: team.state(f"support-{B}") == "running")
    team.days_of_traffic(f"support-{B}")
    assert "cost per request (50 % lower)" in team.does(f"report support-{B}")
    team.does(f'promote support-{B} --reason "as good, at half the price" --minutes 10', exits=4)
    team.does(f'promote support-{B} --by bob --reason "I agree"')
    assert "when the verdict was ship now" in " ".join(team.does(f"release show {B}").split())
    acts["B"], team.acts = team.acts, []

    # C: beside a variant of what users have now, each in its lane.
    team.stage.provider.behave(C, KNOWS)
    team.stage.server.config.with_name("low.yaml").write_text("request: {set: {reasoning_effort: low}}\n")
    team.does(f"begin support --model {C}")
    team.does(f"begin support --model {B} --arm low.yaml")
    team.days_of_traffic(f"support-{C}", f"support-{B}-2")
    assert "not told apart" in team.does(f"report --compare support-{C} support-{B}-2")
    team.does(f'rollback support-{C} --reason "no cheaper"')
    team.does(f'rollback support-{B}-2 --reason "no cheaper"')
    team.does(f"release show {C}")
    acts["C"] = team.acts

    assert team.stage.server.config.read_bytes() == config
    told = {each[1]: each for each in ROW.finditer(PAGE.read_text())}
    for release, (most, edits) in MOST.items():
        _, count, edited, commands = told[release].groups()
        assert re.findall("`(canary .*?)`", commands) == acts[release]
        assert (int(count), 0 if edited is None else 1) == (len(acts[release]), edits)
        assert len(acts[release]) <= most

    releases = eventually(lambda: _judged(team.read("release", "list")["releases"]))
    assert [(_named(each["candidate"]), _named(each["baseline"]), each["ending"]) for each in releases] == [
        (f"{B} · low effort", B, f"tried, and taken back by {user()}"),
        (C, B, f"tried, and taken back by {user()}"),
        (B, OLD, "shipped"),
        (A, OLD, "rolled back in category refund"),
    ]
    everything, overview = team.page("/releases"), team.page("/")
    for each in releases:
        assert each["ending"] in everything
        page = team.page(f"/releases/{each['id']}")
        assert f"Release {each['id']}, {each['ending']}" in page
    ago = "(2 d|1 d 23 h)"  # what was done in the minutes before and after differs
    by = f"{user()} and bob promoted support-{B}; it tries nothing"
    assert re.search(rf"everybody gets openai/{re.escape(B)}, for {ago}: {re.escape(by)}", overview)
    assert f"support-{A} {OLD} → {A} rolled back By guardrail error_rate" in overview
    assert "all in category refund (" in overview


def _named(arm: dict[str, str]) -> str:
    return " · ".join((arm["model"], *filter(None, [arm.get("request")])))


def _judged(releases: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The releases, once each has a verdict."""
    return releases if all(each["verdict"] is not None for each in releases) else None
