"""What became of known issues, in either database."""

import pytest
from sqlalchemy import text

from records.errors import Unstorable
from records.store import Store
from records.store.benchmarks import IssueCheck, IssueHistory, IssueState, newest_of_each_model


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


def test_a_models_newest_check_counts_and_the_newest_model_is_last() -> None:
    first, other, again = check(1, "o/a", "i", "still_there"), check(2, "o/b", "i"), check(3, "o/a", "i")
    elsewhere = check(1, "o/b", "j", "unknown")
    assert newest_of_each_model([first, elsewhere, other, again]) == {"i": [other, again], "j": [elsewhere]}
