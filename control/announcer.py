"""Tells the receivers what pages nobody: a verdict, a request to promote."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from alerts.incidents.notifier import Announcement, announce, notifier_client
from alerts.incidents.outbox import receiver_id
from control.settings import ControlSettings

log = structlog.get_logger()

LOOK_EVERY_S, RETRY_S = 1.0, 60.0
TELL_FOR_S = 86_400.0
"""How long a receiver that does not answer is tried again, each minute."""


@dataclass(frozen=True, slots=True)
class _Untold:
    receiver: str
    news: Announcement
    due_at: float


class Announcer:
    """What the receivers of the config are still to be told. A crash loses it."""

    def __init__(self, settings: Callable[[], ControlSettings]) -> None:
        self._settings = settings
        self._untold: deque[_Untold] = deque()

    def put(self, news: Announcement) -> None:
        """Tell this to every receiver, soon. From any thread."""
        self._untold.extend(_Untold(receiver_id(each), news, news.at) for each in self._settings().notify)

    async def run(self) -> None:
        """Tell what is due, without end."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._untold:
                await self.tell(time.time())

    async def tell(self, now: float) -> None:
        """Tell what is due at this UTC second; give up after TELL_FOR_S."""
        settings = self._settings()
        receivers = {receiver_id(each): each for each in settings.notify}
        waiting = [self._untold.popleft() for _ in range(len(self._untold))]
        async with notifier_client() as client:
            for each in waiting:
                if each.due_at > now:
                    self._untold.append(each)
                    continue
                receiver = receivers.get(each.receiver)
                wrong = None
                if receiver is not None:
                    wrong = await announce(client, receiver, each.news, settings.admin_url)
                if wrong is not None:
                    log.error("news.not_told", kind=each.news.kind, receiver=each.receiver, problem=wrong)
                    if now - each.news.at < TELL_FOR_S:
                        self._untold.append(replace(each, due_at=now + RETRY_S))
