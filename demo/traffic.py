"""The demo's users, each with its own id, through the real OpenAI SDK."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from random import Random
from types import TracebackType
from typing import Any

import httpx2
from openai import APIError, AsyncOpenAI

AT_ONCE = 24
MOST_ASKED = 6000
FEEDBACK_AT_ONCE = 1000
_QUESTIONS = (
    "Where is my parcel?",
    "How do I change my address?",
    "Can I get a refund for last week's order?",
    "The app logs me out every morning. Why?",
)


class Users:
    """Sends requests like an app: with one changed base URL, and the user's id in `user`."""

    def __init__(self, urls: Sequence[str], members: Mapping[str, Any] | None = None) -> None:
        """`urls` are the traffic listeners of all replicas; requests alternate between them. `members` are
        added to every request's body."""
        self._members = dict(members or {})
        self._clients = [AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-demo", max_retries=0) for url in urls]
        self._turns = cycle(self._clients)
        self._http = httpx2.AsyncClient(base_url=urls[0], trust_env=False, timeout=30.0)
        self._random = Random(7)  # noqa: S311 - made-up users
        self._serial = 0
        self._exchanges: dict[str, tuple[str, str]] = {}
        self.by_arm: Counter[str] = Counter()
        self.answered = self.failed = 0

    async def ask(self, model: str, users: int, *, rounds: int = 1) -> None:
        """Send `rounds` requests from each of `count` new users."""
        first, self._serial = self._serial, self._serial + users
        names = [f"user-{first + number}" for number in range(users)]
        for _ in range(rounds):
            await self._all(model, iter(names))

    async def keep_asking(self, model: str, stop: asyncio.Event) -> None:
        """Send requests from new users until `stop` is set, or up to a maximum."""
        while not stop.is_set() and self._serial < MOST_ASKED:
            await self.ask(model, AT_ONCE)

    async def give_feedback(self) -> int:
        """Send feedback from every user: task_completed and csat, slightly better for the candidate."""
        feedback: list[dict[str, Any]] = []
        for exchange, arm in self._exchanges.values():
            better = arm == "candidate"
            feedback.append(
                self._value(exchange, "task_completed", self._random.random() < (0.97 if better else 0.93))
            )
            feedback.append(
                self._value(exchange, "csat", self._random.choice((4, 5, 5, 5) if better else (4, 4, 5, 5)))
            )
        for start in range(0, len(feedback), FEEDBACK_AT_ONCE):
            answer = await self._http.post(
                "/canary/feedback", json=feedback[start : start + FEEDBACK_AT_ONCE]
            )
            answer.raise_for_status()
        return len(feedback)

    def _value(self, exchange: str, metric: str, value: float) -> dict[str, Any]:
        return {"exchange_id": exchange, "metric": metric, "value": int(value)}

    async def _all(self, model: str, names: Any) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._some(model, names))

    async def _some(self, model: str, names: Any) -> None:
        for name in names:
            await self._one(model, name)

    async def _one(self, model: str, user: str) -> None:
        try:
            answer = await next(self._turns).chat.completions.with_raw_response.create(
                model=model,
                user=user,
                messages=[{"role": "user", "content": self._random.choice(_QUESTIONS)}],
                extra_body=self._members or None,
            )
        except APIError:
            self.failed += 1
            return
        self.answered += 1
        arm = answer.headers["x-canary-arm"]
        self.by_arm[arm] += 1
        self._exchanges[user] = (answer.headers["x-canary-exchange"], arm)

    async def __aenter__(self) -> "Users":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.close()
        await self._http.aclose()
