"""The sessions that every worker knows: in memory, in the file beside the states, and again."""

from pathlib import Path

import pytest
from msgspec import structs

from records.outcome import Outcome
from records.shared.session_arms import (
    AGAIN_AFTER_S,
    MOST_CHANGES,
    NAME,
    READ_AT_ONCE,
    SessionArms,
    SessionsFile,
    SessionsWatch,
    decoded,
    encoded,
    is_news,
)
from routing.sessions import SessionArm
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
    sessions = SessionArms()
    sessions.note(FIRST)
    found = [sessions.of_user(*KEY, f"user {number}") for number in range(MOST_CHANGES + 3)]
    assert [each is not None for each in found] == [True] * MOST_CHANGES + [False] * 3
    to_and_fro = SessionArms()
    to_and_fro.note(FIRST)
    found = [to_and_fro.of_user(*KEY, user) for _ in range(MOST_CHANGES) for user in ("cd" * 16, "ab" * 16)]
    assert [each is not None for each in found] == [True] * MOST_CHANGES + [False] * MOST_CHANGES


def test_those_heard_of_longest_ago_are_forgotten() -> None:
    sessions = SessionArms(most=3)
    for number in (1, 2, 3, 1, 4):
        sessions.note(structs.replace(FIRST, session=f"{number}", at=100.0 + number))
    assert [each.session for each in sessions.lines()] == ["3", "1", "4"]


def test_others_are_told_of_a_session_and_once_in_a_while_that_it_is_active() -> None:
    before = known_after(FIRST)
    assert before is not None and is_news(None, before)
    assert not is_news(before, structs.replace(before, at=before.at + AGAIN_AFTER_S))
    assert is_news(before, structs.replace(before, at=before.at + AGAIN_AFTER_S + 0.1))
    assert is_news(before, structs.replace(before, answered=3))


def some(count: int, first: int = 0) -> list[SessionArm]:
    sessions = SessionArms()
    for number in range(first, first + count):
        sessions.note(structs.replace(FIRST, session=f"{number:032x}"))
    return [*sessions.lines()]


def test_a_worker_learns_what_has_been_appended_and_a_new_one_all(tmp_path: Path) -> None:
    writers, path = SessionArms(), tmp_path / NAME
    file, known = SessionsFile(path), SessionArms()
    watch = SessionsWatch(path, known)
    assert not watch.poll()
    for fresh in (some(2), some(3, first=2)):
        writers.hear(fresh)
        file.write(fresh, writers)
        assert watch.poll() and not watch.poll()
        assert [*known.lines()] == [*writers.lines()]
    many = some(2 * READ_AT_ONCE // 150)
    writers.hear(many)
    file.write(many, writers)
    late = SessionArms()
    for each in (watch, again := SessionsWatch(path, late)):
        while each.poll():
            pass
    assert len(known) == len(late) == len(writers) and not again.poll()


def test_the_file_is_written_anew_when_most_of_it_is_old_and_by_another_process(tmp_path: Path) -> None:
    path, writers, known = tmp_path / NAME, SessionArms(), SessionArms()
    file, watch = SessionsFile(path, most=4), SessionsWatch(path, known)
    for _ in range(5):
        fresh = some(2)
        writers.hear(fresh)
        file.write(fresh, writers)
        watch.poll()
    assert len(path.read_bytes().splitlines()) <= 8
    assert [*known.lines()] == [*writers.lines()] == some(2)
    SessionsFile(path).write([], writers)
    assert decoded(path.read_bytes()) == some(2)
    assert watch.poll() and [*known.lines()] == some(2)


def test_lines_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    (one, other), path = some(2), tmp_path / NAME
    path.write_bytes(b'["of another version"]\n' + encoded([one]) + b"\xff\n" + encoded([other])[:-9])
    known = SessionArms()
    watch = SessionsWatch(path, known)
    assert watch.poll() and [*known.lines()] == [one]
    with path.open("ab") as file:
        file.write(encoded([other])[-9:])  # the rest of the line that was under way
    assert watch.poll() and [*known.lines()] == [one, other]
