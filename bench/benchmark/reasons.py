"""The reasons that keep a candidate from shipping, as values; `pages` has their sentences.

    scope              condition                                    → reason
    dataset            worse than the current model, paired         → fails
    dataset            the whole interval is below the floor        → fails
    dataset            the candidate refuses every request          → fails
    dataset            the interval reaches below the floor;
                       without a floor: a loss of more than the
                       margin (5 points) is not ruled out           → open
    dataset            fewer than 50 examples; unjudged examples;
                       unreviewed labels; no right answer           → open
    critical category  fails like a dataset                         → fails: it blocks
    critical category  below the floor, but its interval is not     → open
    critical category  fewer than 40 examples                       → open
    other category     any                                          → none, only shown
    rubric's row       see `rows`                                   → fails, open or none

With weights, the dataset's completion and difference are those weighted by traffic, and it is worse if the
whole interval of the difference is below 0.

Any failing reason: don't ship. Otherwise any open reason: extend. Otherwise: ship.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from bench.benchmark.figures import ComparedFigures, ModelFigures, WeightedTotals
from bench.benchmark.rubric import RubricRowResult, Severity
from bench.dataset.file import FEW, FEW_CRITICAL, Dataset
from bench.settings import NO_TERMS, BenchRubric, DatasetSource, Layer
from common.interval import Interval

Verdict = Literal["ship", "dont_ship", "extend"]
ReasonKind = Literal[
    "refuses",
    "below_floor",
    "worse",
    "maybe_below_floor",
    "few_critical",
    "unreviewed",
    "part",
    "few",
    "none_right",
    "unmarked",
    "not_above_floor",
    "loss_possible",
    "row",
]

MUCH = 1.5
"""A ratio whose whole interval is above this is named beside the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReason:
    """One reason.

    kind       what it is
    severity   whether more examples could change it (`open`), or not (`fails`)
    source     the dataset, None for a rubric's row
    category   the critical category, None for the whole dataset
    figures    its figures
    weighted   its totals by traffic, if these decide
    limit      the floor, or the change of the share from which on a loss counts
    count      the examples or labels that it is about
    row        the rubric's row
    """

    kind: ReasonKind
    severity: Severity
    source: DatasetSource | None = None
    category: str | None = None
    figures: ComparedFigures | None = None
    weighted: WeightedTotals | None = None
    limit: float = 0.0
    count: int = 0
    row: RubricRowResult | None = None

    @property
    def completion(self) -> Interval | None:
        """The candidate's completion that decides."""
        return None if self.figures is None else _completion(self.figures, self.weighted)

    @property
    def difference(self) -> Interval | None:
        """The difference that decides."""
        return None if self.figures is None else _difference(self.figures, self.weighted)


def verdict(reasons: Sequence[BenchReason]) -> Verdict:
    """The verdict from these reasons."""
    severities = {reason.severity for reason in reasons}
    return "dont_ship" if "fails" in severities else "extend" if severities else "ship"


def of_dataset(
    source: DatasetSource,
    found: ComparedFigures,
    dataset: Dataset,
    *,
    terms: BenchRubric = NO_TERMS,
    weighted: WeightedTotals | None = None,
) -> Iterator[BenchReason]:
    """The reasons of a whole dataset."""
    if found.candidate is None:
        return
    reason = partial(BenchReason, source=source, figures=found)
    if found.candidate.failures.get("caller_rejected") == found.examples:
        yield reason(kind="refuses", severity="fails")
    elif failing := _failing(source, None, found, weighted):
        yield failing
    else:
        for kind, count in _few(found, found.candidate, dataset):
            yield reason(kind=kind, severity="open", count=count)
        for kind, limit in _not_sure(source, found, terms, weighted):
            yield reason(kind=kind, severity="open", weighted=weighted, limit=limit)


