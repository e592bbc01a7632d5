"""Callers who keep asking at the doors of a fleet, so that a test may break something under them."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle

import httpx2

from tests.e2e.stage import chat

KEY = {"authorization": "Bearer sk-caller"}
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it began (monotonic), how long it took, and what came of it (0: no answer)."""

    began: float
    took_s: float
    status: int
    exchange: str


@dataclass
class Steady:
    """`asked` grows while it runs."""

    doors: Sequence[str]
    users: Sequence[str]
    pause_s: float
    asked: list[Asked] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator["Steady"]:
        """Ask until the block ends, and wait for the last answers."""
        stop = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(stop, number)) for number in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def since(self, moment: float) -> list[Asked]:
        """What began after a monotonic second."""
        return [each for each in self.asked if each.began >= moment]

    def _ask(self, stop: threading.Event, number: int) -> None:
        doors, users = cycle(self.doors), cycle(self.users[number::AT_ONCE])
        with httpx2.Client(headers=KEY, trust_env=False, timeout=30.0) as http:
            while not stop.wait(self.pause_s):
                self.asked.append(_one(http, next(doors), next(users)))


def _one(http: httpx2.Client, door: str, user: str) -> Asked:
    began = time.monotonic()
    try:
        answer = http.post(f"{door}/v1/chat/completions", json=chat("gpt-4o", user))
    except httpx2.TransportError:
        return Asked(began, time.monotonic() - began, 0, "")
    exchange = answer.headers.get("x-canary-exchange", "")
    return Asked(began, time.monotonic() - began, answer.status_code, exchange)
