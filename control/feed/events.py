"""What happened in the workers, as a source passes it to its listeners: outcomes, heartbeats, worker exits.
And the listeners that count it for Prometheus and send it to OpenTelemetry.

Monotonic times are those of this machine, even for records that were written on another.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog
from msgspec import structs

from common.clock import wrong_clock
from records.exports.prometheus import Meters
from records.facts.counts import Alike, CallerCount, UnmatchedCount, alike, callers_in, unmatched_in
from records.outcome import Feedback, Heartbeat, InFlight, Outcome
from records.spool.reader import SpoolBatch, WriterProcess

if TYPE_CHECKING:  # OpenTelemetry is imported only where an endpoint is set
    from records.exports.otlp import OtlpSender, Signal

log = structlog.get_logger()

_Dated = TypeVar("_Dated", bound=Outcome | Feedback | InFlight)

WorkerKey = tuple[str, int, int]
"""(replica, slot, pid); the replica is empty for workers of this machine."""


@dataclass(frozen=True, kw_only=True)
class WorkerEvents:
    """One batch of events.

    `deaths` has, for each worker that exited, how many exchanges it left unfinished. `heard` counts all
    outcomes that arrived, also those of no canary (whose records a source may omit), without mirror copies.
    `dropped` counts records that workers could not write. `in_flight` are exchanges that have not ended; they
    began before `records`, so listeners read them first. `unmatched` counts the LLM requests that no canary
    took, `callers` the requests of each caller, `strangers` the feedback values whose id no exchange had.
    """

    records: Sequence[Outcome | Feedback] = ()
    in_flight: Sequence[tuple[WorkerKey, InFlight]] = ()
    beats: Sequence[tuple[WorkerKey, Heartbeat]] = ()
    deaths: Sequence[tuple[WorkerKey, int]] = ()
    heard: int = 0
    dropped: int = 0
    unmatched: Sequence[UnmatchedCount] = ()
    callers: Sequence[CallerCount] = ()
    strangers: int = 0

    @cached_property
    def outcomes(self) -> Sequence[Outcome]:
        """The outcomes among the records."""
        return [each for each in self.records if type(each) is Outcome]

    @cached_property
    def feedback(self) -> Sequence[Feedback]:
        """The feedback among the records."""
        return [each for each in self.records if type(each) is Feedback]

    @cached_property
    def alike(self) -> Sequence[Alike]:
        """The outcomes, grouped once for all listeners that count."""
        return alike(self.outcomes)


class EventListener(Protocol):
    """Receives every event once."""

    def take(self, events: WorkerEvents) -> None:
        """Process these events."""
        ...


class StatefulMemory(Protocol):
    """What is saved together with the source's position."""

    def snapshot(self) -> Mapping[str, Any]:
        """The memory under keys that no other one uses, for msgspec to encode to JSON at once: it may
        change with the next event."""
        ...

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None) -> None:
        """Continue from a snapshot, which may lack its keys.

        `new_boot` is UTC minus CLOCK_MONOTONIC, in seconds, if the snapshot comes from another boot or
        machine; else None.
        """
        ...


class StatefulListener(EventListener, StatefulMemory, Protocol):
    """A listener with such a memory."""


def restore(listeners: Iterable[StatefulMemory], checkpoint: Mapping[str, Any], boot: str) -> None:
    """Let these continue from a checkpoint. `boot` is the id of this boot."""
    new_boot = None if checkpoint["boot"] == boot else time.time() - time.monotonic()
    for listener in listeners:
        listener.restore(checkpoint, new_boot=new_boot)


def checkpoint_of(listeners: Iterable[StatefulMemory], boot: str, **place: object) -> bytes:
    """What these know now, and up to where the source was read, as JSON."""
    document: dict[str, Any] = {"boot": boot, **place}
    for listener in listeners:
        document.update(listener.snapshot())
    return msgspec.json.encode(document)


