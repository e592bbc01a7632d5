"""Each caller's requests are counted, on one machine and in a fleet; nobody else's name takes memory."""

import json
from dataclasses import replace

import msgspec

from control.feed.events import WorkerEvents
from control.feed.stream import RecordDeduplicator, StreamPublisher
from control.monitor.traffic import CallerTraffic
from records.facts.counts import MOST_LEFT, CallerCount, callers_in
from records.outcome import AttemptRecord, Outcome, OutcomeName
from records.shared.stream import OutgoingQueue
from routing.caller import Caller

WEB = Caller(name="web", key_sha256=("a" * 64,), models=("gpt-4o*",), requests_per_minute=60)
BATCH = Caller(name="batch", key_sha256=("b" * 64, "c" * 64), providers=("openai",))
ASKED = (AttemptRecord(arm="baseline", provider="openai", model="m", status=200),)


def outcome(
    caller: str,
    *,
    at: float = 1_800_000_000.0,
    how: OutcomeName = "ok",
    asked: bool = True,
    mirror: bool = False,
) -> Outcome:
    return Outcome(
        exchange_id=f"x-{caller}-{at}",
        at=at,
        mono=0.0,
        outcome=how,
        tags={"caller": caller} if caller else {},
        attempts=ASKED if asked else (),
        mirror=mirror,
    )


def events(*outcomes: Outcome) -> WorkerEvents:
    return WorkerEvents(records=outcomes, callers=callers_in(outcomes))


class HandClock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def following(*callers: Caller, clock: HandClock | None = None) -> CallerTraffic:
    traffic = CallerTraffic(clock or HandClock())
    traffic.configure(callers)
    return traffic


SENT = (
    outcome("web", at=1_800_000_010.0),
    outcome("web", at=1_800_000_005.0, how="error"),
    outcome("web", how="caller_error"),
    outcome("web", how="caller_error", asked=False),
    outcome("web", mirror=True),
    outcome("unknown"),
    outcome(""),
)


def test_a_caller_has_its_requests_its_refusals_and_its_last_moment() -> None:
    traffic = following(WEB, BATCH)
    traffic.take(events(*SENT))
    web, batch = traffic.document([WEB, BATCH])["callers"]
    assert web == {
        "name": "web",
        "keys": 1,
        "providers": None,
        "models": ["gpt-4o*"],
        "requests_per_minute": 60,
        "requests": 4,
        "refused": 1,
        "since": "2027-01-15T08:00:00.000Z",
        "last_seen": "2027-01-15T08:00:10.000Z",
    }
    assert (batch["requests"], batch["refused"], batch["last_seen"]) == (0, 0, None)
    assert (batch["keys"], batch["providers"]) == (2, ["openai"])
    assert set(traffic.snapshot()["by_name"]) == {"web", "batch"}


def test_the_count_goes_on_after_a_restart_and_for_those_who_stay() -> None:
    traffic = following(WEB)
    traffic.take(events(*SENT))
    saved = json.loads(msgspec.json.encode(traffic.snapshot()))
    after = following(WEB, BATCH)
    after.restore(saved)
    assert after.document([WEB]) == traffic.document([WEB])
    after.configure([replace(WEB, models=None), BATCH])
    after.take(events(outcome("batch")))
    assert [each["requests"] for each in after.document([WEB, BATCH])["callers"]] == [4, 1]


def test_a_caller_that_is_taken_out_and_put_back_goes_on_with_its_counts() -> None:
    traffic = following(WEB, BATCH)
    traffic.take(events(*SENT))
    traffic.configure([BATCH])
    traffic.take(events(outcome("web")))  # its last one, that was under way
    assert [each["name"] for each in traffic.document([BATCH])["callers"]] == ["batch"]
    again = following(BATCH)
    again.restore(json.loads(msgspec.json.encode(traffic.snapshot())))
    for each in (traffic, again):
        each.configure([WEB, BATCH])
        assert [one["requests"] for one in each.document([WEB, BATCH])["callers"]] == [5, 0]


def test_each_caller_is_counted_since_it_came_into_the_config() -> None:
    clock = HandClock()
    traffic = following(WEB, clock=clock)
    clock.now += 3600
    traffic.configure([WEB, BATCH])
    after = following(WEB, BATCH, clock=clock)
    clock.now += 3600
    after.restore(json.loads(msgspec.json.encode(traffic.snapshot())))
    whens = ["2027-01-15T08:00:00.000Z", "2027-01-15T09:00:00.000Z"]
    assert [each["since"] for each in after.document([WEB, BATCH])["callers"]] == whens
    after.configure([WEB])
    after.configure([WEB, BATCH])  # never seen, so nothing is known of it: it begins anew
    assert after.document([BATCH])["callers"][0]["since"] == "2027-01-15T10:00:00.000Z"


def test_names_that_left_take_no_memory_without_end() -> None:
    traffic = following()
    for number in range(MOST_LEFT + 2):
        name = f"c{number}"
        traffic.configure([replace(WEB, name=name)])
        traffic.take(events(outcome(name)))
    assert len(traffic.snapshot()["by_name"]) == MOST_LEFT + 1
    first, newest = replace(WEB, name="c0"), replace(WEB, name=f"c{MOST_LEFT}")
    traffic.configure([first, newest])
    assert [each["requests"] for each in traffic.document([first, newest])["callers"]] == [0, 1]


def test_an_older_memory_without_callers_is_no_problem() -> None:
    traffic = following(WEB)
    traffic.restore({})
    assert traffic.document([WEB])["callers"][0]["requests"] == 0


def test_in_a_fleet_the_counts_go_by_the_stream_once() -> None:
    outgoing = OutgoingQueue()
    StreamPublisher(outgoing, replica="r").take(replace(events(*SENT), heard=len(SENT)))
    told = RecordDeduplicator().hear(list(outgoing.waiting), "1-0")
    assert set(told.callers) == set(callers_in(SENT))
    assert CallerCount("web", "caller_error", True, 1, 1_800_000_000.0) in told.callers
    traffic = following(WEB)
    traffic.take(told)
    assert traffic.document([WEB])["callers"][0]["requests"] == 4
