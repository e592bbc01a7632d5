"""A connection limit: a waiter that is cancelled leaks no slot and breaks nothing."""

import asyncio

import pytest

from proxy.network.upstream.response import ConnectionLimit


def test_a_waiter_that_leaves_as_a_slot_is_released_leaves_the_slot_to_the_next() -> None:
    async def story() -> None:
        limit = ConnectionLimit(asyncio.get_running_loop(), 1)
        assert limit.take()
        leaving, next_one = (asyncio.ensure_future(limit.wait()) for _ in range(2))
        await asyncio.sleep(0)  # both wait
        leaving.cancel()
        limit.release()  # skips the one that leaves
        await next_one
        with pytest.raises(asyncio.CancelledError):
            await leaving
        limit.release()
        assert limit.free == 1

    asyncio.run(story())


def test_a_slot_handed_over_to_a_waiter_that_is_then_cancelled_is_not_lost() -> None:
    async def story() -> None:
        limit = ConnectionLimit(asyncio.get_running_loop(), 1)
        assert limit.take()
        waiter = asyncio.ensure_future(limit.wait())
        await asyncio.sleep(0)
        limit.release()
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert limit.free == 1

    asyncio.run(story())
