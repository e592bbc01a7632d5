"""Six weeks of a team with a standing canary, over HTTP and by a clock that the test sets.

After each step the same 200 users ask, and what the provider saw of them is held against all that canary
says: status, pages, explain, audit log, releases and documents.
"""

import json
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from canary.commands.shell import user as me
from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider, ReceivedRequest
from routing.cohort import SPACE, derive_key
from routing.states import lane_place
from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import WAIT_S, HandClock, eventually

pytestmark = [pytest.mark.more, pytest.mark.timeout(900)]  # six weeks of what others hold step by step

OLD, A, B, C, D = "gpt-5.6-terra", "gpt-6-luna", "gpt-6.1-terra", "gpt-6.1-sol", "gpt-6.1-nova"
OF_A, OF_B, OF_C, OF_D = (f"support-{model}" for model in (A, B, C, D))
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
    share: 10%
    holdback: {{{{share: 20%, for: 7d}}}}
    minimum_days: 1
    planned_days: 7
    rubric:
      - {{{{metric: error_rate, acceptable: "< 20%", ideal: "< 10%", weight: 2, question: "Answers?"}}}}
      - {{{{metric: csat, acceptable: "> 3", ideal: "> 4", weight: 1, question: "Do they like it?"}}}}
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
  {D}: {{{{input: 1, output: 4}}}}
notify: [{{{{webhook: "HOOK"}}}}]
"""
ANSWERS = Behaviour(words=6)
DOWN = Behaviour(faults={"status": 1.0}, status=503)

BEGINS = datetime(2027, 3, 1, 9, tzinfo=UTC)
USERS = [f"user-{number}" for number in range(200)]
NEW_A_DAY = 40
"""Users who come on one day of a trial only."""
EXPLAINED = 2
"""Users of each arm whom `canary explain` is asked about."""
TAKEN_S = 20.0
"""How long a step may take until every user has what it gives; two seconds on a quiet machine."""
STANDING = re.compile(
    r"(everybody gets|[\d.]+ % of the users get) openai/([\w.-]*\w)(.*?); it tries ([^;]*\w)"
)
"""The sentence on a standing canary: who gets its model, what is said beside it, and its trials."""
FAILED = re.compile(r"([\d,]+) of ([\d,]+) \([^)]*\) requests to the candidate failed")

Asker = str | None
"""A user; None is a caller without one."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a user got: canary and arm by the answer's headers, the model that the provider answered as."""

    canary: str | None
    arm: str | None
    model: str
    status: int


@dataclass(frozen=True, slots=True)
class Reached:
    """What reached the provider in one canary, or in none, for one model; `failed` by the answer's status."""

    canary: str | None
    model: str
    failed: bool


