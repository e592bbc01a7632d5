"""Requests that no canary took are counted by model, over an hour, in bounded memory, on one machine and in a
fleet."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from msgspec import structs

from alerts.pulse import Pulse
from canary.config import parse
from control.feed.events import WorkerEvents
from control.feed.stream import RecordDeduplicator, StreamPublisher
from control.monitor.traffic import MINUTES, MOST_SHOWN, UnmatchedTraffic, one_sided
from records.facts.counts import LONGEST_NAME, MOST_MODELS, REST, unmatched_in
from records.facts.metric import BUILT_IN, Metric
from records.outcome import ErrorType, Feedback, Outcome, ProviderError
from records.shared.stream import OutgoingQueue
from routing.canary import ArmName
from routing.states import State

NOW = 1_800_000_000.0


def outcome(
    model: str,
    *,
    canary: str = "",
    at: float = NOW,
    operation: str = "chat",
    mirror: bool = False,
    reason: str = "",
    error: ErrorType | None = None,
    status: int | None = 404,
    said: str = "",
) -> Outcome:
    return Outcome(
        exchange_id=f"x-{model}-{at}",
        at=at,
        mono=0.0,
        outcome="ok" if error is None else "caller_error",
        error_type=error,
        status=200 if error is None else status,
        provider_error=ProviderError(message=said) if said else None,
        canary=canary,
        model_requested=model,
        operation=operation,
        mirror=mirror,
        reason=reason,
    )


CONFIG = """
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: here
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 5%
"""
WANTED = parse(CONFIG, "canary.yaml", {}).control.canaries
RUNNING = {"here": State(state="running", share=0.05, started_at=NOW - 300.0)}


def astray(
    *outcomes: Outcome, now: float = NOW, states: Mapping[str, State | None] = RUNNING
) -> dict[tuple[str, str], str]:
    """What is said of these requests by canary and kind; the same on one machine, and by a fleet's leader."""
    alone, outgoing, led = UnmatchedTraffic(), OutgoingQueue(), UnmatchedTraffic()
    alone.take(events(*outcomes))
    StreamPublisher(outgoing, replica="one").take(replace(events(*outcomes), heard=len(outcomes)))
    leader = RecordDeduplicator({"position": {"searched_until": NOW - 7200, "told": {}}})
    led.take(leader.hear(list(outgoing.waiting), "1-0"))
    again = UnmatchedTraffic()
    again.restore(json.loads(json.dumps(led.snapshot())))
    found = [each.astray(now, WANTED, states) for each in (alone, led, again)]
    assert found[0] == found[1]
    assert [each.sentence for each in found[0]] == [each.sentence for each in found[2]]
    return {(each.canary, each.kind): each.sentence for each in found[0]}


def many(count: int, **about: Any) -> list[Outcome]:
    """So many requests to the canary, each with an id of its own."""
    plain = [outcome("gpt-4o", **{"canary": "here", "reason": "cohort", **about}) for _ in range(count)]
    return [structs.replace(each, exchange_id=f"{about}-{n}") for n, each in enumerate(plain)]


def events(*outcomes: Outcome) -> WorkerEvents:
    return WorkerEvents(records=outcomes, unmatched=unmatched_in(outcomes))


def test_a_prompt_that_more_than_one_in_twenty_of_a_hundred_requests_has_not_is_said() -> None:
    missed = ("here", "prompt_missed")
    assert missed not in astray(*many(95), *many(5, reason="prompt_missed"))
    assert missed not in astray(*many(49), *many(50, reason="prompt_missed"))
    old = NOW - 3_000.0  # of the last hour
    said = astray(*many(94, at=old), *many(6, reason="prompt_missed"))[missed]
    assert said.startswith(
        "6 of 100 requests of the last hour have not the text of `prompt.find`, so they go"
    )


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
    ((_, _, models, _),) = traffic.snapshot()
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
    outgoing, traffic = OutgoingQueue(), UnmatchedTraffic()
    StreamPublisher(outgoing, replica="one").take(
        replace(events(outcome("gpt-4o", reason="no_lane")), heard=1)
    )
    leader = RecordDeduplicator({"position": {"searched_until": NOW - 60, "told": {}}})
    traffic.take(leader.hear(list(outgoing.waiting), "1-0"))
    assert (traffic.document(NOW)["no_lane"], traffic.document(NOW)["requests"]) == (1, 0)


def test_counts_survive_a_restart() -> None:
    before, after = UnmatchedTraffic(), UnmatchedTraffic()
    before.take(events(outcome("gpt-5"), outcome("gpt-4o", canary="here")))
    after.restore(before.snapshot())
    assert after.document(NOW) == before.document(NOW)


def test_a_replica_sends_the_counts_to_the_leader() -> None:
    outgoing, traffic = OutgoingQueue(), UnmatchedTraffic()
    StreamPublisher(outgoing, replica="one").take(
        events(
            *(outcome("gpt-4o", canary="here", at=NOW + number / 1e3) for number in range(500)),
            outcome("gpt-5"),
        )
    )
    leader = RecordDeduplicator({"position": {"searched_until": NOW - 60, "told": {}}})
    traffic.take(leader.hear(list(outgoing.waiting), "1-0"))
    found = traffic.document(NOW)
    assert (found["requests"], found["of"]) == (1, 501)


def test_requests_that_name_no_user_are_said_with_where_the_user_belongs() -> None:
    assert astray(*many(40, reason="no_unit")) == {
        ("here", "no_unit"): "40 of 40 requests of the last ten minutes name no user, so the baseline serves "
        "them, outside the canary: send the header x-canary-unit, or `user` in the body (docs/sdks.md)"
    }


