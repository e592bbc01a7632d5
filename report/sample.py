"""A canary's exchanges and feedback as columns: what every number of the report is computed from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from report.statistics.types import Bools, Floats, Ints, Texts


class BadSample(ValueError):
    """A log that cannot be judged; the message names the place and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """One metric's feedback, (m,) each. `row` is the exchange it belongs to, `at` UTC seconds."""

    row: Ints
    value: Floats
    at: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """All exchanges that the hash assigned, (n,) each, in the order of `at`.

    `unit` indexes `units`; `at` is UTC seconds; a missing latency, time to first token or cost is NaN.
    `counts` is False where the arm is not to be measured (the caller's own error, an aborted stream): such an
    exchange is exposure and nothing else. `shares` is the candidate's share in each phase, where known.
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
    category: Texts
    tags: Mapping[str, Texts] = field(default_factory=dict)
    feedback: Mapping[str, Ratings] = field(default_factory=dict)
    shares: Mapping[int, float] = field(default_factory=dict)

    def first_rows(self) -> Ints:
        """The row of each unit's first exposure, (units,), in the order of `units`."""
        _, first = np.unique(self.unit, return_index=True)
        return np.asarray(first, dtype=np.int64)

    def first_at(self) -> Floats:
        """When each unit was first exposed, (units,), UTC seconds."""
        return np.asarray(self.at[self.first_rows()], dtype=np.float64)


def refuse_units_in_both_arms(sample: Sample) -> None:
    """Raise BadSample for a unit that both arms served within one phase: no hash does that.

    Between phases a unit may move into the candidate as its share is raised.
    """
    place = sample.unit * (int(sample.phase.max()) + 1) + sample.phase if len(sample.unit) else sample.unit
    both = np.intersect1d(place[sample.candidate], place[~sample.candidate])
    if len(both):
        unit = sample.units[int(both[0]) // (int(sample.phase.max()) + 1)]
        raise BadSample(
            f"unit {unit!r} is in both arms ({len(both)} such units): a unit must stay in its arm; "
            "if the share was changed meanwhile, add a `phase` column that counts the changes from 0"
        )
