"""What every process has: how it says what breaks, and its config as that changes."""

import json
import subprocess
import sys
from pathlib import Path

from canary.programs.process import WatchedConfig

CRASH = """
import structlog
from canary.programs.process import log_to_stderr

def handle(headers, body):
    raise LookupError("a defect")

log_to_stderr()
try:
    handle({"authorization": "Bearer " + "sk-".ljust(9, "7")}, b"where is my " + b"parcel")
except LookupError:
    structlog.get_logger().exception("exchange.crashed", exchange="x1")
"""


def test_a_crash_is_logged_with_its_place_and_without_what_it_was_working_on() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CRASH], capture_output=True, text=True, timeout=60, check=True
    )
    event = json.loads(ran.stderr)
    assert (event["event"], event["exchange"], event["level"]) == ("exchange.crashed", "x1", "error")
    (exception,) = event["exception"]
    assert (exception["exc_type"], exception["exc_value"]) == ("LookupError", "a defect")
    assert exception["frames"][-1]["name"] == "handle"
    assert "sk-777777" not in ran.stderr
    assert "where is my parcel" not in ran.stderr


CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: first
    match: {models: [one]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 5%
"""
SECOND = """\
  - name: second
    match: {models: [two]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 5%
"""


def test_a_file_that_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "canary.yaml"
    path.write_text(CONFIG + SECOND)
    watched, seen = WatchedConfig(path, lambda config: seen.append([*config.canaries])), list[list[str]]()
    path.write_text(CONFIG)
    watched.check()
    path.write_text(CONFIG + SECOND + "retention: 30d\n")
    watched.check()
    assert seen == []
    watched.check()
    assert seen == [["first", "second"]]


def test_a_hangup_reads_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "canary.yaml"
    path.write_text(CONFIG)
    watched, seen = WatchedConfig(path, lambda config: seen.append([*config.canaries])), list[list[str]]()
    path.write_text(CONFIG + SECOND)
    watched.check(force=True)
    assert seen == [["first", "second"]]