class Team:
    """People and their users before a running server, and what the provider saw of both."""

    def __init__(self, stage: Stage, hook: Hook, clock: HandClock) -> None:
        self.stage, self.hook = stage, hook
        self._clock, self._day, self._acts_read = clock, 0, 0
        self._new = (f"new-{number}" for number in range(1_000_000))
        self._asked = dict[tuple[str, int, str], list[Asker]]()
        self._reached = Counter[Reached]()

    # What people do.

    def does(self, words: str, *, exits: int = 0) -> str:
        """A person's command: what it says."""
        done = self._run(*shlex.split(words))
        assert done.returncode == exits, "\n".join((words, done.stdout, done.stderr))
        return " ".join(f"{done.stdout} {done.stderr}".split())

    def read(self, words: str) -> Any:
        """The JSON of a command."""
        return json.loads(self._run(*shlex.split(words), "-o", "json").stdout)

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        server = self.stage.server
        where = ["--config", server.config, *([] if words[0] == "check" else ["--data", server.data])]
        command = [sys.executable, "-m", "canary", *words, *map(str, where)]
        env = {**self._clock.env, "CANARY_DATA": str(server.data), "PATH": "/usr/bin:/bin", "COLUMNS": "400"}
        return subprocess.run(command, env=env, cwd=server.config.parent, capture_output=True, text=True)

    def edits(self, old: str, new: str, *, refused: bool = False) -> None:
        """Change canary.yaml, and wait until the processes have taken it, or one has refused it."""
        word, times = ("config.refused", 1) if refused else ("config.reloaded", 2)
        log = self.stage.server.log_file
        seen = log.read_text().count(word)
        assert old in self.stage.config_text
        self.stage.configure(self.stage.config_text.replace(old, new))
        self.stage.server.process.send_signal(signal.SIGHUP)
        eventually(lambda: log.read_text().count(word) >= seen + times)

    def days_pass(self, days: int) -> None:
        """Nobody asks."""
        self._day += days
        ahead = BEGINS + timedelta(days=self._day) - datetime.now(UTC)
        self._clock.set(int(ahead.total_seconds()))

    def days_of_traffic(self, days: int) -> None:
        """The 200 users and some more ask, each rates the answer, and the day ends."""
        for _ in range(days):
            self.ask([*USERS, *(next(self._new) for _ in range(NEW_A_DAY))], rates=True)
            self._counted()
            self.days_pass(1)

    def asks_until(self, true: Callable[[], bool]) -> None:
        """New users ask."""
        while not true():
            self.ask([next(self._new) for _ in range(20)])

    def ask(
        self, users: Sequence[Asker] = USERS, *, model: str = "support-bot", rates: bool = False
    ) -> dict[Asker, Served]:
        """What these users get, each asking once."""
        log, runs = self.stage.provider.log, {each["name"]: each["run"] for each in self.status()["canaries"]}
        log.clear()
        url = self.stage.server.traffic
        with (
            httpx2.Client(base_url=url, trust_env=False, timeout=WAIT_S) as http,
            ThreadPoolExecutor(8) as pool,
        ):
            answers = list(pool.map(lambda user: _ask(http, user, model, rates=rates), users))
        # Preflights ask, too, without saying hello.
        asked = [entry for entry in log.entries if b"hello" in entry.body]
        last = {_asker(entry): entry.model for entry in asked}
        found = {
            user: Served(
                answer.headers.get("x-canary-name"),
                answer.headers.get("x-canary-arm"),
                last[user],
                answer.status_code,
            )
            for user, answer in zip(users, answers, strict=True)
        }
        for user, each in found.items():
            if each.canary is not None and each.arm is not None:
                self._asked.setdefault((each.canary, runs[each.canary], each.arm), []).append(user)
        for entry in asked:
            canary = found[_asker(entry)].canary
            self._reached[Reached(canary, entry.model, (entry.status or 0) >= 400)] += 1
        return found

    # What canary says.

    def status(self) -> Any:
        """The status document."""
        return self.stage.api("GET", "/api/status").json()

    def canary(self, name: str) -> dict[str, Any] | None:
        """A canary's part of it; None for none."""
        return next((each for each in self.status()["canaries"] if each["name"] == name), None)

    def page(self, path: str) -> str:
        """What a page says."""
        text = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", self.stage.api("GET", path).text, flags=re.S)
        return " ".join(unescape(text).split())

    def acts(self) -> list[tuple[str, str]]:
        """Canary and action of what the audit log has since it was last read, oldest first."""
        found = self.stage.api("GET", "/api/audit?limit=1000").json()[::-1]
        new, self._acts_read = found[self._acts_read :], len(found)
        page = self.page("/audit")
        for each in new:
            assert each["canary"] in page
        return [(each["canary"], each["action"]) for each in new]

    def endings(self) -> dict[str, str]:
        """What became of each release, by its candidate, as list, page and API say."""

        def alike() -> list[dict[str, Any]] | None:  # a promotion's report is stored a moment later
            listed = self.read("release list")
            return listed["releases"] if listed == self.stage.api("GET", "/api/releases").json() else None

        releases = eventually(alike, within_s=TAKEN_S)
        page = self.page("/releases")
        for each in releases:
            assert f"{each['candidate']['model']}" in page and each["ending"] in page
        return {each["candidate"]["model"]: each["ending"] for each in releases}

    # What is compared.

    def gets(self, expected: Mapping[str, int], *, status: int = 200) -> None:
        """The 200 users get these models, and canary says so everywhere."""
        eventually(self._followed)
        looks = list[Mapping[Asker, Served]]()

        def taken() -> bool:
            looks.append(self.ask())
            return models(looks[-1]) == expected

        with suppress(AssertionError):
            eventually(taken, within_s=TAKEN_S)
        served = looks[-1]
        assert models(served) == expected
        assert {each.status for each in served.values()} == {status}
        self._counted()
        told = self.status()
        for each in told["canaries"]:
            self._splits(each, served)
        for (canary, arm), users in by_arm(served).items():
            assert {served[user].model for user in users} == {_model(told, canary, arm)}, (canary, arm)
            for user in users[:EXPLAINED]:
                self._explains(user, canary, arm)
        back = any(each["state"] == "rolled_back" for each in told["canaries"])
        for text in (self.does("status", exits=5 if back else 0), self.page("/")):
            _says(text, told, expected)
        self._tells_vendors()

    def promoted_model_is_gone_for_a_while(self, canary: str, model: str, former: str) -> None:
        """Everybody gets the former model's answers, one page and the true sentences, until it is back."""
        self.stage.provider.retire(model)
        served = self.ask()
        assert {each.status for each in served.values()} == {200}
        assert models(served) == {former: 200}
        (page,) = eventually(lambda: self.hook.events(canary, "page"))
        gone = f"{model}, which everybody is to get, is not answering: "
        assert re.search(rf"{gone}(\d+) of \1 requests were answered by {former} instead", page["headline"])
        said = f"everybody is to get openai/{model}, but openai/{former} answers"
        for text in (self.does("status"), self.page("/")):
            assert said in text, text
        self.stage.provider.behave(model, ANSWERS)
        self.gets({model: 200})
        assert len(self.hook.events(canary, "page")) == 1

    def _followed(self) -> bool:
        """Every worker follows the newest plan."""
        workers = self.status()["workers"]
        return bool(workers["alive"] == workers["confirmed"] == 1)

    def _counted(self) -> None:
        """Every request is in the status document, in the run and the arm that its answer named."""

        def figures() -> list[tuple[int, int]]:
            return [
                (of_arm["requests"], len(self._asked.get((each["name"], each["run"], arm), ())))
                for each in self.status()["canaries"]
                for arm, of_arm in each["arms"].items()
            ]

        with suppress(AssertionError):
            eventually(lambda: all(shown == asked for shown, asked in figures()), within_s=TAKEN_S)
        assert all(shown == asked for shown, asked in figures()), figures()

    def _splits(self, canary: Mapping[str, Any], served: Mapping[Asker, Served]) -> None:
        """Exactly the users below the share that is shown get the candidate, and the page says so."""
        name, share = canary["name"], canary["share"]
        mine = [user for user, each in served.items() if each.canary == name and user is not None]
        given = [user for user in mine if served[user].arm == "candidate"]
        assert given == [user for user in mine if self.stage.arm(name, user, share) == "candidate"], name
        for arm, of_arm in canary["arms"].items():
            asked = len(self._asked.get((name, canary["run"], arm), ()))
            assert of_arm["requests"] == asked, (name, arm)
        page = self.page(f"/canaries/{name}")
        assert f"{share:.0%}".replace("%", " %") in page
        assert given == mine or "Promoted: everybody gets the candidate" not in page, page[:600]
        assert not given or ". Everybody gets the baseline." not in page, page[:600]

    def _explains(self, user: Asker, canary: str | None, arm: str | None) -> None:
        """`canary explain` says of the user what came."""
        told = self.stage.api("GET", f"/api/explain?unit={user}").json()["canaries"]
        mine = [each for each in told if each["lane"] is None or each["lane"]["mine"]]
        assert [(each["canary"], each["arm"]) for each in mine] == ([(canary, arm)] if canary else []), user

    def _tells_vendors(self) -> None:
        """Each release's document for its vendor has the requests that reached the provider."""
        for each in self.stage.api("GET", "/api/releases").json()["releases"]:
            model = each["candidate"]["model"]
            trial = f"support-{model}"
            failed, good = (self._reached[Reached(trial, model, each)] for each in (True, False))
            asked = failed + good
            document = self.stage.api("GET", f"/api/releases/{each['id']}?for=vendor&form=json").json()
            said = [found for line in document["says"] for found in FAILED.findall(line)]
            expected = [(f"{failed:,}", f"{asked:,}")] if asked else []
            assert said == expected, (model, document["says"])


