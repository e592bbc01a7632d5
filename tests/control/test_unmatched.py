"""Requests that no canary took are counted by model, over an hour, in bounded memory, on one machine and in a
fleet."""

from dataclasses import replace

from control.deduplicator import Deduplicator
from control.events import WorkerEvents
from control.stream_publisher import StreamPublisher
from control.unmatched import MINUTES, MOST_SHOWN, UnmatchedTraffic
from records.outcome import Outcome
from records.shared.stream import Outgoing
from records.unmatched import LONGEST_NAME, MOST_MODELS, REST, unmatched_in

NOW = 1_800_000_000.0


def outcome(
    model: str,
    *,
    canary: str = "",
    at: float = NOW,
    operation: str = "chat",
    mirror: bool = False,
    reason: str = "",
) -> Outcome:
    return Outcome(
        exchange_id=f"x-{model}-{at}",
        at=at,
        mono=0.0,
        outcome="ok",
        canary=canary,
        model_requested=model,
        operation=operation,
        mirror=mirror,
        reason=reason,
    )


def events(*outcomes: Outcome) -> WorkerEvents:
    return WorkerEvents(records=outcomes, unmatched=unmatched_in(outcomes))


def test_llm_requests_count_by_model_and_nothing_else_does() -> None:
    traffic = UnmatchedTraffic()
    traffic.take(
        events(
            outcome("gpt-5"),
            outcome("gpt-5"),
            outcome(""),
            outcome("gpt-4o", canary="here"),
            outcome("gpt-5", operation="other"),
            outcome("gpt-4o", canary="here", mirror=True),
        )
    )
    assert traffic.document(NOW) == {
        "requests": 3,
        "of": 4,
        "share": 0.75,
        "no_lane": 0,
        "models": [{"model": "gpt-5", "requests": 2}, {"model": "", "requests": 1}],
        "rest": 0,
    }


def test_without_traffic_the_share_is_unknown() -> None:
    assert UnmatchedTraffic().document(NOW)["share"] is None


def test_an_hour_is_shown() -> None:
    traffic = UnmatchedTraffic()
    for minute in range(2 * MINUTES):
        traffic.take(events(outcome("gpt-5", at=NOW + 60 * minute)))
    assert traffic.document(NOW + 60 * (2 * MINUTES - 1))["requests"] == MINUTES
    assert traffic.document(NOW + 60 * (3 * MINUTES)) == UnmatchedTraffic().document(NOW)


def test_callers_who_invent_models_do_not_fill_the_memory() -> None:
    traffic = UnmatchedTraffic()
    for batch in range(20):
        traffic.take(events(*(outcome(f"invented-{batch}-{number}") for number in range(100))))
        traffic.take(events(*(outcome("gpt-5") for _ in range(10))))
    found = traffic.document(NOW)
    assert (found["requests"], len(found["models"])) == (2_200, MOST_SHOWN)
    assert found["rest"] + sum(each["requests"] for each in found["models"]) == 2_200
    ((_, _, models),) = traffic.snapshot()
    assert len(models) <= MOST_MODELS + 1
    assert REST in models


def test_a_name_is_cut_and_cannot_write_to_a_terminal() -> None:
    (found,) = unmatched_in([outcome("\x1b[31m" + "x" * 1000)])
    assert (found.model[:5], len(found.model)) == ("�[31m", LONGEST_NAME)


def test_requests_of_no_lane_count_beside_those_that_match_no_canary() -> None:
    laneless = [outcome("gpt-4o", reason="no_lane") for _ in range(4)]
    lanes = [outcome("gpt-4o", canary="here") for _ in range(5)]
    traffic = UnmatchedTraffic()
    traffic.take(events(*laneless, *lanes, outcome("gpt-5")))
    again = UnmatchedTraffic()
    again.restore(traffic.snapshot())
    for each in (traffic, again):
        found = each.document(NOW)
        assert (found["no_lane"], found["requests"], found["of"]) == (4, 1, 10)


def test_a_replica_tells_the_leader_of_requests_in_no_lane() -> None:
    outgoing, traffic = Outgoing(), UnmatchedTraffic()
    StreamPublisher(outgoing, replica="one").take(
        replace(events(outcome("gpt-4o", reason="no_lane")), heard=1)
    )
    leader = Deduplicator({"position": {"searched_until": NOW - 60, "told": {}}})
    traffic.take(leader.hear(list(outgoing.waiting), "1-0"))
    assert (traffic.document(NOW)["no_lane"], traffic.document(NOW)["requests"]) == (1, 0)


def test_counts_survive_a_restart() -> None:
    before, after = UnmatchedTraffic(), UnmatchedTraffic()
    before.take(events(outcome("gpt-5"), outcome("gpt-4o", canary="here")))
    after.restore(before.snapshot())
    assert after.document(NOW) == before.document(NOW)


def test_a_replica_sends_the_counts_to_the_leader() -> None:
    outgoing, traffic = Outgoing(), UnmatchedTraffic()
    StreamPublisher(outgoing, replica="one").take(
        events(
            *(outcome("gpt-4o", canary="here", at=NOW + number / 1e3) for number in range(500)),
            outcome("gpt-5"),
        )
    )
    leader = Deduplicator({"position": {"searched_until": NOW - 60, "told": {}}})
    traffic.take(leader.hear(list(outgoing.waiting), "1-0"))
    found = traffic.document(NOW)
    assert (found["requests"], found["of"]) == (1, 501)
