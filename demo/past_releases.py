"""The made-up releases of `canary demo --open`, as values: what was tried, and how each model does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demo.past_users import PastModel

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
