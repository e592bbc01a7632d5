"""What a judge did of one canary on this UTC day, from the store: the same on every replica."""

from dataclasses import dataclass

from bench.judge_settings import JudgeTerms
from records.judgements import Judgements
from records.store import Store

_DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeDay:
    """The canary's judgements of today, of how many a day, of pairs or of single answers; and what those of
    all canaries cost today."""

    judged: int
    wanted: int
    pairs: bool
    spent_usd: float


def judge_day(store: Store, canary: str, run: int, terms: JudgeTerms, *, now: float) -> JudgeDay:
    """The canary's day so far. May raise StoreDown."""
    judgements = Judgements(store)
    return JudgeDay(
        judged=judgements.since(canary, run, now // _DAY_S * _DAY_S),
        wanted=terms.pairs or terms.answers,
        pairs=terms.pairs > 0,
        spent_usd=judgements.spent(now),
    )
