"""The fleet that the leader's benchmark pretends to be: what it publishes is what agents would."""

from collections.abc import Sequence

from benchmarks.leader_traffic import CANARIES, DISPATCH_EVERY_S, Replica, TrafficTemplates
from control.feed.events import WorkerEvents
from control.feed.stream import RecordDeduplicator
from records.outcome import Outcome
from records.shared.stream import OutgoingQueue

PER_DISPATCH = 25.5
SECONDS = 8


def heard(outgoing: OutgoingQueue) -> list[WorkerEvents]:
    """What a leader makes of the dispatches, one after the other."""
    deduplicator = RecordDeduplicator()
    return [deduplicator.hear([dispatch], "1-0") for dispatch in outgoing.waiting]


def outcomes(events: Sequence[WorkerEvents]) -> list[Outcome]:
    return [record for each in events for record in each.records if isinstance(record, Outcome)]


def test_every_exchange_reaches_the_leader_once_and_one_in_ten_is_the_candidates() -> None:
    outgoing = OutgoingQueue()
    replica = Replica(0, TrafficTemplates(), outgoing)
    turns = int(SECONDS / DISPATCH_EVERY_S)
    sent = sum(replica.publish(PER_DISPATCH) for _ in range(turns))
    found = outcomes(heard(outgoing))
    assert len(found) == sent and outgoing.dropped == 0
    assert 0.9 * turns * PER_DISPATCH < sent <= turns * PER_DISPATCH  # the slowest are still in flight
    assert {each.canary for each in found} == set(CANARIES)
    assert 0.08 < sum(each.arm == "candidate" for each in found) / sent < 0.12


def test_a_slow_exchange_is_told_in_flight_before_it_ends() -> None:
    outgoing = OutgoingQueue()
    replica = Replica(0, TrafficTemplates(), outgoing)
    for _ in range(int(SECONDS / DISPATCH_EVERY_S)):
        replica.publish(PER_DISPATCH)
    begun: set[str] = set()
    ended: set[str] = set()
    for each in heard(outgoing):
        running = {record.exchange_id for _, record in each.in_flight}
        assert not running & ended
        begun |= running
        ended |= {record.exchange_id for record in outcomes([each])}
    assert 0.05 < len(begun & ended) / len(ended) < 0.2


def test_a_trials_candidate_fails_from_the_moment_on_and_its_baseline_does_not() -> None:
    outgoing = OutgoingQueue()
    replica = Replica(0, TrafficTemplates(), outgoing)
    assert not any(
        failed for _, failed in (replica.publish_trial("bad", 20, healthy=True) for _ in range(20))
    )
    healthy = len(outgoing.waiting)
    assert any(failed for _, failed in (replica.publish_trial("bad", 20, healthy=False) for _ in range(20)))
    after = outcomes(heard(outgoing)[healthy:])
    assert all(each.failed for each in after if each.arm == "candidate")
    baseline = [each.failed for each in after if each.arm == "baseline"]
    assert sum(baseline) / len(baseline) < 0.05