def test_requests_that_stay_with_the_baseline_for_their_state_are_said() -> None:
    (sentence,) = astray(*many(30, reason="stateful"), *many(10)).values()
    assert sentence.startswith("30 of 40 requests of the last ten minutes name or create state at the")
    assert "send `store: false`" in sentence


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        ("caller_not_found", 404, "got 404 from provider entry openai: check how its `base_url` ends"),
        (
            "caller_unauthorized",
            401,
            "got 401 or 403 from provider entry openai: check the entry's `api_key`",
        ),
        ("caller_rejected", 400, "were refused as invalid by provider entry openai"),
    ],
)
def test_what_the_provider_refuses_from_everybody_is_said(error: ErrorType, status: int, says: str) -> None:
    (said,) = astray(*many(40, error=error, status=status, said="Not Found")).values()
    assert said.startswith(f"40 of 40 requests of the last ten minutes {says}")


def test_requests_without_a_user_that_the_provider_refuses_are_said_as_both() -> None:
    kinds = [kind for _, kind in astray(*many(40, reason="no_unit", error="caller_not_found"))]
    assert kinds == ["no_unit", "caller_not_found"]


def test_the_provider_s_words_are_beside_the_sentence_and_not_in_it() -> None:
    traffic = UnmatchedTraffic()
    traffic.take(events(*many(3, error="caller_not_found", said="no model x")))
    (found,) = traffic.astray(NOW, WANTED, RUNNING)
    assert (found.said, found.entry) == ("no model x", "openai")
    assert "no model x" not in found.sentence


def test_refused_requests_that_match_no_canary_are_said_too() -> None:
    lost = [structs.replace(each, canary="") for each in many(40, error="caller_not_found", reason="")]
    assert astray(*lost)["", "caller_not_found"].startswith(
        "40 of 40 requests of the last ten minutes that match no canary got 404 from their provider"
    )


def test_a_canary_that_gets_nothing_while_other_models_are_asked_for_is_said() -> None:
    other = [outcome("gpt-4o-mini", at=NOW - 60 * n) for n in range(5)]
    assert astray(*other) == {
        ("here", "unmatched"): "no request has reached the canary for 5 minutes, while 5 matched no canary; "
        "it takes gpt-4o"
    }
    traffic = UnmatchedTraffic()
    traffic.take(events(*other))
    (found,) = traffic.astray(NOW, WANTED, RUNNING)
    assert found.said == "gpt-4o-mini (5)"
    assert astray(*other, *many(1)) == {}
    assert astray(*other, states={"here": State(state="waiting")}) == {}


def test_a_canary_that_got_nothing_in_its_first_minute_is_said_through_the_turn_of_the_minute() -> None:
    began = NOW - NOW % 60 + 30.0
    running = {"here": State(state="running", share=0.05, started_at=began)}
    traffic = UnmatchedTraffic()
    traffic.take(events(*[outcome("gpt-4o-mini", at=began + n) for n in range(4)]))
    for later in (5.0, 29.0, 31.0, 89.0):
        (found,) = traffic.astray(began + later, WANTED, running)
        assert found.sentence.startswith("no request has reached the canary for a minute, while 4 matched")


@pytest.mark.parametrize(
    "requests",
    [
        many(2, reason="no_unit"),
        [*many(20, reason="no_unit"), *many(21)],
        many(40, error="caller_not_found", status=None),
        many(40, error="caller_not_found", at=NOW - 660.0),
        many(40),
    ],
)
def test_few_requests_a_minority_canary_s_own_refusals_and_old_ones_are_not_worth_a_word(
    requests: list[Outcome],
) -> None:
    assert astray(*requests) == {}


def test_feedback_that_belongs_to_no_exchange_is_said_for_an_hour() -> None:
    traffic = UnmatchedTraffic(clock=lambda: NOW)

    def value(**about: Any) -> Feedback:
        return Feedback(key="k", metric="csat", value=4.0, at=1.0, mono=1.0, **about)

    joined = value(unit="ann", canary="trial", arm="candidate")
    records = [joined, value(exchange_id="x"), value(session="s"), value(unit="b"), value(unit="late")]
    traffic.take(WorkerEvents(records=records, strangers=2))
    again = UnmatchedTraffic()
    again.restore(msgspec.json.decode(msgspec.json.encode(traffic.snapshot())))
    for each in (traffic, again):
        (found,) = each.astray(NOW + 60, {}, {})
        assert (found.kind, found.canary, found.requests, found.of) == ("unjoined", "", 2, 4)
        assert found.sentence.startswith("2 of 4 feedback values by session or user")
        assert each.astray(NOW + 60 * (MINUTES + 1), {}, {}) == []


@pytest.mark.parametrize(
    ("metric", "values", "said"),
    [
        ("helped", [1.0] * 20, "only true was ever sent of helped (20 values)"),
        ("helped", [1.0] * 19, ""),
        ("helped", [1.0] * 19 + [0.0], ""),
        ("helped", [0.0] * 20, ""),
        ("conversion", [1.0] * 20, ""),
        ("csat", [1.0] * 20, ""),
        ("broken", [0.0] * 20, "only false was ever sent of broken"),
    ],
)
def test_an_opinion_that_is_only_ever_one_thing_is_said(metric: str, values: list[float], said: str) -> None:
    broken = Metric(name="broken", kind="bool", higher_is_better=False, question="?")
    pulse = Pulse(run=1)
    for place, value in enumerate(values):
        arm: ArmName = "candidate" if place % 3 else "baseline"
        pulse.observe_feedback(
            Feedback(key=f"k{place}", metric=metric, value=value, at=1.0, mono=1.0, run=1, arm=arm)
        )
    found = list(one_sided("trial", pulse, {**BUILT_IN, "broken": broken}))
    assert bool(found) is bool(said)
    assert all(each.kind == "one_sided" and each.sentence.startswith(said) for each in found)