def models(served: Mapping[Asker, Served]) -> Mapping[str, int]:
    """How many users each model answered."""
    return Counter(each.model for each in served.values())


def by_arm(served: Mapping[Asker, Served]) -> dict[tuple[str | None, str | None], list[Asker]]:
    """The users of each arm, by canary and arm."""
    found: dict[tuple[str | None, str | None], list[Asker]] = {}
    for user, each in served.items():
        found.setdefault((each.canary, each.arm), []).append(user)
    return found


def _model(status: Mapping[str, Any], canary: str | None, arm: str | None) -> str:
    """The model that the status document names for an arm, or for requests of no canary."""
    if canary is None:
        (standing,) = status["standing"]
        return str(standing["baseline"]["model"])
    (found,) = [each for each in status["canaries"] if each["name"] == canary]
    return str(found["models"][arm]["model"])


def _says(text: str, status: Mapping[str, Any], served: Mapping[str, int]) -> None:
    """The sentence on the standing canary names every model that users get, and who gets its own."""
    ((whom, model, beside, tries),) = STANDING.findall(text)
    candidates = [_model(status, each, "candidate") for each in tries.split(", ") if each != "nothing"]
    named = {model, *candidates, *(each for each in served if f"openai/{each}" in beside)}
    assert model in served, text
    assert set(served) <= named, (served, text)
    share = 1.0 if whom == "everybody gets" else float(whom.split()[0]) / 100
    assert share == pytest.approx(served[model] / len(USERS), abs=0.1), (served, text)


