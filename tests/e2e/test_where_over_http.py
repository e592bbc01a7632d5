"""A candidate that refuses one category's requests: everything that reports it names category and reason.

Requests for refunds carry `max_tokens`, which the candidate rejects and the baseline takes. They are a tenth
of the traffic; the rest works with both. The secret is fixed, so that every run has the same users.
"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    segments: [plan]
notify: [{{webhook: "HOOK"}}]
"""
CANDIDATE = "gpt-4o-2024-11-20"
SECRET = "a-secret-of-the-tests-of-where-0123456789"
MOST = 1_000
TENTH = 10


class Support:
    """Users of the app, who ask one request each."""

    def __init__(self, stage: Stage, http: httpx2.Client) -> None:
        self.stage = stage
        self.http = http
        self.statuses: list[int] = []

    def ask(self, number: int) -> None:
        """User `number` asks; every tenth one for a refund."""
        refund = number % TENTH == 0
        body = chat("gpt-4o", f"user-{number}") | ({"max_tokens": 9} if refund else {})
        headers = {
            "x-canary-category": "refund" if refund else "order",
            "x-canary-tags": f"plan={'pro' if number % 3 else 'free'}",
        }
        url = f"{self.stage.server.traffic}/v1/chat/completions"
        self.statuses.append(self.http.post(url, json=body, headers=headers).status_code)

    def ask_until_rolled_back(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            for first in range(0, MOST, 20):
                [*pool.map(self.ask, range(first, first + 20))]
                if self.stage.status("support-nov")["state"] == "rolled_back":
                    return
        raise AssertionError("the candidate was not rolled back")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Hook, Support]]:
    """The stage after the rollback, what the receiver was told, and the users."""
    folder, env = tmp_path_factory.mktemp("where"), {"CANARY_SECRET": SECRET}
    with (
        listening_hook() as hook,
        on_stage(folder, CONFIG.replace("HOOK", hook.url), workers=2, env=env) as stage,
        httpx2.Client(headers={"authorization": "Bearer sk-caller"}, trust_env=False, timeout=30.0) as http,
    ):
        stage.provider.behave(CANDIDATE, Behaviour(rejects=("max_tokens",)))
        support = Support(stage, http)
        support.ask_until_rolled_back()
        eventually(lambda: stage.status("support-nov")["rollback"])  # the store has it
        yield stage, hook, support


def is_refund(where: list[dict[str, Any]]) -> bool:
    """True if all failing exchanges are in category refund, about a tenth of the traffic."""
    (part,) = where
    named = (part["by"], part["value"]) == ("category", "refund")
    return named and part["failing"] == part["of"] >= 3 and 0.03 < part["share"] < 0.3


def test_the_status_names_the_category(told: tuple[Stage, Hook, Support]) -> None:
    done = told[0].canary("status", "-o", "json")
    (canary,) = json.loads(done.stdout)["canaries"]
    assert done.returncode == 5
    assert is_refund(canary["where"])
    assert "failing exchanges are in category refund (" in canary["where_sentence"]
    assert is_refund(canary["rollback"]["where"])
    text = told[0].canary("status").stdout.replace("\n", " ")
    assert "failing exchanges are in category refund" in text


def test_why_names_the_category(told: tuple[Stage, Hook, Support]) -> None:
    (why,) = told[0].api("GET", "/api/canaries/support-nov/rollbacks").json()
    assert is_refund(why["where"])
    assert "failing exchanges are in category refund (" in why["sentence"]
    assert why["where_sentence"] in why["sentence"]
    named = [rule["where"] for rule in why["rules"] if rule["rule"] == why["rule"]]
    assert named == [why["where"]]


def test_the_page_s_notice_names_the_category(told: tuple[Stage, Hook, Support]) -> None:
    (page,) = eventually(lambda: told[1].events("support-nov", "page"))
    assert is_refund(page["where"])
    assert re.search(
        r"requests, \d+ users?, all in category refund \([\d.]+ % of the traffic\), since", page["headline"]
    )
    assert "Users got gpt" in page["headline"] and "'s answers instead" in page["headline"]


SAID = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)


def is_said(error: dict[str, Any] | None) -> bool:
    """True if this is the candidate's refusal, in its provider's own words."""
    assert error is not None
    named = (error["status"], error["error_type"], error["code"], error["param"], error["message"])
    return named == (400, "candidate_rejects", "unsupported_parameter", "max_tokens", SAID)


def test_the_provider_s_own_words_stand_in_status_why_and_page(told: tuple[Stage, Hook, Support]) -> None:
    stage, hook, _ = told
    status = stage.status("support-nov")
    assert is_said(status["provider_error"])
    assert status["provider_error"]["sentence"] == f"candidate rejects: {SAID}"
    assert is_said(status["rollback"]["provider_error"])
    (why,) = stage.api("GET", "/api/canaries/support-nov/rollbacks").json()
    assert is_said(why["provider_error"])
    assert {failure["message"] for failure in why["failures"]} == {SAID}
    (page,) = eventually(lambda: hook.events("support-nov", "page"))
    assert is_said(page["provider_error"])
    text = " ".join(stage.canary("status").stdout.split())
    assert f"candidate rejects: {SAID}" in text


@pytest.mark.parametrize("path", ["/?open=support-nov", "/canaries/support-nov", "/canaries/support-nov/why"])
def test_the_operator_s_page_shows_both_with_their_quotes(
    told: tuple[Stage, Hook, Support], path: str
) -> None:
    stage = told[0]
    with httpx2.Client(base_url=stage.server.admin, trust_env=False, follow_redirects=True) as http:
        html = http.get(path, headers={"authorization": f"Bearer {stage.server.token}"}).text
    assert f"candidate rejects: {SAID}" in html
    assert "in category refund (" in html


def test_the_export_has_the_provider_s_own_words(told: tuple[Stage, Hook, Support]) -> None:
    rows = eventually(lambda: [row for row in told[0].outcomes() if row["provider_error_message"]])
    assert {row["provider_error_message"] for row in rows} == {SAID}
    done = told[0].canary(
        "records", "export", "--config", str(told[0].server.config), "--canary", "support-nov"
    )
    assert SAID in done.stdout


def test_no_caller_met_an_error(told: tuple[Stage, Hook, Support]) -> None:
    assert {*told[2].statuses} == {200}
