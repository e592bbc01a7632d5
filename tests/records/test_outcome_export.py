"""The stored outcomes as Arrow tables: each once, whatever is rolled, shipped and deleted meanwhile."""

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from records.errors import StoreDown
from records.exports.files import outcome_tables, write_arrow
from records.store import Store, segment_writer
from tests.records.samples import DAY, a_batch, an_outcome

BEGIN = 20_000 * DAY
LATER = BEGIN + DAY


def tables(store: Store, *, canary: str | None = None, since: float = 0.0, until: float = math.inf) -> Any:
    return outcome_tables(store, canary=canary, since=since, until=until)


def ids(found: Any) -> list[str]:
    return [name for table in found for name in table.column("exchange_id").to_pylist()]


def ship(store: Store, *serials: int) -> None:
    """An outcome every ten minutes."""
    store.ship(a_batch(*(an_outcome(n, at=BEGIN + n * 600.0) for n in serials)))


def test_segments_and_shipped_batches_are_one_table(store: Store) -> None:
    ship(store, *range(10))
    segment_writer.roll(store, LATER)
    ship(store, 10, 11)
    ship(store, 12)
    assert ids(tables(store)) == [f"exchange-{n}" for n in range(13)]
    assert ids(tables(store, since=BEGIN + 600, until=BEGIN + 11 * 600)) == [
        f"exchange-{n}" for n in range(1, 11)
    ]


def test_what_is_shipped_and_rolled_meanwhile_comes_once_or_not(store: Store) -> None:
    ship(store, *range(10))
    segment_writer.roll(store, LATER)
    ship(store, 10, 11)
    found = tables(store)
    first = ids([next(found)])
    segment_writer.roll(store, LATER)
    ship(store, 12)
    segment_writer.roll(store, LATER)
    assert sorted(first + ids(found)) == sorted(f"exchange-{n}" for n in range(12))


def test_what_retention_deletes_meanwhile_may_be_missing(store: Store) -> None:
    ship(store, *range(13))
    segment_writer.roll(store, LATER)
    found = tables(store)
    first = ids([next(found)])
    segment_writer.expire(store, BEGIN + 2 * 3600)
    assert first + ids(found) == [*(f"exchange-{n}" for n in range(6)), "exchange-12"]


def test_a_segment_that_is_missing_for_no_reason_is_no_empty_one(store: Store, tmp_path: Path) -> None:
    ship(store, *range(3))
    segment_writer.roll(store, LATER)
    next(tmp_path.rglob("*.parquet")).unlink()
    with pytest.raises(StoreDown, match=r"hour=00/\w+\.parquet is missing"):
        ids(tables(store))


def test_segments_in_the_database_are_read_too(store_url: str, tmp_path: Path) -> None:
    with closing(Store.open(store_url, tmp_path, outcomes="store")) as store:
        ship(store, *range(10))
        segment_writer.roll(store, LATER)
        assert ids(tables(store)) == [f"exchange-{n}" for n in range(10)]
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_file_has_the_tables_in_row_groups_of_its_own(store: Store, tmp_path: Path) -> None:
    ship(store, *range(10))
    segment_writer.roll(store, LATER)
    store.ship(a_batch(replace(an_outcome(11), canary="other")))
    file = tmp_path / "out.parquet"
    assert write_arrow(file, tables(store, canary="support-nov")) == 10
    written = pq.ParquetFile(file)
    assert (written.num_row_groups, written.metadata.num_rows) == (1, 10)
    assert written.metadata.row_group(0).column(0).compression == "ZSTD"
    assert str(written.schema_arrow.field("at").type) == "timestamp[us, tz=UTC]"
    assert write_arrow(file, tables(store, canary="nobody")) == 0
    assert pq.read_table(file).num_rows == 0
