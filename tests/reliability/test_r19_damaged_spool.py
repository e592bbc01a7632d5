"""R19: spool files cut short and with flipped bits, replayed by processes that are killed midway: every
record whose frame is whole is stored once, every damaged place is put aside and counted."""

import random
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from records.outcome import Outcome
from records.spool.frame import HEADER, encode
from records.spool.writer import SpoolWriter
from records.store import Store
from tests.records.stored import stored_in

RECORDS_A_FILE = 1500
FILES = 4
DAMAGES_A_FILE = 10
SPARED = 5
"""Records between two damaged ones, so that each damage is a place of its own."""


def an_outcome(serial: int) -> Outcome:
    return Outcome(
        exchange_id=f"exchange-{serial}", at=1.7e9 + serial, mono=1.0, outcome="ok", canary="damaged",
        unit=f"{serial % 97:032x}", model="gpt-4o",
    )  # fmt: skip


def written(spool: Path) -> dict[Path, list[tuple[str, int, int]]]:
    """Whole files, each by a writer of its own: (exchange, start, end) of every frame."""
    files = {}
    for worker in range(FILES):
        writer, at, frames = SpoolWriter(spool, worker=worker), 0, []
        for number in range(RECORDS_A_FILE):
            record = an_outcome(worker * RECORDS_A_FILE + number)
            assert writer.append(record)
            frames.append((record.exchange_id, at, at + len(encode(record))))
            at = frames[-1][2]
        writer.close()
        (path,) = spool.glob(f"w{worker}-*.spool")
        assert path.stat().st_size == at
        files[path] = frames
    return files


def damaged(files: dict[Path, list[tuple[str, int, int]]], dice: random.Random) -> tuple[set[str], int]:
    """Cut each file within its last frame and flip a bit in others': the records lost, and their bytes."""
    lost, lost_bytes = set(), 0
    for path, frames in files.items():
        data = bytearray(path.read_bytes())
        exchange, start, end = frames[-1]
        cut = dice.randrange(start + 1, end)
        lost.add(exchange)
        lost_bytes += cut - start
        for place in dice.sample(range(0, len(frames) - SPARED, SPARED), DAMAGES_A_FILE):
            exchange, start, end = frames[place]
            data[dice.randrange(start, end)] ^= 1 << dice.randrange(8)
            lost.add(exchange)
            lost_bytes += end - start
        path.write_bytes(data[:cut])
    return lost, lost_bytes


def replay(data: Path, kills: int, seed: int) -> None:
    """Damage a spool and replay it so; then compare what was stored with what was whole."""
    files = written(data / "spool")
    everything = {exchange for frames in files.values() for exchange, _, _ in frames}
    lost, lost_bytes = damaged(files, random.Random(seed))
    Store.open("sqlite:///canary.db", data).close()
    command = [sys.executable, "-m", "tests.reliability.replayer", str(data), "sqlite:///canary.db"]
    ran = subprocess.run(
        [*command, str(kills), str(seed)], capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, ran.stderr
    stored = Counter(row["exchange_id"] for row in stored_in(data))
    with closing(sqlite3.connect(data / "canary.db")) as database:
        cells = database.execute("SELECT sum(exchanges) FROM unit_days").fetchone()[0]
    store = Store.open("sqlite:///canary.db", data)
    totals = store.totals()
    store.close()
    aside = [each.stat().st_size for each in (data / "spool" / "quarantine").iterdir()]
    places = FILES * (1 + DAMAGES_A_FILE)
    print(
        f"\nR19: {len(everything)} records in {FILES} files, {places} damaged places, replay killed "
        f"{int(ran.stdout)} times at work: {len(stored)} stored once each, {totals.quarantined} counted and "
        f"{len(aside)} put aside ({sum(aside)} bytes)"
    )
    assert {*stored} == everything - lost
    assert {*stored.values()} == {1}
    assert (totals.stored, totals.quarantined) == (len(stored), places)
    assert (len(aside), sum(aside)) == (places, lost_bytes)
    assert not [*(data / "spool").glob("*.spool")]
    assert int(ran.stdout) >= 0.8 * kills
    assert cells in (None, len(stored))


def test_whole_records_are_stored_once_however_often_the_replay_is_killed(tmp_path: Path) -> None:
    replay(tmp_path, kills=8, seed=20261124)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
def test_fifty_kills(tmp_path: Path, seed: int) -> None:
    replay(tmp_path, kills=50, seed=seed)


def test_a_flipped_bit_anywhere_in_a_frame_makes_it_invalid() -> None:
    """What the test above takes for granted: no single flip leaves a frame that passes for whole."""
    from records.spool.frame import scan

    frame = encode(an_outcome(1))
    for bit in range(8 * len(frame)):
        data = bytearray(frame)
        data[bit // 8] ^= 1 << bit % 8
        found = scan(bytes(data), limit=10, final=True)
        assert (found.records, len(found.bad)) == ([], 1), f"bit {bit} of a frame with head {HEADER.size}"
