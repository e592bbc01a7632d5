"""Many users at once against a real server, mixed as a share has them, by default 5 %."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from zlib import crc32

import httpx2

from tests.e2e.stage import Stage, chat

MOST_REQUESTS = 6000
AT_ONCE = 8
KEY = {"authorization": "Bearer sk-caller"}


@dataclass(frozen=True)
class RareCategory:
    """A category that one user in twenty asks about. Two of five such requests have the members `extra`."""

    name: str
    extra: Mapping[str, Any]

    def of(self, user: str) -> tuple[dict[str, str], dict[str, Any]]:
        """The user's headers and members, the same in every run."""
        draw = crc32(user.encode())
        if draw % 20:
            return {}, {}
        return {"x-canary-category": self.name}, dict(self.extra) if draw // 20 % 5 < 2 else {}


@dataclass
class Crowd:
    """Many users at once, each asking once: as many of the candidate's as the `share` has, by default one to
    nineteen of the baseline's.

    `at_once` requests are open at a time, and a caller leaves after `patience_s`. `extra` is added to every
    request's body. `left` counts the callers who left.
    """

    stage: Stage
    canary: str
    model: str
    at_once: int = AT_ONCE
    patience_s: float = 60.0
    extra: Mapping[str, Any] = field(default_factory=dict)
    rare: RareCategory | None = None
    share: float = 0.05
    statuses: list[int] = field(default_factory=list)
    left: int = 0

    def __post_init__(self) -> None:
        candidates = self.stage.users("candidate", self.canary, self.share, "c")
        baselines = self.stage.users("baseline", self.canary, self.share, "b")
        others = round(1 / self.share) - 1
        self._users = (user for first in candidates for user in (first, *islice(baselines, others)))
        self._drawing = threading.Lock()

    def ask(self, stop: threading.Event, most: int = MOST_REQUESTS) -> None:
        """Keep asking until `stop`, or `most` requests."""
        left = iter(range(most))
        with ThreadPoolExecutor(self.at_once) as pool:
            for done in [pool.submit(self._one_by_one, stop, left) for _ in range(self.at_once)]:
                done.result()

    def _one_by_one(self, stop: threading.Event, left: Iterator[int]) -> None:
        with httpx2.Client(
            base_url=self.stage.server.traffic, headers=KEY, trust_env=False, timeout=self.patience_s
        ) as http:
            while not stop.is_set():
                with self._drawing:
                    if next(left, None) is None:
                        return
                    user = next(self._users)
                self._ask_once(http, user)

    def _ask_once(self, http: httpx2.Client, user: str) -> None:
        headers, rare = self.rare.of(user) if self.rare is not None else ({}, {})
        body = chat(self.model, user) | dict(self.extra) | rare
        try:
            answer = http.post("/v1/chat/completions", json=body, headers=headers)
        except httpx2.TimeoutException:
            with self._drawing:
                self.left += 1
            return
        self.statuses.append(answer.status_code)
