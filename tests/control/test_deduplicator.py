"""The leader's news: each record once, whether stream or store brings it, or both, in whatever order."""

import json
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.feed import stream
from control.feed.events import WorkerEvents
from control.feed.stream import OVERLAP_S, RecordDeduplicator
from records.outcome import Feedback, Heartbeat, InFlight, Outcome
from records.shared.stream import ReplicaRecords, brief
from records.store.leader import MissedRecords


def an_outcome(number: int, at: float, **changed: Any) -> Outcome:
    fields = {"latency_s": 0.5, "outcome": "ok", "canary": "trial", "run": 1, "reason": "cohort"} | changed
    return Outcome(exchange_id=f"x{number}", at=at, mono=123.0, **fields)


def told(news: WorkerEvents) -> list[str]:
    return [record.exchange_id for record in news.records]


def by_stream(*outcomes: Outcome, **more: Any) -> Sequence[ReplicaRecords]:
    return [ReplicaRecords(replica="r", outcomes=[brief(each) for each in outcomes], **more)]


def test_what_both_bring_is_told_once() -> None:
    now = time.time()
    one, other = an_outcome(1, now), an_outcome(2, now)
    gathering = RecordDeduplicator()
    assert told(gathering.hear(by_stream(one), "1-0")) == ["x1"]
    assert told(gathering.found(MissedRecords([one, other], []), now)) == ["x2"]
    assert told(gathering.hear(by_stream(one, other), "2-0")) == []
    assert told(gathering.found(MissedRecords([one, other], []), now + 1.0)) == []


def test_the_next_leader_goes_on_where_the_last_one_was() -> None:
    now = time.time()
    first = RecordDeduplicator()
    first.hear(by_stream(an_outcome(1, now)), "7-1")
    document = json.loads(msgspec.json.encode({"position": first.position}))
    second = RecordDeduplicator(document)
    assert second.position.place == "7-1"
    assert told(second.hear(by_stream(an_outcome(1, now), an_outcome(2, now)), "8-0")) == ["x2"]


def test_what_comes_later_than_the_store_was_searched_was_found_there() -> None:
    now = time.time()
    gathering = RecordDeduplicator()
    old = an_outcome(1, now)
    assert told(gathering.found(MissedRecords([old], []), now)) == ["x1"]
    gathering.found(MissedRecords([], []), now + 2 * OVERLAP_S)
    assert gathering.position.searched_until == pytest.approx(now + OVERLAP_S)
    assert gathering.position.told == {}  # what cannot come again is forgotten
    assert told(gathering.hear(by_stream(old), "9-0")) == []


def test_what_is_too_much_to_remember_is_not_told_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "REMEMBERED", 100)
    now = time.time()
    everything = [an_outcome(n, now + n * 0.01) for n in range(1000)]
    gathering = RecordDeduplicator()
    told_by_stream = [
        name
        for n in range(0, 1000, 10)
        for name in told(gathering.hear(by_stream(*everything[n : n + 10]), "1"))
    ]
    assert told_by_stream == [f"x{n}" for n in range(1000)]
    assert len(gathering.position.told) <= 100
    assert told(gathering.found(MissedRecords(everything, []), now + 10.0)) == []
    late = an_outcome(2000, now + 9.999)
    assert told(gathering.found(MissedRecords([*everything, late], []), now + 11.0)) == ["x2000"]


def test_while_the_store_was_away_nothing_is_passed_over_when_it_is_back() -> None:
    now = time.time()
    gathering = RecordDeduplicator()
    gathering.found(MissedRecords([], []), now)
    until = gathering.position.searched_until
    for second in range(100):
        gathering.not_found(now + second)
    late = an_outcome(1, now + 1.0)
    assert told(gathering.found(MissedRecords([late], []), now + 101.0)) == ["x1"]
    assert gathering.position.searched_until == until  # replicas may still ship what is as old
    gathering.found(MissedRecords([late], []), now + 200.0)
    assert gathering.position.searched_until == pytest.approx(now + 200.0 - OVERLAP_S)


