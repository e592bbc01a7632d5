"""Feedback about sessions and users reaches guardrails and /metrics under the arm of their last exchange."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from routing.canary import ArmName
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: live
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    guardrails:
      - {{rule: csat}}
      - {{metric: resolved, limit: 10%, action: page}}
metrics:
  resolved: {{kind: bool, per: session, question: "Was the case settled?"}}
"""
TOKEN = {"authorization": "Bearer tok"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    env = {"CANARY_FEEDBACK_TOKEN": "tok"}
    with on_stage(tmp_path_factory.mktemp("live"), CONFIG, env=env, workers=2) as up:
        yield up


def talk(stage: Stage, arm: ArmName, prefix: str, users: int = 3) -> list[str]:
    """One exchange of each of these users of an arm, in a session of its own (`s-USER`)."""
    names = list(islice(stage.users(arm, "live", 0.5, prefix), users))
    for name in names:
        headers = {"authorization": "Bearer sk", "x-canary-session": f"s-{name}"}
        url = f"{stage.server.traffic}/v1/chat/completions"
        answer = httpx2.post(url, json=chat("gpt-4o", name), headers=headers)
        assert answer.status_code == 200
    return names


def rate(stage: Stage, *values: dict[str, Any]) -> None:
    url = f"{stage.server.traffic}/canary/feedback"
    assert httpx2.post(url, json=list(values), headers=TOKEN).status_code == 202


def counted(stage: Stage) -> dict[tuple[str, str], float]:
    """`canary_feedback_total` of csat by canary and arm."""
    text = stage.api("GET", "/metrics").text
    return {
        (sample.labels["canary"], sample.labels["arm"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "canary_feedback_total" and sample.labels["metric"] == "csat"
    }


def guardrail(stage: Stage, name: str) -> dict[str, Any]:
    return next(each for each in stage.status("live")["guardrails"] if each["rule"] == name)


def heard(stage: Stage) -> tuple[float, float] | None:
    """The raters that the guardrail counted, the candidate's and the baseline's; None just after a start."""
    if not stage.status("live")["guardrails"]:
        return None
    rule = guardrail(stage, "csat")
    return rule["evidence"]["outcomes"], rule["evidence"]["baseline_outcomes"]


def test_values_by_session_and_by_user_count_under_their_arm(stage: Stage) -> None:
    new, old = talk(stage, "candidate", "new"), talk(stage, "baseline", "old", 2)
    rate(
        stage,
        *({"metric": "csat", "value": 2, "unit": name} for name in new[:2]),
        {"metric": "csat", "value": 1, "session": f"s-{new[2]}"},
        *({"metric": "csat", "value": 5, "session": f"s-{name}"} for name in old),
    )
    assert eventually(lambda: heard(stage) == (3.0, 2.0) and counted(stage)) == {
        ("live", "candidate"): 3.0,
        ("live", "baseline"): 2.0,
    }
    rule = guardrail(stage, "csat")
    assert rule["waits"] == {"have": 2, "need": 30, "of": "baseline values"}
    assert "2 of 30 baseline values" in stage.canary("status", "live").stdout
    assert stage.status("live")["arms"]["candidate"]["feedback"]["csat"]["count"] == 3


def test_a_guardrail_on_a_declared_event_hears_of_it(stage: Stage) -> None:
    settled = [*talk(stage, "candidate", "settled", 1), *talk(stage, "baseline", "settled", 3)]
    rate(stage, *({"metric": "resolved", "value": True, "session": f"s-{name}"} for name in settled))
    found = eventually(
        lambda: (rule := guardrail(stage, "resolved"))["evidence"]["baseline_events"] == 3.0 and rule
    )
    assert (found["evidence"]["events"], found["threshold"]) == (1.0, 0.9)
    assert found["sentence"].endswith("; waits: 4 of 30 users with resolved")


def test_after_a_restart_the_store_knows_their_arm(stage: Stage) -> None:
    (name,) = talk(stage, "candidate", "later", 1)
    eventually(lambda: len(stage.outcomes()) == 10)
    before = eventually(lambda: heard(stage))
    stage.server.stop()
    stage.restart()
    rate(stage, {"metric": "csat", "value": 3, "unit": name})
    eventually(lambda: heard(stage) == (before[0] + 1.0, before[1]))