def _asker(entry: ReceivedRequest) -> Asker:
    user = entry.json.get("user")
    return user if isinstance(user, str) else None


def _ask(http: httpx2.Client, user: Asker, model: str, *, rates: bool) -> httpx2.Response:
    answer = http.post("/v1/chat/completions", json=chat(model, user))
    if rates:
        value = {"exchange_id": answer.headers["x-canary-exchange"], "metric": "csat", "value": 5}
        told = http.post("/canary/feedback", json=value)
        assert told.status_code == 202, told.text
    return answer


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    clock = HandClock(tmp_path)
    clock.set(int((BEGINS - datetime.now(UTC)).total_seconds()))
    provider = LocalProvider(dict.fromkeys((OLD, A, B, C, D), ANSWERS), other=None)
    with (
        listening_hook() as hook,
        on_stage(tmp_path, CONFIG.replace("HOOK", hook.url), provider=provider, env=clock.env) as stage,
    ):
        yield Team(stage, hook, clock)


def test_six_weeks_are_told_as_they_are_served(team: Team) -> None:
    team.gets({OLD: 200})
    assert team.acts() == []
    week_1_begins_and_promotes(team)
    week_2_edits_what_stands(team)
    week_3_goes_bad_and_resumes(team)
    week_4_tries_two_in_lanes(team)
    week_5_reverts(team)
    week_6_retires(team)


def split(team: Team, canary: str, share: float, candidate: str, baseline: str) -> Mapping[str, int]:
    """How many of the 200 users get each model, by the published rule."""
    arms = (team.stage.arm(canary, user, share) for user in USERS)
    return Counter(candidate if arm == "candidate" else baseline for arm in arms)


