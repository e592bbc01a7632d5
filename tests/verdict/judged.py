"""A judge's pairs, answers and people's labels, as made up for tests, with the traffic that weights them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from judge.judgements import JudgeCall, JudgedExchange, Result, RunJudgements, place
from records.store.captures import Label, Right
from verdict.sample.sample import TRAFFIC, MeasureTotals, Sample, TextColumn

_RESULTS: Mapping[float, Result] = {1.0: "candidate", 0.5: "tie", 0.0: "baseline"}
_SAID: Mapping[Result, tuple[str, str]] = {
    "candidate": ("B", "A"),
    "baseline": ("A", "B"),
    "tie": ("SAME", "SAME"),
    "no_mark": ("A", ""),
}


def pair(
    number: int, won: float | None, *, unit: str = "", category: str = "", at: float = 0.0
) -> JudgedExchange:
    """A pair that the candidate won (1), lost (0) or tied (.5); None: without a readable result."""
    result: Result = "no_mark" if won is None else _RESULTS[won]
    return JudgedExchange(
        exchange_id=f"e{number}",
        canary="c",
        run=1,
        kind="pair",
        unit=unit,
        category=category,
        at=at,
        asked_at=at + 10,
        judge="anthropic/claude-opus-5",
        words_sha256="0" * 64,
        baseline="openai/gpt-4o",
        candidate="google/gemini-3",
        result=result,
        calls=tuple(call(turn, said) for turn, said in enumerate(_SAID[result], start=1)),
    )


def call(turn: int, said: str) -> JudgeCall:
    return JudgeCall(
        turn=turn, state="answered", said=said, reason=f"turn {turn}", reserved_usd=0.2, cost_usd=0.01
    )


def answer(
    number: int, mark: float, *, arm: Literal["baseline", "candidate"], unit: str = "", category: str = ""
) -> JudgedExchange:
    """One arm's answer with its mark."""
    made = pair(number, 1.0, unit=unit, category=category)
    calls = (call(1, f"{mark:g}"),)
    return replace(made, kind="answer", arm=arm, result="mark", mark=mark, calls=calls)


def session(
    number: int, mark: float, *, arm: Literal["baseline", "candidate"], unit: str, done: bool = True
) -> JudgedExchange:
    """One arm's session with its mark."""
    return replace(answer(number, mark, arm=arm, unit=unit), kind="session", done=done)


def label(number: int, right: Right, who: str = "ann", at: float = 100.0) -> Label:
    return Label(at=at, canary="c", exchange_id=f"e{number}", right=right, who=who)


def drawn(pairs: Iterable[JudgedExchange], count: int) -> list[JudgedExchange]:
    """The first pairs in the random order in which people label."""
    return sorted(pairs, key=lambda each: place(each.exchange_id))[:count]


def sample_of(
    exchanges: Iterable[JudgedExchange],
    traffic: Mapping[str, int] | None = None,
    labels: Iterable[Label] = (),
) -> Sample:
    """A sample with so many exchanges of each category, half of them in each arm."""
    names = tuple(traffic or {"": 2})
    counts = np.repeat([count / 2 for count in (traffic or {"": 2}).values()], 2)
    rows = len(counts)
    return Sample(
        units=[f"t{row}" for row in range(rows)],
        unit=np.arange(rows),
        candidate=np.arange(rows) % 2 == 1,
        phase=np.zeros(rows, dtype=np.int64),
        first_at=np.zeros(rows),
        last_at=np.zeros(rows),
        candidate_at=np.zeros(1),
        category=TextColumn(names=names, code=np.repeat(np.arange(len(names)), 2)),
        totals={TRAFFIC: MeasureTotals(count=counts, total=counts)},
        judged=RunJudgements(exchanges=tuple(exchanges), labels=tuple(labels)),
    )
