"""A flag system's arms through the real server: obeyed, counted, reported without a check of the split."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from proxy.calls.canary_choice import signature
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: flagged
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    assignment: header
    share: 10%
    guardrails: []
    minimum_days: 0
    rubric:
      - metric: error_rate
        acceptable: "<= 50%"
        ideal: "<= 40%"
        weight: 1
        question: "Do answers come?"
"""
TOKEN = "pin-token"
UNITS, OF_CANDIDATE, FLIPPED = 2000, 600, 3
"""How many units there are, and the first ones that the flag gives to the candidate."""


def header(unit: str, arm: Any, token: str = TOKEN) -> dict[str, str]:
    return {
        "x-canary-unit": unit,
        "x-canary-assignment": f"{arm}; sig={signature(token, canary='flagged', unit=unit, arm=arm)}",
    }


class Asker:
    """Asks over one connection."""

    def __init__(self, stage: Stage, client: httpx2.Client) -> None:
        self.stage, self.client = stage, client

    def ask(self, headers: dict[str, str]) -> httpx2.Response:
        url = f"{self.stage.server.traffic}/v1/chat/completions"
        named = {"authorization": "Bearer sk", **headers}
        answer = self.client.post(url, json=chat("gpt-4o", None), headers=named)
        assert answer.status_code == 200
        return answer

    def arm(self, headers: dict[str, str]) -> str:
        return str(self.ask(headers).headers["x-canary-arm"])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("flags"), CONFIG, env={"CANARY_PIN_TOKEN": TOKEN}) as up:
        yield up


@pytest.fixture(scope="module")
def asker(stage: Stage) -> Iterator[Asker]:
    with httpx2.Client(timeout=60.0, trust_env=False) as client:
        yield Asker(stage, client)


@pytest.fixture(scope="module")
def answers(asker: Asker) -> list[tuple[str, str]]:
    """What the flag gave each unit, and what the unit got."""
    given = ["candidate" if number < OF_CANDIDATE else "baseline" for number in range(UNITS)]
    return [(arm, asker.arm(header(f"unit-{number}", arm))) for number, arm in enumerate(given)]


def test_every_unit_gets_the_arm_that_the_flag_gave_it(answers: list[tuple[str, str]]) -> None:
    assert len(answers) == UNITS
    assert [given for given, _ in answers] == [got for _, got in answers]


@pytest.fixture(scope="module")
def unsigned(asker: Asker) -> list[httpx2.Response]:
    """Two answers to requests with a wrong signature, and one to a request without any."""
    return [
        asker.ask(header("nobody", "candidate", token="another")),
        asker.ask({**header("somebody", "candidate"), "x-canary-unit": "nobody"}),
        asker.ask({"x-canary-unit": "nobody"}),
    ]


def test_without_a_good_signature_the_baseline_serves_and_that_is_counted(
    stage: Stage, unsigned: list[httpx2.Response]
) -> None:
    assert {answer.headers["x-canary-arm"] for answer in unsigned} == {"baseline"}
    assert stage.outcome(unsigned[-1].headers["x-canary-exchange"])["reason"] == "no_assignment"

    def counted() -> bool:
        told = stage.status("flagged")["assignment"]
        return (told["no_assignment"], told["bad_assignment"]) == (1, 2)

    eventually(counted)
    said = " ".join(stage.canary("status").stdout.split())
    assert "1 request had no arm and 2 requests had a wrong signature" in said
    metrics = httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).text
    found = re.search(r'^canary_assignments_total\{[^}]*reason="bad_assignment"[^}]*\} (\S+)', metrics, re.M)
    assert found is not None and float(found[1]) == 2.0


@pytest.mark.usefixtures("unsigned")
def test_doctor_says_what_the_app_must_send(stage: Stage) -> None:
    arguments = ("doctor", "--config", str(stage.server.config), "-o", "json")

    def warned() -> bool:
        findings = json.loads(stage.canary(*arguments).stdout)["findings"]
        found = [each for each in findings if each["check"] == "assignment" and "no arm" in each["says"]]
        return any(each["state"] == "warning" and "x-canary-assignment" in each["do"] for each in found)

    eventually(warned)


@pytest.mark.usefixtures("answers")
def test_doctor_and_status_say_when_the_flag_s_share_is_another(stage: Stage) -> None:
    said = "of the signed requests, and `share` is 10 %: relative guardrails are wrong until they agree"

    def told(*arguments: str) -> bool:
        return said in " ".join(stage.canary(*arguments).stdout.split())

    eventually(lambda: told("doctor", "--config", str(stage.server.config)))
    assert told("status")


def test_no_provider_sees_the_header(stage: Stage, asker: Asker) -> None:
    asker.ask(header("unit-0", "candidate"))
    sent = [name for received in stage.provider.log.entries for name, _ in received.headers]
    assert sent and not [name for name in sent if str(name).lower().startswith("x-canary")]


def test_explain_says_that_the_flag_system_decides(stage: Stage) -> None:
    assert "the flag system decides" in stage.canary("explain", "unit-0").stdout


@pytest.mark.usefixtures("answers")
def test_the_report_counts_the_given_arms_and_says_that_the_split_is_off(stage: Stage, asker: Asker) -> None:
    for number in range(FLIPPED):
        assert asker.arm(header(f"unit-{number}", "baseline")) == "baseline"

    def report() -> Any:
        done = stage.canary("report", "flagged", "--config", str(stage.server.config), "-o", "json")
        found = json.loads(done.stdout)
        return found if found["units"]["baseline"] == UNITS - OF_CANDIDATE else None

    found = eventually(lambda: whole(report()))
    assert found["units"] == {"baseline": UNITS - OF_CANDIDATE, "candidate": OF_CANDIDATE - FLIPPED}
    assert found["srm"] == {"p_value": None, "blocked": False, "off": True}
    assert any("A flag system assigned the users" in each for each in found["reasons"])
    text = stage.canary("report", "flagged", "--config", str(stage.server.config)).stdout
    said = " ".join(text.split())
    assert "off: a flag system assigns the users" in said
    assert f"both arms to {FLIPPED} of {OF_CANDIDATE} users who had the candidate" in said


def whole(found: Any) -> Any:
    return found if found is not None and found["units"]["candidate"] == OF_CANDIDATE - FLIPPED else None


def test_a_rollback_wins_over_the_flag(tmp_path: Path) -> None:
    with (
        on_stage(tmp_path, CONFIG, env={"CANARY_PIN_TOKEN": TOKEN}) as stage,
        httpx2.Client(timeout=60.0, trust_env=False) as client,
    ):
        asker = Asker(stage, client)
        assert asker.arm(header("unit-0", "candidate")) == "candidate"
        done = stage.canary("rollback", "flagged", "--reason", "a test")
        assert done.returncode == 0, done.stderr
        eventually(lambda: asker.arm(header("unit-0", "candidate")) == "baseline")
        said = stage.canary("explain", "unit-0").stdout
        assert "baseline, openai/gpt-4o-2024-08-06 (the canary is rolled back" in said


@pytest.mark.more
def test_without_a_pin_token_the_server_says_that_no_arm_is_taken(tmp_path: Path) -> None:
    with on_stage(tmp_path, CONFIG) as stage:
        assert "serve.no_pin_token" in stage.server.log_file.read_text()
