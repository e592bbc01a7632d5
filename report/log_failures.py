"""The failures of an external log: counts of all lines, and the newest lines to look up."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from records.facts.metric import Metric
from records.outcome import ErrorType
from report.details import EXAMPLES, CountedKind, FailureMode
from report.exchanges import ExchangeTable
from report.recent import NEWEST, RATINGS, Recent, RecentRating, Seen, displeased
from report.sample import Ratings
from report.statistics.types import Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLines:
    """The line number and the error type of each exchange, in the order of the exchanges."""

    lines: Sequence[int]
    errors: Sequence[ErrorType | None]

    def name(self, place: int) -> str:
        """The exchange, as a report names it."""
        return f"line {self.lines[place]}"


def recent_of(log: LogLines, exchanges: ExchangeTable, metrics: Mapping[str, Metric]) -> Recent | None:
    """None without an exchange that counts."""
    counted = np.flatnonzero(exchanges.counts)
    if not len(counted):
        return None
    candidates = int(exchanges.candidate[counted].sum())
    return Recent(
        since=float(exchanges.at[counted[0]]),
        until=float(exchanges.at[counted[-1]]),
        baseline=len(counted) - candidates,
        candidate=candidates,
        modes=(*_errors(log, exchanges), *_faults(log, exchanges), *_abandoned(log, exchanges)),
        exchanges=tuple(_seen(log, exchanges, place) for place in counted[::-1][:NEWEST].tolist()),
        ratings=tuple(
            rating
            for name, ratings in exchanges.feedback.items()
            if name in metrics
            for candidate in (False, True)
            for rating in _ratings(log, exchanges, metrics[name], ratings, candidate)
        ),
    )


def _errors(log: LogLines, exchanges: ExchangeTable) -> Iterator[FailureMode]:
    names = np.array([error or "" for error in log.errors], dtype=np.str_)
    for name in np.unique(names[exchanges.failed]).tolist():
        found = exchanges.failed & (names == name)
        yield _mode(log, exchanges, ("error", name), found, exchanges.counts)


def _faults(log: LogLines, exchanges: ExchangeTable) -> Iterator[FailureMode]:
    answers = exchanges.answers
    if answers is None:
        return
    for fault in answers.faults:
        among = answers.among(fault, exchanges.counts)
        found = answers.faults[fault] & among
        if found.any():
            yield _mode(log, exchanges, ("fault", fault), found, among)


def _abandoned(log: LogLines, exchanges: ExchangeTable) -> Iterator[FailureMode]:
    if exchanges.abandoned.any():
        name: tuple[CountedKind, str] = ("abandoned", "abandoned")
        yield _mode(log, exchanges, name, exchanges.abandoned, exchanges.ended)


def _mode(
    log: LogLines, exchanges: ExchangeTable, name: tuple[CountedKind, str], found: Bools, among: Bools
) -> FailureMode:
    candidate = exchanges.candidate
    newest = np.flatnonzero(found & candidate)[::-1][:EXAMPLES].tolist()
    return FailureMode(
        kind=name[0],
        name=name[1],
        category="",
        baseline=int((found & ~candidate).sum()),
        baseline_of=int((among & ~candidate).sum()),
        candidate=int((found & candidate).sum()),
        candidate_of=int((among & candidate).sum()),
        examples=tuple(map(log.name, newest)),
    )


def _seen(log: LogLines, exchanges: ExchangeTable, place: int) -> Seen:
    latency_s = float(exchanges.latency_s[place])
    return Seen(
        name=log.name(place),
        candidate=bool(exchanges.candidate[place]),
        latency_s=None if math.isnan(latency_s) else latency_s,
    )


def _ratings(
    log: LogLines, exchanges: ExchangeTable, metric: Metric, ratings: Ratings, candidate: bool
) -> Iterator[RecentRating]:
    """The arm's newest ratings by this metric."""
    category = exchanges.category
    mine = np.flatnonzero(exchanges.candidate[ratings.row] == candidate)[::-1][:RATINGS]
    for place, value in zip(ratings.row[mine].tolist(), ratings.value[mine].tolist(), strict=True):
        yield RecentRating(
            name=log.name(place),
            metric=metric.name,
            candidate=candidate,
            category=category.names[int(category.code[place])],
            bad=displeased(metric, value),
        )
