"""Passes the newest plan on to all replicas by Redis. Nobody waits for it."""

import asyncio

from canary.states.reach import Reach
from records.errors import SharedDown
from records.shared.plan_channel import PlanChannel
from routing.plan import NO_PLAN, Plan

AGAIN_S = 0.5


class Announcing:
    """One admin's announcements. Made inside the event loop that runs it."""

    def __init__(self, channel: PlanChannel, reach: Reach) -> None:
        self._channel, self._reach = channel, reach
        self._loop = asyncio.get_running_loop()
        self._plan = NO_PLAN
        self._fresh = asyncio.Event()

    def put(self, plan: Plan) -> None:
        """Announce this plan, in place of one that is not out yet. From any thread."""
        if plan.version >= self._plan.version:
            self._plan = plan
        self._loop.call_soon_threadsafe(self._fresh.set)

    async def run(self) -> None:
        """Pass plans on as they come. One that Redis does not take is in the store, and in the next one."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            try:
                await self._channel.publish(self._plan)
            except SharedDown as problem:
                self._reach.failed(problem)
                await asyncio.sleep(AGAIN_S)

    async def outspoken(self) -> bool:
        """True when another admin has announced a plan after ours."""
        try:
            plan = await self._channel.read()
        except SharedDown as problem:
            self._reach.failed(problem)
            return False
        return plan is not None and plan.refreshed_at > self._plan.refreshed_at