def lanes(team: Team, tried: Mapping[str, tuple[float, str, str]], rest: str) -> Mapping[str, int]:
    """The same of trials in lanes of one half each, in the order of their beginnings: share, candidate and
    baseline of each. Others get the `rest`."""
    key = derive_key((team.stage.server.data / "secret").read_text().strip().encode(), "assignment")
    found = Counter[str]()
    for user in USERS:
        lane = lane_place(key, user) * 2 // SPACE
        trial = next((each for each in tried if (OF_C, OF_D).index(each) == lane), None)
        if trial is None:
            found[rest] += 1
        else:
            share, candidate, baseline = tried[trial]
            found[candidate if team.stage.arm(trial, user, share) == "candidate" else baseline] += 1
    return found


def week_1_begins_and_promotes(team: Team) -> None:
    team.does(f"begin support --model {A}")
    team.gets(split(team, OF_A, 0.1, A, OLD))
    team.does(f"ramp {OF_A} 50%")
    team.gets(split(team, OF_A, 0.5, A, OLD))
    assert team.acts() == [(OF_A, "begin"), (OF_A, "first seen"), (OF_A, "start"), (OF_A, "ramp")]
    assert team.endings() == {A: "running"}

    team.days_of_traffic(7)
    assert "Ship now support-gpt-6-luna" in team.does(f"report {OF_A}")
    users = len(USERS) + 7 * NEW_A_DAY
    assert f"{users} users in 6.0 days" in team.does(f"release show {A} --for finance")
    team.does(f'promote {OF_A} --reason "as good, at half the price"')
    team.gets(split(team, OF_A, 0.8, A, OLD))
    assert team.acts() == [(OF_A, "promote")]
    assert team.endings() == {A: "shipped"}


def week_2_edits_what_stands(team: Team) -> None:
    team.edits("[support-bot]", "[support-bot, support-app]")
    team.edits("share: 10%", "share: 10%\n    no_unit: random")
    team.gets(split(team, OF_A, 0.8, A, OLD))
    assert models(team.ask(model="support-app")) == {A: 200}
    assert models(team.ask([None])) == {A: 1}
    assert f"{OF_A} keeps match and no_unit of its begin" in team.does("check")

    team.edits("share: 10%", "shares: 10%", refused=True)
    assert 'did you mean "share"?' in team.does("check", exits=2)
    team.gets(split(team, OF_A, 0.8, A, OLD))
    team.edits("shares: 10%", "share: 10%")

    team.stage.restart()
    team.gets(split(team, OF_A, 0.8, A, OLD))
    team.days_pass(7)
    eventually(lambda: not team.canary(OF_A)["holdback"])
    team.gets({A: 200})
    assert team.acts() == [(OF_A, "holdback_end")]
    team.promoted_model_is_gone_for_a_while(OF_A, A, OLD)


def week_3_goes_bad_and_resumes(team: Team) -> None:
    team.stage.provider.behave(B, DOWN)
    team.does(f"begin support --model {B}")
    team.asks_until(lambda: team.canary(OF_B)["state"] == "rolled_back")
    team.gets({A: 200})
    assert team.acts() == [(OF_B, "begin"), (OF_B, "first seen"), (OF_B, "start"), (OF_B, "rollback")]
    assert team.endings() == {A: "shipped", B: "rolled back"}
    (page, *_) = team.hook.events(OF_B, "page")
    assert f"Answers of {B} fail" in page["headline"] and f"Users got {A}'s answers" in page["headline"]

    team.stage.provider.behave(B, ANSWERS)
    team.does(f'resume {OF_B} --reason "the vendor mended it"')
    team.gets(split(team, OF_B, 0.1, B, A))
    assert team.acts() == [(OF_B, "resume")]
    assert team.endings() == {A: "shipped", B: "running"}
    team.does(f"ramp {OF_B} 50%")
    team.days_of_traffic(3)
    assert f"Ship {OF_B}" in team.does(f"report {OF_B}")
    team.does(f'promote {OF_B} --reason "as good, and another vendor"')
    team.gets(split(team, OF_B, 0.8, B, A))
    assert team.acts() == [(OF_B, "ramp"), (OF_B, "promote"), (OF_A, "end")]
    assert team.endings() == {A: "shipped", B: "shipped"}


