"""Over the real server: a candidate over its rate is throttled, not broken, and a ramp waits for users."""

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import httpx2
import pytest

from alerts.quota import QuotaStatus
from control.states.rollouts import Rollouts
from demo.provider.behaviour import Behaviour
from records.store import Store
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CANARY = """
  - name: NAME
    match: {{models: [NAME]}}
    baseline: {{provider: API, model: NAME-old}}
    candidate: {{provider: API, model: NAME-new}}
    settle: 0s
    RAMP
    rubric: [{{metric: error_rate, acceptable: "< 10%", ideal: "< 1%", weight: 1, question: "?"}}]
"""
HEAD = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  anthropic: {{api: anthropic, base_url: "{url}"}}
  gemini: {{api: gemini, base_url: "{url}"}}
canaries:
"""
HOUR = "ramp: [{{share: 50%, for: 1h}}, {{share: 60%}}]"
USERS = "ramp: [{{share: 50%, until: {{users: 5}}}}, {{share: 60%}}]"
APIS = {"by-openai": "openai", "by-anthropic": "anthropic", "by-gemini": "gemini", "old-busy": "openai"}
CONFIG = HEAD + "".join(
    CANARY.replace("NAME", name).replace("API", api).replace("RAMP", USERS if name == "steps" else HOUR)
    for name, api in {**APIS, "steps": "openai"}.items()
)
BUSY = Behaviour(faults={"throttled": 1.0})


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("quota"), CONFIG) as stage:
        yield stage


def ask(stage: Stage, name: str, user: str, *, stream: bool = False) -> httpx2.Response:
    headers = {"x-canary-unit": user}
    text = {"role": "user", "content": "hello"}
    if name == "by-anthropic":
        path = "/v1/messages"
        body: dict[str, Any] = {"model": name, "max_tokens": 99, "messages": [text], "stream": stream}
        headers |= {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    elif name == "by-gemini":
        path = f"/v1beta/models/{name}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")
        body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
        headers["x-goog-api-key"] = "k"
    else:
        path, body = "/v1/chat/completions", chat(name, None, stream=stream)
        headers["authorization"] = "Bearer k"
    return httpx2.post(
        f"{stage.server.traffic}{path}", json=body, headers=headers, timeout=30, trust_env=False
    )


@pytest.mark.parametrize("name", ["by-openai", "by-anthropic", "by-gemini"])
def test_a_throttled_candidate_is_covered_holds_its_ramp_and_is_never_rolled_back(
    stage: Stage, name: str
) -> None:
    users = stage.users("candidate", name, 0.5)
    good = [ask(stage, name, user, stream=bool(number % 2)) for number, user in enumerate(islice(users, 14))]
    stage.provider.behave(f"{name}-new", BUSY)
    over = [ask(stage, name, user, stream=bool(number % 2)) for number, user in enumerate(islice(users, 6))]
    assert {answer.status_code for answer in (*good, *over)} == {200}
    assert [answer.headers.get("x-canary-served-by") for answer in over] == ["baseline"] * 6
    assert len([each for each in stage.provider.log.of(f"{name}-new") if each.fault == "throttled"]) == 6
    for answer in over:
        row = stage.outcome(answer.headers["x-canary-exchange"])
        assert (row["outcome"], row["error_type"]) == ("fallback", "provider_throttled")
    told = eventually(lambda: _with_quota(stage, name, asked=20))
    assert told["quota"]["sentence"] == "quota: 30 % of requests throttled"
    assert (told["state"], told["ramp"]["held"], told["breakers_open"]) == ("running", True, 0)
    mine = told["arms"]["candidate"]
    assert (mine["errors"], mine["counted"], mine["unreached"]) == (0, 14, {"provider_throttled": 6})
    assert [rule for rule in told["guardrails"] if rule["state"] in ("warn", "firing", "latched")] == []
    page = stage.canary("status", name)
    assert "quota: 30 % of requests throttled" in " ".join(page.stdout.split())
    metrics = httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).text
    assert f'canary_throttled_requests_total{{arm="candidate",canary="{name}"}} 6.0' in metrics


def _with_quota(stage: Stage, name: str, *, asked: int) -> dict[str, Any] | None:
    found = stage.status(name)
    return found if (found["quota"] or {"asked": 0})["asked"] == asked else None


def test_the_report_has_what_was_throttled_as_a_figure_and_a_caveat(stage: Stage) -> None:
    document = eventually(lambda: _throttled(stage, "by-openai"))
    assert document["details"]["throttled"] == {
        "candidate": 6, "candidate_of": 20, "baseline": 0, "baseline_of": 0,
    }  # fmt: skip
    said = "30 % of the candidate’s requests (6 of 20) were over the provider’s rate or quota (429)"
    assert any(reason.startswith(f"Quota: {said}") for reason in document["reasons"])
    (errors,) = document["metrics"]
    assert errors["candidate"] in (0.0, None)


def _throttled(stage: Stage, name: str) -> dict[str, Any] | None:
    document: dict[str, Any] = stage.api("GET", f"/api/canaries/{name}/report").json()
    return document if document["details"].get("throttled") else None


def test_the_baselines_429_is_relayed_and_counts_against_no_arm(stage: Stage) -> None:
    stage.provider.behave("old-busy-old", BUSY)
    answers = [ask(stage, "old-busy", user) for user in islice(stage.users("baseline", "old-busy", 0.5), 3)]
    answer = answers[0]
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    row = stage.outcome(answer.headers["x-canary-exchange"])
    assert (row["outcome"], row["error_type"]) == ("error", "provider_throttled")
    told = eventually(lambda: (s := stage.status("old-busy"))["traffic"] and s)
    assert told["arms"]["baseline"]["unreached"] == {"provider_throttled": 3}
    assert told["traffic"][0]["sentence"] == (
        "3 of 3 requests of the last ten minutes got 429 from provider entry openai: its rate or quota is "
        "used up"
    )
    assert (told["arms"]["baseline"]["errors"], told["quota"], told["ramp"]["held"]) == (0, None, False)


def test_a_step_goes_on_once_enough_users_have_had_an_outcome(stage: Stage) -> None:
    users = stage.users("candidate", "steps", 0.5)
    for user in [*islice(users, 3)] * 2:
        ask(stage, "steps", user)
    told = eventually(lambda: (s := stage.status("steps"))["ramp"]["users"]["have"] == 3 and s)
    assert (told["share"], told["ramp"]["users"]) == (0.5, {"have": 3, "need": 5})
    assert "3 of 5 users" in stage.canary("status", "steps").stdout
    for user in islice(users, 2):
        ask(stage, "steps", user)
    moved = eventually(lambda: (s := stage.status("steps"))["share"] == 0.6 and s)
    assert (moved["ramp"]["step"], moved["ramp"]["users"]) == (1, None)


def test_a_capped_share_moves_those_above_it_to_the_baseline_and_a_person_ends_it(stage: Stage) -> None:
    kept = next(stage.users("candidate", "old-busy", 0.2))
    moved = next(user for user in stage.users("candidate", "old-busy", 0.5) if _above(stage, user))
    stage.provider.behave("old-busy-old", Behaviour())
    assert _arm(ask(stage, "old-busy", moved)) == "candidate"
    stage.server.stop()
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        capped = QuotaStatus(asked=20, throttled=12, cap=0.2, holds=True)
        Rollouts(store, lambda states: None).cap("old-busy", capped, time.time())
    stage.restart()
    assert [_arm(ask(stage, "old-busy", user)) for user in (kept, moved)] == ["candidate", "baseline"]
    told = stage.status("old-busy")
    assert (told["share"], told["ramp"]["held"]) == (0.2, True)
    assert told["quota"]["sentence"] == "quota: the share is capped at 20 %"
    said = stage.canary("explain", moved).stdout
    assert "quota: its share of 50.00% is capped at 20.00%" in " ".join(said.split())
    assert stage.canary("ramp", "old-busy", "50%", "--reason", "more quota").returncode == 0
    assert eventually(lambda: _arm(ask(stage, "old-busy", moved)) == "candidate")
    assert stage.status("old-busy")["quota"] is None


def _above(stage: Stage, user: str) -> bool:
    return stage.arm("old-busy", user, 0.2) == "baseline"


def _arm(answer: httpx2.Response) -> str:
    assert answer.status_code == 200
    return answer.headers["x-canary-arm"]
