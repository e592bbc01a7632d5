"""A fleet's leader in this process, and the traffic that its replicas send it."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.contender import CLIENT_CORE, PROXY_CORE
from benchmarks.leader_traffic import CANARIES, Order, Sent
from canary.config import parse
from canary.programs.controller import AftermathSentences
from canary.programs.fleet import FleetParts
from control.controller import Controller
from control.states.rollouts import PendingRollbacks
from records.store import Store

SECONDS, CATCH_UP_S = 5.0, 10.0
LATE_S = 2.0
"""A leader does not keep up if it knows an outcome so long after its end, or needs so long after the last."""

TRIALS = ("bad-1", "bad-2", "bad-3", "bad-4")
HEALTHY_S, BAD_S = 4.0, 8.0


PROVIDERS = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}\ncanaries:\n'
CANARY = """
  - name: {name}
    match: {{models: [{name}]}}
    baseline: {{provider: openai, model: gpt-4o}}
    candidate: {{provider: openai, model: gpt-4.1}}
    share: 10%
"""


HEADER = "offered/s    sent/s   own CPU each   a CPU second   lag p50 / most, s   behind"


@dataclass(frozen=True, slots=True)
class RateStep:
    """One rate. `cpu_s` is the leader's own, `lags_s` how late it knew, looked up ten times a second;
    `behind_s` how long after the last outcome was sent it had taken all, None if it had not."""

    offered_per_s: int
    sent: Sent
    cpu_s: float
    lags_s: list[float]
    behind_s: float | None

    @property
    def keeps_up(self) -> bool:
        """Whether the leader took everything in time."""
        return self.behind_s is not None and max(self.behind_s, *self.lags_s) <= LATE_S

    @property
    def per_cpu_s(self) -> float:
        """Outcomes for each second of the leader's own CPU."""
        return self.sent.outcomes / self.cpu_s

    def line(self) -> str:
        """A row of the table."""
        behind = "–" if self.behind_s is None else f"{self.behind_s:.2f} s"
        word = "keeps up" if self.keeps_up else "falls behind"
        per_s, each_us = self.sent.outcomes / self.sent.seconds, 1e6 / self.per_cpu_s
        lag = f"{median(self.lags_s):.2f} / {max(self.lags_s):.2f}"
        return (
            f"{self.offered_per_s:9,} {per_s:9,.0f} {each_us:11.1f} µs {self.per_cpu_s:14,.0f} {lag:>19}"
            f" {behind:>8}  {word}"
        )


class LeaderBench:
    """A leading controller, and the fleet that it is sent."""

    def __init__(
        self, controller: Controller, fleet: FleetParts, traffic: asyncio.subprocess.Process
    ) -> None:
        self._controller, self._fleet, self._traffic = controller, fleet, traffic

    @property
    def heard(self) -> int:
        """The outcomes that the guardrails have been told."""
        watched = self._controller.monitor.canaries.values()
        return sum(arm.requests for each in watched for arm in each.pulse.arms.values())

    async def leads(self) -> None:
        """Wait until it leads, and every canary runs."""
        found = await _until(lambda: self._controller.watches and all(map(self._runs, CANARIES)), 60.0)
        assert found is not None, "no lead within a minute"

    def _runs(self, name: str) -> bool:
        state = self._controller.rollouts.state(name)
        return state is not None and state.state == "running"

    async def step(self, per_s: int, seconds: float = SECONDS, within_s: float = CATCH_UP_S) -> RateStep:
        """Send at this rate, and look how the leader does until it has caught up, or is out of time."""
        heard, cpu_s, lags_s = self.heard, time.process_time(), [0.0]
        sending = asyncio.create_task(self._sent(Order(per_s=per_s, seconds=seconds)))
        while not sending.done():
            await asyncio.sleep(0.1)
            lags_s.append(self._fleet.source.lag_s or 0.0)
        sent = sending.result()
        behind_s = await _until(lambda: self.heard >= heard + sent.outcomes, within_s)
        return RateStep(per_s, sent, time.process_time() - cpu_s, lags_s, behind_s)

    async def idle_ms(self) -> float:
        """CPU milliseconds of a second without traffic."""
        cpu_s = time.process_time()
        await asyncio.sleep(SECONDS)
        return 1e3 * (time.process_time() - cpu_s) / SECONDS

    async def trial(self, name: str, per_s: int) -> tuple[float | None, float]:
        """Seconds from a candidate's first failure to its rollback, None if there was none; and how long the
        guardrails wait for earlier exchanges to end, by design."""
        heard, settle_s, decided_at = self.heard, 0.0, None
        order = Order(per_s=per_s, seconds=HEALTHY_S + BAD_S, trial=name, healthy_s=HEALTHY_S)
        sending = asyncio.create_task(self._sent(order))
        while not sending.done():
            await asyncio.sleep(0.01)
            if decided_at is None:
                settle_s = self._controller.monitor.canaries[name].watch.settle_s(time.monotonic())
                decided_at = time.time() if self._is_rolled_back(name) else None
        sent = sending.result()
        await _until(lambda: self.heard >= heard + sent.outcomes, CATCH_UP_S)
        if decided_at is None or sent.failed_at is None:
            return None, settle_s
        return decided_at - sent.failed_at, settle_s

    def _is_rolled_back(self, name: str) -> bool:
        state = self._controller.rollouts.state(name)
        return state is not None and state.state == "rolled_back"

    async def _sent(self, order: Order) -> Sent:
        assert self._traffic.stdin is not None and self._traffic.stdout is not None
        self._traffic.stdin.write(msgspec.json.encode(order) + b"\n")
        return msgspec.json.decode(await self._traffic.stdout.readline(), type=Sent)


async def _until(is_true: Callable[[], bool], within_s: float) -> float | None:
    """The seconds until it was true; None if it was not in time."""
    began = time.monotonic()
    while not is_true():
        if time.monotonic() - began > within_s:
            return None
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@contextmanager
def on_core(core: str) -> Iterator[None]:
    """Children that start in this block have this core; afterwards this process has the leader's."""
    os.sched_setaffinity(0, {int(core)})
    yield
    os.sched_setaffinity(0, {int(PROXY_CORE)})


@asynccontextmanager
async def leading(store: Store, folder: Path, redis: str) -> AsyncIterator[LeaderBench]:
    """The leader's loops, in this process."""
    config = parse(PROVIDERS + "".join(CANARY.format(name=name) for name in (*CANARIES, *TRIALS)), "", {})
    fleet = FleetParts(folder, store, redis, lambda: list(config.canaries))
    controller = Controller(
        fleet.source,
        fleet.leader,
        fleet.publisher,
        store=store,
        settings=config.control,
        pending=PendingRollbacks(folder / "rollbacks.json"),
        assignment_key=lambda: b"key",
        own_url="http://127.0.0.1:1",
        troubles=fleet.troubles,
        sentences=lambda report: (),
        aftermath=AftermathSentences(),
        last=fleet.last,
    )
    with on_core(CLIENT_CORE):
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-m", "benchmarks.leader_traffic", redis]
        traffic = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    loops = [asyncio.create_task(each) for each in [*controller.loops(), *fleet.loops(controller)]]
    try:
        yield LeaderBench(controller, fleet, traffic)
    finally:
        traffic.terminate()
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, traffic.wait(), return_exceptions=True)
        await controller.close()
        await fleet.close()
