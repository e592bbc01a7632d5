"""What a judge said stands on the pages of its canary and beside its pairs, and not where people label."""

from collections.abc import Iterator
from itertools import islice

import httpx2
import pytest

from tests.e2e.stage import Stage, chat, on_stage
from tests.e2e.told import JUDGE, captured, spend, tell
from tests.serving import eventually

CONFIG = (
    """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: judged
    match: {{models: [judged]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    mirror: 100%
    guardrails: []
    capture: {{rate: 100%}}
    judge: {{pairs: 200}}
    rubric:
      - {{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Do answers arrive?"}}
  - name: unjudged
    match: {{models: [unjudged]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    capture: {{rate: 100%}}
"""
    + JUDGE
)
REASON = "It promises <b>30</b> days."
PAIRS = 3
VIEWER = "viewer-token-of-the-tests"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    env = {"CANARY_VIEWER_TOKEN": VIEWER}
    with on_stage(tmp_path_factory.mktemp("judged"), CONFIG, env=env) as up:
        spend(up, "judged")
        with httpx2.Client(headers={"authorization": "Bearer sk-caller"}, trust_env=False) as http:
            for user in islice(up.users("baseline", "judged", 0.5), PAIRS):
                url = f"{up.server.traffic}/v1/chat/completions"
                http.post(url, json=chat("judged", user, text="the question"))
        eventually(lambda: len(captured(up, "judged")) == PAIRS)
        for exchange, _, _ in captured(up, "judged"):
            tell(up, "judged", exchange, said=("A", "B"), reason=REASON)
        yield up


def _page(stage: Stage, path: str) -> str:
    found = stage.api("GET", path)
    assert found.status_code == 200, found.text
    return " ".join(found.text.split())


def test_beside_each_pair_stands_what_the_judge_said_in_both_orders(stage: Stage) -> None:
    page = _page(stage, "/canaries/judged/pairs")
    assert page.count("Judge: the baseline’s answer is better") == PAIRS
    assert page.count("“It promises &lt;b&gt;30&lt;/b&gt; days.”") == 2 * PAIRS
    assert page.count("(A: baseline, B: candidate)") == page.count("(A: candidate, B: baseline)") == PAIRS


def test_people_label_without_the_judge_s_word(stage: Stage) -> None:
    page = _page(stage, "/canaries/judged/label")
    assert "the question" in page
    assert "It promises" not in page
    assert "answer is better" not in page


def test_the_canary_s_page_has_the_day_s_pairs_and_cost(stage: Stage) -> None:
    assert 'hx-get="/canaries/judged/judge"' in _page(stage, "/canaries/judged")
    page = _page(stage, "/canaries/judged/judge")
    assert f"{PAIRS + 1} of 200 pairs" in page
    assert "$0.500 of $0.500" in page
    assert "openai/the-judge" in page
    assert 'href="/canaries/judged/label"' in page


def test_a_canary_without_a_judge_has_no_such_part(stage: Stage) -> None:
    assert _page(stage, "/canaries/unjudged/judge") == ""


def test_a_name_that_never_was_is_not_judged(stage: Stage) -> None:
    assert stage.api("GET", "/canaries/nobody/judge").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/canaries/judged/verdict",
        "/canaries/judged/report",
        *(f"/api/canaries/judged/report?form={form}" for form in ("json", "markdown", "html")),
    ],
)
def test_the_judge_s_reasons_are_for_operators_and_its_figures_for_viewers_too(
    stage: Stage, path: str
) -> None:
    whole = _page(stage, path)
    headers = {"authorization": f"Bearer {VIEWER}"}
    answer = httpx2.get(f"{stage.server.admin}{path}", headers=headers, timeout=30.0, trust_env=False)
    assert answer.status_code == 200
    assert "It promises" in whole
    assert "the-judge" in answer.text
    assert "It promises" not in answer.text
