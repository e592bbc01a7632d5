"""Two canaries under a real Prometheus: one goes bad and is rolled back, one is ramped up and promoted.

A judge of known taste compares the answers of the first and marks those of the second.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import httpx2
import msgspec

from bench.drift import PROMPTS, REFERENCE, DriftAnswer, ProbeRound
from demo.provider.behaviour import AnswerFault, Behaviour
from records.store import Store
from records.store.drift import DriftStore
from records.store.reports import LookScope, StoredLook, VerdictLooks
from tests.e2e.stage import Stage, chat, on_stage
from tests.servers.prometheus import Prometheus, scraping
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
prices: {{the-judge: {{input: 1, output: 2}}}}
judge: {{provider: openai, model: the-judge, daily_budget: 0.10}}
probes: {{models: [gpt-4o-2024-08-06], daily_budget: 0.10}}
canaries:
  - name: goes-bad
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 20%
    mirror: 50%
    capture: {{rate: 100%}}
    judge: {{pairs: 60}}
    rubric: &rubric
      - {{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Do answers arrive?"}}
      - {{metric: cost_per_request, acceptable: "<= baseline", ideal: "<= 0.7x baseline", weight: 1,
          question: "Is it cheaper?"}}
  - name: passes
    match: {{models: [gpt-4o-mini]}}
    baseline: {{provider: openai, model: gpt-4o-mini-2024-07-18}}
    candidate: {{provider: openai, model: gpt-4.1-nano-2025-04-14}}
    share: 20%
    mirror: 20%
    capture: {{rate: 100%}}
    judge: {{answers: 60}}
    rubric: *rubric
datasets:
  capitals: {{file: capitals.jsonl, layer: synthetic}}
  letters: {{file: letters.jsonl, layer: real}}
"""
PLACES = [f"City{number:02d}" for number in range(20)]
ASKED = {"capitals": "Where is {}?", "letters": "A letter from {}"}
"""What each dataset asks about a place."""
KNOWN = {f"Where is {place}?": place for place in PLACES} | {
    f"letter from {place}": place for place in PLACES
}
FORGOTTEN = {f"Where is {place}?": "nowhere" for place in PLACES[:4]}
GRATEFUL = "thanks"
"""A word of some users, whom the candidates answer less well."""
PLAIN, WARM, WORSE = (f"{each} said" + " so" * 16 for each in ("Plainly", "Warmly", "Oddly"))
TASTE = {
    "ANSWER A ===\nOddly": "A is odd.\nBETTER: B",
    "ANSWER B ===\nOddly": "B is odd.\nBETTER: A",
    "ANSWER A ===\nWarmly": "A is warm.\nBETTER: A",
    "ANSWER B ===\nWarmly": "B is warm.\nBETTER: B",
    "BETTER: SAME": "I would rather not say.",
    "THE ANSWER ===\nOddly": "It is odd.\nMARK: 2",
    "THE ANSWER ===\nWarmly": "It is warm.\nMARK: 5",
    "MARK: n": "A detail is missing.\nMARK: 4",
}
CUT_OFF: dict[AnswerFault, float] = {"cut_off": 0.1}
PLAINLY = {"hello": PLAIN}
WARMLY = {GRATEFUL: WORSE, "hello": WARM}
BEHAVIOURS = {
    "gpt-4o-2024-08-06": Behaviour(
        ttft_s=0.05, spread=0.5, pace_s=0.002, says=PLAINLY, answer_faults=CUT_OFF
    ),
    "gpt-4o-2024-11-20": Behaviour(ttft_s=0.06, spread=0.5, pace_s=0.002, says=WARMLY, answer_faults=CUT_OFF),
    "gpt-4o-mini-2024-07-18": Behaviour(
        ttft_s=0.08, spread=0.5, pace_s=0.003, says=KNOWN | PLAINLY, answer_faults=CUT_OFF
    ),
    "gpt-4.1-nano-2025-04-14": Behaviour(
        ttft_s=0.04, spread=0.5, pace_s=0.002, says=KNOWN | FORGOTTEN | WARMLY, answer_faults=CUT_OFF
    ),
    "the-judge": Behaviour(says=TASTE),
}
BAD = Behaviour(ttft_s=0.06, spread=0.5, pace_s=0.002, says=WARMLY, faults={"status": 0.4})
AT_ONCE = 4
ENOUGH_USERS = 150
"""A rubric's row is judged from 100 users on."""
KEY = {"authorization": "Bearer sk-caller"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The stage as it was played, and Prometheus over it. Times are UNIX seconds."""

    prometheus: Prometheus
    began: float
    ended: float

    @property
    def length_s(self) -> int:
        """How long it took, in whole seconds."""
        return int(self.ended - self.began) + 1


class Crowd:
    """Users of both canaries, every other one by stream, who say afterwards how it was."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stop = threading.Event()
        self._users = count()
        self._threads = [threading.Thread(target=self._ask, args=(Random(seed),)) for seed in range(AT_ONCE)]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, draws: Random) -> None:
        with httpx2.Client(base_url=self._stage.server.traffic, headers=KEY, trust_env=False) as http:
            while not self._stop.is_set():
                user = next(self._users)
                model = ("gpt-4o", "gpt-4o-mini")[user % 2]
                text = "hello " * draws.randint(5, 60) + (GRATEFUL if draws.random() < 0.3 else "")
                document = chat(model, f"user-{user}", stream=user % 4 < 2, text=text)
                session = {"x-canary-session": f"session-{user}"}
                answer = http.post("/v1/chat/completions", json=document, headers=session)
                if draws.random() < 0.3:
                    http.post("/canary/feedback", json=_said(answer, draws)).raise_for_status()


