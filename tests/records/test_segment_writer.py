"""Rolling: fresh outcomes become segments, each outcome stays readable once, expired segments go."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from records.errors import StoreDown
from records.outcome import Outcome
from records.store import Store, segment_writer, tables
from records.store.segment_writer import SegmentsWritten, expire, roll, standing
from records.store.segments.sources import sources
from tests.effort import examples
from tests.records.conftest import SQLITE
from tests.records.samples import DAY, a_batch, an_outcome
from tests.records.stored import stored

HOUR = 3600.0
NOON = 20_000 * DAY + 12 * HOUR
Place = Callable[[], Store]


IN_A_FOLDER = ("sqlite, a folder", "postgresql, a folder")


@pytest.fixture(params=[*IN_A_FOLDER, "postgresql, itself"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Opens one store, as often as wanted, with its segments in a folder or in the database."""
    database, _, where = request.param.partition(", ")
    migrated = postgres = None
    if database == "postgresql":
        migrated, postgres = request.getfixturevalue("migrated"), request.getfixturevalue("postgres")
    url = SQLITE if postgres is None else postgres.fresh(like=migrated)
    opened = list[Store]()

    def another() -> Store:
        outcomes = "store" if where == "itself" else "outcomes"
        opened.append(Store.at(url, tmp_path, segment_writer.TIMEOUTS, outcomes=outcomes))
        return opened[-1]

    yield another
    for store in opened:
        store.close()


def files(store: Store) -> set[str]:
    """What lies in the folder."""
    if store.folder is None:
        return set()
    top = Path(store.folder.place)
    return {str(each.relative_to(top)) for each in top.rglob("*") if each.is_file()}


def known(store: Store) -> dict[str, str]:
    """The segments that the database knows, with their states."""
    with store.asking() as connection:
        found = connection.execute(select(tables.segments.c.path, tables.segments.c.state))
        return {row.path: row.state for row in found}


def in_order(store: Store) -> None:
    """The folder has what the database knows, and nothing else; all of it is whole."""
    segments = known(store)
    assert set(segments.values()) <= {"whole"}
    assert files(store) == (set(segments) if store.folder is not None else set())


def ids(store: Store) -> list[str]:
    return [row["exchange_id"] for row in stored(store)]


def fill(store: Store, *batches: list[Outcome]) -> list[str]:
    for number, batch in enumerate(batches):
        store.ship(a_batch(*batch, cursors={f"{batch[0].exchange_id}-{number}": 1}))
    return sorted(outcome.exchange_id for outcome in chain(*batches))


def hours(number: int, each: int = 3) -> list[list[Outcome]]:
    """Batches of so many hours before noon, one an hour."""
    first = NOON - number * HOUR
    return [
        [an_outcome(hour * each + n, at=first + hour * HOUR + n) for n in range(each)]
        for hour in range(number)
    ]


def test_an_hour_that_is_over_becomes_a_segment_and_the_present_one_stays_fresh(place: Place) -> None:
    store = place()
    fill(store, *hours(2), [an_outcome(90, at=NOON + 1)])
    before = stored(store)
    assert standing(store, NOON + 200, 0.0).is_due
    assert roll(store, NOON + 200) == SegmentsWritten(outcomes=6, segments=2)
    assert stored(store) == before
    assert all(path.startswith("day=2024-10-04/hour=1") for path in known(store))
    in_order(store)
    after = standing(store, NOON + 200, 0.0)
    assert (after.fresh, after.segments, after.is_due) == (1, 2, False)


def test_an_hour_waits_for_those_of_its_exchanges_that_last(place: Place) -> None:
    store = place()
    fill(store, *hours(1))
    assert not standing(store, NOON + 60, 0.0).is_due
    assert roll(store, NOON + 60) == SegmentsWritten()


def test_a_batch_of_two_hours_becomes_two_segments(place: Place) -> None:
    store = place()
    fill(store, [an_outcome(1, at=NOON - 1.0), an_outcome(2, at=NOON + 1.0)])
    assert roll(store, NOON + 2 * HOUR) == SegmentsWritten(2, 2)
    with store.reading() as connection:
        firsts = [source.first_at for source in sources(connection)]
    assert firsts == [NOON - 1.0, NOON + 1.0]


def test_many_fresh_outcomes_are_rolled_before_their_hour_is_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place()
    everything = fill(store, *([an_outcome(n, at=NOON + n)] for n in range(10)))
    monkeypatch.setattr("records.store.segment_writer.ROWS", 4)
    assert standing(store, NOON + 10, 0.0).is_due
    assert roll(store, NOON + 10) == SegmentsWritten(8, 2)
    assert sorted(ids(store)) == everything
    assert standing(store, NOON + 10, 0.0).fresh == 2


