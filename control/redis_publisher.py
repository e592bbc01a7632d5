"""Takes the plan to every replica, by Redis. Nobody waits for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from control.availability import Availability
from records.errors import SharedDown
from records.shared.plan_channel import PlanChannel
from routing.plan import NO_PLAN, Plan

AGAIN_S = 0.5


class RedisPublisher:
    """Publishes plans. Made inside the event loop that runs it."""

    refresh_every_s = 1.0

    def __init__(self, channel: PlanChannel, availability: Availability) -> None:
        self._channel, self._availability = channel, availability
        self._loop = asyncio.get_running_loop()
        self._plan = NO_PLAN
        self._fresh = asyncio.Event()

    def put(self, plan: Plan) -> None:
        """Publish this plan, in place of one that is not out yet. From any thread."""
        if plan.version >= self._plan.version:
            self._plan = plan
        self._loop.call_soon_threadsafe(self._fresh.set)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run, without end."""
        return [self.run()]

    async def run(self) -> None:
        """Pass plans on as they come. One that Redis does not take is in the store, and in the next one."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            try:
                await self._channel.publish(self._plan)
            except SharedDown as problem:
                self._availability.failed(problem)
                await asyncio.sleep(AGAIN_S)

    async def is_outspoken(self) -> bool:
        """True when another admin has published a plan after ours."""
        try:
            plan = await self._channel.read()
        except SharedDown as problem:
            self._availability.failed(problem)
            return False
        return plan is not None and plan.refreshed_at > self._plan.refreshed_at
