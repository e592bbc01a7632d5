"""The evidence of one machine, as its spool brings it."""

import asyncio
import os
import resource
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from structlog.testing import capture_logs

from control.feed.events import WorkerEvents
from control.feed.joins import FeedbackJoins
from control.feed.spool import SpoolSource
from records.outcome import Heartbeat
from records.spool.writer import SpoolWriter
from records.store import Store
from tests.records.samples import an_outcome

BEAT = Heartbeat(
    worker=0, pid=1, at=1.0, mono=1.0, started=1, finished=1, dropped=0, lag_s=0.0, plan_version=1
)


class Heard:
    def __init__(self, *, all_of: int = 1) -> None:
        self.count, self._all_of = 0, all_of
        self.outcomes = asyncio.Event()

    def take(self, events: WorkerEvents) -> None:
        self.count += len(events.outcomes)
        if self.count >= self._all_of:
            self.outcomes.set()


def test_without_a_descriptor_one_file_is_heard_and_the_others_wait_in_the_spool(tmp_path: Path) -> None:
    joins = FeedbackJoins(Store.at("sqlite:///canary.db", tmp_path))
    heard = Heard(all_of=3)

    async def act() -> int:
        feed = SpoolSource(
            tmp_path / "spool", tmp_path / "live.json", boot="boot", joins=joins, others=[heard]
        )
        following = asyncio.create_task(feed.follow())
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free(), before[1]))
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(following), 0.5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        meanwhile = heard.count
        await asyncio.wait_for(heard.outcomes.wait(), 20.0)
        following.cancel()
        return meanwhile

    with ExitStack() as writers:
        for worker in range(3):
            spool = writers.enter_context(closing(SpoolWriter(tmp_path / "spool", worker=worker)))
            spool.append(an_outcome(worker))
        meanwhile = asyncio.run(act())
    assert meanwhile >= 1, "by the descriptor that its reader keeps back; the writers close some"
    assert heard.count == 3, "each once"


def test_a_disk_that_takes_no_checkpoint_is_logged_once(tmp_path: Path) -> None:
    joins = FeedbackJoins(Store.at("sqlite:///canary.db", tmp_path))

    async def act() -> None:
        feed = SpoolSource(tmp_path / "spool", tmp_path / "gone" / "live.json", boot="boot", joins=joins)
        for _ in range(3):
            await feed.save()
        (tmp_path / "gone").mkdir()
        await feed.save()

    with capture_logs() as logs:
        asyncio.run(act())
    assert [each["event"] for each in logs] == ["checkpoint.not_saved"]
    assert (tmp_path / "gone" / "live.json").exists()


def test_heartbeats_alone_write_no_new_checkpoint_and_the_end_of_a_worker_does(tmp_path: Path) -> None:
    joins = FeedbackJoins(Store.at("sqlite:///canary.db", tmp_path))

    async def act() -> list[int]:
        feed = SpoolSource(tmp_path / "spool", tmp_path / "live.json", boot="boot", joins=joins)
        feed.attach(Heard())
        spool, written = SpoolWriter(tmp_path / "spool", worker=0), []
        for more in (an_outcome(1), BEAT, BEAT, None):
            spool.append(more) if more is not None else spool.close()
            feed.drain()
            await feed.save()
            written.append((tmp_path / "live.json").stat().st_mtime_ns)
        return written

    first, *same, last = asyncio.run(act())
    assert same == [first, first] and last != first


def lowest_free() -> int:
    number = os.open("/", os.O_PATH)
    os.close(number)
    return number
