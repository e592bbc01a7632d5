"""What a report says of a judge's answers about real traffic, and of what they are worth."""

from dataclasses import dataclass, replace

from common.interval import Range
from judge.agreement import FEWEST_LABELS, LabelAgreement


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCategory:
    """The judged pairs of one category, and the candidate's share of wins plus half of the ties (None: too
    few)."""

    value: str
    pairs: int
    judged_preference: Range | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedMarks:
    """The mean marks of single answers, 1 to 5, by arm, and candidate minus baseline (None: too few)."""

    answers: int
    baseline: Range | None
    candidate: Range | None
    difference: Range | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LostExample:
    """A pair of which the judge took the baseline's answer. The reason is "" once it has expired, and in what
    is stored for longer than the texts."""

    exchange_id: str
    category: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeFigures:
    """The judge of one run.

    `pairs` counts the pairs with a result and those without a readable one, which are the `no_mark`.
    `agreement` is the judge's with people, `people` that of two people. `order_decided` is the share of pairs
    that the order of the answers decided. `prefers_longer` and `prefers_own_vendor` are shares of the pairs
    that were won: by the longer answer, and by the judge's own vendor (None: both arms are of that vendor, or
    neither). None: nothing to count. `marks` are those of single answers. `left_out` counts the pairs that an
    earlier judge, or the same with other words, judged: nothing else here is of them but the cost and
    `people`. `labels_needed` are those from which on its word is worth anything: 30, or 50 with a row on it.
    """

    provider: str
    model: str
    words_sha256: str
    pairs: int
    no_mark: int
    judged_preference: Range | None
    categories: tuple[JudgedCategory, ...]
    agreement: LabelAgreement
    people: LabelAgreement
    order_decided: float | None
    prefers_longer: float | None
    prefers_own_vendor: float | None
    cost_usd: float
    marks: JudgedMarks | None = None
    lost: tuple[LostExample, ...] = ()
    left_out: int = 0
    labels_needed: int = FEWEST_LABELS

    def without_reasons(self) -> "JudgeFigures":
        """A copy whose examples have no reasons."""
        return replace(self, lost=tuple(replace(each, reason="") for each in self.lost))
