"""What an agent tells the leader: outcomes of canaries in brief, each worker's last sign of life, and how
many outcomes there were in all."""

from typing import Any

from msgspec import structs

from control.feed.events import WorkerEvents
from control.feed.stream import StreamPublisher
from records.outcome import Feedback, Heartbeat, InFlight, Outcome
from records.shared.stream import RECORDS_A_DISPATCH, OutgoingQueue, ReplicaRecords


def an_outcome(number: int, canary: str = "trial") -> Outcome:
    return Outcome(exchange_id=f"x{number}", at=1.0, mono=1.0, outcome="ok", canary=canary)


def a_beat(finished: int, **changed: Any) -> Heartbeat:
    fields = {"worker": 0, "pid": 7, "plan_version": 3} | changed
    return Heartbeat(at=1.0, mono=1.0, started=finished, finished=finished, dropped=0, lag_s=0.0, **fields)


def told(*news: WorkerEvents) -> list[ReplicaRecords]:
    outgoing = OutgoingQueue()
    for each in news:
        StreamPublisher(outgoing, replica="r").take(each)
    return list(outgoing.waiting)


def test_outcomes_of_no_canary_are_counted_and_not_told() -> None:
    (dispatch,) = told(WorkerEvents(records=[an_outcome(1), an_outcome(2, canary="")], heard=2))
    assert [each.exchange_id for each in dispatch.outcomes] == ["x1"]
    assert (dispatch.replica, dispatch.heard) == ("r", 2)


def test_outcomes_of_a_standing_canary_are_told_with_the_model_that_they_got() -> None:
    served = structs.replace(an_outcome(1, canary=""), reason="standing", provider="openai", model="m1")
    (dispatch,) = told(WorkerEvents(records=[served], heard=1))
    assert [(each.provider, each.model) for each in dispatch.outcomes] == [("openai", "m1")]


def test_feedback_of_a_canary_is_told_and_what_joined_none() -> None:
    rating = Feedback(key="k", metric="csat", value=4.0, at=1.0, mono=1.0, canary="trial")
    unit = Feedback(key="u", metric="nps", value=9.0, at=1.0, mono=1.0, unit="hash")
    (dispatch,) = told(WorkerEvents(records=[rating, unit]))
    assert dispatch.feedback == [rating, unit]


def test_of_each_worker_the_last_sign_of_life_goes_with_all_copies_that_were_dropped() -> None:
    one = ("", 0, 7)
    beats = [
        (one, a_beat(1, mirrors_dropped={"trial": 2})),
        (("", 1, 8), a_beat(9, worker=1)),
        (one, a_beat(5, mirrors_dropped={"trial": 1, "other": 4})),
    ]
    (dispatch,) = told(WorkerEvents(beats=beats))
    first, second = dispatch.beats
    assert (first.finished, first.mirrors_dropped) == (5, {"trial": 3, "other": 4})
    assert second.finished == 9


def test_nothing_is_sent_about_nothing() -> None:
    assert told(WorkerEvents(), WorkerEvents()) == []


def test_many_outcomes_are_parted_and_their_count_is_told_once() -> None:
    count = 2 * RECORDS_A_DISPATCH + 1
    parts = told(WorkerEvents(records=[an_outcome(number) for number in range(count)], heard=count))
    assert [len(part.outcomes) for part in parts] == [RECORDS_A_DISPATCH, RECORDS_A_DISPATCH, 1]
    assert sum(part.heard for part in parts) == count


def in_flight(number: int) -> InFlight:
    return InFlight(
        exchange_id=f"x{number}",
        at=1.0,
        mono=1.0,
        canary="trial",
        run=1,
        phase=0,
        share=0.05,
        arm="candidate",
        reason="cohort",
        unit="u",
        operation="chat",
        stream=False,
    )


def test_exchanges_in_flight_go_before_the_outcomes_that_end_them() -> None:
    count = RECORDS_A_DISPATCH + 1
    waiting = [(("", 3, 70 + number % 2), in_flight(number)) for number in range(count)]
    outcomes = [an_outcome(number) for number in range(count)]
    parts = told(WorkerEvents(records=outcomes, in_flight=waiting, heard=count))
    assert [len(part.in_flight) for part in parts] == [RECORDS_A_DISPATCH, 1, 0, 0]
    assert [len(part.outcomes) for part in parts] == [0, 0, RECORDS_A_DISPATCH, 1]
    assert parts[0].in_flight[1] == (3, 71, in_flight(1))
    assert sum(part.records for part in parts) == count
