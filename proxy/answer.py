"""What an answer looks like: why each of its choices ended, and whether there is anything in it. No texts."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import get_args

from records.outcome import Fault, Finish

_EMPTY = re.compile(rb'(?:null|\[\s*\]|\{\s*\}|"(?:\s|\\[nrtfv]|\\u00a0|\xc2\xa0)*")')

_ORDER: tuple[Fault, ...] = get_args(Fault)


def filled(raw: bytes) -> bool:
    """True for a raw JSON member that holds something: not absent, null, empty or white space alone."""
    return len(raw) > 0 and _EMPTY.fullmatch(raw) is None


class AnswerChoice:
    """One choice of an answer.

    `reason`: why the model stopped, None before it did. `refused`: the model wrote a refusal, whatever the
    reason says. `content`: there is text, a tool call, an image or audio. `called`: there is a tool call.
    `named`: faults that the provider itself names.
    """

    __slots__ = ("called", "content", "named", "reason", "refused")

    def __init__(self) -> None:
        self.reason: Finish | None = None
        self.refused = self.content = self.called = False
        self.named: tuple[Fault, ...] = ()

    @property
    def finish(self) -> Finish:
        if self.refused:
            return "refusal"
        if self.reason == "stop" and self.called:
            return "tool_calls"
        return self.reason or "unknown"

    @property
    def good(self) -> bool:
        """True for a choice without a fault, as most are."""
        return self.content and not self.refused and not self.named and self.reason in ("stop", "tool_calls")

    def faults(self) -> set[Fault]:
        """The faults of this choice that need no look at the request."""
        found: set[Fault] = set(self.named)
        finish = self.finish
        if finish == "length":
            found.add("cut_off")
        if finish in ("refusal", "content_filter"):
            found.add("refused")
        elif not (self.content or self.called or self.named):
            found.add("empty")
        return found


class AnswerFacts:
    """The choices of one answer, by index. Most answers have one."""

    __slots__ = ("choices",)

    def __init__(self) -> None:
        self.choices: dict[int, AnswerChoice] = {}

    def choice(self, index: int) -> AnswerChoice:
        """The choice with this index; it begins when it is first asked for."""
        choice = self.choices.get(index)
        if choice is None:
            choice = self.choices[index] = AnswerChoice()
        return choice

    @property
    def finish(self) -> Finish:
        """Why the first choice ended; `unknown` without a choice or a reason."""
        return self.choices[min(self.choices)].finish if self.choices else "unknown"

    @property
    def silent(self) -> bool:
        """True while a choice has no content yet, or none has begun."""
        return not self.choices or any(not choice.content for choice in self.choices.values())

    def faults(self) -> set[Fault]:
        """The faults of all choices; an answer without a choice is empty."""
        found: set[Fault] = set() if self.choices else {"empty"}
        for choice in self.choices.values():
            if not choice.good:
                found |= choice.faults()
        return found


def _good_answer() -> AnswerFacts:
    answer = AnswerFacts()
    choice = answer.choice(0)
    choice.reason, choice.content = "stop", True
    return answer


GOOD_ANSWER = _good_answer()
"""The facts of most answers: one choice with content, which stopped by itself. Shared, so never changed."""


def finish_word(words: Mapping[str, Finish], reason: str | None) -> Finish | None:
    """Translate a provider's reason; None without one, `other` for one that is not in `words`."""
    return words.get(reason, "other") if reason else None


def in_order(faults: AbstractSet[Fault]) -> tuple[Fault, ...]:
    """The faults in the order of their declaration, so that equal answers have equal records."""
    return tuple([fault for fault in _ORDER if fault in faults]) if faults else ()
