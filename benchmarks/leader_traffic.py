"""A fleet's agents as the leader sees them: a child process that publishes outcomes to Redis at a given rate.

    python -m benchmarks.leader_traffic REDIS_URL

Each line of stdin is an `Order`, each line of stdout its `Sent`. Outcomes, exchanges in flight and heartbeats
go through the agents' own publisher, one dispatch of each replica every 50 ms.
"""

import asyncio
import sys
import time
from collections import deque
from random import Random

import msgspec
import uvloop
from msgspec import structs

from benchmarks.ingest import outcomes
from control.feed.events import WorkerEvents, WorkerKey
from control.feed.stream import StreamPublisher
from records.outcome import IN_FLIGHT_AFTER_S, Heartbeat, InFlight, Outcome
from records.shared import states_channel
from records.shared.stream import OutgoingQueue

REPLICAS, WORKERS = 20, 2
CANARIES = tuple(f"busy-{number}" for number in range(10))
UNITS, SHARE = 200_000, 0.1
DISPATCH_EVERY_S = 0.05
TRIAL_PER_S = 500.0
_TEMPLATES, _QUICKER, _LONGEST_S = 20_000, 0.7, 6.0


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Outcomes a second over all canaries, for so many seconds. The canary `trial` gets TRIAL_PER_S more, and
    its candidate fails everything after `healthy_s`."""

    per_s: float
    seconds: float
    trial: str = ""
    healthy_s: float = 0.0


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """How many outcomes went out in how many seconds, the CPU seconds of publishing them, and the UTC second
    in which the first failed exchange of a trial ended."""

    outcomes: int
    seconds: float
    publish_s: float
    dropped: int
    failed_at: float | None


class TrafficTemplates:
    """Outcomes to be sent again and again, under new ids and for any canary and arm. The `long` ones are in
    flight for long enough to be told before they end."""

    def __init__(self) -> None:
        made = [_healthy(each) for each in outcomes(_TEMPLATES, seed=1)]
        self.short = [each for each in made if each.latency_s < IN_FLIGHT_AFTER_S]
        self.long = [each for each in made if IN_FLIGHT_AFTER_S <= each.latency_s < _LONGEST_S]
        self.long_share = len(self.long) / len(made)


def _healthy(outcome: Outcome) -> Outcome:
    """An outcome that default guardrails let pass, however many of its kind there are."""
    latency_s = (outcome.latency_s or 0.0) * _QUICKER
    finish = "stop" if outcome.outcome == "ok" else None
    return structs.replace(outcome, phase=1, share=SHARE, latency_s=latency_s, finish=finish)


class Replica:
    """One replica's exchanges. Those in flight are in order of their end, to the nearest dispatch."""

    def __init__(self, number: int, templates: TrafficTemplates, outgoing: OutgoingQueue) -> None:
        self._dice, self._templates = Random(number), templates
        self._publisher = StreamPublisher(outgoing, replica=f"replica-{number}")
        self._keys: list[WorkerKey] = [("", slot, 1000 + slot) for slot in range(WORKERS)]
        self._serial = number << 40
        self._finished = 0
        self.publish_s = 0.0
        """CPU seconds in the publisher."""

        self._open: deque[list[Outcome]] = deque([] for _ in range(int(_LONGEST_S / DISPATCH_EVERY_S)))
        self._due: dict[str, float] = {}

    def publish(self, count: float) -> int:
        """Publish as many exchanges, ended just now; long ones were told in flight before. How many ended."""
        now, templates = time.time(), self._templates
        short = self._drawn("short", templates.short, count * (1.0 - templates.long_share))
        ended = [_ended(self._renamed(each, self._dice.choice(CANARIES)), now) for each in short]
        ended += [_ended(each, now) for each in self._open.popleft()]
        self._open.append([])
        begun = self._drawn("long", templates.long, count * templates.long_share)
        running = [self._begun(self._renamed(each, self._dice.choice(CANARIES)), now) for each in begun]
        self._tell(ended, running)
        return len(ended)

    def publish_trial(self, canary: str, count: float, *, healthy: bool) -> tuple[int, bool]:
        """Publish exchanges of a trial, of which the candidate's fail unless `healthy`. How many, and whether
        any failed."""
        now = time.time()
        drawn = self._drawn("trial", self._templates.short, count)
        ended = [_ended(self._renamed(each, canary), now) for each in drawn]
        if not healthy:
            ended = [_failed(each) if each.arm == "candidate" else each for each in ended]
        self._tell(ended, [])
        return len(ended), not healthy and any(each.arm == "candidate" for each in ended)

    def _drawn(self, kind: str, pool: list[Outcome], count: float) -> list[Outcome]:
        """`count` of the pool; the fraction of an exchange is left for the next time."""
        due = self._due.get(kind, 0.0) + count
        self._due[kind] = due - int(due)
        return self._dice.choices(pool, k=int(due))

    def _renamed(self, template: Outcome, canary: str) -> Outcome:
        """The same for another unit, whose arm is the candidate's for one in ten."""
        self._serial += 1
        unit = self._dice.randrange(UNITS)
        return structs.replace(
            template,
            exchange_id=f"{template.exchange_id[:-16]}{self._serial:016x}",
            canary=canary,
            unit=f"{unit:032x}",
            arm="baseline" if unit % 10 else "candidate",
        )

    def _begun(self, outcome: Outcome, now: float) -> InFlight:
        left_s = (outcome.latency_s or 0.0) - IN_FLIGHT_AFTER_S
        self._open[min(int(left_s / DISPATCH_EVERY_S), len(self._open) - 1)].append(outcome)
        shared = set(InFlight.__struct_fields__) & set(Outcome.__struct_fields__)
        fields = {name: getattr(outcome, name) for name in shared}
        return InFlight(**fields | {"at": now - IN_FLIGHT_AFTER_S, "error_type": None})

    def _tell(self, ended: list[Outcome], begun: list[InFlight]) -> None:
        self._finished += len(ended)
        events = WorkerEvents(
            records=ended,
            in_flight=[(self._keys[0], each) for each in begun],
            beats=[(key, self._beat(key)) for key in self._keys],
            heard=len(ended),
        )
        cpu_s = time.thread_time()
        self._publisher.take(events)
        self.publish_s += time.thread_time() - cpu_s

    def _beat(self, key: WorkerKey) -> Heartbeat:
        return Heartbeat(
            worker=key[1],
            pid=key[2],
            at=time.time(),
            mono=time.monotonic(),
            started=self._finished,
            finished=self._finished,
            dropped=0,
            lag_s=0.0,
            plan_version=1,
        )


