"""What a report says of a judge's answers about real traffic, and of what they are worth.

They are worth how far two labellers of the same pairs agree: the judge with people, or two people. Pure.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from common.interval import Interval, Range, Z, wilson
from judge.judgements import JudgedExchange, RunJudgements
from records.store.captures import Better, Label, comparable

# How far two labellers of the same pairs agree: a judge with people, or one person with another. Pure.


FEWEST_LABELS = 30
"""No share and no kappa is told below so many labels."""

NEEDED_LABELS = 50
"""With fewer labels of pairs that were drawn at random nothing is known of what people prefer."""

WORTH = 0.4
"""The kappa from which on Landis and Koch (Biometrics 33, 1977) call an agreement moderate."""

_RESULTS: Mapping[str, Better] = {"candidate": "candidate", "baseline": "baseline", "tie": "tie"}


def kappa(votes: Sequence[tuple[str, str]]) -> Interval | None:
    """Cohen's kappa of two labellers' votes, in [-1, 1], with its 95 % interval.

    None without votes, and where either labeller always gives the same label: nothing shows that the two look
    at the same thing, and the estimate is 0 without any width. Cohen,
    Educational and Psychological Measurement 1960; the variance is that of Fleiss, Cohen and Everitt,
    Psychological Bulletin 1969. It is 0 where all votes are alike or none is: there Wilson's interval of the
    share says how far the estimate may be off.
    """
    of = len(votes)
    first, second = Counter(a for a, _ in votes), Counter(b for _, b in votes)
    if min(len(first), len(second)) < 2:
        return None
    by_chance = sum(first[label] * second[label] for label in first)
    alike, chance = sum(a == b for a, b in votes), by_chance / of**2
    estimate = (alike / of - chance) / (1 - chance)
    if alike in (0, of):
        low, high = ((share - chance) / (1 - chance) for share in wilson(alike, of))
    else:
        reach = Z * math.sqrt(_variance(votes, estimate, chance))
        low, high = estimate - reach, estimate + reach
    return Interval(low=max(-1.0, low), estimate=estimate, high=min(1.0, high))


def _variance(votes: Sequence[tuple[str, str]], estimate: float, chance: float) -> float:
    """Equation 13 of Fleiss, Cohen and Everitt, as a mean over the votes."""
    of, apart = len(votes), 1 - estimate
    first, second = Counter(a for a, _ in votes), Counter(b for _, b in votes)
    squares = (
        (1 - (first[a] + second[a]) / of * apart) ** 2
        if a == b
        else ((second[a] + first[b]) / of * apart) ** 2
        for a, b in votes
    )
    spread = sum(squares) / of - (estimate - chance * apart) ** 2
    return max(0.0, spread) / (of * (1 - chance) ** 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelAgreement:
    """How often two labellers of the same pairs agree on candidate, baseline or tie: the share, and Cohen's
    kappa; None below `FEWEST_LABELS`. No kappa either where nothing shows that the two look at the same
    thing."""

    labels: int
    share: Interval | None
    kappa: Interval | None


def agreement(votes: Sequence[tuple[Better, Better]]) -> LabelAgreement:
    """The share of equal votes with Wilson's 95 % interval, and Cohen's kappa with its own."""
    if len(votes) < FEWEST_LABELS:
        return LabelAgreement(labels=len(votes), share=None, kappa=None)
    equal = sum(first == second for first, second in votes)
    low, high = wilson(equal, len(votes))
    return LabelAgreement(
        labels=len(votes),
        share=Interval(low=low, estimate=equal / len(votes), high=high),
        kappa=kappa(votes),
    )


def with_people(run: RunJudgements) -> LabelAgreement:
    """The judge's agreement with people: of each pair its result, and its first label that was not asked for
    because the two differ. Pairs without a readable result, and unclear labels, are left out."""
    return agreement([*_beside(run.of("pair"), comparable(run.labels))])


def _beside(
    pairs: Sequence[JudgedExchange], labels: Mapping[str, Sequence[Label]]
) -> Iterator[tuple[Better, Better]]:
    for pair in pairs:
        ours, votes = _RESULTS.get(pair.result), labels.get(pair.exchange_id)
        theirs = votes[0].better if votes else None
        if ours is not None and theirs is not None:
            yield ours, theirs


def between_people(run: RunJudgements) -> LabelAgreement:
    """The agreement of two people: of each pair of the run that several labelled, the labels of the first two
    whose choice was not asked for because others differ."""
    ids = {each.exchange_id for each in run.exchanges}
    labels = comparable(each for each in run.labels if each.exchange_id in ids)
    return agreement([*_first_two(labels)])


def _first_two(labels: Mapping[str, Sequence[Label]]) -> Iterator[tuple[Better, Better]]:
    for votes in labels.values():
        known: list[Better] = [each.better for each in votes[:2] if each.better is not None]
        if len(known) > 1:
            yield known[0], known[1]


def yes_among(said: Iterable[bool | None]) -> float | None:
    """The share of those that say yes among those that say anything."""
    known = [each for each in said if each is not None]
    return sum(known) / len(known) if known else None


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
class JudgedArms:
    """A mean by arm, and candidate minus baseline (None: no value in an arm)."""

    baseline: Range | None
    candidate: Range | None
    difference: Range | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistedMetric:
    """A metric of users' ratings, where the judge's marks stand for the ratings that nobody gave.

    `marked` counts the answers or sessions, `rated` those with a rating in the arm that has fewer. `means`
    are put right by the ratings; `plain` is the difference by all ratings alone. `decides`: the rubric says
    so.
    """

    metric: str
    marked: int
    rated: int
    means: JudgedArms
    plain: Range | None
    decides: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedSessions:
    """Whole sessions: how many have a mark and how many none that is readable, the marks from 1 to 5, and the
    share whose task was done."""

    sessions: int
    no_mark: int
    mark: JudgedArms
    done: JudgedArms


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
    neither). None: nothing to count. `drawn` labels are a random sample; `people_prefer` is what they and the
    judge say of people's preference (None: too few), and `labels_to_go` more would probably decide the row on
    it (None: nobody can tell, or there is no such row). `marks` are those of single answers, `judged_session`
    is what it says of whole sessions, `assisted` are the metrics that it predicts. `left_out` counts the
    pairs that an earlier judge, or the same with other words, judged: nothing else here is of them but the
    cost and `people`. `labels_needed` are those from which on anything is known of its worth: 30, or 50 with
    a row on people's preference.
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
    drawn: int = 0
    people_prefer: Range | None = None
    marks: JudgedMarks | None = None
    judged_session: JudgedSessions | None = None
    assisted: tuple[AssistedMetric, ...] = ()
    lost: tuple[LostExample, ...] = ()
    left_out: int = 0
    labels_needed: int = FEWEST_LABELS
    labels_to_go: int | None = None

    def without_reasons(self) -> "JudgeFigures":
        """A copy whose examples have no reasons."""
        return replace(self, lost=tuple(replace(each, reason="") for each in self.lost))
