"""The sessions that every worker knows: in memory, in the file beside the states, and again."""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from records.outcome import Outcome
from records.shared.session_arms import (
    AGAIN_EVERY_S,
    NAME,
    SessionArms,
    SessionsFile,
    is_news,
    sessions_in,
)
from records.shared.session_news import SessionNews, decoded, encoded, open_news
from routing.sessions import MOST_CHANGES, SessionArm
from tests.records.samples import an_outcome

FIRST = structs.replace(
    an_outcome(1, at=100.0), session="5e" * 16, place=7, outcome="ok", served_by="candidate"
)
KEY = "support-nov", "5e" * 16


def known_after(*outcomes: Outcome) -> SessionArm | None:
    sessions = SessionArms()
    for each in outcomes:
        sessions.note(each)
    return sessions.find(*KEY)


def test_a_session_is_what_its_first_exchange_was() -> None:
    later = structs.replace(FIRST, at=160.0, unit="cd" * 16, place=9)
    found = known_after(FIRST, later)
    assert found == SessionArm(*KEY, "ab" * 16, 7, "candidate", "cohort", 1, 2, 0.05, 100.0, 160.25, 2)


def test_a_session_that_has_moved_is_what_it_was_assigned_then() -> None:
    moved = structs.replace(FIRST, at=9_000.0, arm="baseline", served_by="baseline", phase=3, share=0.01)
    found = known_after(FIRST, moved, structs.replace(FIRST, at=9_001.0))
    assert found is not None and (found.arm, found.phase, found.only) == ("baseline", 3, None)


@pytest.mark.parametrize(
    ("changes", "only"),
    [
        ({}, "candidate"),
        ({"outcome": "fallback", "served_by": "baseline"}, None),
        ({"reason": "foreign_state", "served_by": "baseline"}, None),
        ({"outcome": "error", "served_by": "baseline", "status": 503}, "candidate"),
        ({"outcome": "caller_error", "served_by": "baseline", "status": 400}, "candidate"),
        ({"outcome": "fallback", "served_by": "baseline", "status": 400}, "candidate"),
        ({"outcome": "aborted", "served_by": "baseline", "status": None}, "candidate"),
        ({"outcome": "aborted", "served_by": "baseline"}, None),
        ({"mirror": True, "served_by": "baseline"}, "candidate"),
    ],
)
def test_only_what_a_model_answered_says_who_has_answered(changes: dict[str, object], only: str) -> None:
    found = known_after(FIRST, structs.replace(FIRST, at=101.0, **changes))
    assert found is not None and found.only == only


@pytest.mark.parametrize("reason", ["pinned", "stopped", "no_unit", "prompt_missed", "foreign_state"])
def test_a_session_begins_with_an_exchange_that_was_assigned(reason: str) -> None:
    assert known_after(structs.replace(FIRST, reason=reason)) is None


def test_a_text_that_is_the_session_of_many_users_is_none() -> None:
    found = [goes_on(f"user {number}" for number in range(count)) for count in (MOST_CHANGES, 20)]
    assert found == [[True] * MOST_CHANGES, [True] * MOST_CHANGES + [False] * (20 - MOST_CHANGES)]
    to_and_fro = goes_on(user for _ in range(MOST_CHANGES) for user in ("cd" * 16, "ab" * 16))
    assert to_and_fro == [True] * MOST_CHANGES + [False] * MOST_CHANGES


def goes_on(users: Iterable[str]) -> list[bool]:
    """Whether each of these users has the session's arm, each asked for by another worker of the machine."""
    fd = open_news()
    workers = [SessionArms(news=SessionNews(fd)) for _ in range(2)]
    workers[0].note(FIRST)
    found = []
    for number, user in enumerate(users):
        worker = workers[number % 2]
        worker.look()
        known = worker.find(*KEY)
        assert known is not None
        found.append(worker.of_user(known, user) is not None)
    os.close(fd)
    return found


def test_those_heard_of_longest_ago_are_forgotten() -> None:
    sessions = SessionArms(most=3)
    for number in (1, 2, 3, 1, 4):
        sessions.note(structs.replace(FIRST, session=f"{number}", at=100.0 + number))
    assert [each.session for each in sessions.lines()] == ["3", "1", "4"]


def test_others_are_told_of_a_session_and_in_each_ten_seconds_that_it_is_active() -> None:
    before = known_after(FIRST)
    assert before is not None and is_news(None, before)
    assert not is_news(before, structs.replace(before, at=109.9))
    assert is_news(before, structs.replace(before, at=110.0))
    assert is_news(before, structs.replace(before, answered=3))


def test_another_worker_knows_how_long_a_busy_session_has_been_idle() -> None:
    fd = open_news()
    ours, theirs = (SessionArms(news=SessionNews(fd)) for _ in range(2))
    for second in range(600):
        ours.note(structs.replace(FIRST, at=100.0 + second))
    theirs.look()
    known, told = ours.find(*KEY), theirs.find(*KEY)
    os.close(fd)
    assert known is not None and told is not None
    assert known.at - told.at <= AGAIN_EVERY_S


def some(count: int, first: int = 0) -> list[SessionArm]:
    sessions = SessionArms()
    for number in range(first, first + count):
        sessions.note(structs.replace(FIRST, session=f"{number:032x}"))
    return [*sessions.lines()]


def test_what_is_written_is_read_again_after_a_restart(tmp_path: Path) -> None:
    known = SessionArms()
    file = SessionsFile(tmp_path / NAME)
    assert sessions_in(tmp_path) == []
    for fresh in (some(2), some(3, first=2)):
        known.hear(fresh)
        file.write(fresh, known)
    assert sessions_in(tmp_path) == [*known.lines()] == some(5)


def test_the_file_is_written_anew_when_most_of_it_is_old_and_by_another_process(tmp_path: Path) -> None:
    path, known = tmp_path / NAME, SessionArms()
    file = SessionsFile(path, most=4)
    for _ in range(5):
        fresh = some(2)
        known.hear(fresh)
        file.write(fresh, known)
    assert len(path.read_bytes().splitlines()) <= 8
    assert [*known.lines()] == some(2)
    SessionsFile(path).write([], known)
    assert decoded(path.read_bytes()) == some(2)


def test_lines_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    one, other = some(2)
    lines = b'["of another version"]\n' + encoded([one]) + b"\xff\n" + encoded([other])[:-9]
    (tmp_path / NAME).write_bytes(lines)
    assert sessions_in(tmp_path) == [one]


def test_a_line_of_the_version_before_is_read(tmp_path: Path) -> None:
    (one,) = some(1)
    line = msgspec.json.decode(encoded([one]))
    (tmp_path / NAME).write_bytes(msgspec.json.encode(line[:12]) + b"\n")
    assert sessions_in(tmp_path) == [one]
