"""Recall, precision and false positives of `classify`, by class."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.statistics import ShareInterval, share


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLine:
    """One class. `recall`: the share of its examples that were named so. `precision`: the share of examples
    named so that are of the class. `false_positive_rate`: the share of other examples that were named so.
    None without such examples.
    """

    name: str
    examples: int
    recall: ShareInterval | None
    precision: ShareInterval | None
    false_positive_rate: ShareInterval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassAnswer:
    """One answer: the right class, the named class (None: none), and the example's cluster."""

    expected: str
    named: str | None
    cluster: str


def per_class(answers: Sequence[ClassAnswer]) -> list[ClassLine]:
    """Every expected class, by name."""
    return [_line(name, answers) for name in sorted({answer.expected for answer in answers})]


def _line(name: str, answers: Sequence[ClassAnswer]) -> ClassLine:
    positive = [answer for answer in answers if answer.expected == name]
    negative = [answer for answer in answers if answer.expected != name]
    named = [answer for answer in answers if answer.named == name]
    return ClassLine(
        name=name,
        examples=len(positive),
        recall=_share([answer.named == name for answer in positive], positive),
        precision=_share([answer.expected == name for answer in named], named),
        false_positive_rate=_share([answer.named == name for answer in negative], negative),
    )


def _share(right: list[bool], of: Sequence[ClassAnswer]) -> ShareInterval | None:
    return share(right, [answer.cluster for answer in of])
