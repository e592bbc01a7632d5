"""What a judgement costs at least, as it is set aside, so that a budget without room for one is refused."""

import math
from collections.abc import Sequence

from bench import judge_words
from bench.judge_asker import MOST_TOKENS, Question, pair_questions
from bench.judge_settings import dollars
from bench.settings import BenchSettings
from records.judgements import Kind
from records.outcome import Usage
from records.prices import Prices


def least_price(settings: BenchSettings, kind: Kind) -> float | None:
    """The dollars that the shortest judgement sets aside: no text but the judge's fixed words. None without a
    judge, or a known price of it."""
    source = settings.judge
    if source is None:
        return None
    provider, prices = settings.providers[source.provider], Prices(settings.prices, settings.price_as)
    asked = (len(question[0].content.encode()) for question in _shortest(kind))
    costs = [
        prices.cost(provider, source.model, Usage(input_tokens=tokens, output_tokens=MOST_TOKENS))
        for tokens in asked
    ]
    return sum(cost for cost in costs if cost is not None) or None


def too_small(settings: BenchSettings, kind: Kind) -> str:
    """That no call of this kind ever fits into the day's budget, and which budget would do; "" if one may."""
    source, least = settings.judge, least_price(settings, kind)
    if source is None or least is None or least <= source.daily_budget_usd:
        return ""
    answers = "two answers of the judge" if kind == "pair" else "one answer of the judge"
    cost = "cost" if kind == "pair" else "costs"
    return (
        f"judge: daily_budget: {dollars(source.daily_budget_usd)} is too small for one call: {answers}, of "
        f"at most {MOST_TOKENS:,} tokens, {cost} up to {dollars(least)} with the shortest question; write a "
        f"daily_budget of at least {math.ceil(100 * least) / 100:.2f}, and more for long conversations"
    )


def _shortest(kind: Kind) -> Sequence[Question]:
    if kind == "pair":
        return list(pair_questions((), "", "", "").values())
    return (judge_words.answer_question((), "", ""),)
