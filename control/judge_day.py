"""What a judge did of one canary on this UTC day, from the store: the same on every replica."""

from dataclasses import dataclass

from judge.judgements import Judgements
from judge.terms import JudgeTerms
from records.store import Store

_DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeDay:
    """How many of the canary's pairs, or single answers, were judged today, also by hand, of how many a day;
    and what those of all canaries cost today. What waits for an answer, or was refused, is not judged."""

    judged: int
    wanted: int
    pairs: bool
    spent_usd: float


def judge_day(store: Store, canary: str, run: int, terms: JudgeTerms, *, now: float) -> JudgeDay:
    """The canary's day so far. May raise StoreDown."""
    judgements, today = Judgements(store), now // _DAY_S * _DAY_S
    return JudgeDay(
        judged=judgements.ended(canary, run, "pair" if terms.pairs else "answer", since=today),
        wanted=terms.pairs or terms.answers,
        pairs=terms.pairs > 0,
        spent_usd=judgements.spent(now),
    )
