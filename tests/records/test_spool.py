"""The spool: what a worker appends is found once by every reader, whatever happens to the worker."""

import asyncio
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from records.errors import SpoolFull
from records.outcome import Feedback, Heartbeat, Outcome
from records.spool.reader import DONE, SpoolReader, sweep
from records.spool.writer import HeldFrames, SpoolWriter
from tests.serving import eventually


def an_outcome(serial: int, *, mono: float = 1.0, padding: int = 500) -> Outcome:
    return Outcome(
        exchange_id=f"exchange-{serial}", at=1.0, mono=mono, outcome="ok", request_id="x" * padding
    )


def a_heartbeat(*, started: int = 0, finished: int = 0, dropped: int = 0, closing: bool = False) -> Heartbeat:
    return Heartbeat(
        worker=0,
        pid=os.getpid(),
        at=1.0,
        mono=10.0,
        started=started,
        finished=finished,
        dropped=dropped,
        lag_s=0.0,
        plan_version=1,
        closing=closing,
    )


def some_feedback(key: str = "k", *, comment: str = "") -> Feedback:
    return Feedback(key=key, metric="csat", value=4.0, at=1.0, mono=1.0, comment=comment)


def drain(reader: SpoolReader, *, limit: int = 2000) -> list[str]:
    """Everything there is, committed batch by batch: the ids of its outcomes."""
    ids = []
    while not (batch := reader.read(limit)).is_empty:
        ids += [record.exchange_id for record in batch.records() if isinstance(record, Outcome)]
        reader.commit(batch)
    return ids


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.spool"))


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    spool = SpoolWriter(tmp_path, worker=0)
    yield spool
    spool.close()


def test_what_is_appended_is_read_once_and_in_order(tmp_path: Path, writer: SpoolWriter) -> None:
    reader = SpoolReader(tmp_path)
    assert all(writer.append(an_outcome(n)) for n in range(5))
    assert drain(reader, limit=2) == [f"exchange-{n}" for n in range(5)]
    writer.append(an_outcome(5))
    assert drain(reader) == ["exchange-5"]
    assert reader.read().is_empty


def test_a_file_is_named_by_worker_boot_and_pid_and_private(tmp_path: Path, writer: SpoolWriter) -> None:
    (name,) = names(tmp_path)
    worker, boot, pid, segment = name.removesuffix(".spool").split("-")
    assert (worker, pid, segment) == ("w0", str(os.getpid()), "0")
    assert boot.startswith(Path("/proc/sys/kernel/random/boot_id").read_text()[:8])
    assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_two_writers_of_one_process_never_share_a_file(tmp_path: Path, writer: SpoolWriter) -> None:
    SpoolWriter(tmp_path, worker=0).close()
    other = SpoolWriter(tmp_path, worker=0)
    assert len(names(tmp_path)) == 2
    other.close()


def test_a_reader_goes_on_from_its_cursors(tmp_path: Path, writer: SpoolWriter) -> None:
    first = SpoolReader(tmp_path)
    for n in range(4):
        writer.append(an_outcome(n))
    first.commit(first.read(2))
    second = SpoolReader(tmp_path, first.committed)
    assert drain(second) == ["exchange-2", "exchange-3"]


def test_a_reader_may_begin_before_any_writer(tmp_path: Path) -> None:
    reader = SpoolReader(tmp_path / "spool")
    assert reader.read().is_empty
    writer = SpoolWriter(tmp_path / "spool", worker=0)
    writer.append(an_outcome(0))
    assert drain(reader) == ["exchange-0"]
    writer.close()


def test_a_file_may_be_swept_between_listing_and_reading(tmp_path: Path) -> None:
    gone = f"w0-{'0' * 16}-1-0.spool"
    (tmp_path / gone).symlink_to(tmp_path / "swept")  # listed, and not to be opened
    assert SpoolReader(tmp_path, {gone: DONE}).read().is_empty


def test_records_larger_than_a_chunk_are_read(tmp_path: Path, writer: SpoolWriter) -> None:
    sizes = [(1 << 20) - 2000, 10, (1 << 20) - 1000, 700_000, 700_000]
    for n, size in enumerate(sizes):
        assert writer.append(an_outcome(n, padding=size))
    assert drain(SpoolReader(tmp_path)) == [f"exchange-{n}" for n in range(5)]


def test_a_record_over_a_mebibyte_is_dropped_and_counted(tmp_path: Path, writer: SpoolWriter) -> None:
    assert not writer.append(an_outcome(1, padding=1 << 20))
    assert writer.append(an_outcome(2))
    assert (writer.dropped, drain(SpoolReader(tmp_path))) == (1, ["exchange-2"])