def of_batch(batch: SpoolBatch, boot: str) -> WorkerEvents:
    """The events in a batch of this machine's spool. `boot` is the id of this boot."""
    records: list[Outcome | Feedback] = []
    beats: list[tuple[WorkerKey, Heartbeat]] = []
    in_flight: list[tuple[WorkerKey, InFlight]] = []
    for chunk in batch.chunks:
        foreign = not boot.startswith(chunk.writer.boot)
        for record in chunk.records:
            if type(record) is Outcome or type(record) is Feedback:
                records.append(carried_over(record) if foreign else record)
            elif type(record) is Heartbeat:
                beats.append((_key(chunk.writer), record))
            elif type(record) is InFlight:
                in_flight.append((_key(chunk.writer), carried_over(record) if foreign else record))
    outcomes = [each for each in records if type(each) is Outcome]
    return WorkerEvents(
        records=records,
        in_flight=in_flight,
        beats=beats,
        deaths=[(_key(death.writer), death.lost) for death in batch.deaths],
        heard=sum(not each.mirror for each in outcomes),  # a worker's `finished` leaves copies out
        dropped=batch.dropped,
        callers=callers_in(outcomes),
        unmatched=unmatched_in([each for each in outcomes if not each.canary]),
    )


def carried_over(record: _Dated) -> _Dated:
    """A record of another boot or machine, with its time moved to this machine's monotonic clock."""
    return structs.replace(record, mono=here(record.at))


def here(at: float, now: float | None = None) -> float:
    """A UTC second on this machine's monotonic clock, at most now: another machine's clock may be ahead.
    `now`: this moment by the clock that `at` is of; without it that is this machine's."""
    return time.monotonic() + min(0.0, at - (time.time() if now is None else now))


def _key(writer: WriterProcess) -> WorkerKey:
    return "", writer.worker, writer.pid


ALIVE_WITHIN_S = 2.0
SILENT = "no traffic worker is heard of: none runs, or its heartbeats do not arrive"
UNHEARD = "whether traffic workers run is not known: their heartbeats come by Redis"


class WorkerRegistry:
    """The workers' last heartbeats."""

    def __init__(self, arrive: Callable[[], bool] = lambda: True) -> None:
        """`arrive()`: False while no heartbeat can arrive, because Redis does not answer."""
        self._arrive = arrive
        self._beats: dict[WorkerKey, Heartbeat] = {}
        self._exited_cleanly = False
        """True when the worker that was heard last exited cleanly."""

    def take(self, events: WorkerEvents) -> None:
        """Note heartbeats and exits."""
        for key, beat in events.beats:
            self._exited_cleanly = beat.closing
            if beat.closing:
                self._beats.pop(key, None)
            else:
                self._beats[key] = beat
        for key, _ in events.deaths:
            self._beats.pop(key, None)
            self._exited_cleanly = False

    def alive(self, now_mono: float) -> list[Heartbeat]:
        """The last heartbeats of the workers that are alive."""
        oldest = now_mono - ALIVE_WITHIN_S
        self._beats = {key: beat for key, beat in self._beats.items() if beat.mono > oldest}
        return list(self._beats.values())

    def troubles(self, now_mono: float) -> list[str]:
        """What does not work at the moment: the workers themselves, and the credentials that they lack."""
        alive = self.alive(now_mono)
        missing = {each for beat in alive for each in beat.credentials_missing}
        trouble = self.trouble(now_mono)
        return [*sorted(missing), *self._wrong_clocks(), *([trouble] if trouble else [])]

    def _wrong_clocks(self) -> list[str]:
        """The replicas whose clocks are wrong, a sentence each."""
        offsets = {replica: beat.clock_offset_s for (replica, _, _), beat in self._beats.items()}
        said = (wrong_clock(f"the clock of replica {name[:8]}", off) for name, off in sorted(offsets.items()))
        return [each for each in said if each is not None]

    def trouble(self, now_mono: float) -> str | None:
        """Why no worker accepts new requests; None while one does."""
        alive = self.alive(now_mono)
        if any(not beat.draining for beat in alive):
            return None
        if alive:
            left = sum(beat.started - beat.finished for beat in alive)
            return f"draining: no new requests are accepted, in flight: {left}"
        if self._exited_cleanly:
            return "all traffic workers have exited cleanly"
        return SILENT if self._arrive() else UNHEARD

    def breakers_open(self, canary: str, now_mono: float) -> int:
        """How many workers' breakers keep requests from this canary's candidate."""
        return sum(canary in beat.breakers_open for beat in self.alive(now_mono))

    def newest_version(self, now_mono: float) -> int:
        """The highest version of the states that a living worker follows; 0 for none."""
        return max((beat.plan_version for beat in self.alive(now_mono)), default=0)

    def confirmed(self, version: int, now_mono: float) -> tuple[int, int]:
        """(workers that follow at least this version of the states, workers alive)"""
        alive = self.alive(now_mono)
        return sum(beat.plan_version >= version for beat in alive), len(alive)


