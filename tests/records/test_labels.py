"""What people found in captured pairs, kept in either database: the newest counts, and none is changed."""

import pytest
from sqlalchemy import text

from records.errors import Unstorable
from records.labels import Label, Labels
from records.store import Store


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


@pytest.mark.parametrize("change", ["DELETE FROM labels", "UPDATE labels SET who = 'bob'"])
def test_a_label_can_neither_be_changed_nor_deleted(store: Store, change: str) -> None:
    label = _labelled(store, 1.0)
    with pytest.raises(Unstorable, match="labels is append-only"), store.writing() as connection:
        connection.execute(text(change))
    assert Labels(store).of("trial") == {"e1": label}