def test_all_that_is_fresh_is_rolled_when_somebody_asks_for_it(place: Place) -> None:
    store = place()
    everything = fill(store, [an_outcome(1, at=NOON)], [an_outcome(2, at=NOON + 1)])
    assert roll(store, NOON, all_of_it=True) == SegmentsWritten(2, 1)
    assert roll(store, NOON, all_of_it=True) == SegmentsWritten()
    assert sorted(ids(store)) == everything
    in_order(store)


def test_expired_segments_go_with_their_files_and_the_rest_stays(place: Place) -> None:
    store = place()
    fill(store, *hours(3))
    roll(store, NOON + 200)
    assert expire(store, NOON - HOUR) == 6
    assert ids(store) == ["exchange-6", "exchange-7", "exchange-8"]
    in_order(store)
    assert len(known(store)) == 1
    assert standing(store, NOON + 200, NOON).is_due


@pytest.mark.parametrize("state", ["writing", "deleting"])
def test_what_was_interrupted_is_finished_at_the_next_turn(place: Place, state: str) -> None:
    store = place()
    everything = fill(store, *hours(1))
    roll(store, NOON + 200)
    lost = ids(store)
    with store.writing() as connection:
        connection.execute(update(tables.segments).values(state=state))
    assert ids(store) == []
    assert standing(store, NOON + 200, 0.0).is_due
    more = fill(store, [an_outcome(70, at=NOON - 5.0)])
    assert roll(store, NOON + 200) == SegmentsWritten(1, 1)
    assert (sorted(lost), ids(store)) == (everything, more)
    in_order(store)


def test_two_rollers_at_once_roll_each_outcome_once(place: Place) -> None:
    store, rolled = place(), list[SegmentsWritten]()
    everything = fill(store, *hours(20))
    rollers = [Thread(target=lambda: rolled.append(roll(place(), NOON + 200))) for _ in range(3)]
    for each in rollers:
        each.start()
    for each in rollers:
        each.join()
    assert sum(each.outcomes for each in rolled) == len(everything)
    assert sorted(ids(store)) == everything
    in_order(store)


