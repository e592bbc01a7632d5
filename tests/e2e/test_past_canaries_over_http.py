"""A canary that has left the config keeps its pages, and what was rolled back still says so."""

import re
from collections.abc import Iterator
from itertools import islice

import httpx2
import pytest

from routing.canary import ArmName
from tests.e2e.stage import Stage, chat, on_stage
from tests.effort import in_more
from tests.serving import eventually

HEAD = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
"""
TRIAL = """
  - name: NAME
    match: {{models: [NAME]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    mirror: 100%
    guardrails: []
    capture: {{rate: 100%}}
    rubric:
      - {{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Do answers arrive?"}}
"""
ARMS: tuple[ArmName, ...] = ("baseline", "candidate")
NAMES = ("bad", "good", "short", "stays")
CONFIG = HEAD + "".join(TRIAL.replace("NAME", name) for name in NAMES)
LATER = HEAD + TRIAL.replace("NAME", "stays")


@pytest.fixture(scope="module", params=[in_more("before a restart"), "after a restart"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """`bad` was rolled back, resumed and rolled back again, `good` promoted, `short` only removed."""
    with on_stage(tmp_path_factory.mktemp("past"), CONFIG) as up:
        _tried(up)
        order(up, "bad", "rollback", "wrong totals")
        order(up, "bad", "resume", "it was the cache")
        order(up, "bad", "rollback", "it was not <the> cache")
        order(up, "good", "promote", "it won")
        up.configure(LATER.format(url=up.provider.url))
        eventually(lambda: [entry["action"] for entry in audit(up)].count("end") == 3)
        if request.param == "after a restart":
            up.restart(up.config_text)
            eventually(lambda: get(up, "/canaries/bad").status_code == 200)
        yield up


def _tried(stage: Stage) -> None:
    """Six users of each canary; those of the baseline are copied to the candidate."""
    with httpx2.Client(headers={"authorization": "Bearer sk-caller"}, trust_env=False) as http:
        for name in NAMES:
            halves = (islice(stage.users(arm, name, 0.5), 3) for arm in ARMS)
            for user in (user for half in halves for user in half):
                url = f"{stage.server.traffic}/v1/chat/completions"
                http.post(url, json=chat(name, user, text="the question"))
    eventually(lambda: get(stage, "/canaries/bad/pairs").text.count("the question") == 3)
    eventually(lambda: len([row for row in stage.outcomes() if not row["mirror"]]) == 6 * len(NAMES))


def order(stage: Stage, name: str, action: str, reason: str) -> None:
    document = {"who": "anna", "reason": reason, **({"against_verdict": True} if action == "promote" else {})}
    done = stage.api("POST", f"/api/canaries/{name}/{action}", document)
    assert done.status_code == 200, done.text


def get(stage: Stage, path: str) -> httpx2.Response:
    return stage.api("GET", path)


def audit(stage: Stage) -> list[dict[str, str]]:
    return list(stage.api("GET", "/api/audit").json())


def row(page: str, name: str) -> str:
    """The line about this canary in the list of past canaries."""
    listed = page[page.index('aria-label="Past canaries"') :]
    return next(
        line for line in re.findall(r"<tr>.*?</tr>", listed, re.DOTALL) if f"/canaries/{name}" in line
    )


def test_the_overview_lists_past_canaries_with_how_they_ended(stage: Stage) -> None:
    page = get(stage, "/").text
    assert [part in row(page, "bad") for part in ("rolled back", "anna", "it was not")] == [True] * 3
    assert "old → new" in row(page, "bad")
    assert [part in row(page, "good") for part in ("promoted", "anna", "it won")] == [True] * 3
    assert [part in row(page, "short") for part in ("ended", "config")] == [True] * 2
    assert "rolled back" not in row(page, "good") + row(page, "short")
    assert page.index("/canaries/stays") < page.index('aria-label="Past canaries"')


def test_a_past_canary_has_a_page_of_its_own(stage: Stage) -> None:
    bad = get(stage, "/canaries/bad")
    assert bad.status_code == 200
    assert "Rolled back by anna on" in bad.text
    assert ": it was not &lt;the&gt; cache." in bad.text
    links = ("verdict", "report", "pairs?day=", "why?run=1", "why?run=2")
    assert [link for link in links if f'"/canaries/bad/{link}' not in bad.text] == []
    assert (
        bad.text.count('<td class="words">bad</td>') == bad.text.count("<tr><td><time") == 5
    )  # its own changes only
    release = re.search(r'"(/releases/\w+)"', bad.text)
    assert release is not None
    assert "openai/new" in get(stage, release[1]).text
    assert "Promoted by anna on" in get(stage, "/canaries/good").text
    course = get(stage, "/canaries/good/course?span=run").json()
    assert [sum(course["arms"][arm]["requests"]) for arm in ARMS] == [3, 3]
    assert any(mark["words"].startswith("Promote by anna") for mark in course["marks"])
    assert 'data-course="/canaries/bad/course?span=run"' in bad.text
    short = get(stage, "/canaries/short").text
    assert "Ended without a decision on its run: it was running at 50 %." in short
    assert "/why" not in short


def test_its_report_is_there_and_says_that_it_was_rolled_back(stage: Stage) -> None:
    report = get(stage, "/api/canaries/bad/report").json()
    assert report["verdict"] == "dont_ship"
    assert "rolled back by anna: it was not <the> cache" in " ".join(report["reasons"])
    assert report["metrics"][0]["acceptable"] == "< 3%"
    verdict = get(stage, "/canaries/bad/verdict")
    assert (verdict.status_code, "Don’t ship" in verdict.text) == (200, True)
    assert "Do answers arrive?" in get(stage, "/canaries/bad/report").text
    good = get(stage, "/api/canaries/good/report").json()
    assert good["units"]["candidate"] > 0
    assert "rolled back" not in " ".join(good["reasons"])


def test_its_rollbacks_keep_their_evidence(stage: Stage) -> None:
    rollbacks = get(stage, "/api/canaries/bad/rollbacks").json()
    assert [(each["run"], each["reason"]) for each in rollbacks] == [
        (2, "it was not <the> cache"),
        (1, "wrong totals"),
    ]
    newest, first = get(stage, "/canaries/bad/why").text, get(stage, "/canaries/bad/why?run=1").text
    assert "anna rolled it back: it was not" in newest
    assert "anna rolled it back: wrong totals" in first
    assert "until somebody resumes" not in newest
    assert get(stage, "/api/canaries/short/rollbacks").json() == []
    assert get(stage, "/canaries/short/why").status_code == 200


def test_its_captured_pairs_can_be_read_and_no_longer_labelled(stage: Stage) -> None:
    link = re.search(r'"(/canaries/bad/pairs\?day=[^"]+)"', get(stage, "/canaries/bad").text)
    assert link is not None
    page = get(stage, link[1]).text
    assert page.count("the question") == 3
    assert "/canaries/bad/label" not in page
    assert get(stage, "/canaries/bad/label").status_code == 404


def test_the_archive_links_to_it(stage: Stage) -> None:
    eventually(lambda: 'href="/canaries/short"' in get(stage, "/archive").text)
    assert 'href="/canaries/bad"' in get(stage, "/archive").text


def test_it_takes_no_order_and_is_not_in_the_status(stage: Stage) -> None:
    for action in ("start", "resume", "rollback", "promote"):
        refused = stage.api("POST", f"/api/canaries/bad/{action}", {"who": "anna", "reason": "again"})
        assert refused.status_code == 404
        assert refused.json()["error"] == f"no canary 'bad' to {action}; there are: stays"
    assert [each["name"] for each in get(stage, "/api/status").json()["canaries"]] == ["stays"]
    for part in ("figures", "events", "actions", "plan"):
        assert get(stage, f"/canaries/bad/{part}").status_code == 404


def test_a_name_that_never_was_has_no_page(stage: Stage) -> None:
    for path in ("", "/verdict", "/report", "/why", "/pairs"):
        assert get(stage, f"/canaries/unknown{path}").status_code == 404
    assert get(stage, "/api/canaries/unknown/report").status_code == 404


def test_a_name_that_comes_back_still_says_how_it_ended(stage: Stage) -> None:
    stage.configure(CONFIG.format(url=stage.provider.url))
    eventually(lambda: len(get(stage, "/api/status").json()["canaries"]) == len(NAMES))
    assert stage.status("bad")["state"] == "ended"
    assert "rolled back" in row(get(stage, "/").text, "bad")
    assert "Rolled back by anna on" in get(stage, "/canaries/bad").text
    again = stage.api("POST", "/api/canaries/bad/start", {"who": "anna", "reason": "again"})
    assert again.status_code == 409
