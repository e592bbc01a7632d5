"""A person decides, a pipeline waits: over the command line and the API of a running server."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.stage import Stage, on_stage

CANARY = """
  - name: NAME
    match: {{models: [for-NAME]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    rubric: [{{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Any?"}}]
"""
CONFIG = f"""
providers:
  openai: {{{{api: openai, base_url: "{{url}}/v1"}}}}
canaries:
{CANARY.replace("NAME", "trial")}
{CANARY.replace("NAME", "open")}
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two canaries: somebody took `trial` out, and `open` runs."""
    with on_stage(tmp_path_factory.mktemp("deciding"), CONFIG) as up:
        assert up.api("POST", "/api/canaries/trial/rollback", {"who": "bob"}).status_code == 200
        yield up


def test_a_decision_with_a_compensating_factor_outweighs_until_another_replaces_it(stage: Stage) -> None:
    def report() -> dict[str, object]:
        return dict(stage.api("GET", "/api/canaries/trial/report").json())

    def decide(choice: str, *more: str) -> None:
        words = (
            "decide",
            "trial",
            "--decision",
            choice,
            "--by",
            "jane",
            "--reason",
            "the board agrees",
            *more,
        )
        told = stage.canary(*words, "-o", "json")
        assert (told.returncode, json.loads(told.stdout)["who"]) == (0, "jane"), told.stderr

    assert report()["verdict"] == "dont_ship"
    decide("ship", "--compensating", "it halves the cost")
    after = report()
    assert after["verdict"] == "ship_with_caveats"
    assert "it halves the cost" in str(after["reasons"])
    assert dict(after["decision"])["by"] == "jane"  # type: ignore[call-overload]
    for form in ("html", "markdown"):
        assert "the board agrees" in stage.api("GET", f"/api/canaries/trial/report?form={form}").text
    decide("dont_ship")
    assert report()["verdict"] == "dont_ship"
    actions = [(entry["action"], entry["who"]) for entry in stage.api("GET", "/api/audit").json()]
    assert actions[:3] == [("decide", "jane"), ("decide", "jane"), ("rollback", "bob")]


def test_what_is_no_decision_is_refused_with_what_would_be(stage: Stage) -> None:
    whole = {"decision": "ship", "who": "jane", "reason": "because"}
    for bad in (
        {**whole, "decision": "maybe"},
        {**whole, "who": " "},
        {**whole, "reason": ""},
        {**whole, "decision": "dont_ship", "compensating": "cheap"},
        {**whole, "reason": 4},
    ):
        refused = stage.api("POST", "/api/canaries/trial/decide", bad)
        assert refused.status_code == 400
        assert "ship | dont_ship | extend" in refused.json()["error"]
    assert stage.api("POST", "/api/canaries/other/decide", whole).status_code == 404
    told = stage.canary(
        "decide", "trial", "--decision", "extend", "--by", "j", "--reason", "r", "--compensating", "c"
    )
    assert told.returncode == 2


def test_waiting_ends_at_once_with_5_for_what_was_rolled_back(stage: Stage) -> None:
    told = stage.canary("wait", "trial", "--timeout", "1h", "-o", "json")
    assert told.returncode == 5
    assert json.loads(told.stdout)["state"] == "rolled_back"


def test_waiting_ends_with_4_when_time_is_up(stage: Stage) -> None:
    told = stage.canary("wait", "open", "--timeout", "1s", "--poll", "1s")
    assert told.returncode == 4
    assert "still open after 1s" in told.stderr
    assert stage.canary("wait", "other").returncode == 1