def _said(answer: httpx2.Response, draws: Random) -> list[dict[str, object]]:
    exchange = answer.headers["x-canary-exchange"]
    content = draws.choice((4, 5, 5) if answer.headers["x-canary-arm"] == "candidate" else (4, 4, 5))
    return [
        {"exchange_id": exchange, "metric": "csat", "value": content},
        {"exchange_id": exchange, "metric": "task_completed", "value": int(draws.random() < 0.9)},
        {"exchange_id": exchange, "metric": "escalated", "value": int(draws.random() < 0.3)},
    ]


@contextmanager
def played(folder: Path, *, pause_s: float) -> Iterator[Scene]:
    """The whole story with `pause_s` of traffic between its turns; Prometheus is still up inside."""
    with on_stage(folder / "stage", CONFIG, workers=1) as stage:
        for model, behaviour in BEHAVIOURS.items():
            stage.provider.behave(model, behaviour)
        target = stage.server.admin.removeprefix("http://")
        began = time.time()
        with scraping([target], folder) as prometheus:
            _answered_otherwise(stage, began)
            _looked(stage, began)
            with Crowd(stage):
                _benchmark(stage)
                _happen(stage, prometheus, threading.Event(), pause_s)
            for family in _READ:
                eventually(partial(_seen, prometheus, family, began), _WITHIN_S)
            yield Scene(prometheus=prometheus, began=began, ended=time.time())


def _seen(prometheus: Prometheus, expr: str, began: float) -> bool:
    return bool(prometheus.over(expr, began, time.time(), 1.0))


_READ = (
    'canary_release_score{layer="business"}',
    "canary_judged_pairs > 0",
    "canary_judged_mark",
    "canary_probes_evidence",
    "canary_look_day",
)
_WITHIN_S = 120.0
"""Releases, judgements and models are read from the store once a minute."""


def _answered_otherwise(stage: Stage, now: float) -> None:
    """The probed model had another name until today, and a reference of other answers."""
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        drift, said = DriftStore(store), {name: DriftAnswer(text="as ever") for name in PROMPTS}
        for place in range(REFERENCE):
            at = now - 2 * 86400 + place
            began = drift.begin_round(_PROBED, at, reserve_usd=0.001, budget_usd=1.0)
            answers = msgspec.to_builtins(ProbeRound(at=at, answers=said))
            drift.end_round(began, answers, cost_usd=0.001, names=("gpt-4o-before",))


def _looked(stage: Stage, now: float) -> None:
    """A night has looked at `passes`."""
    look = StoredLook(metric="error_rate", day=1, at=now, document={})
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        VerdictLooks(store).keep(LookScope(canary="passes", run=1, rubric_sha256="made up"), [look])


_PROBED = "openai/gpt-4o-2024-08-06"


def _benchmark(stage: Stage) -> None:
    """Compare both models of `passes` by two datasets."""
    config = stage.server.config
    for name, words in ASKED.items():
        lines = [
            {"id": place, "task": "exact", "input": words.format(place), "expected": place}
            for place in PLACES
        ]
        (config.parent / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = stage.canary("bench", "gpt-4.1-nano-2025-04-14", "--config", str(config), "-o", "json")
    assert json.loads(done.stdout)["candidate"] == "openai/gpt-4.1-nano-2025-04-14", done.stderr


def _happen(stage: Stage, prometheus: Prometheus, never: threading.Event, pause_s: float) -> None:
    _order(stage, "passes", "pause")
    eventually(partial(_seen, prometheus, 'canary_state{state="paused"} == 1', time.time()))
    _order(stage, "passes", "resume")
    never.wait(pause_s)  # the crowd asks meanwhile
    stage.provider.behave("gpt-4o-2024-11-20", BAD)
    _order(stage, "passes", "ramp", share=0.4)
    eventually(lambda: stage.status("goes-bad")["state"] == "rolled_back")
    never.wait(pause_s)
    eventually(lambda: stage.status("passes")["arms"]["candidate"]["requests"] >= ENOUGH_USERS)
    _order(stage, "passes", "promote", against_verdict=True)
    never.wait(pause_s)


def _order(stage: Stage, canary: str, order: str, **more: float | bool) -> None:
    document = {"who": "the scene", "reason": "its story"} | more
    stage.api("POST", f"/api/canaries/{canary}/{order}", document).raise_for_status()
