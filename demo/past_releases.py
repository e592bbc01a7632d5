"""The made-up releases of `canary demo --open`, as values, and their users.

What was tried, and how each model does; what users of days that are over asked, which arm served it, how it
went, what they said. Nothing was asked of a model. Who gets which arm is decided as for live requests, by the
same keys.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from records.facts.exchange_id import mint
from records.outcome import Feedback, Outcome, ProviderError, Usage
from routing.assign import assign
from routing.canary import Arm, ArmName, Canary
from routing.cohort import derive_key, unit_hash
from routing.states import State

DAY_S = 86_400.0
USERS = 2_500
ASKED_A_DAY = 700
RATED = 0.4
"""How many of the answers are rated."""
RATED_AFTER_S = 300.0
CATEGORIES = ("delivery", "billing", "account", "refund")
OVERLOADED = ProviderError(type="server_error", message="Made up: the model is overloaded.")
PLANS = ("free", "pro")


@dataclass(frozen=True, slots=True, kw_only=True)
class PastModel:
    """How a model does. `fails`, `completes` and `delights` are shares in [0, 1]: of requests that fail, of
    tasks that get done, of ratings that are the best. `latency_s` is a median."""

    fails: float
    latency_s: float
    cost_usd: float
    completes: float
    delights: float


class PastUsers:
    """The users of one canary, drawn from a fixed seed. `secret` is the server's."""

    def __init__(self, canary: Canary, models: Mapping[ArmName, PastModel], secret: bytes) -> None:
        self.models = dict(models)
        self._canary = canary
        self._assignment, self._ids = (derive_key(secret, purpose) for purpose in ("assignment", "ids"))
        self._random = Random(canary.name)  # noqa: S311 - made-up users

    def day(self, state: State, start: float) -> Sequence[Outcome | Feedback]:
        """The outcomes and ratings of the 24 hours from UTC second `start`, in order of time."""
        return sorted(self._records(state, start), key=lambda record: record.at)

    def _records(self, state: State, start: float) -> Iterator[Outcome | Feedback]:
        """Each outcome, followed by its ratings."""
        draws = self._random
        for at in sorted(start + (DAY_S - RATED_AFTER_S) * draws.random() for _ in range(ASKED_A_DAY)):
            outcome = self._outcome(state, f"past-user-{draws.randrange(USERS)}", at)
            yield outcome
            if draws.random() < RATED:
                yield from self._ratings(outcome)

    def _outcome(self, state: State, user: str, at: float) -> Outcome:
        given = assign(self._canary, state, key=self._assignment, unit=user)
        unit, arm = unit_hash(self._ids, user), self._arm(given.arm)
        return Outcome(
            exchange_id=self._exchange_id(state, given.arm, unit, at),
            at=at,
            mono=at,
            canary=self._canary.name,
            run=given.run,
            phase=given.phase,
            share=given.share,
            arm=given.arm,
            reason=given.reason,
            unit=unit,
            category=self._random.choice(CATEGORIES),
            tags={"plan": PLANS[int(unit, 16) % len(PLANS)]},
            provider=arm.provider,
            api="openai",
            operation="chat",
            model_requested=self._canary.baseline.model,
            model=arm.model,
            overhead_s=0.0002,
            **self._ending(given.arm),
        )

    def _ending(self, arm: ArmName) -> dict[str, Any]:
        """How an exchange of this arm ends: well, or with a failure, which a baseline's caller sees."""
        model, draws = self.models[arm], self._random
        latency_s = model.latency_s * draws.lognormvariate(0.0, 0.4)
        times = {"latency_s": latency_s, "ttfb_s": latency_s}
        if draws.random() < model.fails:
            covered = {"outcome": "fallback", "served_by": "baseline", "status": 200}
            seen = {"outcome": "error", "status": 500}
            failure = {"error_type": "provider_5xx", "provider_error": OVERLOADED}
            return {**times, **failure, **(covered if arm == "candidate" else seen)}
        return {
            **times, "outcome": "ok", "served_by": arm, "status": 200, "finish": "stop",
            "usage": Usage(input_tokens=draws.randint(200, 900), output_tokens=draws.randint(40, 300)),
            "cost_usd": model.cost_usd * draws.lognormvariate(0.0, 0.3),
        }  # fmt: skip

    def _arm(self, name: ArmName) -> Arm:
        return self._canary.candidate if name == "candidate" else self._canary.baseline

    def _exchange_id(self, state: State, arm: ArmName, unit: str, at: float) -> str:
        return mint(
            self._ids, canary=self._canary.name, run=state.run, phase=state.phase, arm=arm, unit_hash=unit,
            at=at, serial=self._random.randbytes(8),
        )  # fmt: skip

    def _ratings(self, outcome: Outcome) -> Iterator[Feedback]:
        model, draws = self.models[outcome.arm], self._random
        done = draws.random() < model.completes and not outcome.failed
        stars = (5.0,) if draws.random() < model.delights else (3.0, 4.0, 4.0)
        yield _feedback(outcome, "task_completed", float(done))
        yield _feedback(outcome, "csat", draws.choice(stars if done else (1.0, 2.0, 3.0)))


