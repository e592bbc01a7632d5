"""`canary simulate`: figures from the real guardrails, the same for a seed, and refusals that help."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from canary.cli import app

CONFIG = """
providers:
  openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}
canaries:
  - name: one
    match: {models: [a]}
    baseline: {provider: openai, model: a-1}
    candidate: {provider: openai, model: a-2}
    ramp: [{share: 10%, for: 1h}, {share: 20%}]
"""
OTHER = """
  - name: other
    match: {models: [b]}
    baseline: {provider: openai, model: b-1}
    candidate: {provider: openai, model: b-2}
    share: 5%
    guardrails: [{rule: csat}, {rule: error_rate, category: billing}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "canary.yaml"
    file.write_text(CONFIG)
    return file


def asked(config: Path, *arguments: str) -> Any:
    done = CliRunner().invoke(
        app, ["simulate", "--config", str(config), "-o", "json", "--jobs", "1", *arguments]
    )
    assert (done.exit_code, done.stderr) == (0, "")  # nothing of its progress
    return json.loads(done.stdout)


def refused(config: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["simulate", "--config", str(config), *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    return done.stderr


def test_a_candidate_that_fails_is_rolled_back_and_the_same_seed_gives_the_same_figures(config: Path) -> None:
    arguments = ("--weeks", "0", "--runs", "3", "--error", "50%", "--rate", "4", "--seed", "7")
    found = asked(config, *arguments)
    assert found == asked(config, *arguments)
    assert found["canary"] == "one"
    assert found["traffic"]["share"] == 0.1
    (row,) = found["bad_candidates"]
    assert (row["candidate"], row["runs"], sum(row["rolled_back"].values())) == ("50 % fail", 3, 3)
    assert 3 <= row["outcomes"]["median"] <= row["outcomes"]["p95"] <= 40
    assert row["minutes_to_page"]["median"] <= row["minutes"]["median"]


@pytest.mark.more
def test_what_is_not_found_in_time_has_no_figure(config: Path) -> None:
    found = asked(config, "--weeks", "0", "--runs", "2", "--cost", "1.2x", "--within", "5m")
    (row,) = found["bad_candidates"]
    assert (row["candidate"], row["rolled_back"]) == ("costs 1.2×", {})
    assert row["minutes"] == {"median": None, "p95": None}


@pytest.mark.more
def test_a_week_without_a_rollback_still_leaves_some_possible(config: Path) -> None:
    found = asked(config, "--weeks", "1", "--runs", "1", "--error", "90%", "--rate", "0.02", "--users", "50")
    calm = found["equal_arms"]
    assert (calm["weeks"], calm["rolled_back"], calm["paged"]) == (1, {}, {})
    assert calm["rolled_back_at_most"] == pytest.approx(0.95)


def test_the_table_tells_what_happens_and_what_was_left_out(config: Path) -> None:
    config.write_text(CONFIG + OTHER)
    arguments = ["--canary", "other", "--weeks", "0", "--runs", "1", "--latency", "9s", "--within", "1m"]
    done = CliRunner().invoke(app, ["simulate", "--config", str(config), "--jobs", "1", *arguments])
    assert done.exit_code == 0
    assert "p95 of 9 s" in done.stdout
    assert "not simulated: csat, error_rate[category=billing]; the traffic has no feedback" in done.stdout
    assert "minutes at most" in done.stderr


def test_ctrl_c_ends_it_at_once_with_its_processes_and_without_a_traceback(config: Path) -> None:
    command = [sys.executable, "-m", "canary", "simulate", "--config", str(config), "--jobs", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stderr is not None
        assert "minutes at most" in running.stderr.readline()
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all of them
        try:
            _, left = running.communicate(timeout=120)  # ends when the last process of it has
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            raise
    assert (running.returncode, "Traceback" in left) == (130, False)


def test_which_canary_is_meant_must_be_said_where_there_are_several(config: Path) -> None:
    config.write_text(CONFIG + OTHER)
    assert refused(config) == "name a canary with --canary; the config has: one, other\n"
    assert refused(config, "--canary", "thrid") == "the config has no canary 'thrid'; it has: one, other\n"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--share", "0%", "a share of 0 leaves one arm without users"),
        ("--share", "100%", "a share of 1 leaves one arm without users"),
        ("--error", "50", "did you mean 50%?"),
        ("--base-error", "100%", "--base-error must be below 100%"),
        ("--cost", "dear", '"dear" is not a cost ratio; write, for example, 3x'),
        ("--cost", "0x", "must be above 0"),
        ("--latency", "4", 'write "4s" for seconds'),
        ("--within", "0s", "must be above 0"),
    ],
)
def test_traffic_that_cannot_be_is_refused(config: Path, option: str, value: str, message: str) -> None:
    assert message in refused(config, option, value)


@pytest.mark.more
def test_a_candidate_that_hangs_and_one_with_empty_answers_are_rolled_back(config: Path) -> None:
    arguments = ("--weeks", "0", "--runs", "2", "--hang", "100%", "--fault", "empty=100%", "--rate", "4")
    bad = asked(config, *arguments)["bad_candidates"]
    assert [each["candidate"] for each in bad] == ["100 % hang", "100 % empty"]
    assert [sum(each["rolled_back"].values()) for each in bad] == [2, 2]
    assert bad[1]["rolled_back"] == {"empty": 2}


@pytest.mark.parametrize("fault", ["bored=25%", "empty", "empty=much"])
def test_a_fault_that_cannot_be_simulated_is_refused(config: Path, fault: str) -> None:
    assert "25%" in refused(config, "--fault", fault) or "much" in refused(config, "--fault", fault)


@pytest.mark.more
def test_agents_send_sessions_and_one_that_runs_away_is_paged(config: Path) -> None:
    asks = ("--weeks", "0", "--runs", "1", "--rate", "4", "--share", "20%", "--within", "1h")
    found = asked(config, *asks, "--steps", "6", "--more-steps", "3x", "--stuck", "100%")
    assert [each["candidate"] for each in found["bad_candidates"]] == ["takes 3× the steps", "100 % stuck"]
    more, stuck = (set(each["paged"]) for each in found["bad_candidates"])
    assert more <= {"session_cost", "session_exchanges"} and stuck == {"stuck"}
    assert "stuck" not in found["not_simulated"] and "csat" in found["not_simulated"]
    assert "give --steps" in refused(config, "--stuck", "10%")
