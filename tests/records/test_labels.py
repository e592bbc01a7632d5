"""What people found in captured pairs, kept in either database: the newest counts, and none is changed."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from records.errors import Unstorable
from records.store import Store
from records.store.captures import Label, Labels, comparable


def _labelled(store: Store, at: float, **changes: object) -> Label:
    given = {"canary": "trial", "exchange_id": "e1", "right": "both", "who": "ann", **changes}
    label = Label(at=at, **given)  # type: ignore[arg-type]
    Labels(store).add(label)
    return label


def test_of_each_pair_the_newest_label_counts(store: Store) -> None:
    _labelled(store, 1.0)
    newest = _labelled(store, 2.0, right="candidate", who="bob")
    other = _labelled(store, 3.0, exchange_id="e2", right="unclear")
    _labelled(store, 4.0, canary="another")
    assert Labels(store).of("trial") == {"e1": newest, "e2": other}


def test_each_person_has_one_vote_on_a_pair(store: Store) -> None:
    _labelled(store, 1.0)
    bob = _labelled(store, 2.0, right="candidate", who="bob")
    ann = _labelled(store, 3.0, right="neither", chosen="disagreement")
    assert Labels(store).given("trial") == [bob, ann]


def test_a_label_that_is_taken_back_counts_no_more_and_the_other_person_s_does(store: Store) -> None:
    bob = _labelled(store, 1.0, who="bob")
    _labelled(store, 2.0, right="baseline")
    ann = _labelled(store, 3.0, right="candidate")
    Labels(store).withdraw(ann, at=4.0)
    assert Labels(store).given("trial") == [bob]
    assert Labels(store).of("trial") == {"e1": bob}
    again = _labelled(store, 5.0, right="unclear")
    assert Labels(store).of("trial") == {"e1": again}
    with store.reading() as connection:
        said = connection.execute(text("SELECT at, \"right\" FROM labels WHERE who = 'ann' ORDER BY id"))
        assert [row[1] for row in said] == ["baseline", "candidate", "withdrawn", "unclear"]


def test_a_judge_is_measured_by_each_pair_s_first_clear_label_that_no_disagreement_asked_for(
    store: Store,
) -> None:
    _labelled(store, 1.0, right="unclear")
    first = _labelled(store, 2.0, right="candidate", who="bob")
    _labelled(store, 3.0, right="baseline", who="cleo")
    _labelled(store, 4.0, exchange_id="e2", chosen="disagreement")
    assert Labels(store).sample("trial") == {"e1": first}
    assert [each.who for each in comparable(Labels(store).given("trial"))["e1"]] == ["bob", "cleo"]


def test_both_and_neither_are_ties() -> None:
    label = Label(at=1.0, canary="trial", exchange_id="e1", right="both", who="ann")
    found = [replace(label, right=right).better for right in ("candidate", "baseline", "both", "neither")]
    assert found == ["candidate", "baseline", "tie", "tie"]
    assert replace(label, right="unclear").better is None


@pytest.mark.parametrize("change", ["DELETE FROM labels", "UPDATE labels SET who = 'bob'"])
def test_a_label_can_neither_be_changed_nor_deleted(store: Store, change: str) -> None:
    label = _labelled(store, 1.0)
    with pytest.raises(Unstorable, match="labels is append-only"), store.writing() as connection:
        connection.execute(text(change))
    assert Labels(store).of("trial") == {"e1": label}