def _feedback(outcome: Outcome, metric: str, value: float) -> Feedback:
    at = outcome.at + RATED_AFTER_S
    return Feedback(
        key=f"{outcome.exchange_id}/{metric}", metric=metric, value=value, at=at, mono=at,
        exchange_id=outcome.exchange_id, canary=outcome.canary, run=outcome.run, phase=outcome.phase,
        arm=outcome.arm, unit=outcome.unit, category=outcome.category,
    )  # fmt: skip


PROVIDER = "made-up"
CONFIG = """\
providers:
  made-up: {{api: openai, base_url: "{provider}/v1", api_key: none}}
prices:
  assistant-1: {{input: 2, output: 8}}
  assistant-2: {{input: 1, output: 4}}
  assistant-3: {{input: 1, output: 4}}
  assistant-4: {{input: 0.9, output: 3.6}}
datasets:
  made-up-sums: {{file: made-up-sums.jsonl, layer: synthetic, floor: 70%}}
  made-up-letters: {{file: made-up-letters.jsonl, layer: real, floor: 70%}}
canaries:
  - name: {canary}
    match: {{models: [{baseline}]}}
    baseline:  {{provider: made-up, model: {baseline}}}
    candidate: {{provider: made-up, model: {candidate}}}
    share: 20%
    segments: [plan]
    minimum_days: 7
    planned_days: 14
    rubric:
      - {{metric: task_completed,   acceptable: ">= baseline - 5%",  ideal: ">= baseline",      weight: 40,
         question: "Do users get done what they came for?"}}
      - {{metric: csat,             acceptable: ">= baseline - 5%",  ideal: ">= baseline",      weight: 30,
         question: "Are users satisfied?"}}
      - {{metric: error_rate,       acceptable: "< 3%",              ideal: "< 1%",             weight: 15,
         question: "Do answers arrive?"}}
      - {{metric: cost_per_request, acceptable: "<= 1.1x baseline",  ideal: "<= 0.8x baseline", weight: 15,
         question: "What does an answer cost us?"}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRelease:
    """One candidate against one baseline: begun `ago` days ago, with users for so many `days`.

    The candidate does as `new` says, from the start of day `goes_bad` on as BAD. With a `reason` a person
    promotes it at the end.
    """

    canary: str
    baseline: str
    candidate: str
    ago: int
    days: int
    current: PastModel
    new: PastModel
    goes_bad: int | None = None
    reason: str = ""

    def config(self, provider: str) -> str:
        """The config file of its days. `provider` is the local provider's address."""
        return CONFIG.format(
            provider=provider, canary=self.canary, baseline=self.baseline, candidate=self.candidate
        )


FIRST = PastModel(fails=0.004, latency_s=0.9, cost_usd=0.001, completes=0.9, delights=0.45)
BAD = replace(FIRST, cost_usd=0.0005, fails=0.25)
BETTER = PastModel(fails=0.004, latency_s=0.7, cost_usd=0.0006, completes=0.93, delights=0.52)
RELEASES = (
    PastRelease(
        canary="made-up-fails", baseline="assistant-1", candidate="assistant-2", ago=31, days=3, goes_bad=1,
        current=FIRST, new=replace(FIRST, cost_usd=0.0005),
    ),
    PastRelease(
        canary="made-up-ships", baseline="assistant-1", candidate="assistant-3", ago=22, days=14,
        current=FIRST, new=BETTER, reason="the report of day 13: no worse, at less cost",
    ),
    PastRelease(
        canary="made-up-goes-on", baseline="assistant-3", candidate="assistant-4", ago=5, days=5,
        current=BETTER, new=replace(BETTER, cost_usd=0.00055, completes=0.935, delights=0.54),
    ),
)  # fmt: skip
QUESTIONS = {"sums": "{} + 1 = ?", "letters": "Which number follows {} in the letter?"}
EXAMPLES = 60
KNOWN = {"assistant-1": 54, "assistant-2": 50, "assistant-3": 57, "assistant-4": 59}
"""How many of the examples each model answers rightly."""


def behaviours() -> Mapping[str, Mapping[str, Any]]:
    """How the provider behaves, by model."""
    return {model: {"words": 6, "says": _says(known)} for model, known in KNOWN.items()}


def _says(known: int) -> Mapping[str, str]:
    """Questions with more digits come first: "12 + 1" ends with "2 + 1"."""
    return {each.format(n): str(n + 1) for each in QUESTIONS.values() for n in reversed(range(known))}


def write_datasets(folder: Path) -> None:
    """The files that the configs name."""
    for name, question in QUESTIONS.items():
        lines = [
            json.dumps(
                {"id": f"{name}-{n}", "task": "exact", "input": question.format(n), "expected": str(n + 1)}
            )
            for n in range(EXAMPLES)
        ]
        (folder / f"made-up-{name}.jsonl").write_text("\n".join(lines))
