"""What the config says of the judge: the terms of a canary's judgements, and its name."""

from dataclasses import dataclass
from typing import Literal, Self

from bench.settings import CRITERIA


def without_price(name: str) -> str:
    """What is wrong with a judge whose price is not known."""
    return (
        f"the judge {name} has no known price, so its budget cannot be kept; "
        "give it one under `prices:` or `price_as:`"
    )


Kind = Literal["pair", "answer", "session"]
"""Both arms' answers to one request, one arm's answer, or one arm's whole session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeTerms:
    """What is judged of a canary in a day: so many mirrored pairs, or single answers of both arms, or whole
    sessions of both."""

    pairs: int = 0
    answers: int = 0
    sessions: int = 0
    criteria: str = CRITERIA

    @property
    def kind(self) -> Kind:
        return "pair" if self.pairs else "answer" if self.answers else "session"

    @property
    def number(self) -> int:
        """How many a UTC day has."""
        return self.pairs or self.answers or self.sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRun:
    """One run of a canary and how it is judged. `number` is how many of this kind a UTC day has of it;
    `redact` are the canary's own patterns."""

    canary: str
    run: int
    kind: Kind
    number: int
    criteria: str
    redact: tuple[str, ...] = ()

    @classmethod
    def of(cls, canary: str, run: int, terms: JudgeTerms, redact: tuple[str, ...]) -> Self:
        """A run on these terms."""
        return cls(
            canary=canary,
            run=run,
            kind=terms.kind,
            number=terms.number,
            criteria=terms.criteria,
            redact=redact,
        )
