"""The stream by a real Redis: what fits arrives in order; what does not is counted, and nobody waits."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from msgspec import structs

from records.errors import SharedDown
from records.outcome import AttemptRecord, Feedback, Heartbeat, Outcome, ToolCall, Usage
from records.shared import states_channel, stream
from records.shared.stream import OutgoingQueue, ReplicaRecords, StreamCursor, brief
from tests.records.samples import an_exchange_in_flight
from tests.servers.redis import RedisServer

OUTCOME = Outcome(
    exchange_id="x1",
    at=1000.0,
    mono=7.0,
    outcome="fallback",
    canary="trial",
    run=2,
    phase=3,
    share=0.05,
    arm="candidate",
    served_by="baseline",
    reason="cohort",
    unit="u",
    session="s",
    tool_calls=(ToolCall("search", b"12345678"),),
    category="billing",
    tags={"region": "eu"},
    status=500,
    error_type="provider_5xx",
    latency_s=1.5,
    ttft_s=0.5,
    usage=Usage(output_tokens=7, estimated=True),
    cost_usd=0.01,
)


def a_dispatch(number: int) -> ReplicaRecords:
    beat = Heartbeat(
        worker=0,
        pid=7,
        at=1.0,
        mono=1.0,
        started=number,
        finished=number,
        dropped=0,
        lag_s=0.0,
        plan_version=1,
    )
    rating = Feedback(key=f"k{number}", metric="csat", value=4.0, at=1.0, mono=1.0)
    part = brief(Outcome(exchange_id=f"x{number}", at=float(number), mono=0.0, outcome="ok", canary="trial"))
    waiting = (0, 7, an_exchange_in_flight(number))
    return ReplicaRecords(
        replica="r", heard=3, outcomes=(part,), feedback=(rating,), beats=(beat,), in_flight=(waiting,)
    )


def on_redis(server: RedisServer, act: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        async with states_channel.connect(server.url) as redis:
            return await act(redis)

    return asyncio.run(run())


def numbers(dispatches: list[ReplicaRecords]) -> list[int]:
    return [int(dispatch.outcomes[0].exchange_id[1:]) for dispatch in dispatches]


async def send(redis: Any, *which: int) -> None:
    outgoing = OutgoingQueue()
    for number in which:
        outgoing.put(a_dispatch(number))
    await outgoing.send(redis)
    assert outgoing.dropped == 0


def test_what_guardrails_need_of_an_outcome_survives_the_way() -> None:
    again = brief(OUTCOME)
    for name in ("exchange_id", "at", "outcome", "canary", "run", "phase", "share", "arm", "reason", "unit"):
        assert getattr(again, name) == getattr(OUTCOME, name)
    for name in ("category", "tags", "status", "error_type", "latency_s", "ttft_s", "cost_usd", "mirror"):
        assert getattr(again, name) == getattr(OUTCOME, name)
    assert (again.mono, again.usage.estimated) == (0.0, True)
    assert (again.session, again.tool_calls) == (OUTCOME.session, OUTCOME.tool_calls)
    assert (again.usage.input_tokens, again.usage.output_tokens) == (None, 7)
    assert (again.failed, again.evidence) == (OUTCOME.failed, OUTCOME.evidence)


def test_what_the_candidate_itself_said_and_how_long_it_took_survives_the_way_of_a_fallback() -> None:
    own = AttemptRecord(
        arm="candidate", provider="p", model="m", status=None, error_type="provider_timeout", latency_s=10.0
    )
    other = AttemptRecord(arm="baseline", provider="p", model="o", status=200, latency_s=2.0)
    fell_back = structs.replace(
        OUTCOME, outcome="fallback", arm="candidate", status=200, latency_s=12.0, attempts=(own, other)
    )
    (again,) = brief(fell_back).attempts
    assert (again.arm, again.status, again.latency_s) == ("candidate", None, 10.0)
    assert brief(OUTCOME).attempts == ()


def test_the_other_arms_attempt_is_not_taken_for_that_of_a_candidate_that_was_never_asked() -> None:
    other = AttemptRecord(arm="baseline", provider="p", model="o", status=200, latency_s=2.0)
    assert brief(structs.replace(OUTCOME, error_type="breaker_open", attempts=(other,))).attempts == ()


def test_dispatches_arrive_whole_and_in_order(redis_server: RedisServer) -> None:
    async def there(redis: Any) -> None:
        incoming = StreamCursor(redis)
        assert await incoming.read() == []
        await send(redis, 1, 2, 3)
        first = await incoming.read(count=2)
        (last,) = await incoming.read()
        assert numbers([*first, last]) == [1, 2, 3]
        assert last.in_flight == [(0, 7, an_exchange_in_flight(3))]
        assert last.heard == 3 and last.beats[0].started == 3 and last.feedback[0].key == "k3"

    on_redis(redis_server, there)


def test_a_reader_goes_on_from_its_place_or_from_now(redis_server: RedisServer) -> None:
    async def goes_on(redis: Any) -> None:
        await send(redis, 1, 2)
        before = StreamCursor(redis)
        await before.read(count=1)
        assert numbers(await StreamCursor(redis, before.place).read()) == [2]
        late = StreamCursor(redis)
        await late.skip()
        await send(redis, 3)
        assert numbers(await late.read()) == [3]

    on_redis(redis_server, goes_on)


def test_a_redis_that_lost_everything_is_read_from_its_new_beginning(redis_server: RedisServer) -> None:
    async def lost(redis: Any) -> None:
        incoming = StreamCursor(redis, place="99999999999999-0")  # its clock was ahead before it died
        await send(redis, 1)
        assert numbers(await incoming.read()) == [1]
        redis_server.flush()
        await send(redis, 2)
        assert numbers(await incoming.read()) == [2]

    on_redis(redis_server, lost)


def test_the_stream_is_capped(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CAP", 100)

    async def much(redis: Any) -> int:
        for _ in range(10):
            await send(redis, *range(100))
        return int(await redis.xlen(stream.KEY))

    assert 100 <= on_redis(redis_server, much) <= 300  # approximate: Redis drops whole nodes


@pytest.mark.parametrize("ending", ["kill", "freeze"])
def test_without_redis_nothing_piles_up_and_what_is_dropped_is_counted(
    redis_server: RedisServer, ending: str
) -> None:
    async def gone(redis: Any) -> None:
        getattr(redis_server, ending)()
        outgoing = OutgoingQueue()
        for number in range(stream.WAITING + 10):
            outgoing.put(a_dispatch(number))
        assert len(outgoing.waiting) == stream.WAITING
        assert outgoing.dropped == 10 * 2
        with pytest.raises(SharedDown):
            await outgoing.send(redis)
        assert outgoing.dropped == 11 * 2
        with pytest.raises(SharedDown):
            await StreamCursor(redis).read()

    on_redis(redis_server, gone)


def test_what_another_version_wrote_is_passed_over(redis_server: RedisServer) -> None:
    async def foreign(redis: Any) -> None:
        await redis.xadd(stream.KEY, {"d": b"\xc1"})
        await redis.xadd(stream.KEY, {"other": b"x"})
        await send(redis, 1)
        assert numbers(await StreamCursor(redis).read()) == [1]

    on_redis(redis_server, foreign)
