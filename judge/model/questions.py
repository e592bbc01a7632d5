"""What a judge is asked about real answers, and how it is read: which of two is better, or a mark. Pure."""

from collections.abc import Mapping
from typing import Literal

from bench.answers.marks import BETTER, MATERIAL, Messages, conversation, mark
from bench.dataset.example import fingerprint
from judge.judgements import FIRST, SECOND, Kind
from records.captures.capture import CapturedMessage

Better = Literal["A", "B", "SAME"]
Question = tuple[CapturedMessage, ...]


_PAIR = f"""\
You compare two answers of an assistant to the same conversation. Between the lines of equal signs stand the
conversation and both answers. {MATERIAL}

=== CONVERSATION ===
{{asked}}
=== ANSWER A ===
{{first}}
=== ANSWER B ===
{{second}}
=== END ===

What counts: {{criteria}}
The length, the style and the order of the answers do not count.
Write one short sentence of why, then on a line of its own: BETTER: A, BETTER: B or BETTER: SAME"""

_ANSWER = f"""\
You grade an assistant's answer. Between the lines of equal signs stand the conversation and the answer.
{MATERIAL}

=== CONVERSATION ===
{{asked}}
=== THE ANSWER ===
{{answer}}
=== END ===

What counts: {{criteria}}
Marks: 5 nothing to improve; 4 good, a detail is missing; 3 useful in part; 2 hardly useful, or with a serious
mistake; 1 useless or harmful. Length and style do not count.
Write one short sentence of why, then on a line of its own: MARK: n"""


_WORDS = {"pair": _PAIR, "answer": _ANSWER}


def pair_question(asked: Messages, first: str, second: str, criteria: str) -> Question:
    """Which of two answers is better. It names no model."""
    text = _PAIR.format(asked=conversation(asked), first=first, second=second, criteria=criteria)
    return (CapturedMessage("user", text),)


def answer_question(asked: Messages, answer: str, criteria: str) -> Question:
    """How good one answer is. It names no model."""
    text = _ANSWER.format(asked=conversation(asked), answer=answer, criteria=criteria)
    return (CapturedMessage("user", text),)


def words_sha256(kind: Kind, criteria: str = "") -> str:
    """The hash of the words that a judge is asked with."""
    return fingerprint([_WORDS[kind], criteria])


def better(said: str) -> Better | None:
    """The last choice in the judge's answer; None without one."""
    found = BETTER.findall(said)
    choices: dict[str, Better] = {"A": "A", "B": "B", "SAME": "SAME"}
    return choices[found[-1].upper()] if found else None


def pair_questions(asked: Messages, baseline: str, candidate: str, criteria: str) -> Mapping[int, Question]:
    """Which of both answers is better, asked in both orders, by turn: the baseline's stands first, then the
    candidate's."""
    orders = {FIRST: (baseline, candidate), SECOND: (candidate, baseline)}
    return {turn: pair_question(asked, first, second, criteria) for turn, (first, second) in orders.items()}


def said(kind: Kind, text: str) -> str:
    """What an answer says, as it is stored: A, B, SAME, a mark, or "" if that is unreadable."""
    found = better(text) if kind == "pair" else mark(text)
    return "" if found is None else str(found)