def week_4_tries_two_in_lanes(team: Team) -> None:
    team.edits("share: 10%", "share: 50%\n    lane: 50%")
    team.gets(split(team, OF_B, 0.8, B, A))
    assert f"this ends the hold-back of {OF_B} early" in team.does(f"begin support --model {C}")
    team.gets(lanes(team, {OF_C: (0.5, C, B)}, B))
    begun = [(OF_C, "begin"), (OF_C, "first seen"), (OF_C, "start")]
    assert team.acts() == [(OF_B, "configure"), (OF_B, "holdback_end"), *begun]
    team.does(f"begin support --model {D}")
    tried = {OF_C: (0.5, C, B), OF_D: (0.5, D, B)}
    team.gets(lanes(team, tried, B))
    assert team.acts() == [(OF_D, "begin"), (OF_D, "first seen"), (OF_D, "start")]
    team.days_of_traffic(1)
    team.stage.restart()
    team.gets(lanes(team, tried, B))

    team.does(f'promote {OF_C} --reason "the better one" --against-verdict')
    team.gets(lanes(team, tried | {OF_C: (0.8, C, B)}, B))
    assert team.acts() == [(OF_C, "promote"), (OF_B, "end")]
    shipped = dict.fromkeys((A, B, C), "shipped")
    assert team.endings() == shipped | {D: "running"}
    team.does(f'rollback {OF_D} --reason "no better"')
    team.gets(lanes(team, {OF_C: (0.8, C, B)}, C))
    assert team.acts() == [(OF_D, "rollback"), (OF_D, "end")]
    assert team.endings() == shipped | {D: f"tried, and taken back by {me()}"}
    team.days_pass(8)
    eventually(lambda: not team.canary(OF_C)["holdback"])
    team.gets({C: 200})
    assert team.acts() == [(OF_C, "holdback_end")]


def week_5_reverts(team: Team) -> None:
    assert f"everybody gets openai/{B}" in team.does('revert support --reason "invents discounts"')
    team.gets({B: 200})
    assert team.acts() == [(OF_C, "rollback")]
    assert team.endings() == dict.fromkeys((A, B), "shipped") | taken_back(C)


def taken_back(*shipped: str) -> Mapping[str, str]:
    return dict.fromkeys(shipped, f"shipped, and taken back by {me()}") | {
        D: f"tried, and taken back by {me()}"
    }


def week_6_retires(team: Team) -> None:
    team.stage.provider.retire(B)
    team.gets({B: 200}, status=404)
    (page,) = eventually(lambda: team.hook.events("support", "page"))
    assert page["rules"] == ["outage"]
    assert f"{B}, the baseline, fails itself" in page["headline"]
    assert f"{B}, the baseline, fails itself" in team.page("/")

    team.edits("notify:", f"retires: {{{A}: 2027-04-20, {B}: 2027-04-01}}\nnotify:")
    said = team.does('revert support --reason "it is gone"', exits=1)
    assert f"openai/{A} retires on 2027-04-20" in said
    assert "--despite-retirement" in said
    team.gets({B: 200}, status=404)
    assert team.acts() == []
    team.does('revert support --reason "it is gone" --despite-retirement')
    team.gets({A: 200})
    assert team.acts() == [(OF_C, "end"), (OF_B, "rollback")]
    assert team.endings() == {A: "shipped"} | taken_back(B, C)
    shown = team.does(f"release show {B}")
    assert f"Canary {OF_B} was rolled back by {me()}: it is gone" in shown
    assert "Promoted:" not in shown
    assert f"{me()} took {OF_B} back" in team.does("status")
