"""Single exchanges, for example from an external log, as a sample with one row each."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from records.facts.metric import Metric
from records.outcome import INVALID_OUTPUT, ErrorType, Fault
from verdict.details import EXAMPLES, CountedKind, FailureMode
from verdict.sample.arrays import (
    NEWEST,
    RATINGS,
    MeasureTotals,
    Ratings,
    Recent,
    RecentRating,
    Sample,
    Seen,
    TextColumn,
    Values,
    displeased,
)
from verdict.statistics.types import Bools, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTable:
    """Answers by exchange, (n,) each. `finished`: the answer was read. `judged`: so was its output's form.

    `faults` has a column for each answer fault.
    """

    finished: Bools
    judged: Bools
    faults: Mapping[Fault, Bools]

    def among(self, fault: Fault, counts: Bools) -> Bools:
        """The exchanges, of those that count, whose answer could have been found to have this fault, (n,)."""
        return counts & self.finished & (self.judged if fault in INVALID_OUTPUT else self.finished)

    def totals(self, counts: Bools) -> dict[str, MeasureTotals]:
        """The measures by name, of the exchanges that count, (n,)."""
        finished, judged = counts & self.finished, counts & self.finished & self.judged
        invalid = np.logical_or.reduce([self.faults[name] for name in INVALID_OUTPUT])
        return {
            "refused": _shares(self.faults["refused"], finished),
            "cut_off": _shares(self.faults["cut_off"], finished),
            "empty": _shares(self.faults["empty"], finished),
            "answer_faults": _shares(np.logical_or.reduce(list(self.faults.values())), finished),
            "invalid_output": _shares(invalid, judged),
        }


def _shares(found: Bools, among: Bools) -> MeasureTotals:
    return MeasureTotals(count=among.astype(np.float64), total=(found & among).astype(np.float64))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeTable:
    """Exchanges in the order of `at`, UTC seconds, (n,) each; a missing number is NaN.

    `counts` is False where the arm is not measured (the caller's own error, an aborted stream). `unreached`
    says why an arm was not asked, None if it was: ratings of these exchanges do not count. `aborted` marks
    those that the caller left; they are abandoned if no first token had arrived. `feedback`
    rows index these columns. `answers` is None if the log says nothing of them. `before` is by unit, as in
    `Sample`.
    """

    units: tuple[str, ...]
    unit: Ints
    candidate: Bools
    phase: Ints
    at: Floats
    counts: Bools
    failed: Bools
    latency_s: Floats
    ttft_s: Floats
    cost_usd: Floats
    tokens: Floats
    category: TextColumn
    answers: AnswerTable | None = None
    unreached: Sequence[str | None] = ()
    aborted: Bools | None = None
    tags: Mapping[str, TextColumn] = field(default_factory=dict)
    feedback: Mapping[str, Ratings] = field(default_factory=dict)
    shares: Mapping[int, float] = field(default_factory=dict)
    recent: Recent | None = None
    before: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def ended(self) -> Bools:
        """The exchanges that were answered, failed, or were left by the caller."""
        return self.counts if self.aborted is None else self.counts | self.aborted

    @property
    def abandoned(self) -> Bools:
        """The exchanges that the caller left before a first token."""
        return self.ended & ~self.counts & np.isnan(self.ttft_s)

    def sample(self) -> Sample:
        """A sample with one row per exchange."""
        return Sample(
            units=self.units,
            unit=self.unit,
            candidate=self.candidate,
            phase=self.phase,
            first_at=self.at,
            last_at=self.at,
            candidate_at=self.at[self.candidate],
            category=self.category,
            totals={
                "errors": self._totals(self.failed.astype(np.float64)),
                "cost": self._totals(self.cost_usd),
                "tokens": self._totals(self.tokens),
                "abandoned": _shares(self.abandoned, self.ended),
                **(self.answers.totals(self.counts) if self.answers is not None else {}),
            },
            values={
                "latency": Values.exact(self.latency_s, self.counts),
                "ttft": Values.exact(self.ttft_s, self.counts),
            },
            tags=self.tags,
            feedback={name: self._of_reached(ratings) for name, ratings in self.feedback.items()},
            shares=self.shares,
            recent=self.recent,
            before=self.before,
            unreached=Counter(
                why
                for why, mine in zip(self.unreached, self.candidate.tolist(), strict=False)
                if why and mine
            ),
            candidate_exchanges=int(self.candidate.sum()),
        )

    def _of_reached(self, ratings: Ratings) -> Ratings:
        if not any(self.unreached):
            return ratings
        reached = np.array([why is None for why in self.unreached], dtype=np.bool_)[ratings.row]
        return Ratings(row=ratings.row[reached], value=ratings.value[reached], at=ratings.at[reached])

    def _totals(self, value: Floats) -> MeasureTotals:
        present = self.counts & ~np.isnan(value)
        return MeasureTotals(count=present.astype(np.float64), total=np.where(present, value, 0.0))


# The failures of an external log: counts of all lines, and the newest lines to look up.


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