class MetricsListener:
    """The listener behind `/metrics`."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def take(self, events: WorkerEvents) -> None:
        """Count these events."""
        for group in events.alike:
            self._meters.observe(*group)
        self._meters.count_callers(events.callers)
        for each in events.feedback:
            self._meters.observe_feedback(each)
        for _, beat in events.beats:
            self._meters.beat(beat)
        for _, lost in events.deaths:
            self._meters.lose(lost)

    def snapshot(self) -> Mapping[str, Any]:
        """The totals."""
        return {"meters": self._meters.snapshot()}

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None) -> None:
        """Continue from a snapshot's totals."""
        if "meters" in document:
            self._meters.restore(document["meters"])


ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_EXPORTERS: Mapping["Signal", str] = {
    "traces": "OTEL_TRACES_EXPORTER",
    "metrics": "OTEL_METRICS_EXPORTER",
    "logs": "OTEL_LOGS_EXPORTER",
}
_OURS = ("otlp", "otlp_proto_http")


class TracingListener:
    """The listener behind traces and metrics. After a crash some spans are sent again, under the same ids."""

    def __init__(
        self, environment: Mapping[str, str], version: str, base_urls: Callable[[], Mapping[str, str]]
    ) -> None:
        """`version`: canary's, for the resource. `base_urls()`: the newest config's, by provider entry."""
        self._sender = _sender(environment, version, base_urls)

    def take(self, events: WorkerEvents) -> None:
        """Queue the records; those that find no room are dropped."""
        if self._sender is not None and events.records:
            self._sender.offer(events.records)

    def close(self) -> None:
        """Send the queued spans, for a few seconds at most."""
        if self._sender is not None:
            self._sender.close()


def _sender(
    environment: Mapping[str, str], version: str, base_urls: Callable[[], Mapping[str, str]]
) -> "OtlpSender | None":
    """None where nothing is to be sent, or cannot be: that must not keep a process from starting."""
    endpoint, signals = environment.get(ENDPOINT, ""), _signals(environment)
    if not endpoint or not signals:
        return None
    if urlsplit(endpoint).scheme not in ("http", "https"):
        log.error("traces.off", problem=f"{ENDPOINT} is no http:// or https:// URL: {endpoint}")
        return None
    try:
        from records.exports.otlp import OtlpSender

        sender = OtlpSender(version, base_urls, signals)
    except Exception as problem:
        log.error(
            "traces.off", problem=f"OpenTelemetry does not start with these OTEL_* variables: {problem}"
        )
        return None
    log.info("traces.on", endpoint=_bare(endpoint), signals=signals)
    return sender


def _signals(environment: Mapping[str, str]) -> "list[Signal]":
    """What is to be sent over OTLP: all, except what has another exporter or `none`."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    return [signal for signal, name in _EXPORTERS.items() if _is_ours(environment.get(name, ""))]


def _is_ours(exporters: str) -> bool:
    return not exporters.strip() or any(each.strip() in _OURS for each in exporters.split(","))


def _bare(endpoint: str) -> str:
    """The endpoint's host, without credentials."""
    return urlsplit(endpoint).netloc.rpartition("@")[2]