def test_a_roller_whose_outcomes_another_one_took_gives_up_without_a_trace(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the lock that keeps rollers apart had been lost."""
    first, second = place(), place()
    everything = fill(first, *hours(2))
    written, write_one = list[str](), segment_writer._write_one

    def outrun(store: Store, path: str, table: object) -> None:
        write_one(store, path, table)
        if not written:
            written.append(path)
            monkeypatch.setattr(segment_writer, "_write_one", write_one)
            segment_writer._clean(second)
            for hour in range(2):
                segment_writer._roll(second, [hour + 1])

    monkeypatch.setattr(segment_writer, "_write_one", outrun)
    with pytest.raises(StoreDown, match="another process"):
        roll(first, NOON + 200)
    assert sorted(ids(first)) == everything
    roll(first, NOON + 200)
    in_order(first)


class AnswerLost(Store):
    """Its transactions are committed, and one of them ends as if the connection had broken then."""

    lost_after = "whole"

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with super().writing() as connection:
            yield connection
            states = set(connection.execute(select(tables.segments.c.state)).scalars())
        if self.lost_after in states:
            self.lost_after = ""
            raise StoreDown("the database does not answer")


def test_a_commit_whose_answer_got_lost_keeps_its_files(tmp_path: Path) -> None:
    with closing(AnswerLost.at(SQLITE, tmp_path)) as store:
        everything = fill(store, *hours(2))
        with pytest.raises(StoreDown, match="does not answer"):
            roll(store, NOON + 200)
        assert sorted(ids(store)) == everything
        roll(store, NOON + 200)
        assert sorted(ids(store)) == everything
        in_order(store)


def test_who_waits_for_another_roller_is_told_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_writer, "ALONE_WITHIN_S", 0.2)
    begun, done = Event(), Event()

    def hold() -> None:
        with place().rolling(1.0):
            begun.set()
            done.wait(30)

    holder = Thread(target=hold)
    holder.start()
    assert begun.wait(30)
    with pytest.raises(StoreDown, match="another process has been rolling"):
        roll(place(), NOON)
    done.set()
    holder.join()
    assert roll(place(), NOON) == SegmentsWritten()


@pytest.mark.parametrize("place", IN_A_FOLDER, indirect=True)
def test_a_missing_file_is_an_error_and_never_fewer_outcomes(place: Place, tmp_path: Path) -> None:
    store = place()
    assert store.folder is not None
    fill(store, *hours(2))
    roll(store, NOON + 200)
    path = sorted(files(store))[0]
    Path(store.folder.place, path).rename(tmp_path / "aside")
    with pytest.raises(StoreDown, match=f"the segment {path} is missing in {store.folder.place}"):
        stored(store)
    (tmp_path / "aside").rename(Path(store.folder.place, path))
    assert len(stored(store)) == 6


@pytest.mark.parametrize("place", IN_A_FOLDER, indirect=True)
def test_a_damaged_file_is_an_error(place: Place) -> None:
    store = place()
    assert store.folder is not None
    fill(store, *hours(1))
    roll(store, NOON + 200)
    (path,) = files(store)
    file = Path(store.folder.place, path)
    whole = file.read_bytes()
    damaged = (
        f"^the segment {path} in {store.folder.place} is damaged: restore it from a backup, or give up .*$"
    )
    for content in (b"", whole[:200], whole[:4] + b"\xff" * 396 + whole[400:]):
        file.write_bytes(content)
        with pytest.raises(StoreDown, match=damaged) as raised:
            stored(store)
        assert "\n" not in str(raised.value)


def test_a_damaged_segment_of_the_database_is_an_error(sqlite_store: Store, tmp_path: Path) -> None:
    with closing(Store.at(SQLITE, tmp_path, outcomes="store")) as store:
        fill(store, *hours(1))
        roll(store, NOON + 200)
        with store.writing() as connection:
            content = connection.execute(select(tables.segments.c.content)).scalar_one()
            bad = content[:4] + b"\xff" * 396 + content[400:]
            connection.execute(update(tables.segments).values(content=bad))
        with pytest.raises(StoreDown, match="in the database is damaged: restore it from a backup"):
            stored(store)


def test_segments_in_a_folder_that_the_config_names_no_more_are_said_to_be_there(
    place: Place, tmp_path: Path, sqlite_store: Store
) -> None:
    fill(sqlite_store, *hours(2))
    roll(sqlite_store, NOON + 200)
    with closing(Store.at(SQLITE, tmp_path, outcomes="store")) as store:
        with pytest.raises(StoreDown, match="lies in a folder: name it as `outcomes` in the config"):
            stored(store)
        expire(store, NOON)
        fill(store, [an_outcome(70, at=NOON)])
        assert not standing(store, NOON + 60, 0.0).is_due
        assert roll(store, NOON, all_of_it=True) == SegmentsWritten(1, 1)
    assert roll(sqlite_store, NOON) == SegmentsWritten()
    assert files(sqlite_store) == set()


def test_a_full_disk_loses_nothing_and_is_tried_again(sqlite_store: Store, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        with closing(Store.at(SQLITE, tmp_path, outcomes=str(disk))) as store:
            everything = fill(store, *hours(1, each=2))
            (disk / "other").write_bytes(b"x" * 60_000)
            with pytest.raises(StoreDown, match="No space left on device"):
                roll(store, NOON + 200)
            assert sorted(ids(store)) == everything
            (disk / "other").unlink()
            assert roll(store, NOON + 200) == SegmentsWritten(2, 1)
            assert sorted(ids(store)) == everything
            in_order(store)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def second(most: float) -> st.SearchStrategy[float]:
    """A whole one: a segment keeps times in microseconds."""
    return st.integers(0, int(most)).map(float)


acts = st.lists(
    st.one_of(
        st.tuples(st.just("ship"), st.lists(second(8 * HOUR), min_size=1, max_size=5)),
        st.tuples(st.just("roll"), second(9 * HOUR)),
        st.tuples(st.just("fresh"), st.none()),
        st.tuples(st.just("expire"), second(4 * HOUR)),
    ),
    max_size=12,
)


@settings(max_examples=examples(40), deadline=None)
@given(acts)
def test_after_any_acts_each_outcome_that_is_not_expired_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, list[float] | float | None]]
) -> None:
    folder, serial, kept = tmp_path_factory.mktemp("any"), 0, dict[str, float]()
    with closing(Store.open(SQLITE, folder)) as store:
        for act, what in acts:
            if act == "ship" and isinstance(what, list):
                batch = [an_outcome(serial + n, at=NOON + at) for n, at in enumerate(what)]
                serial += len(batch)
                fill(store, batch)
                kept |= {each.exchange_id: each.at for each in batch}
            elif act == "roll" and isinstance(what, float):
                roll(store, NOON + what)
            elif act == "fresh":
                roll(store, NOON, all_of_it=True)
            elif isinstance(what, float):
                gone = expire(store, NOON + what)
                left = set(ids(store))
                expired = {each: at for each, at in kept.items() if each not in left}
                assert len(expired) == gone and all(at < NOON + what for at in expired.values())
                kept = {each: at for each, at in kept.items() if each in left}
            assert sorted(ids(store)) == sorted(kept)
            in_order(store)
