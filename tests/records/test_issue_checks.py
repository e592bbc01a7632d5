"""What became of known issues, in either database."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from records.errors import Unstorable
from records.store import Store
from records.store.benchmarks import IssueCheck, IssueHistory, IssueState, StoredIssue, StoredIssues


def check(at: float, model: str, issue: str, state: IssueState = "gone") -> IssueCheck:
    return IssueCheck(at=at, model=model, issue=issue, state=state)


def test_every_check_is_kept_and_read_oldest_first(store: Store) -> None:
    late, early = check(2.0, "o/new", "i", "still_there"), check(1.0, "o/old", "i")
    IssueHistory(store).add([late])
    IssueHistory(store).add([early])
    IssueHistory(store).add([])
    assert IssueHistory(store).all() == [early, late]
    assert IssueHistory(store).all("o/new") == [late]


@pytest.mark.parametrize("change", ["DELETE FROM issue_checks", "UPDATE issue_checks SET state = 'gone'"])
def test_a_check_can_neither_be_changed_nor_deleted(store: Store, change: str) -> None:
    IssueHistory(store).add([check(1.0, "o/new", "i", "still_there")])
    with pytest.raises(Unstorable, match="issue_checks is append-only"), store.writing() as connection:
        connection.execute(text(change))


def test_an_example_is_stored_once_with_the_check_of_its_model_and_goes_with_its_mode(store: Store) -> None:
    known = StoredIssue(
        hash="i",
        at=5.0,
        who="ann",
        mode="says 5",
        source="sums:1",
        description="",
        since="o/old",
        error="",
        example={"id": "1", "input": "2 + 2?"},
    )
    had = check(4.0, "o/old", "i", "still_there")
    assert StoredIssues(store).add(known, had)
    assert not StoredIssues(store).add(replace(known, mode="another"), had)
    assert not StoredIssues(store).add(replace(known, hash="j", description="more"), had)
    assert (StoredIssues(store).all(), IssueHistory(store).all()) == ([known], [had])
    assert (StoredIssues(store).remove("says 5"), StoredIssues(store).remove("says 5")) == (1, 0)
    assert (StoredIssues(store).all(), IssueHistory(store).all()) == ([], [had])
