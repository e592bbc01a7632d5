"""Single exchanges, for example from an external log, as a sample with one row each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from records.outcome import INVALID_OUTPUT, Fault
from report.recent import Recent
from report.sample import MeasureTotals, Ratings, Sample, TextColumn, Values
from report.statistics.types import Bools, Floats, Ints


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
