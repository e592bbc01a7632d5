"""Who gets which arm, over HTTP and through two workers; the rule itself is held to in tests/routing."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from routing.canary import ArmName
from tests.e2e.stage import Stage, chat, on_stage, worker_pids
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: SHARE
    settle: 0s
    guardrails: []
"""
PIN = "the-pin-token-of-the-benchmarks"
USERS = [f"user-{number}" for number in range(600)]
CONNECTIONS = 12  # enough that both workers surely get some: the kernel spreads them by their ports
IN_A_ROW = 20
KEY = {"authorization": "Bearer sk-caller"}

Arms = dict[str, str]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("cohort")
    with on_stage(folder, config("5%"), workers=2, env={"CANARY_PIN_TOKEN": PIN}) as up:
        yield up


def config(share: str) -> str:
    return CONFIG.replace("SHARE", share)


def ask(stage: Stage, user: str | None, headers: dict[str, str] | None = None) -> httpx2.Response:
    """One request over a connection of its own."""
    url = f"{stage.server.traffic}/v1/chat/completions"
    return httpx2.post(url, json=chat("gpt-4o", user), headers=KEY | (headers or {}), trust_env=False)


def arms_over_http(stage: Stage) -> Arms:
    """Every user's arm, as the answers name it; the provider's log must agree."""

    def some(users: list[str]) -> Arms:
        with httpx2.Client(base_url=stage.server.traffic, headers=KEY, trust_env=False) as http:
            answers = {user: http.post("/v1/chat/completions", json=chat("gpt-4o", user)) for user in users}
        assert {answer.status_code for answer in answers.values()} == {200}
        return {user: answer.headers["x-canary-arm"] for user, answer in answers.items()}

    stage.provider.log.clear()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        parts = pool.map(some, (USERS[start::CONNECTIONS] for start in range(CONNECTIONS)))
        arms = {user: arm for part in parts for user, arm in part.items()}
    served = {str(entry.json["user"]): entry.model for entry in stage.provider.log.entries}
    models = {"gpt-4o-2024-08-06": "baseline", "gpt-4o-2024-11-20": "candidate"}
    assert {user: models[model] for user, model in served.items()} == arms
    return arms


def by_the_rule(stage: Stage, share: float) -> Arms:
    return {user: stage.arm("support-nov", user, share) for user in USERS}


def at_share(stage: Stage, percent: int) -> None:
    """Write the share into canary.yaml, and wait until no worker goes by another one any more."""
    stage.configure(config(f"{percent}%").format(url=stage.provider.url))
    eventually(lambda: stage.status("support-nov")["share"] == percent / 100)
    between = (user for user in stage.users("candidate", "support-nov", 0.1))
    user = next(user for user in between if stage.arm("support-nov", user, 0.05) == "baseline")
    expected = stage.arm("support-nov", user, percent / 100)
    eventually(lambda: all(ask(stage, user).headers["x-canary-arm"] == expected for _ in range(IN_A_ROW)))


def test_users_get_the_arm_of_the_rule_and_raising_the_share_only_adds(stage: Stage) -> None:
    at_share(stage, 5)
    at_5 = arms_over_http(stage)
    assert at_5 == by_the_rule(stage, 0.05)
    at_share(stage, 10)
    at_10 = arms_over_http(stage)
    assert at_10 == by_the_rule(stage, 0.10)
    first, more = ({user for user, arm in arms.items() if arm == "candidate"} for arms in (at_5, at_10))
    print(f"\ncandidate users of {len(USERS)}: {len(first)} at 5 %, {len(more)} at 10 %")
    assert first < more


@pytest.mark.more
def test_nobody_moves_when_a_worker_is_killed_or_everything_restarts(stage: Stage) -> None:
    at_share(stage, 10)
    before = arms_over_http(stage)
    (victim, other) = worker_pids(stage.server)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len({*worker_pids(stage.server)} - {victim}) == 2)
    assert arms_over_http(stage) == before
    assert other in worker_pids(stage.server)
    stage.restart()
    assert not {victim, other} & {*worker_pids(stage.server)}
    assert arms_over_http(stage) == before


def test_explain_says_what_traffic_gets(stage: Stage) -> None:
    at_share(stage, 10)
    for user in (next(stage.users("candidate", "support-nov", 0.1)), "user-1"):
        said = json.loads(stage.canary("explain", user, "-o", "json").stdout)["canaries"][0]
        assert said["arm"] == ask(stage, user).headers["x-canary-arm"]
        assert (said["reason"], said["share"]) == ("cohort", 0.1)
        assert (said["bucket"] < 0.1) == (said["arm"] == "candidate")


def test_a_unit_is_the_same_wherever_it_stands(stage: Stage) -> None:
    url = f"{stage.server.traffic}/v1/chat/completions"
    user = next(stage.users("candidate", "support-nov", 0.05))
    bare = chat("gpt-4o", None)
    ways: list[tuple[dict[str, object], dict[str, str]]] = [
        (bare | {"user": user}, {}),
        (bare | {"safety_identifier": user}, {}),
        (bare | {"metadata": {"user_id": user}}, {}),
        (bare, {"x-canary-unit": user}),
        (bare, {"x-canary-session": user}),
    ]
    answers = [httpx2.post(url, json=body, headers=KEY | headers, trust_env=False) for body, headers in ways]
    assert {answer.headers["x-canary-arm"] for answer in answers} == {"candidate"}
    rows = [stage.outcome(answer.headers["x-canary-exchange"]) for answer in answers]
    assert len({row["unit"] for row in rows}) == 1
    assert user not in {row["unit"] for row in rows}


def test_without_a_unit_the_baseline_serves_and_it_counts_for_nobody(stage: Stage) -> None:
    answers = [ask(stage, None) for _ in range(30)]
    assert {answer.headers["x-canary-arm"] for answer in answers} == {"baseline"}
    row = stage.outcome(answers[0].headers["x-canary-exchange"])
    assert (row["reason"], row["unit"], row["arm"]) == ("no_unit", "", "baseline")


@pytest.mark.parametrize("arm", ["candidate", "baseline"])
def test_a_pin_with_its_token_chooses_the_arm(stage: Stage, arm: ArmName) -> None:
    other: ArmName = "baseline" if arm == "candidate" else "candidate"
    user = next(stage.users(other, "support-nov", 0.05))
    answer = ask(stage, user, {"x-canary-pin": arm, "x-canary-pin-token": PIN})
    assert (answer.status_code, answer.headers["x-canary-arm"]) == (200, arm)
    assert stage.outcome(answer.headers["x-canary-exchange"])["reason"] == "pinned"


@pytest.mark.parametrize("token", [{}, {"x-canary-pin-token": "guessed"}])
def test_a_pin_without_its_token_is_refused_and_reaches_nobody(stage: Stage, token: dict[str, str]) -> None:
    before = len(stage.provider.log.entries)
    answer = ask(stage, "user-1", {"x-canary-pin": "candidate"} | token)
    assert answer.status_code == 403
    assert "pin token" in answer.json()["error"]["message"]
    assert len(stage.provider.log.entries) == before