def test_times_are_this_machines_and_never_ahead_of_it() -> None:
    now_utc, now = time.time(), time.monotonic()
    gathering = RecordDeduplicator()
    news = gathering.hear(by_stream(an_outcome(1, now_utc - 5.0), an_outcome(2, now_utc + 3600.0)), "1-0")
    assert news.records[0].mono == pytest.approx(now - 5.0, abs=1.0)
    assert now <= news.records[1].mono <= time.monotonic()


def test_a_correction_of_a_rating_is_told_and_its_repetition_is_not() -> None:
    now = time.time()
    rating = Feedback(key="k", metric="csat", value=4.0, at=now, mono=1.0, canary="trial", arm="candidate")
    better = msgspec.structs.replace(rating, value=5.0, at=now + 1.0)
    gathering = RecordDeduplicator()
    news = gathering.hear([ReplicaRecords(replica="r", feedback=[rating, better, rating])], "1-0")
    assert [record.value for record in news.records] == [4.0, 5.0]  # type: ignore[union-attr]
    assert told(gathering.found(MissedRecords([], [better]), now)) == []


def test_a_value_of_long_ago_that_was_just_taken_is_told_once_by_whatever_way() -> None:
    now = time.time()
    old = Feedback(
        key="k", metric="csat", value=4.0, at=now - 86400, mono=1.0, exchange_id="x1", posted_at=now
    )
    recent = msgspec.structs.replace(old, key="r", at=now - 10)
    gathering = RecordDeduplicator()
    entry = ReplicaRecords(replica="r", feedback=[old])
    news = gathering.hear([entry], "1-0")
    assert [each.key for each in news.feedback] == ["k"]
    assert news.feedback[0].mono == pytest.approx(time.monotonic(), abs=5.0)
    # The store, which does not know when it was taken, brings the other one first; then the stream both.
    stored = msgspec.structs.replace(recent, posted_at=None)
    assert [each.key for each in gathering.found(MissedRecords([], [stored]), now + 1).feedback] == ["r"]
    late = ReplicaRecords(replica="r", feedback=[old, recent])
    for second in (20.0, 30.5, 90.0):
        gathering.found(MissedRecords([], []), now + second)
        assert gathering.hear([late], "2-0").feedback == []


def test_workers_of_two_replicas_are_told_apart() -> None:
    beat = Heartbeat(
        worker=0, pid=7, at=1.0, mono=1.0, started=1, finished=1, dropped=0, lag_s=0.0, plan_version=1
    )
    news = RecordDeduplicator().hear(
        [ReplicaRecords(replica=name, beats=[beat], heard=2) for name in "ab"], "1-0"
    )
    assert [key for key, _ in news.beats] == [("a", 0, 7), ("b", 0, 7)]
    assert news.heard == 4


ways = st.lists(st.tuples(st.sampled_from(["stream", "store"]), st.lists(st.integers(0, 9), max_size=6)))


@given(ways)
def test_in_any_order_and_by_any_way_each_is_told_once(steps: list[tuple[str, list[int]]]) -> None:
    now = time.time()
    gathering, heard = RecordDeduplicator(), list[str]()
    for number, (way, numbers) in enumerate(steps):
        outcomes = [an_outcome(each, now) for each in numbers]
        if way == "stream":
            heard += told(gathering.hear(by_stream(*outcomes), f"{number}-0"))
        else:
            heard += told(gathering.found(MissedRecords(outcomes, []), now))
    assert sorted(heard) == sorted({f"x{each}" for _, numbers in steps for each in numbers})


def in_flight(number: int, at: float, **changed: Any) -> InFlight:
    fields: dict[str, Any] = {
        "canary": "trial",
        "run": 1,
        "phase": 0,
        "share": 0.05,
        "arm": "candidate",
        "reason": "cohort",
        "unit": "u",
        "operation": "chat",
        "stream": True,
    } | changed
    return InFlight(exchange_id=f"x{number}", at=at, mono=123.0, **fields)


