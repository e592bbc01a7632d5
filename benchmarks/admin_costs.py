"""Measures what an exchange costs the admin process, part by part, in CPU time and in instructions.

    .venv/bin/python -m benchmarks.admin_costs

A worker's spool is written and followed in steps of 50 ms, with the controller's own listeners behind the
feed, at 10,000 exchanges a second: two thirds of one canary at 10 %, a third without a canary. Then the same
exchanges go the leader's way: in short form through the stream's encoding, without Redis. Instructions are
counted by callgrind, once everything is warm; they are the same on a busy machine.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import batched
from pathlib import Path

from msgspec.structs import replace

from benchmarks.ingest import outcomes
from benchmarks.part_costs import PartCosts, instructions
from canary.config import parse
from canary.programs.controller import AftermathSentences
from canary.programs.process import boot_id
from canary.python_path import environment, program
from control.controller import Controller
from control.feed.events import TracingListener, WorkerEvents, of_batch
from control.feed.joins import FeedbackJoins
from control.feed.spool import BATCH, SpoolSource
from control.feed.stream import RecordDeduplicator, StreamPublisher
from control.fleet.leadership import SoleLeader
from control.fleet.publisher import FilePublisher
from control.jobs.segment_job import SegmentProgram
from control.states.rollouts import PendingRollbacks
from records.outcome import Heartbeat, Outcome
from records.shared.stream import OutgoingQueue, decoded, encoded
from records.spool.reader import SpoolBatch, SpoolReader
from records.spool.writer import SpoolWriter
from records.store import Store, sums
from records.store.shipper import Backlog, Shipper
from records.store.sums import prior_weeks

STEP = 500
"""Exchanges in 50 ms."""
UNITS = 20_000
JUDGED_EACH, SAVED_EACH = 4, 20
"""Steps, for .2 and 1 second."""
WARM = 2_500
BEGAN = 10_000.0
CONFIG = """
providers:
  openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}
canaries:
  - name: support-nov
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o}
    candidate: {provider: openai, model: gpt-4.1}
    share: 10%
"""


def exchanges(count: int) -> Iterator[Outcome]:
    """Outcomes in the order in which they end, 10,000 a second. Every third is of no canary."""
    for serial, each in enumerate(outcomes(count, seed=0)):
        mono = BEGAN + serial * 1e-4 - (each.latency_s or 0.0)
        each = replace(each, mono=mono, unit=f"{int(each.unit, 16) % UNITS:032x}")
        if serial % 3:
            yield each
        else:
            yield replace(each, canary="", run=0, phase=0, share=0.0, reason="", arm="baseline")


@dataclass(frozen=True, slots=True)
class AdminBench:
    """The admin process's parts on one folder, without their loops."""

    folder: Path
    store: Store
    costs: PartCosts

    def run(self, count: int) -> None:
        """Measure every part on `count` exchanges."""
        spool, feed = self.folder / "spool", self._feed()
        controller = controller_of(self.folder, self.store, feed, CONFIG, time.time())
        batches = list(self._read(feed.reader, list(exchanges(count))))
        events = []
        for batch in batches:
            with self.costs.part("sort the records for the listeners"):
                events.append(of_batch(batch, boot_id()))
        self._listen(controller, feed, events)
        self._ship(spool, batches)
        self._lead(controller_of(self.folder, self.store, self._feed(), CONFIG, time.time()), events)
        self.costs.end()

    def _feed(self) -> SpoolSource:
        return SpoolSource(
            self.folder / "spool", self.folder / "live.json", boot=boot_id(), joins=FeedbackJoins(self.store)
        )

    def _read(self, reader: SpoolReader, written: Sequence[Outcome]) -> Iterator[SpoolBatch]:
        """Write the spool in steps, and read each as the feed does."""
        writer = SpoolWriter(self.folder / "spool", worker=0)
        for step, part in enumerate(batched(written, STEP)):
            for outcome in part:
                writer.append(outcome)
            writer.append(_beat(step, step * STEP + len(part)))
            with self.costs.part("read and decode the spool"):
                batch = reader.read(BATCH)
            yield batch
        writer.close()

    def _listen(self, controller: Controller, feed: SpoolSource, events: Sequence[WorkerEvents]) -> None:
        """Pass the events to each listener, then judge and save as often as the controller does."""
        listeners = [*feed.listeners, TracingListener({}, "", dict)]
        for listener in [each for each in listeners if each is not controller.monitor]:
            for each in events:
                with self.costs.part(type(listener).__name__):
                    listener.take(each)
        self._watch(controller, events, "Monitor")
        for _ in range(0, len(events), SAVED_EACH):
            with self.costs.part("save the checkpoint, once a second"):
                asyncio.run(feed.save())

    def _watch(self, controller: Controller, events: Sequence[WorkerEvents], name: str) -> None:
        monitor = controller.monitor
        for part in batched(enumerate(events, start=1), JUDGED_EACH):
            for _, each in part:
                with self.costs.part(name):
                    monitor.take(each)
            ended = part[-1][0] * STEP * 1e-4
            with self.costs.part(name):
                monitor.decide(time.time(), BEGAN + ended)

    def _ship(self, spool: Path, batches: Sequence[SpoolBatch]) -> None:
        outcomes = [[each for each in batch.records() if type(each) is Outcome] for batch in batches]
        for second in batched(outcomes, SAVED_EACH):
            with self.costs.part("sum up units and sessions"):
                together = [each for part in second for each in part]
                sums.unit_days(together)
                sums.sessions(together)
                prior_weeks(together)
        backlog = Backlog(spool, {})
        for batch in batches:
            with self.costs.part("count the records that wait"):
                backlog.count()
                backlog.committed(batch)
        shipper = Shipper(spool, self.store)
        with self.costs.part("ship into SQLite, reading and sums included"):
            shipper.drain()

    def _lead(self, controller: Controller, events: Sequence[WorkerEvents]) -> None:
        """The replica's side, then the leader's."""
        outgoing = OutgoingQueue()
        publisher = StreamPublisher(outgoing, replica="a")
        entries: list[list[bytes]] = []
        for each in events:
            with self.costs.part("replica: shorten and encode"):
                publisher.take(each)
                entries.append([encoded(dispatch) for dispatch in outgoing.waiting])
                outgoing.waiting.clear()
        deduplicator, heard = RecordDeduplicator({"position": {"searched_until": 0.0, "told": {}}}), []
        dispatches = []
        for entry in entries:
            with self.costs.part("leader: decode"):
                dispatches.append([decoded(data) for data in entry])
        for part in dispatches:
            with self.costs.part("leader: RecordDeduplicator"):
                heard.append(deduplicator.hear([each for each in part if each is not None], "1-1"))
        self._watch(controller, heard, "leader: Monitor")


