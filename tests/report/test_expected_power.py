"""`canary check` says how likely a rubric ships at the traffic that is expected, before the first user."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from canary.cli import app

CONFIG = """
providers: {{openai: {{api: openai, base_url: "http://127.0.0.1:1/v1"}}}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: a}}
    candidate: {{provider: openai, model: b}}
    ramp: [{{share: 1%, for: 1h}}, {{share: {share}}}]
    rubric: {rubric}
"""
RUBRIC = """
      - {metric: task_completed, acceptable: ">= 85%", ideal: ">= 90%", weight: 40, question: "Done?"}
      - {metric: latency_p95, acceptable: "< 2s", ideal: "< 1s", weight: 25, question: "Quick?"}
      - {metric: cost_per_request, acceptable: "< 0.12", ideal: "< 0.06", weight: 20, question: "Cheap?"}
      - {metric: csat, acceptable: "> 4.1", ideal: "> 4.4", weight: 15, question: "Happy?"}
"""


def _check(folder: Path, *arguments: str, share: str = "5%", rubric: str = RUBRIC) -> str:
    path = folder / "canary.yaml"
    path.write_text(CONFIG.format(share=share, rubric=rubric))
    told = CliRunner().invoke(app, ["check", "--config", str(path), *arguments])
    assert told.exit_code == 0, told.output
    return told.stdout


def test_the_chance_is_told_for_few_and_for_many_requests_a_user(tmp_path: Path) -> None:
    said = _check(tmp_path)
    assert "by requests per user: 1% with 1, 16% with 3, 50% with 8" in said
    assert "after 20,000 users at a share of 5%" in said
    assert "most often because of csat" in said
    assert "one request in 8 is rated" in said


def test_what_nobody_is_asked_for_needs_no_answer(tmp_path: Path) -> None:
    known = "\n".join(line for line in RUBRIC.splitlines() if "csat" not in line) + "\n"
    said = _check(tmp_path, rubric=known)
    assert "most often because of task_completed" in said
    assert "is rated" not in said


def test_more_users_and_a_known_rate_are_taken_in(tmp_path: Path) -> None:
    def ships(*more: str) -> list[tuple[float, float]]:
        (canary,) = json.loads(_check(tmp_path, "-o", "json", *more))["canaries"]
        return [(each["requests_per_user"], each["ship"]) for each in canary["power"]["at"]]

    ((rate, few),) = ships("--requests", "4")
    ((_, many),) = ships("--requests", "4", "--users", "100000")
    assert rate == 4
    assert few < 0.5 < 0.9 < many


@pytest.mark.parametrize(("share", "rubric"), [("100%", RUBRIC), ("5%", "[]")])
def test_where_there_is_nothing_to_compare_no_chance_is_told(tmp_path: Path, share: str, rubric: str) -> None:
    assert "halfway" not in _check(tmp_path, share=share, rubric=rubric)


def test_more_than_five_rows_are_a_warning(tmp_path: Path) -> None:
    more = RUBRIC + "".join(
        f'      - {{metric: {name}, acceptable: "< 3", ideal: "< 1", weight: 1, question: "?"}}\n'
        for name in ("ttft_p95", "tokens")
    )
    path = tmp_path / "canary.yaml"
    path.write_text(CONFIG.format(share="5%", rubric=more))
    told = CliRunner().invoke(app, ["check", "--config", str(path)])
    assert "has 6 rows; with more than 5" in told.stderr
