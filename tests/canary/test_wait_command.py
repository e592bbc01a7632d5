"""`canary wait` ends at a verdict, a rollback or the timeout, and bears a restart of the server."""

from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

from canary.cli import app
from canary.commands.client import ServerNotReached
from canary.commands.status import Clock, WaitResult, exit_code, until_settled

OPEN = WaitResult(state="running", verdict="extend")


class Hand:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def clock(self) -> Clock:
        return Clock(now=lambda: self.at, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.at += seconds


def _answers(*told: WaitResult | None) -> Callable[[], WaitResult]:
    """The server's answers in turn, the last one for ever; None is silence."""
    left: Iterator[WaitResult | None] = iter(told)
    last = told[-1]

    def look() -> WaitResult:
        answer = next(left, last)
        if answer is None:
            raise ServerNotReached("nobody")
        return answer

    return look


@pytest.mark.parametrize(
    ("state", "verdict", "code"),
    [
        ("running", "ship", 0),
        ("running", "ship_now", 0),
        ("running", "ship_with_caveats", 0),
        ("running", "dont_ship", 3),
        ("running", "extend", 4),
        ("ended", "extend", 4),
        ("rolled_back", "dont_ship", 5),
        ("rolled_back", "extend", 5),
    ],
)
def test_the_exit_code_is_the_contracts(state: str, verdict: str, code: int) -> None:
    assert exit_code(WaitResult(state=state, verdict=verdict)) == code


@pytest.mark.parametrize(
    "end",
    [
        WaitResult(state="running", verdict="ship"),
        WaitResult(state="running", verdict="dont_ship"),
        WaitResult(state="rolled_back", verdict="extend"),
        WaitResult(state="promoted", verdict="extend"),
        WaitResult(state="ended", verdict="extend"),
    ],
)
def test_it_ends_as_soon_as_there_is_nothing_to_wait_for(end: WaitResult) -> None:
    hand = Hand()
    assert until_settled(_answers(OPEN, OPEN, end), 7200, 30, hand.clock()) == end
    assert hand.at == 60


def test_it_ends_at_the_timeout_with_what_it_saw_last() -> None:
    hand = Hand()
    assert until_settled(_answers(OPEN), 100, 30, hand.clock()) == OPEN
    assert hand.at == 100


def test_a_restart_of_the_server_is_borne() -> None:
    hand = Hand()
    end = WaitResult(state="running", verdict="ship")
    assert until_settled(_answers(OPEN, None, None, end), 7200, 30, hand.clock()) == end


def test_a_server_that_stays_silent_is_given_up() -> None:
    hand = Hand()
    with pytest.raises(ServerNotReached):
        until_settled(_answers(OPEN, None), 7200, 30, hand.clock())
    assert hand.at == 150


def test_a_server_that_never_answered_is_no_reason_to_wait() -> None:
    hand = Hand()
    with pytest.raises(ServerNotReached):
        until_settled(_answers(None), 7200, 30, hand.clock())
    assert hand.at == 0


@pytest.mark.parametrize("file", ["report.txt", "report", "markdown"])
def test_a_report_that_cannot_be_written_is_refused_before_the_wait(file: str) -> None:
    done = CliRunner().invoke(app, ["wait", "support", "--report", file])
    assert (done.exit_code, ".md" in done.stderr) == (2, True), done.stderr
