"""The findings that keep a candidate from shipping.

    scope              condition                                    → finding
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

With weights, the dataset's completion and difference are those weighted by traffic, and it is worse if the
whole interval of the difference is below 0. The rubric's rows add findings of their own (`rubric_rows`).

Any failing finding: don't ship. Otherwise any open finding: extend. Otherwise: ship.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.dataset.file import FEW, FEW_CRITICAL, Dataset
from bench.figures import Figures, Side
from bench.rubric_rows import RowResult
from bench.settings import NO_TERMS, BenchTerms, DatasetSource
from bench.statistics import ShareInterval
from bench.weighted import WeightedTotals

Verdict = Literal["ship", "dont_ship", "extend"]

BY_TRAFFIC = " weighted by traffic"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchFinding:
    """One reason as a sentence."""

    severity: Literal["fails", "open"]
    says: str


def verdict(findings: Sequence[BenchFinding]) -> Verdict:
    """The verdict from these findings."""
    severities = {finding.severity for finding in findings}
    return "dont_ship" if "fails" in severities else "extend" if severities else "ship"


def of_dataset(
    source: DatasetSource,
    found: Figures,
    dataset: Dataset,
    *,
    terms: BenchTerms = NO_TERMS,
    weighted: WeightedTotals | None = None,
) -> Iterator[BenchFinding]:
    """The findings of a whole dataset."""
    if found.candidate is None:
        return
    if found.candidate.failures.get("caller_rejected") == found.examples:
        says = f"{source.name}: refuses every request{_said(found.candidate)}"
        says += "; to ask it otherwise, give its arm a `request:`"
        yield BenchFinding(severity="fails", says=says)
        return
    if failing := _failing(source.name, source, found, weighted):
        yield failing
        return
    for says in (*_few(source, found, dataset), *_not_sure(source, found, terms, weighted)):
        yield BenchFinding(severity="open", says=f"{source.name}: {says}")


def of_critical(source: DatasetSource, category: str, found: Figures) -> Iterator[BenchFinding]:
    """The findings of a critical category."""
    where = f"{source.name}, critical category {category or '(none)'}"
    if found.candidate is None:
        return
    if failing := _failing(where, source, found):
        yield failing
        return
    if below_floor(source, found.candidate) and (interval := found.candidate.completion):
        says = f"completion {percents(interval)} is below the floor of {source.floor:.0%}, maybe by chance"
        yield BenchFinding(severity="open", says=f"{where}: {says}")
    if found.examples < FEW_CRITICAL:
        says = f"{found.examples} examples: below {FEW_CRITICAL} a loss may go undetected"
        says += f"; {source.file} needs {FEW_CRITICAL} of it"
        yield BenchFinding(severity="open", says=f"{where}: {says}")


def of_rows(rows: Iterable[RowResult]) -> Iterator[BenchFinding]:
    """The findings of the rubric's rows."""
    for row in rows:
        if row.severity is not None:
            yield BenchFinding(severity=row.severity, says=f"rubric: {row.says}")


def below_floor(source: DatasetSource, side: Side) -> bool:
    """True if the estimate is below the floor, significantly or not."""
    found = side.completion
    return source.floor is not None and found is not None and found.estimate < source.floor


def _failing(
    where: str, source: DatasetSource, found: Figures, weighted: WeightedTotals | None = None
) -> BenchFinding | None:
    """A finding that more examples would not change."""
    side, by = found.candidate, BY_TRAFFIC if weighted is not None else ""
    interval = _completion(found, weighted)
    if source.floor is not None and interval is not None and interval.high < source.floor:
        says = f"completion {percents(interval)}{by} is below the floor of {source.floor:.0%}"
        return BenchFinding(severity="fails", says=f"{where}: {says}{_said(side)}")
    if weighted is not None:
        return _worse_by_traffic(where, found, weighted)
    if found.worse and found.difference is not None:
        says = (
            f"{_points(found.difference.estimate)} points against the current model "
            f"(p = {found.mcnemar_p:.2g}), {len(found.new_failures)} new failures"
        )
        return BenchFinding(severity="fails", says=f"{where}: {says}{_said(side)}")
    return None


def _worse_by_traffic(where: str, found: Figures, weighted: WeightedTotals) -> BenchFinding | None:
    if not weighted.worse or (lost := weighted.difference) is None:
        return None
    interval = f"{_points(lost.low)} to {_points(lost.high)}"
    says = f"{_points(lost.estimate)} points ({interval}){BY_TRAFFIC} against the current model"
    return BenchFinding(severity="fails", says=f"{where}: {says}{_said(found.candidate)}")


def _completion(found: Figures, weighted: WeightedTotals | None) -> ShareInterval | None:
    """The candidate's completion that decides."""
    if weighted is not None:
        return weighted.candidate
    return found.candidate.completion if found.candidate is not None else None


def _said(side: Side | None) -> str:
    """The most common failure with the provider's words; "" without failures."""
    if side is None or not side.failures:
        return ""
    failure, count = next(iter(side.failures.items()))
    return f"; {count} times {failure}: {side.said}" if side.said else f"; {count} times {failure}"


def _few(source: DatasetSource, found: Figures, dataset: Dataset) -> Iterator[str]:
    if dataset.proposed:
        yield (
            f"{dataset.proposed} labels are unreviewed proposals; "
            f"review them with `canary dataset label {source.file}`"
        )
    if dataset.whole is not None and found.examples < min(FEW, dataset.whole):
        yield f"{found.examples} of {dataset.whole} examples are a sanity check; a benchmark asks all"
    elif found.examples < FEW:
        says = f"{found.examples} examples are a sanity check; a benchmark needs {FEW}"
        yield f"{says}: {_remedy(source, found)}"
    if found.candidate is not None and not found.baseline.correct and not found.candidate.correct:
        yield "neither model got an example right: check the expected answers"
    if found.unjudged:
        yield f"{found.unjudged} examples got no mark from the judge"


def _remedy(source: DatasetSource, found: Figures) -> str:
    """What to do about a file with too few examples, which is a file of the config or of the command line."""
    without = (
        f"leave out `--dataset {source.file}`"
        if source.name == source.file
        else f"take the dataset {source.name} out of the config's `datasets`"
    )
    return f"add {FEW - found.examples} to {source.file}, or {without} to benchmark without it"


def _not_sure(
    source: DatasetSource, found: Figures, terms: BenchTerms, weighted: WeightedTotals | None
) -> Iterator[str]:
    interval, by = _completion(found, weighted), BY_TRAFFIC if weighted is not None else ""
    difference = found.difference if weighted is None else weighted.difference
    theirs = found.baseline.completion if weighted is None else weighted.baseline
    if source.floor is not None:
        if interval is not None and interval.low < source.floor:
            yield f"completion {percents(interval)}{by} is not clearly above the floor of {source.floor:.0%}"
    elif difference is not None and theirs is not None:
        limit = -terms.margin(theirs.estimate)
        if difference.low < limit:
            yield (
                f"{_points(difference.estimate)} points{by} against the current model; "
                f"{_points(difference.low)} is not ruled out (limit {_points(limit)})"
            )


def percents(interval: ShareInterval) -> str:
    """84.0 % (75.6 to 89.9)."""
    return f"{100 * interval.estimate:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
