"""Which traffic workers live, and what is said when none takes new requests."""

from msgspec import structs

from control.feed.events import SILENT, UNHEARD, WorkerEvents, WorkerRegistry
from records.outcome import Heartbeat


def beat(worker: int, mono: float, *, draining: bool = False, closing: bool = False) -> WorkerEvents:
    of = Heartbeat(
        worker=worker, pid=worker, at=mono, mono=mono, started=5, finished=2, dropped=0, lag_s=0.0,
        plan_version=1, draining=draining, closing=closing,
    )  # fmt: skip
    return WorkerEvents(beats=[(("", worker, worker), of)])


def test_while_one_worker_takes_requests_nothing_is_wrong() -> None:
    workers = WorkerRegistry()
    workers.take(beat(0, 1.0, draining=True))
    workers.take(beat(1, 1.0))
    assert workers.trouble(1.5) is None


def test_a_credential_that_workers_lack_is_told_once() -> None:
    workers = WorkerRegistry()
    for worker in range(2):
        (key, of), *_ = beat(worker, 1.0).beats
        workers.take(
            WorkerEvents(beats=[(key, structs.replace(of, credentials_missing=("no credential for b",)))])
        )
    assert workers.troubles(1.5) == ["no credential for b"]
    workers.take(beat(0, 2.0))
    workers.take(beat(1, 2.0, draining=True))
    assert workers.troubles(2.5) == []


def test_the_workers_whose_breaker_is_open_are_counted_while_they_live() -> None:
    workers = WorkerRegistry()
    for worker in range(2):
        (key, of), *_ = beat(worker, 1.0).beats
        workers.take(WorkerEvents(beats=[(key, structs.replace(of, breakers_open=("trial",)))]))
    assert (workers.breakers_open("trial", 1.5), workers.breakers_open("other", 1.5)) == (2, 0)
    workers.take(beat(0, 2.0))
    assert workers.breakers_open("trial", 2.5) == 1
    assert workers.breakers_open("trial", 9.0) == 0


def test_workers_that_all_drain_are_not_missed() -> None:
    workers = WorkerRegistry()
    for worker in range(2):
        workers.take(beat(worker, 1.0, draining=True))
    assert workers.trouble(1.5) == ("draining: no new requests are accepted, in flight: 6")


def test_workers_that_have_ended_in_good_order_are_told_from_silent_ones() -> None:
    workers = WorkerRegistry()
    assert workers.trouble(1.0) == SILENT
    workers.take(beat(0, 1.0))
    assert workers.trouble(9.0) == SILENT
    workers.take(beat(0, 10.0, draining=True, closing=True))
    assert workers.trouble(10.0) == "all traffic workers have exited cleanly"
    workers.take(WorkerEvents(deaths=[(("", 1, 1), 3)]))
    assert workers.trouble(11.0) == SILENT


def test_workers_whose_heartbeats_cannot_arrive_are_not_said_to_be_gone() -> None:
    arrive = [True]
    workers = WorkerRegistry(lambda: arrive[0])
    workers.take(beat(0, 1.0))
    arrive[0] = False
    assert workers.trouble(1.5) is None
    assert workers.trouble(9.0) == UNHEARD
    arrive[0] = True
    assert workers.trouble(9.0) == SILENT
