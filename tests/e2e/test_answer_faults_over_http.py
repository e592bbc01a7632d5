"""Answers with status 200 that are cut off, empty or refused: told by everything that tells of errors."""

import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import httpx2
import pytest

from demo.provider.behaviour import AnswerFault, Behaviour
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

OLD, NEW = "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"
CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    guardrails: []
    minimum_days: 0
    rubric:
      - metric: cut_off
        acceptable: "<= 1.5x baseline"
        ideal: "<= baseline"
        weight: 1
        question: "Are answers whole?"
"""
ASKED = 40
"""By each arm. Half by stream."""

FAULTS: tuple[AnswerFault, ...] = ("cut_off", "empty", "refused")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A candidate whose every answer has a fault, a kind at a time, before a baseline without any."""
    with on_stage(tmp_path_factory.mktemp("faults"), CONFIG) as stage:
        for fault in FAULTS:
            stage.provider.behave(NEW, Behaviour(answer_faults={fault: 1.0}))
            for arm in ("baseline", "candidate"):
                for number, user in enumerate(islice(stage.users(arm, "trial", 0.5, prefix=fault), ASKED)):
                    ask(stage, user, stream=number % 2 == 0)
        eventually(lambda: len(stage.outcomes()) == 2 * len(FAULTS) * ASKED)
        yield stage


def ask(stage: Stage, user: str, *, stream: bool) -> None:
    headers = {"authorization": "Bearer sk-caller"}
    url = f"{stage.server.traffic}/v1/chat/completions"
    answer = httpx2.post(
        url, json=chat("gpt-4o", user, stream=stream), headers=headers, timeout=30.0, trust_env=False
    )
    assert answer.status_code == 200


def test_the_status_has_them_by_arm(stage: Stage) -> None:
    arms = stage.status("trial")["arms"]
    told = {name: [arm[fault] for fault in FAULTS] for name, arm in arms.items()}
    assert told == {"baseline": [0, 0, 0], "candidate": [ASKED] * 3}
    assert {name: arm["shares"]["answer_faults"] for name, arm in arms.items()} == {
        "baseline": 0.0,
        "candidate": 1.0,
    }
    assert (arms["candidate"]["errors"], arms["candidate"]["invalid_output"]) == (0, None)
    assert re.search(rf"candidate: {ASKED} of 120 answers\s+refused", stage.canary("status").stdout)


def test_prometheus_has_them(stage: Stage) -> None:
    text = httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).text
    found = re.findall(
        r'^canary_answer_faults_total\{arm="(\w+)",canary="trial",fault="(\w+)"\} (\S+)', text, re.M
    )
    assert {(arm, fault): float(value) for arm, fault, value in found if float(value)} == {
        ("candidate", fault): float(ASKED) for fault in FAULTS
    }
    ends = re.findall(r'^canary_answers_total\{arm="(\w+)",canary="trial",finish="(\w+)"\} (\S+)', text, re.M)
    by_arm = {arm: sum(float(value) for name, _, value in ends if name == arm) for arm, *_ in ends}
    assert by_arm == {"baseline": 3.0 * ASKED, "candidate": 3.0 * ASKED}


def test_an_export_has_them(stage: Stage) -> None:
    config = str(stage.server.config)
    rows = list(csv.DictReader(io.StringIO(stage.canary("records", "export", "--config", config).stdout)))
    assert {(row["arm"], row["faults"]) for row in rows} == {
        ("baseline", ""),
        *(("candidate", fault) for fault in FAULTS),
    }
    assert all(row["finish"] for row in rows)


def test_a_report_measures_them_and_names_all_of_them_among_the_ways_to_fail(stage: Stage) -> None:
    config = str(stage.server.config)
    report = json.loads(stage.canary("report", "trial", "--config", config, "-o", "json").stdout)
    (line,) = report["metrics"]
    assert (line["metric"], line["baseline"], line["units"]) == ("cut_off", 0.0, 3 * ASKED)
    assert line["candidate"] == pytest.approx(1 / 3)
    assert line["state"] == "FAIL"
    modes = {mode["name"]: mode for mode in report["details"]["failures"]["modes"] if mode["kind"] == "fault"}
    counts = {
        name: [mode[key] for key in ("candidate", "candidate_of", "baseline", "baseline_of")]
        for name, mode in modes.items()
    }
    assert counts == {fault: [ASKED, 3 * ASKED, 0, 3 * ASKED] for fault in FAULTS}
    ids = {row["exchange_id"]: row["faults"] for row in stage.outcomes()}
    assert all(ids[name] == fault for fault in FAULTS for name in modes[fault]["examples"])


def test_the_report_s_page_names_them_in_words(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    done = stage.canary("report", "trial", "--config", str(stage.server.config), "-o", str(path))
    assert done.returncode in (0, 3, 4), done.stderr
    assert "the answer was cut off at its length limit" in path.read_text()
