"""Benchmarks in either database: the newest of a candidate is found, and none is ever changed."""

import pytest
from sqlalchemy import text

from records.errors import Unstorable
from records.store import Store
from records.store.benchmarks import Benchmarks


def test_the_newest_of_a_candidate_is_found_whatever_came_of_others(store: Store) -> None:
    benchmarks = Benchmarks(store)
    for at, candidate in ((1.0, "o/new"), (3.0, "o/new"), (2.0, "o/new"), (4.0, "o/other"), (5.0, None)):
        benchmarks.add({"at": at, "layers": []}, baseline="o/old", candidate=candidate, at=at)
    benchmarks.add({"at": 6.0, "layers": []}, baseline="o/older", candidate="o/new", at=6.0)
    assert benchmarks.latest("o/new", "o/old") == {"at": 3.0, "layers": []}
    assert benchmarks.latest("o/unheard-of", "o/old") is None


@pytest.mark.parametrize("change", ["DELETE FROM benchmarks", "UPDATE benchmarks SET candidate = 'x'"])
def test_a_benchmark_can_neither_be_changed_nor_deleted(store: Store, change: str) -> None:
    Benchmarks(store).add({}, baseline="o/old", candidate="o/new", at=1.0)
    with pytest.raises(Unstorable, match="benchmarks is append-only"), store.writing() as connection:
        connection.execute(text(change))
    assert Benchmarks(store).latest("o/new", "o/old") == {}