def test_a_full_segment_is_followed_by_another(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0, segment_bytes=3000)
    for n in range(20):
        writer.append(an_outcome(n))
    assert len(names(tmp_path)) > 3
    assert all((tmp_path / name).stat().st_size <= 3000 for name in names(tmp_path))
    assert drain(SpoolReader(tmp_path)) == [f"exchange-{n}" for n in range(20)]
    writer.close()


def test_several_workers_share_a_folder_and_a_batch_serves_each(tmp_path: Path) -> None:
    writers = [SpoolWriter(tmp_path, worker=worker) for worker in range(3)]
    for worker, writer in enumerate(writers):
        for n in range(100):
            writer.append(an_outcome(1000 * worker + n))
    reader = SpoolReader(tmp_path)
    batches = [reader.read(100) for _ in range(3)]
    assert {chunk.writer.worker for batch in batches for chunk in batch.chunks} == {0, 1, 2}
    for writer in writers:
        writer.close()


# Files end and go away


def test_a_file_is_deleted_only_when_every_reader_has_committed_its_end(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    writer.append(an_outcome(1))
    quick, slow = SpoolReader(tmp_path), SpoolReader(tmp_path, quarantine=False)
    drain(quick)
    drain(slow)
    assert sweep(tmp_path, [quick, slow]) == []  # its writer lives
    writer.close()
    drain(quick)
    assert sweep(tmp_path, [quick, slow]) == []  # the slow one has not seen the end
    unsaved = slow.read()
    assert sweep(tmp_path, [quick, slow]) == []  # nor committed it
    slow.commit(unsaved)
    deleted = sweep(tmp_path, [quick, slow])
    assert len(deleted) == 1 and names(tmp_path) == []
    for reader in (quick, slow):
        assert reader.read().is_empty and reader.committed == {}


def test_a_rotated_file_is_done_while_its_writer_lives_on(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0, segment_bytes=1000)
    reader = SpoolReader(tmp_path)
    for n in range(3):
        writer.append(an_outcome(n, padding=500))
    assert drain(reader) == ["exchange-0", "exchange-1", "exchange-2"]
    assert len(sweep(tmp_path, [reader])) == 2
    assert writer.append(an_outcome(3))
    assert drain(reader) == ["exchange-3"]
    writer.close()


def test_an_unused_file_is_taken_away_by_its_writer(tmp_path: Path) -> None:
    SpoolWriter(tmp_path, worker=0).close()
    assert names(tmp_path) == []


def test_a_file_just_being_born_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "w0-0123456789abcdef-77-0.spool"
    path.touch()
    os.utime(path, (time.time(), time.time()))
    assert SpoolReader(tmp_path).read().is_empty
    os.utime(path, (1.0, 1.0))
    assert SpoolReader(tmp_path).read().cursors == {path.name: DONE}


# Writers die


def test_an_orderly_end_is_no_death(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    writer.append(a_heartbeat(started=9, finished=7, closing=True))
    writer.close()
    assert SpoolReader(tmp_path).read().deaths == []


def test_a_death_tells_how_many_exchanges_were_lost(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=3)
    writer.append(a_heartbeat(started=9, finished=4))
    writer.append(an_outcome(1, mono=9.9))  # one of the five
    writer.append(an_outcome(2, mono=10.1))  # begun after the heartbeat
    reader = SpoolReader(tmp_path)
    assert reader.read().deaths == []
    writer.close()
    (death,) = reader.read().deaths
    assert (death.lost, death.writer.worker, death.writer.pid) == (4, 3, os.getpid())
    assert reader.read().deaths == []


def test_a_death_is_told_after_a_restart_of_the_reader_too(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    writer.append(a_heartbeat(started=9, finished=4))
    first = SpoolReader(tmp_path)
    drain(first)
    writer.close()
    second = SpoolReader(tmp_path, first.committed)
    batch = second.read()
    assert [death.lost for death in batch.deaths] == [5]
    second.commit(batch)
    assert SpoolReader(tmp_path, second.committed).read().deaths == []


def test_drops_are_told_once_across_restarts(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.append(a_heartbeat(dropped=3))
    first = SpoolReader(tmp_path)
    batch = first.read()
    first.commit(batch)
    writer.append(a_heartbeat(dropped=3))
    writer.append(a_heartbeat(dropped=5))
    assert (batch.dropped, SpoolReader(tmp_path, first.committed).read().dropped) == (3, 2)


_WRITES_UNTIL_KILLED = """
import sys
from pathlib import Path
from records.outcome import Outcome
from records.spool.writer import SpoolWriter

writer = SpoolWriter(Path(sys.argv[1]), worker=0, segment_bytes=200_000)
n = 0
while True:
    name = f"{sys.argv[2]}-{n}"
    filling = "x" * (n % 3000)
    kept = writer.append(Outcome(exchange_id=name, at=1.0, mono=1.0, outcome="ok", request_id=filling))
    if kept:
        sys.stdout.write(name + "\\n")
        sys.stdout.flush()
    n += 1
"""


def test_a_killed_writer_loses_no_acknowledged_record(tmp_path: Path) -> None:
    dice = random.Random(1)
    acknowledged: list[str] = []
    reader = SpoolReader(tmp_path)
    found: list[str] = []
    for life in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITES_UNTIL_KILLED, str(tmp_path), str(life)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(dice.randrange(1, 1500))]
        found += drain(reader, limit=97)  # reading goes on while it writes
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait()
        process.stdout.close()
        acknowledged += [line.decode().strip() for line in lines if line.endswith(b"\n")]
    found += drain(reader)
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= 8  # written, and killed before it could say so
    assert len(sweep(tmp_path, [reader])) >= 8
    for name in names(tmp_path):  # killed between making a file and writing to it: it goes when it is old
        os.utime(tmp_path / name, (1.0, 1.0))
    assert drain(reader) == []
    sweep(tmp_path, [reader])
    assert names(tmp_path) == []


# Damage


def test_fifty_flipped_bits_and_torn_tails_cost_only_their_own_records(tmp_path: Path) -> None:
    dice = random.Random(19)
    for attempt in range(50):
        folder = tmp_path / str(attempt)
        writer = SpoolWriter(folder, worker=0, segment_bytes=5000)
        for n in range(40):
            writer.append(an_outcome(n, padding=500 + dice.randrange(200)))
        writer.close()
        expected = _damage(folder, dice)
        reader = SpoolReader(folder)
        batches = []
        while not (batch := reader.read(7)).is_empty:
            reader.commit(batch)
            batches.append(batch)
        found = [r.exchange_id for batch in batches for r in batch.records() if isinstance(r, Outcome)]
        assert found == expected
        aside = list((folder / "quarantine").iterdir())
        assert sum(batch.quarantined for batch in batches) == len(aside) == 2
        assert sum(path.stat().st_size for path in aside) > 0


def _damage(folder: Path, dice: random.Random) -> list[str]:
    """Flip a bit in one segment and tear another's tail; returns the ids that are still whole."""
    whole = {name: _by_hand(folder / name) for name in names(folder)}
    order = sorted(whole, key=lambda name: int(name.removesuffix(".spool").rsplit("-", 1)[1]))
    flipped, torn = dice.sample(order[:-1], 2)
    data = bytearray((folder / flipped).read_bytes())
    place = dice.randrange(len(data))
    data[place] ^= 1 << dice.randrange(8)
    (folder / flipped).write_bytes(data)
    ends = _ends((folder / torn).read_bytes())
    os.truncate(folder / torn, dice.randrange(ends[-2] + 1, ends[-1]))
    victim = next(index for index, end in enumerate(_ends_of_ids(whole[flipped])) if place < end)
    return [
        name
        for file in order
        for index, (name, _) in enumerate(whole[file])
        if not (file == flipped and index == victim) and not (file == torn and index == len(whole[file]) - 1)
    ]


def _by_hand(path: Path) -> list[tuple[str, int]]:
    """(id, frame size) of each record in an undamaged file, read by hand."""
    data, at, found = path.read_bytes(), 0, []
    for end in _ends(data):
        name = re.findall(rb"exchange-\d+", data[at:end])[0].decode()
        found.append((name, end - at))
        at = end
    return found


def _ends(data: bytes) -> list[int]:
    at, ends = 0, []
    while at < len(data):
        at += 8 + int.from_bytes(data[at : at + 4], "little")
        ends.append(at)
    return ends


def _ends_of_ids(records: list[tuple[str, int]]) -> list[int]:
    return [sum(size for _, size in records[: n + 1]) for n in range(len(records))]


def test_damage_in_a_living_file_is_passed_when_a_record_follows(tmp_path: Path, writer: SpoolWriter) -> None:
    writer.append(an_outcome(0))
    writer.append(an_outcome(1))
    (name,) = names(tmp_path)
    size = (tmp_path / name).stat().st_size // 2
    with (tmp_path / name).open("r+b") as file:
        file.seek(size)
        file.write(b"\xff\xff\xff\x7f")  # a length of two gigabytes
    reader = SpoolReader(tmp_path)
    assert drain(reader) == ["exchange-0"]
    writer.append(an_outcome(2))
    assert drain(reader) == ["exchange-2"]


def test_reading_the_same_damage_again_quarantines_it_under_the_same_name(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    writer.append(an_outcome(0))
    writer.close()
    (name,) = names(tmp_path)
    os.truncate(tmp_path / name, 100)
    for _ in range(2):
        batch = SpoolReader(tmp_path).read()
        assert (batch.quarantined, batch.cursors) == (1, {name: DONE})
    (aside,) = (tmp_path / "quarantine").iterdir()
    assert aside.read_bytes() == (tmp_path / name).read_bytes()


def test_damage_that_finds_no_room_aside_stops_no_reader(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    for serial in range(2):
        writer.append(an_outcome(serial))
    writer.close()
    (name,) = names(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[20] ^= 1
    (tmp_path / name).write_bytes(data)
    (tmp_path / "quarantine").write_text("a disk that takes no folder")
    with capture_logs() as logs:
        assert drain(SpoolReader(tmp_path)) == ["exchange-1"]
    assert [each["event"] for each in logs] == ["quarantine.no_room"]


# The disk is full


def test_a_full_folder_drops_the_newest_and_counts_them(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0, cap_bytes=5000)
    kept = [n for n in range(20) if writer.append(an_outcome(n))]
    assert kept == list(range(len(kept))) and 3 <= len(kept) < 20
    assert writer.dropped == 20 - len(kept)
    assert drain(SpoolReader(tmp_path)) == [f"exchange-{n}" for n in kept]
    writer.close()


def test_all_of_an_array_is_kept_or_none(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, worker=0, cap_bytes=5000)
    assert writer.append_all([some_feedback("a"), some_feedback("b")])
    assert not writer.append_all([some_feedback(str(n)) for n in range(100)])
    assert writer.dropped == 100
    keys = [record.key for record in SpoolReader(tmp_path).read().records() if isinstance(record, Feedback)]
    assert keys == ["a", "b"]
    writer.close()


_FILLS_A_FILE = """
import resource, sys
from pathlib import Path
from records.outcome import Outcome
from records.spool.writer import SpoolWriter

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
writer = SpoolWriter(Path(sys.argv[1]), worker=0)
print(sum(writer.append(Outcome(exchange_id=str(n), at=1.0, mono=1.0, outcome="ok")) for n in range(200)))
print(writer.dropped)
"""


def test_a_short_write_leaves_the_file_framed(tmp_path: Path) -> None:
    """A file-size limit makes the last write() short, as a disk that fills up in the middle of it does."""
    done = subprocess.run(
        [sys.executable, "-c", _FILLS_A_FILE, str(tmp_path)], capture_output=True, check=True
    )
    kept, dropped = map(int, done.stdout.split())
    assert kept and dropped and kept + dropped == 200
    batch = SpoolReader(tmp_path).read()
    assert (len(list(batch.records())), batch.quarantined) == (kept, 0)
    assert not (tmp_path / "quarantine").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_drops_counts_and_recovers_when_read(small_disk: Path) -> None:
    writer = SpoolWriter(small_disk, worker=0)
    reader = SpoolReader(small_disk)
    kept = [n for n in range(3000) if writer.append(an_outcome(n))]
    assert writer.dropped == 3000 - len(kept) > 0
    assert not writer.append(some_feedback(comment="x" * 5000))
    asyncio.run(writer.synced())  # the rotated segment is let go of after its last sync
    assert drain(reader) == [f"exchange-{n}" for n in kept]
    assert sweep(small_disk, [reader])
    assert writer.append(an_outcome(3000))
    assert drain(reader) == ["exchange-3000"]
    writer.close()
    reader.close()


def test_a_folder_that_is_gone_drops_and_raises_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    writer = SpoolWriter(folder, worker=0)
    shutil.rmtree(folder)
    assert not writer.append(an_outcome(1))
    assert writer.dropped == 1
    writer.close()


# The disk hangs


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The disk answers no fdatasync() until the event is set."""
    answers, fdatasync = threading.Event(), os.fdatasync

    def waits(fd: int) -> None:
        answers.wait()
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", waits)
    yield answers
    answers.set()


def fill_until_held(writer: SpoolWriter) -> int:
    """Append until a record is held: how many records that took."""
    serials = count()

    def held() -> bool:
        assert writer.append(an_outcome(next(serials)))
        return bool(writer.held.size)

    eventually(held)
    return next(serials)


def test_records_wait_in_memory_for_a_disk_that_hangs_and_reach_it_in_order(
    tmp_path: Path, hanging: threading.Event
) -> None:
    writer, reader = SpoolWriter(tmp_path, worker=0), SpoolReader(tmp_path)
    with capture_logs() as logs:
        before = fill_until_held(writer) - 1
        assert writer.append(a_heartbeat()) and writer.append(an_outcome(before + 1))
        assert drain(reader) == [f"exchange-{n}" for n in range(before)]
        assert writer.held.records == 2
        hanging.set()
        eventually(lambda: writer.append(a_heartbeat()) and not writer.held.size)
    assert drain(reader) == [f"exchange-{n}" for n in range(before, before + 2)]
    assert writer.dropped == 0
    assert [each["event"] for each in logs] == ["spool.disk_hangs", "spool.disk_answers"]
    writer.close()


def test_feedback_is_refused_while_the_disk_hangs_for_a_202_would_be_false(
    tmp_path: Path, hanging: threading.Event
) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    fill_until_held(writer)
    assert not writer.append_all([some_feedback("a"), some_feedback("b")])
    assert writer.dropped == 2
    hanging.set()
    eventually(lambda: writer.append_all([some_feedback("c")]))
    asyncio.run(writer.synced())
    records = list(SpoolReader(tmp_path).read().records())
    assert [record.key for record in records if isinstance(record, Feedback)] == ["c"]
    writer.close()


def test_what_does_not_fit_into_memory_is_dropped_and_counted(
    tmp_path: Path, hanging: threading.Event
) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    writer.held = HeldFrames(most_bytes=3000)
    before = fill_until_held(writer)
    kept = [n for n in range(before, before + 20) if writer.append(an_outcome(n))]
    assert kept == list(range(before, before + len(kept))) and 1 <= len(kept) < 20
    assert writer.dropped == 20 - len(kept)
    hanging.set()
    writer.close()
    assert drain(SpoolReader(tmp_path)) == [f"exchange-{n}" for n in range(before + len(kept))]


def test_a_disk_that_is_full_when_it_answers_again_drops_what_waited(
    tmp_path: Path, hanging: threading.Event
) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    before = fill_until_held(writer) - 1
    writer._cap = writer._room = 0
    assert not writer.append_all([some_feedback()])
    hanging.set()
    writer.close()
    assert writer.dropped == 2
    assert drain(SpoolReader(tmp_path)) == [f"exchange-{n}" for n in range(before)]


def test_a_writer_of_heartbeats_alone_notices_the_disk_too(tmp_path: Path, hanging: threading.Event) -> None:
    writer = SpoolWriter(tmp_path, worker=0)
    eventually(lambda: writer.append(a_heartbeat()) and writer.held.size)
    assert writer.held.records == 0
    hanging.set()
    writer.close()


# Durability


def test_one_sync_serves_everybody_who_waits(
    tmp_path: Path, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs, fdatasync = [], os.fdatasync

    def counted(fd: int) -> None:
        syncs.append(fd)
        fdatasync(fd)

    async def feedback(n: int) -> None:
        assert writer.append(some_feedback(str(n)))
        await writer.synced()

    async def many() -> None:
        await asyncio.gather(*(feedback(n) for n in range(200)))

    monkeypatch.setattr(os, "fdatasync", counted)
    asyncio.run(many())
    assert 1 <= len(syncs) < 100
    assert len(list(SpoolReader(tmp_path).read().records())) == 200


def test_a_disk_that_fails_its_sync_is_told(tmp_path: Path) -> None:
    # A pipe takes write() and refuses fdatasync() with EINVAL: a disk error without a broken disk.
    writer = SpoolWriter(tmp_path, worker=0)
    assert writer.append(some_feedback())
    read_end, write_end = os.pipe()
    os.dup2(write_end, writer._fd)
    with pytest.raises(SpoolFull, match="disk"):
        asyncio.run(writer.synced())
    writer.close()
    os.close(read_end)
    os.close(write_end)


def test_a_caller_who_goes_away_spoils_no_other_callers_sync(tmp_path: Path, writer: SpoolWriter) -> None:
    async def scenario() -> None:
        writer.append(some_feedback())
        gone = asyncio.ensure_future(writer.synced())
        stays = asyncio.ensure_future(writer.synced())
        await asyncio.sleep(0)
        gone.cancel()
        await stays

    asyncio.run(scenario())
