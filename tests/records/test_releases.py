"""Releases in either database: made once, what hangs on them stays, and only an unknown baseline changes."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from sqlalchemy import text

from records.errors import Unstorable
from records.facts.retirement import LastDay
from records.store import Store
from records.store.benchmarks import Benchmarks
from records.store.releases import ListedRetirements, ReleaseNote, Releases, Run
from tests.records.samples import a_release


def test_a_release_is_noticed_benchmarked_and_run_under_one_id(store: Store) -> None:
    releases = Releases(store)
    noticed = releases.notice("o/new", at=1.0)
    assert (noticed.baseline, noticed.noticed_at) == ("", 1.0)
    Benchmarks(store).add({}, baseline="o/old", candidate="o/new", at=2.0)
    releases.enter_run("support", 1, "o/new", "o/old", at=3.0)
    (release,) = releases.all()
    assert (release.id, release.baseline, release.made_at) == (noticed.id, "o/old", 1.0)
    assert releases.runs(release.id) == [Run(canary="support", run=1, release=release.id, at=3.0)]


def test_another_baseline_is_another_release_and_a_known_model_is_not_noticed_again(store: Store) -> None:
    releases = Releases(store)
    first = a_release(store, "o/new", "o/old", at=1.0)
    second = a_release(store, "o/new", "o/older", at=2.0)
    assert a_release(store, "o/new", "o/old", at=9.0) == first
    assert releases.notice("o/new", at=10.0) == first
    assert releases.all() == [second, first]
    assert second.id != first.id


def test_the_days_of_the_newest_lists_replace_those_before(store: Store) -> None:
    listed = ListedRetirements(store)
    first = {"o/old": LastDay(on=date(2027, 2, 1), successor="new"), "o/older": LastDay(on=date(2027, 1, 1))}
    listed.replace(first)
    assert listed.all() == first
    listed.replace({})
    assert listed.all() == {}


def test_a_run_stays_with_the_release_it_began_with(store: Store) -> None:
    releases = Releases(store)
    releases.enter_run("support", 1, "o/new", "o/old", at=1.0)
    releases.enter_run("support", 1, "o/newer", "o/old", at=2.0)
    releases.enter_run("support", 2, "o/newer", "o/old", at=3.0)
    newer, new = releases.all()
    assert [(run.run, run.release) for run in releases.runs()] == [(1, new.id), (2, newer.id)]


def test_those_who_make_a_release_at_once_make_one(store: Store) -> None:
    releases = Releases(store)
    releases.all()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: a_release(store, "o/new", "o/old", at=at), [1.0, 2.0, 3.0, 4.0]))
    assert {release.id for release in found} == {release.id for release in releases.all()}
    assert len(releases.all()) == 1


def test_notes_come_back_in_their_order_with_the_minutes(store: Store) -> None:
    releases = Releases(store)
    release = a_release(store, "o/new", "o/old", at=1.0).id
    notes = [
        ReleaseNote(at=2.0, release=release, who="ann", text="read 40 answers", minutes=25.0),
        ReleaseNote(at=3.0, release=release, who="bob", text="asked legal"),
    ]
    for note in notes:
        releases.note(note)
    assert releases.notes(release) == notes
    assert releases.notes("another") == []


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM releases",
        "UPDATE releases SET candidate = 'x'",
        "DELETE FROM runs",
        "UPDATE runs SET release = 'x'",
        "UPDATE release_notes SET text = 'x'",
        "DELETE FROM release_notes",
    ],
)
def test_what_a_release_held_is_never_rewritten(store: Store, change: str) -> None:
    releases = Releases(store)
    releases.enter_run("support", 1, "o/new", "o/old", at=1.0)
    releases.note(ReleaseNote(at=2.0, release=releases.all()[0].id, who="ann", text="fine"))
    with pytest.raises(Unstorable, match="append-only"), store.writing() as connection:
        connection.execute(text(change))
