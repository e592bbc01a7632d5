"""A live server with something to show: one canary is fine, one was rolled back, one waits."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2

from demo.provider.behaviour import Behaviour
from tests.e2e.stage import Stage, chat, on_stage
from tests.e2e.told import JUDGE, captured, spend, tell
from tests.serving import eventually

CONFIG = (
    """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    ramp: [{{share: 20%, for: 1h}}, {{share: 40%, for: 3d}}]
    minimum_days: 0
    mirror: 50%
    capture: {{rate: 50%}}
    judge: {{pairs: 200}}
    segments: [plan]
    rubric:
      - {{metric: error_rate, acceptable: "< 5%", ideal: "< 1%", weight: 1, question: "Do answers arrive?"}}
      - {{metric: csat, acceptable: "> 3.8", ideal: "> 4.2", weight: 2, question: "Are users content?"}}
  - name: billing-mini
    match: {{models: [gpt-4o-mini]}}
    baseline: {{provider: openai, model: gpt-4o-mini-2024-07-18}}
    candidate: {{provider: openai, model: gpt-4.1-nano-2025-04-14}}
    share: 20%
  - name: by-hand
    start: manual
    match: {{models: [gpt-4.1]}}
    baseline: {{provider: openai, model: gpt-4.1-2025-04-14}}
    candidate: {{provider: openai, model: gpt-4.1-nano-2025-04-14}}
    share: 5%
"""
    + JUDGE
)
QUESTION = "Where is <b>my</b> parcel?"
REASON = "One answer says <i>where</i> the parcel is, the other asks for its number again."
USERS = 120
SESSION = "agent 7/1"
"""What an agent does: five calls of a tool, and an answer."""


class Visitors:
    """Users of the app behind it."""

    def __init__(self, stage: Stage, http: httpx2.Client, asks: str = QUESTION) -> None:
        self._stage = stage
        self._http = http
        self._asks = asks

    def ask(self, model: str, number: int) -> str:
        """User `number` asks; the exchange's id."""
        tags = {
            "x-canary-category": ("billing", "login")[number % 2],
            "x-canary-tags": f"plan={'pro' if number % 3 else 'free'}",
        }
        url = f"{self._stage.server.traffic}/v1/chat/completions"
        body = chat(model, f"user-{number % USERS}", text=self._asks, stream=number % 4 == 1)
        return str(self._http.post(url, json=body, headers=tags).headers["x-canary-exchange"])

    def work(self, session: str, steps: int) -> None:
        """An agent of one user asks for a parcel, in this session, and is told each time to look for it."""
        url = f"{self._stage.server.traffic}/v1/chat/completions"
        tool = {"type": "function", "function": {"name": "find_parcel", "parameters": {"type": "object"}}}
        for step in range(steps):
            body = chat("gpt-4o", "user-7", text=f"{QUESTION} {step}", stream=step % 2 == 0)
            offered = {"tools": [tool]} if step < steps - 1 else {}
            self._http.post(url, json=body | offered, headers={"x-canary-session": session})

    def rate(self, exchange: str, number: int) -> None:
        """User `number` says how content they are."""
        given = {"exchange_id": exchange, "metric": "csat", "value": (4, 5, 4)[number % 3]}
        self._http.post(f"{self._stage.server.traffic}/canary/feedback", json=given)


@contextmanager
def showcase(folder: Path) -> Iterator[tuple[Stage, Visitors]]:
    """The server, and the users, who have asked a while; kept for as long as it is looked at."""
    with (
        on_stage(folder, CONFIG, workers=2) as stage,
        httpx2.Client(headers={"authorization": "Bearer sk-caller"}, trust_env=False, timeout=30.0) as http,
    ):
        _behave(stage)
        spend(stage, "support-nov")
        visitors = Visitors(stage, http)
        with ThreadPoolExecutor(4) as pool:
            asked = [*pool.map(lambda number: visitors.ask("gpt-4o", number), range(2 * USERS))]
            [*pool.map(lambda number: visitors.rate(asked[number], number), range(0, USERS, 2))]
            visitors.work(SESSION, 6)
            turn = 0
            while stage.status("billing-mini")["state"] != "rolled_back":
                assert turn < 60, "the bad candidate was not rolled back"
                [
                    *pool.map(
                        lambda number: visitors.ask("gpt-4o-mini", number), range(turn * 20, turn * 20 + 20)
                    )
                ]
                turn += 1
        eventually(lambda: stage.status("billing-mini")["open_incident"])
        eventually(lambda: len(stage.outcomes()) >= 2 * USERS)
        _judge(stage)
        yield stage, visitors


def _judge(stage: Stage) -> None:
    """A judge that prefers the candidate in two of three pairs, and goes by the order in a fifth of them."""
    for number, (exchange, category, unit) in enumerate(captured(stage, "support-nov")):
        said = ("A", "A") if number % 5 == 0 else ("B", "A") if number % 3 else ("A", "B")
        about = {"category": category, "unit": unit, "reason": REASON}
        tell(stage, "support-nov", exchange, said=said, **about)


def _behave(stage: Stage) -> None:
    fine = Behaviour(ttft_s=0.02, spread=0.5, pace_s=0.004, faults={"status": 0.005})
    for model in ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"):
        stage.provider.behave(model, fine)
    stage.provider.behave("gpt-4.1-nano-2025-04-14", Behaviour(faults={"status": 0.6}))
