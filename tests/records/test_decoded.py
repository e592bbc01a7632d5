"""Two readers of one spool: the second takes what the first has decoded, and loses nothing."""

import random
from pathlib import Path

import pytest

from records.outcome import Outcome, Record
from records.spool.frame import BadRange, FrameScan
from records.spool.reader import MOST, DecodedScans, SpoolReader
from records.spool.writer import SpoolWriter
from tests.records.samples import an_outcome


def taken(reader: SpoolReader, limit: int = 2000) -> list[Record]:
    """The records of one read, committed."""
    batch = reader.read(limit)
    reader.commit(batch)
    return list(batch.records())


def test_the_second_reader_gets_the_very_records_of_the_first(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    first = SpoolReader(tmp_path, quarantine=False)
    second = SpoolReader(tmp_path, ahead=first)
    read: list[Record] = []
    for serial in range(20):
        writer.append(an_outcome(serial))
        read += taken(first)
    assert [id(each) for each in taken(second)] == [id(each) for each in read]
    writer.close()


@pytest.mark.parametrize("seed", range(4))
def test_each_reads_every_record_once_and_in_order_whoever_is_ahead(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    writer = SpoolWriter(tmp_path, worker=0, segment_bytes=20_000)
    first = SpoolReader(tmp_path, quarantine=False)
    second = SpoolReader(tmp_path, ahead=first)
    seen: dict[SpoolReader, list[Record]] = {first: [], second: []}
    for serial in range(600):
        writer.append(an_outcome(serial))
        if dice.random() < 0.2:
            reader = dice.choice((first, second))
            seen[reader] += taken(reader, limit=dice.choice((1, 7, 2000)))
    writer.close()
    for reader, records in seen.items():
        while read := taken(reader):
            records += read
        ids = [each.exchange_id for each in records if isinstance(each, Outcome)]
        assert ids == [f"exchange-{serial}" for serial in range(600)]


def test_damage_is_quarantined_by_the_second_reader_though_the_first_came_by(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    for serial in range(5):
        writer.append(an_outcome(serial))
    (file,) = tmp_path.glob("*.spool")
    size = file.stat().st_size
    with file.open("r+b") as spool:
        spool.seek(size - 10)
        spool.write(b"\xff\xff")
    first = SpoolReader(tmp_path, quarantine=False)
    second = SpoolReader(tmp_path, ahead=first)
    assert len(taken(first)) == 4
    writer.append(an_outcome(5))
    assert len(taken(first)) == 1
    assert len(taken(second)) == 5
    writer.close()
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


def test_what_is_kept_is_bounded_and_damage_is_not_kept() -> None:
    decoded, record = DecodedScans(), an_outcome(0)
    decoded.put("damaged", 0, FrameScan([record], [BadRange(0, 5)], 10, torn=False))
    for start in range(3):
        decoded.put("file", start, FrameScan([record] * (MOST // 2), [], 10, torn=False))
    assert decoded.take("damaged", 0) is None
    assert decoded.take("file", 0) is None
    assert decoded.next_start("file", 0) == 1
    kept = decoded.take("file", 1)
    assert kept is not None
    assert len(kept.records) == MOST // 2
    assert decoded.take("file", 1) is None
