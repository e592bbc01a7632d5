"""Many users at once against a real server, mixed as a share of 5 % has them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import httpx2

from tests.e2e.stage import Stage, chat

MOST_REQUESTS = 6000
AT_ONCE = 8
KEY = {"authorization": "Bearer sk-caller"}


@dataclass
class Crowd:
    """Many users at once, each asking once: one of the candidate's to nineteen of the baseline's."""

    stage: Stage
    canary: str
    model: str
    statuses: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        candidates = self.stage.users("candidate", self.canary, 0.05, "c")
        baselines = self.stage.users("baseline", self.canary, 0.05, "b")
        self._users = (user for first in candidates for user in (first, *islice(baselines, 19)))
        self._drawing = threading.Lock()

    def ask(self, stop: threading.Event, most: int = MOST_REQUESTS) -> None:
        """Keep asking until `stop`, or `most` requests."""
        left = iter(range(most))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(self._one_by_one, stop, left) for _ in range(AT_ONCE)]:
                done.result()

    def _one_by_one(self, stop: threading.Event, left: Iterator[int]) -> None:
        with httpx2.Client(base_url=self.stage.server.traffic, headers=KEY, trust_env=False) as http:
            while not stop.is_set():
                with self._drawing:
                    if next(left, None) is None:
                        return
                    user = next(self._users)
                answer = http.post("/v1/chat/completions", json=chat(self.model, user))
                self.statuses.append(answer.status_code)