def waiting(*exchanges: InFlight) -> list[ReplicaRecords]:
    return [ReplicaRecords(replica="r", in_flight=[(2, 70, each) for each in exchanges])]


def test_exchanges_in_flight_are_told_with_their_worker_on_this_machines_clock() -> None:
    now_utc, now = time.time(), time.monotonic()
    news = RecordDeduplicator().hear(waiting(in_flight(1, now_utc - 5.0)), "1-0")
    ((key, record),) = news.in_flight
    assert (key, record.exchange_id) == (("r", 2, 70), "x1")
    assert record.mono == pytest.approx(now - 5.0, abs=1.0)
    assert (news.records, news.heard) == ([], 0)


def test_an_exchange_whose_outcome_was_told_is_in_flight_no_more() -> None:
    now = time.time()
    gathering = RecordDeduplicator()
    gathering.found(MissedRecords([an_outcome(1, now)], []), now)
    news = gathering.hear(waiting(in_flight(1, now), in_flight(2, now)), "1-0")
    assert [record.exchange_id for _, record in news.in_flight] == ["x2"]


def test_the_progress_of_an_exchange_in_flight_is_told_however_long_it_takes() -> None:
    now = time.time()
    gathering = RecordDeduplicator()
    assert len(gathering.hear(waiting(in_flight(1, now)), "1-0").in_flight) == 1
    gathering.found(MissedRecords([], []), now + 3 * OVERLAP_S)
    late = gathering.hear(waiting(in_flight(1, now, ttft_s=70.0), in_flight(2, now)), "2-0")
    assert [record.exchange_id for _, record in late.in_flight] == ["x1"]  # x2 may have ended long ago
    gathering.found(MissedRecords([an_outcome(1, now, latency_s=80.0)], []), now + 3 * OVERLAP_S)
    assert gathering.hear(waiting(in_flight(1, now)), "3-0").in_flight == []


def test_a_replica_of_the_version_before_tells_no_exchange_in_flight() -> None:
    old = msgspec.msgpack.encode({"replica": "r", "heard": 3})
    dispatch = msgspec.msgpack.decode(old, type=ReplicaRecords)
    assert (dispatch.heard, list(dispatch.in_flight)) == (3, [])


def test_feedback_that_was_joined_late_is_told_once() -> None:
    now = time.time()
    gathering = RecordDeduplicator()
    gathering.found(MissedRecords([], []), now + 2 * OVERLAP_S)
    joined = Feedback(key="k", metric="csat", value=4.0, at=now, mono=1.0, unit="ann", canary="trial")
    entry = ReplicaRecords(replica="r", feedback=[joined])
    assert [each.key for each in gathering.hear([entry], "1-0").feedback] == ["k"]
    assert gathering.hear([entry], "1-0").feedback == []


def test_a_clock_that_is_set_back_loses_nothing_and_doubles_nothing() -> None:
    now = time.time()
    before, after = now, now - 3600.0
    gathering = RecordDeduplicator(utc=lambda: after)
    old = an_outcome(1, before - OVERLAP_S)
    assert told(gathering.hear(by_stream(old), "1-0")) == ["x1"]
    gathering.found(MissedRecords([], []), before + OVERLAP_S)  # x1 is forgotten: the store was searched
    new = an_outcome(2, after)
    rated = Feedback(key="k", metric="csat", value=4.0, at=before - 10.0, mono=1.0, canary="trial")
    gathering.found(MissedRecords([], []), after)
    assert told(gathering.hear(by_stream(new), "2-0")) == ["x2"]
    assert gathering.found(MissedRecords([], [rated]), after).records == []  # of before, and told then
    assert told(gathering.found(MissedRecords([new, old], []), after)) == []
    later = an_outcome(3, before + 2 * OVERLAP_S)
    assert told(gathering.found(MissedRecords([old, later], []), before + 2 * OVERLAP_S)) == ["x3"]