def _ended(outcome: Outcome, now: float) -> Outcome:
    return structs.replace(outcome, at=now - (outcome.latency_s or 0.0))


def _failed(outcome: Outcome) -> Outcome:
    return structs.replace(
        outcome, outcome="error", error_type="provider_5xx", status=500, ttft_s=None, finish=None
    )


class AgentFleet:
    """All replicas, which take turns within DISPATCH_EVERY_S."""

    def __init__(self, url: str) -> None:
        self._redis, self._outgoing = states_channel.connect(url), OutgoingQueue()
        self._sending_s = 0.0
        templates = TrafficTemplates()
        self._replicas = [Replica(number, templates, self._outgoing) for number in range(REPLICAS)]

    async def run(self, order: Order) -> Sent:
        """Send what was ordered. What the CPU did not allow in time is sent late, or after twice the time not
        at all."""
        began, publish_s, dropped = time.monotonic(), self._publish_s, self._outgoing.dropped
        sent, failed_at = 0, None
        for turn in range(int(order.seconds / DISPATCH_EVERY_S * REPLICAS)):
            passed_s = turn * DISPATCH_EVERY_S / REPLICAS
            if time.monotonic() - began > 2 * order.seconds:
                break
            await asyncio.sleep(max(0.0, began + passed_s - time.monotonic()))
            replica = self._replicas[turn % REPLICAS]
            sent += replica.publish(order.per_s * DISPATCH_EVERY_S / REPLICAS)
            if order.trial:
                count, healthy = TRIAL_PER_S * DISPATCH_EVERY_S / REPLICAS, passed_s < order.healthy_s
                more, any_failed = replica.publish_trial(order.trial, count, healthy=healthy)
                sent += more
                failed_at = failed_at or (time.time() if any_failed else None)
            await self._send()
        return Sent(
            outcomes=sent,
            seconds=time.monotonic() - began,
            publish_s=self._publish_s - publish_s,
            dropped=self._outgoing.dropped - dropped,
            failed_at=failed_at,
        )

    async def _send(self) -> None:
        cpu_s = time.thread_time()
        await self._outgoing.send(self._redis)
        self._sending_s += time.thread_time() - cpu_s

    @property
    def _publish_s(self) -> float:
        return self._sending_s + sum(replica.publish_s for replica in self._replicas)


async def main() -> None:
    """Take orders until stdin ends."""
    fleet, decoder = AgentFleet(sys.argv[1]), msgspec.json.Decoder(Order)
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        sent = await fleet.run(decoder.decode(line))
        sys.stdout.buffer.write(msgspec.json.encode(sent) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(main())
