"""A person decides, a pipeline waits: over the command line, the API and the page of a running server."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from tests.e2e.stage import Stage, on_stage
from tests.e2e.test_console import hidden
from tests.serving import WAIT_S, eventually

KEY = {"authorization": "Bearer k"}

CANARY = """
  - name: NAME
    match: {{models: [for-NAME]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    rubric: [{{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Any?"}}]
"""
MISSES = """
  - name: misses
    match: {{models: [for-misses]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: bad}}
    share: 50%
    on_candidate_failure: error
    guardrails: []
    minimum_days: 0
    planned_days: 0
    rubric: [{{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Any?"}}]
"""
UNRATED = """
  - name: unrated
    match: {{models: [for-unrated]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: unrated-model}}
    share: 50%
    promote: two_people
    guardrails: []
    minimum_days: 0
    planned_days: 0
    rubric:
      - {{metric: error_rate, acceptable: "< 60%", ideal: "< 50%", weight: 1, question: "Any?"}}
      - {{metric: csat, acceptable: "> 4", ideal: "> 4.5", weight: 1, question: "Are they satisfied?"}}
"""
CONFIG = f"""
providers:
  openai: {{{{api: openai, base_url: "{{url}}/v1"}}}}
canaries:
{CANARY.replace("NAME", "trial")}
{CANARY.replace("NAME", "open")}
{CANARY.replace("NAME", "needed")}
{MISSES}
{UNRATED}
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Five canaries: somebody took `trial` out, and the others run."""
    with on_stage(tmp_path_factory.mktemp("deciding"), CONFIG) as up:
        assert up.api("POST", "/api/canaries/trial/rollback", {"who": "bob"}).status_code == 200
        yield up


def _report(stage: Stage, canary: str) -> dict[str, Any]:
    return dict(stage.api("GET", f"/api/canaries/{canary}/report").json())


BY_JANE = ("--by", "jane", "--reason", "the board agrees")


def test_no_decision_outweighs_a_rollback_and_it_says_so(stage: Stage) -> None:
    assert _report(stage, "trial")["verdict"] == "dont_ship"
    told = stage.canary("decide", "trial", "ship", *BY_JANE)
    assert told.returncode == 0, told.stderr
    assert (
        "The verdict stays don't ship: the run was rolled back, and no decision outweighs that" in told.stderr
    )
    after = _report(stage, "trial")
    assert (after["verdict"], after["decision"]["by"]) == ("dont_ship", "jane")
    for form in ("html", "markdown"):
        assert "the board agrees" in stage.api("GET", f"/api/canaries/trial/report?form={form}").text
    actions = [(entry["action"], entry["who"]) for entry in stage.api("GET", "/api/audit").json()]
    assert actions[:2] == [("decide", "jane"), ("rollback", "bob")]


def test_a_decision_to_ship_names_each_miss_and_counts_for_it(stage: Stage) -> None:
    stage.provider.behave("bad", Behaviour(faults={"status": 1.0}))
    for number in range(300):
        body = {"model": "for-misses", "user": f"u{number}", "messages": [{"role": "user", "content": "hi"}]}
        httpx2.post(f"{stage.server.traffic}/v1/chat/completions", json=body, headers=KEY, timeout=WAIT_S)
    eventually(lambda: [line["state"] for line in _report(stage, "misses")["metrics"]] == ["FAIL"])

    refused = stage.canary("decide", "misses", "ship", *BY_JANE)
    assert refused.returncode == 1
    assert "this run misses error_rate" in refused.stderr
    assert "--despite error_rate" in refused.stderr
    unknown = stage.canary("decide", "misses", "ship", "--despite", "error_rate,csat", *BY_JANE)
    assert (unknown.returncode, "csat is no miss of this run" in unknown.stderr) == (1, True)
    assert "decision" not in _report(stage, "misses")

    told = stage.canary("decide", "misses", "ship", "--despite", "error_rate", *BY_JANE, "-o", "json")
    assert (told.returncode, json.loads(told.stdout)["who"]) == (0, "jane"), told.stderr
    after = _report(stage, "misses")
    assert after["verdict"] == "ship_with_caveats"
    assert after["reasons"][0] == "jane outweighed error rate (the board agrees)."
    assert after["decision"]["despite"] == ["error_rate"]
    known = eventually(lambda: stage.status("misses")["decision"])
    assert (known["decision"], known["who"], known["despite"]) == ("ship", "jane", ["error_rate"])
    told = " ".join(stage.canary("status", "misses").stdout.split())
    assert "ship despite error_rate, by jane on" in told
    released = stage.canary("release", "show", "bad", "--config", str(stage.server.config)).stdout
    assert "misses: jane outweighed error rate (the board agrees)." in " ".join(released.split())
    assert "ship despite error rate" in " ".join(released.split())
    assert stage.canary("report", "misses", "--config", str(stage.server.config)).returncode == 0
    newest = stage.api("GET", "/api/audit").json()[0]
    assert newest["reason"] == "ship: the board agrees (despite error_rate)"
    promoted = stage.canary("promote", "misses", "--reason", "as decided")
    said = "misses: the report says ship with caveats: jane outweighed error rate (the board agrees)."
    assert (promoted.returncode, said in promoted.stderr) == (0, True), promoted.stderr
    assert stage.api("GET", "/api/audit").json()[0]["against"] is None
    with httpx2.Client(base_url=stage.server.admin, follow_redirects=True, trust_env=False) as page:
        page.post("/login", data={**hidden(page.get("/login").text), "token": stage.server.token})
        shown = page.get("/canaries/misses").text
        assert "ship despite error_rate, by jane on" in shown
        assert 'name="despite"' in shown
        page.get("/canaries/misses/score")
        shown = page.get("/canaries/misses").text
        ticked = dict.fromkeys(re.findall(r'name="(despite:[^"]+)"', shown), "yes")
        form = {"decision": "ship", "who": "bob", "reason": "as before", **ticked}
        done = page.post("/canaries/misses/decide", data={**form, "form_token": hidden(shown)["form_token"]})
        assert (list(ticked), "Recorded: ship." in done.text) == (["despite:error_rate"], True)
        form = {"decision": "dont_ship", "who": "bob", "reason": "too many"}
        done = page.post("/canaries/misses/decide", data={**form, "form_token": hidden(shown)["form_token"]})
        assert "Recorded: don’t ship." in done.text
    assert _report(stage, "misses")["verdict"] == "dont_ship"
    stage.api("POST", "/api/canaries/misses/rollback", {"who": "bob", "reason": "enough"})
    again = {"decision": "ship", "who": "ann", "reason": "cheap", "despite": ["error_rate"]}
    decided = stage.api("POST", "/api/canaries/misses/decide", again).json()
    assert (decided["note"][:30], _report(stage, "misses")["verdict"]) == (
        "The verdict stays don't ship: ",
        "dont_ship",
    )


def test_a_decision_to_ship_that_would_change_nothing_is_refused_with_what_would_be_right(
    stage: Stage,
) -> None:
    refused = stage.canary("decide", "open", "ship", *BY_JANE)
    assert refused.returncode == 1
    assert "not decided: the report would still say extend (" in refused.stderr
    assert "canary promote open --against-verdict --reason" in refused.stderr
    assert "decision" not in _report(stage, "open")


def test_a_row_that_nobody_can_compute_is_outweighed_on_every_surface(stage: Stage) -> None:
    for number in range(300):
        body = {"model": "for-unrated", "user": f"u{number}", "messages": [{"role": "user", "content": "hi"}]}
        httpx2.post(f"{stage.server.traffic}/v1/chat/completions", json=body, headers=KEY, timeout=WAIT_S)
    states = ["IDEAL", "NODATA"]
    eventually(lambda: [line["state"] for line in _report(stage, "unrated")["metrics"]] == states)

    refused = stage.canary("decide", "unrated", "ship", *BY_JANE)
    assert (refused.returncode, "decision" in _report(stage, "unrated")) == (1, False)
    assert "To ship all the same, name what is undecided: --despite csat" in refused.stderr
    unknown = stage.canary("decide", "unrated", "ship", "--despite", "latency_p95", *BY_JANE)
    assert "this run misses nothing; undecided is csat" in unknown.stderr
    with httpx2.Client(base_url=stage.server.admin, follow_redirects=True, trust_env=False) as page:
        page.post("/login", data={**hidden(page.get("/login").text), "token": stage.server.token})
        page.get("/canaries/unrated/score")
        shown = page.get("/canaries/unrated").text
        assert "Satisfaction without data" in shown
        ticked = dict.fromkeys(re.findall(r'name="(despite:[^"]+)"', shown), "yes")
        form = {"decision": "ship", "who": "Anna", "reason": "nobody rates here", **hidden(shown)}
        unticked = page.post("/canaries/unrated/decide", data=form)
        assert (unticked.status_code, "--despite csat" in unticked.text) == (409, True)
        done = page.post("/canaries/unrated/decide", data={**form, **ticked})
        assert (list(ticked), "Recorded: ship." in done.text) == (["despite:csat"], True)
    after, says = _report(stage, "unrated"), "Anna outweighed satisfaction (nobody rates here)."
    assert (after["verdict"], after["reasons"][0]) == ("ship_with_caveats", says)
    assert after["decision"]["despite"] == ["csat"]
    order = {"reason": "as decided"}
    asked = stage.api("POST", "/api/canaries/unrated/promote", {**order, "who": "anna"}).json()
    assert (asked["promote_asked"]["against"], asked["report"]["says"]) == (None, says)
    done = stage.api("POST", "/api/canaries/unrated/promote", {**order, "who": "bob"}).json()
    assert (done["state"], done["report"]["verdict"]) == ("promoted", "ship_with_caveats")
    assert stage.api("GET", "/api/audit").json()[0]["against"] is None
    released = stage.canary("release", "show", "unrated-model", "--config", str(stage.server.config)).stdout
    assert says in " ".join(released.split())
    assert "ship despite satisfaction" in " ".join(released.split())
    (kept,) = eventually(lambda: _archived(stage, "unrated", "promoted"))
    assert kept["verdict"] == "ship_with_caveats"


def _archived(stage: Stage, canary: str, event: str) -> list[dict[str, Any]]:
    """The canary's evaluations of this kind in the archive."""
    told = stage.canary("archive", "list", "-o", "json", "--config", str(stage.server.config))
    found = json.loads(told.stdout)["evaluations"]
    return [each for each in found if (each["canary"], each["event"]) == (canary, event)]


def test_a_promotion_against_the_verdict_says_so_and_the_audit_log_keeps_it(stage: Stage) -> None:
    refused = stage.canary("promote", "needed", "--reason", "we need it")
    assert (refused.returncode, "not promoted: the report says extend (" in refused.stderr) == (1, True)
    assert "(--against-verdict)" in refused.stderr
    other = {"who": "ann", "reason": "r", "against_verdict": True}
    assert stage.api("POST", "/api/canaries/needed/pause", other).status_code == 400
    with httpx2.Client(base_url=stage.server.admin, follow_redirects=True, trust_env=False) as page:
        page.post("/login", data={**hidden(page.get("/login").text), "token": stage.server.token})
        shown = page.get("/canaries/needed").text
        assert "extend" in page.get("/canaries/needed/advice").text
        form = {"who": "ann", "reason": "we need it", **hidden(shown)}
        unticked = page.post("/canaries/needed/promote", data=form)
        assert (unticked.status_code, "the report says extend" in unticked.text) == (409, True)
        assert stage.status("needed")["state"] == "running"
        done = page.post("/canaries/needed/promote", data={**form, "against_verdict": "yes"})
        assert "The report says extend." in done.text
        assert "Against the verdict: extend." in page.get("/audit").text
    assert stage.status("needed")["state"] == "promoted"
    newest = stage.api("GET", "/api/audit").json()[0]
    assert (newest["action"], newest["who"], newest["against"]) == ("promote", "ann", "extend")


def test_what_is_no_decision_is_refused_with_what_would_be(stage: Stage) -> None:
    whole = {"decision": "ship", "who": "jane", "reason": "because"}
    for bad in (
        {**whole, "decision": "maybe"},
        {**whole, "who": " "},
        {**whole, "reason": ""},
        {**whole, "decision": "dont_ship", "despite": "csat"},
        {**whole, "reason": 4},
    ):
        refused = stage.api("POST", "/api/canaries/trial/decide", bad)
        assert refused.status_code == 400
        assert "ship | dont_ship | extend" in refused.json()["error"]
    assert stage.api("POST", "/api/canaries/other/decide", whole).status_code == 404
    words = ("decide", "trial", "--by", "j", "--reason", "r")
    assert stage.canary(*words, "--decision", "extend", "--despite", "csat").returncode == 2
    assert stage.canary(*words).returncode == 2


def test_waiting_ends_at_once_with_5_for_what_was_rolled_back(stage: Stage) -> None:
    told = stage.canary("wait", "trial", "--timeout", "1h", "-o", "json")
    assert told.returncode == 5
    assert json.loads(told.stdout)["state"] == "rolled_back"


def test_waiting_ends_with_4_when_time_is_up(stage: Stage) -> None:
    told = stage.canary("wait", "open", "--timeout", "1s", "--poll", "1s")
    assert told.returncode == 4
    assert "still open after 1s" in told.stderr
    assert stage.canary("wait", "other").returncode == 1
