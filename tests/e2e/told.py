"""A judge's word on captured pairs, put into a stage's store as its job would put it."""

import time
from collections.abc import Sequence
from contextlib import closing

from judge.judgements import JudgedExchange, Judgements
from records.store import Store
from records.store.captures import CaptureStore
from tests.e2e.stage import Stage

JUDGE = """
prices: {{the-judge: {{input: 1, output: 4}}}}
judge: {{provider: openai, model: the-judge, daily_budget: 0.50}}
"""
BUDGET_USD = 0.5


def spend(stage: Stage, canary: str) -> None:
    """Use up the day's budget before anything can be judged, so that nobody judges but the test."""
    tell(stage, canary, "spent", said=("A", "A"), reason="", cost_usd=BUDGET_USD / 2)


def tell(
    stage: Stage,
    canary: str,
    exchange_id: str,
    *,
    said: tuple[str, str],
    reason: str,
    category: str = "",
    unit: str = "u",
    cost_usd: float = 0.0,
) -> None:
    """What the judge said of a pair in both orders; `cost_usd` is that of one order."""
    now = time.time()
    judged = JudgedExchange(
        exchange_id=exchange_id,
        canary=canary,
        run=1,
        kind="pair",
        unit=unit,
        category=category,
        at=now,
        asked_at=now,
        judge="openai/the-judge",
        words_sha256="9f2c41d0" * 8,
        baseline="openai/old",
        candidate="openai/new",
        baseline_length=100,
        candidate_length=120,
    )
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        judgements = Judgements(store)
        calls = judgements.begin(judged, {1: 0.0, 2: 0.0}, budget_usd=9.0, expires_at=now + 3600)
        for turn, word in enumerate(said, start=1):
            judgements.answered(calls[turn], said=word, reason=reason, cost_usd=cost_usd)


def captured(stage: Stage, canary: str) -> Sequence[tuple[str, str, str]]:
    """(exchange id, category, unit) of the captured pairs so far."""
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        pairs = CaptureStore(store).pairs(canary)
        return [(real.about.exchange_id, real.about.category, real.about.unit) for real, _ in pairs]
