"""What a judge said, for the pages of canaries and of captured pairs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from judge.figures import JudgeFigures
from judge.judgements import FIRST, JudgedExchange

_SAYS: Mapping[str, str] = {
    "candidate": "the candidate’s answer is better",
    "baseline": "the baseline’s answer is better",
    "tie": "neither answer is better",
    "no_mark": "no readable judgement",
    "": "being judged",
}
_LETTERS: Mapping[bool, str] = {True: "A: baseline, B: candidate", False: "A: candidate, B: baseline"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementView:
    """What the judge says of a pair, and its reason for each order of the answers with what the letters stand
    for. A reason that has expired is left out."""

    says: str
    judge: str
    reasons: tuple[tuple[str, str], ...]


def view(judged: JudgedExchange) -> JudgementView:
    """The view of one judgement."""
    if judged.mark is not None:
        says = f"{judged.mark:g} of 5 for the {judged.arm}’s answer"
    elif judged.order_decided:
        says = "neither: it took the same place in both orders"
    else:
        says = _SAYS[judged.result]
    return JudgementView(says=says, judge=judged.judge, reasons=tuple(_reasons(judged)))


def _reasons(judged: JudgedExchange) -> list[tuple[str, str]]:
    pair = judged.kind == "pair"
    return [
        (call.reason, _LETTERS[call.turn == FIRST] if pair else "") for call in judged.calls if call.reason
    ]


def figures_in(report: Mapping[str, Any] | None) -> JudgeFigures | None:
    """The judge's figures in a report's document; None without."""
    found = (report or {}).get("judge")
    return msgspec.convert(found, JudgeFigures) if found is not None else None