def of_critical(source: DatasetSource, category: str, found: ComparedFigures) -> Iterator[BenchReason]:
    """The reasons of a critical category."""
    if found.candidate is None:
        return
    reason = partial(BenchReason, severity="open", source=source, category=category, figures=found)
    if failing := _failing(source, category, found, None):
        yield failing
        return
    if source.floor is not None and below_floor(source, found.candidate):
        yield reason(kind="maybe_below_floor", limit=source.floor)
    if found.examples < FEW_CRITICAL:
        yield reason(kind="few_critical")


def of_rows(rows: Iterable[RubricRowResult]) -> Iterator[BenchReason]:
    """The reasons of the rubric's rows."""
    for row in rows:
        if row.severity is not None:
            yield BenchReason(kind="row", severity=row.severity, row=row)


def below_floor(source: DatasetSource, side: ModelFigures) -> bool:
    """True if the estimate is below the floor, significantly or not."""
    found = side.completion
    return source.floor is not None and found is not None and found.estimate < source.floor


def _failing(
    source: DatasetSource, category: str | None, found: ComparedFigures, weighted: WeightedTotals | None
) -> BenchReason | None:
    """A reason that more examples would not change."""
    fails = partial(
        BenchReason, severity="fails", source=source, category=category, figures=found, weighted=weighted
    )
    interval = _completion(found, weighted)
    if source.floor is not None and interval is not None and interval.high < source.floor:
        return fails(kind="below_floor", limit=source.floor)
    return fails(kind="worse") if (found if weighted is None else weighted).worse else None


def _completion(found: ComparedFigures, weighted: WeightedTotals | None) -> Interval | None:
    if weighted is not None:
        return weighted.candidate
    return found.candidate.completion if found.candidate is not None else None


def _difference(found: ComparedFigures, weighted: WeightedTotals | None) -> Interval | None:
    return found.difference if weighted is None else weighted.difference


def _few(
    found: ComparedFigures, candidate: ModelFigures, dataset: Dataset
) -> Iterator[tuple[ReasonKind, int]]:
    """What the examples lack, and how many they are."""
    if dataset.proposed:
        yield "unreviewed", dataset.proposed
    if dataset.whole is not None and found.examples < min(FEW, dataset.whole):
        yield "part", dataset.whole
    elif found.examples < FEW:
        yield "few", FEW - found.examples
    if not found.baseline.correct and not candidate.correct:
        yield "none_right", found.examples
    if found.unjudged:
        yield "unmarked", found.unjudged


def _not_sure(
    source: DatasetSource, found: ComparedFigures, terms: BenchRubric, weighted: WeightedTotals | None
) -> Iterator[tuple[ReasonKind, float]]:
    """What cannot be ruled out, and the limit of it."""
    interval, difference = _completion(found, weighted), _difference(found, weighted)
    theirs = found.baseline.completion if weighted is None else weighted.baseline
    if source.floor is not None:
        if interval is not None and interval.low < source.floor:
            yield "not_above_floor", source.floor
    elif difference is not None and theirs is not None:
        limit = -terms.margin(theirs.estimate)
        if difference.low < limit:
            yield "loss_possible", limit


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchCaveat:
    """What does not decide a benchmark, but belongs beside its verdict: a `ratio` of cost or latency to the
    current model's on a `layer`, or a critical `category` without an example. `alone`: there is one layer."""

    kind: Literal["cost", "latency", "no_example"]
    ratio: Interval | None = None
    layer: Layer | None = None
    alone: bool = True
    category: str = ""


def caveats(layers: Mapping[Layer, ComparedFigures], missing: Iterable[str]) -> Iterator[BenchCaveat]:
    """The caveats, from each layer's figures and the critical categories without an example."""
    for layer, found in layers.items():
        kinds: tuple[tuple[Literal["cost", "latency"], Interval | None], ...]
        kinds = (("cost", found.cost_ratio), ("latency", found.latency_ratio))
        for kind, ratio in kinds:
            if ratio is not None and ratio.low > MUCH:
                yield BenchCaveat(kind=kind, ratio=ratio, layer=layer, alone=len(layers) == 1)
    for category in missing:
        yield BenchCaveat(kind="no_example", category=category)
