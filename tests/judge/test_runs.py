"""What of a run is judged next, and why the rest waits."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from judge.runs.due import due_now
from judge.terms import JudgedRun
from records.store import Store
from tests.judge.test_unjudged import add, begin
from tests.records.test_capture_store import NOW

MORNING = NOW // 86400 * 86400 + 60.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


def run(answers: int) -> JudgedRun:
    return JudgedRun(canary="support", run=1, kind="answer", number=answers, criteria="Good.")


def test_what_a_category_has_no_room_for_waits_and_is_told(store: Store) -> None:
    for number in range(5):
        add(store, f"common-{number}", category="common", at=NOW - number)
    add(store, "rare", category="rare")
    assert (
        len(due_now(store, run(12), MORNING, most=64).now),
        due_now(store, run(12), MORNING, most=64).held,
    ) == (
        6,
        "",
    )
    due = due_now(store, run(4), MORNING, most=64)
    assert len(due.now) == 3
    assert due.held == "answers wait, because their categories' part of today is used"
    assert due_now(store, run(4), MORNING, most=2).held == "", (
        "what one look does not take is taken by the next"
    )


def test_a_number_that_is_used_up_is_told(store: Store) -> None:
    add(store, "one")
    add(store, "other")
    begin(store, "one")
    due = due_now(store, run(1), NOW, most=64)
    assert (due.now, due.held) == ([], "the day's `answers: 1` is used up")
