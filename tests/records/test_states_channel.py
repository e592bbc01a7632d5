"""The plan by a real Redis: the newest one wins, whoever publishes last."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from records.errors import SharedDown
from records.shared import states_channel
from records.shared.states_channel import KEY, StatesChannel
from routing.states import State, States
from tests.servers.redis import RedisServer


def a_plan(version: int, refreshed_at: float = 1000.0) -> States:
    state = State(state="running", share=version / 100, started_at=5.0)
    return States(version=version, states={"trial": state}, refreshed_at=refreshed_at)


def on_channel(server: RedisServer, act: Callable[[StatesChannel], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        async with states_channel.connect(server.url) as redis:
            return await act(StatesChannel(redis))

    return asyncio.run(run())


def test_a_published_plan_comes_back_equal(redis_server: RedisServer) -> None:
    async def there_and_back(channel: StatesChannel) -> States | None:
        assert await channel.read() is None
        assert await channel.publish(a_plan(3))
        return await channel.read()

    assert on_channel(redis_server, there_and_back) == a_plan(3)


def test_an_older_plan_does_not_replace_a_newer_one_but_a_refresh_does(redis_server: RedisServer) -> None:
    async def out_of_order(channel: StatesChannel) -> None:
        assert await channel.publish(a_plan(7))
        assert not await channel.publish(a_plan(6, refreshed_at=2000.0))
        assert await channel.read() == a_plan(7)
        assert await channel.publish(a_plan(7, refreshed_at=2000.0))
        assert await channel.read() == a_plan(7, refreshed_at=2000.0)

    on_channel(redis_server, out_of_order)


@pytest.mark.parametrize("rubbish", ["", "{", "null", '{"version": "x"}', "[1]", "\N{SNOWMAN}"])
def test_rubbish_under_the_key_is_no_plan_and_is_replaced(redis_server: RedisServer, rubbish: str) -> None:
    with redis_server.client() as client:
        client.set(KEY, rubbish)

    async def replaced(channel: StatesChannel) -> States | None:
        assert await channel.read() is None
        assert await channel.publish(a_plan(1))
        return await channel.read()

    assert on_channel(redis_server, replaced) == a_plan(1)


def test_whoever_listens_is_told_at_once(redis_server: RedisServer) -> None:
    async def told(channel: StatesChannel) -> list[States]:
        heard: list[States] = []

        async def listen() -> None:
            async for plan in channel.listen():
                heard.append(plan)
                if plan.version == 5:
                    return

        async def publish() -> None:
            deadline = time.monotonic() + 10.0
            while not heard:  # nobody is told before the subscription stands
                await channel.publish(a_plan(1))
                await asyncio.sleep(0.01)
                assert time.monotonic() < deadline
            for version in range(2, 6):
                await channel.publish(a_plan(version))

        async with asyncio.TaskGroup() as group:
            group.create_task(listen())
            group.create_task(publish())
        return heard

    heard = on_channel(redis_server, told)
    versions = [plan.version for plan in heard]
    assert versions == sorted(versions)
    assert versions[-1] == 5


def test_a_frozen_redis_is_down_within_a_second(redis_server: RedisServer) -> None:
    async def asked(channel: StatesChannel) -> float:
        await channel.publish(a_plan(1))
        redis_server.freeze()
        began = time.monotonic()
        with pytest.raises(SharedDown):
            await channel.read()
        took = time.monotonic() - began
        redis_server.thaw()
        return took

    took = on_channel(redis_server, asked)
    print(f"\na frozen Redis was given up after {took:.2f} s")
    assert took < 60.0  # it says nothing for ever


def test_a_redis_that_is_not_there_is_down(redis_server: RedisServer) -> None:
    redis_server.kill()

    async def asked(channel: StatesChannel) -> None:
        for act in (channel.read(), channel.publish(a_plan(1)), anext(channel.listen())):
            with pytest.raises(SharedDown):
                await act

    on_channel(redis_server, asked)


def test_another_fleet_in_another_database_is_not_heard(redis_server: RedisServer) -> None:
    async def apart() -> list[States]:
        heard: list[States] = []
        other_url = redis_server.url.removesuffix("0") + "1"
        async with (
            states_channel.connect(redis_server.url) as one,
            states_channel.connect(other_url) as other,
        ):
            mine, theirs = StatesChannel(one), StatesChannel(other)

            async def listen() -> None:
                async for plan in mine.listen():
                    heard.append(plan)
                    if plan.version == 2:
                        return

            listening = asyncio.create_task(listen())
            deadline = time.monotonic() + 10.0
            while not listening.done():
                await theirs.publish(a_plan(99))
                await mine.publish(a_plan(1 if not heard else 2))
                await asyncio.sleep(0.01)
                assert time.monotonic() < deadline
            await listening
        return heard

    assert {plan.version for plan in asyncio.run(apart())} == {1, 2}