def controller_of(folder: Path, store: Store, feed: SpoolSource, config: str, began: float) -> Controller:
    """The controller of a single machine, whose canaries began at UTC second `began`."""
    controller = Controller(
        feed,
        SoleLeader(),
        FilePublisher(folder / "plan.json"),
        store=store,
        roller=no_roller(folder),
        settings=parse(config, "canary.yaml", {}).control,
        pending=PendingRollbacks(folder / "rollbacks.json"),
        assignment_key=lambda: b"key",
        own_url="http://127.0.0.1:1",
        troubles=list,
        trials=folder / "standing.json",
        sentences=lambda report: (),
        aftermath=AftermathSentences(),
    )
    controller.rollouts.reconcile(controller.settings, began)
    return controller


def no_roller(folder: Path) -> SegmentProgram:
    """A roller that has nothing to do while the benchmark lasts."""
    return SegmentProgram(
        command=program("canary.programs.roller"),
        environment=environment(),
        url="sqlite:///canary.db",
        data=folder,
        outcomes="outcomes",
    )


def _beat(step: int, finished: int) -> Heartbeat:
    return Heartbeat(
        worker=0,
        pid=1,
        at=time.time(),
        mono=BEGAN + step * STEP * 1e-4,
        started=finished,
        finished=finished,
        dropped=0,
        lag_s=0.0,
        plan_version=1,
    )


def measured(count: int, costs: PartCosts) -> None:
    """Run the bench in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="canary-admin-costs-"))
    try:
        (folder / "spool").mkdir(mode=0o700)
        with closing(Store.open("sqlite:///canary.db", folder)) as store:
            AdminBench(folder, store, costs).run(count)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Print a line for each part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admin_costs", description=__doc__)
    parser.add_argument("--exchanges", type=int, default=20_000)
    parser.add_argument("--callgrind", type=int, default=5_000, help="exchanges in callgrind; 0 for none")
    asked = parser.parse_args()
    measured(WARM, PartCosts(measures=False))
    costs = PartCosts()
    measured(asked.exchanges, costs)
    counted = {}
    if asked.callgrind:
        counted = instructions(
            "benchmarks.admin_costs", ["--exchanges", str(asked.callgrind), "--callgrind", "0"]
        )
    sys.stdout.write(f"{'µs':>6} {'instr.':>8}  for each exchange\n")
    for part, spent in costs.cpu_s.items():
        each = f"{counted[part] / asked.callgrind:8,.0f}" if counted else ""
        sys.stdout.write(f"{spent / asked.exchanges * 1e6:6.2f} {each}  {part}\n")


if __name__ == "__main__":
    main()
