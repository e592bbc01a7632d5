"""What every process has: how it says what breaks."""

import json
import os
import subprocess
import sys

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


def test_for_a_terminal_an_event_is_a_line_of_words() -> None:
    text = {**os.environ, "CANARY_LOG": "text"}
    command = [sys.executable, "-c", CRASH]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=text).stderr
    assert " Error: exchange crashed (exchange x1)\nTraceback" in said
    assert "LookupError: a defect" in said
    assert "where is my parcel" not in said


def test_a_crash_is_logged_with_its_place_and_without_what_it_was_working_on() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CRASH], capture_output=True, text=True, timeout=120, check=True
    )
    event = json.loads(ran.stderr)
    assert (event["event"], event["exchange"], event["level"]) == ("exchange.crashed", "x1", "error")
    (exception,) = event["exception"]
    assert (exception["exc_type"], exception["exc_value"]) == ("LookupError", "a defect")
    assert exception["frames"][-1]["name"] == "handle"
    assert "sk-777777" not in ran.stderr
    assert "where is my parcel" not in ran.stderr
