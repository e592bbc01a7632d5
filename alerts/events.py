"""Units' events, such as failures, and their evidence that the candidate's units have more of them.

Two tests share one error budget:

    EVENTS  a unit's first event. In a healthy canary it is the candidate's with probability w, the share,
            exactly, because a hash assigned the unit. The mixture counts a unit's first event in the run,
            the CUSUM its first in 24 hours. Weak where w is large: at 50 %, an event says little.
    UNITS   a unit's first exchange, with the event or without it, in blocks of both arms. It needs no w.
"""

from dataclasses import dataclass, field
from heapq import nlargest

from alerts.evidence import MINIMUM_UNITS, Counted, Evidence, relative_steps, unit_steps
from alerts.windows import Window

DAY_S = 86_400.0
KEPT = 50_000
EVENTS, UNITS = 0, 1
"""The numbers of the tests."""
MOST_WAITING = 200


@dataclass(slots=True)
class EventsState:
    """The events (value: the share, over: the candidate's), and when each unit last counted."""

    events: Window
    evidence: Evidence = field(default_factory=Evidence)
    counted_at: dict[str, float] = field(default_factory=dict)
    convicted: bool = False


def note_event(
    state: EventsState, *, unit: str, candidate: bool, share: float, at: float, factor: float
) -> bool:
    """Add one unit's event to the evidence. True when it counted. With `share` outside (0, 1) it does not."""
    last = state.counted_at.get(unit)
    if not 0.0 < share < 1.0 or (last is not None and at - last < DAY_S):
        return False
    state.counted_at[unit] = at
    if len(state.counted_at) > 2 * KEPT:
        state.counted_at = dict(nlargest(KEPT, state.counted_at.items(), key=lambda item: item[1]))
    state.events.add(at, share, over=candidate)
    of_candidate, of_baseline = relative_steps(share, factor)
    steps = of_candidate if candidate else of_baseline
    state.evidence.add(unit, steps, test=EVENTS, mixture=last is None)
    return True


@dataclass(slots=True)
class UnitsCompared:
    """Units' first exchanges, which wait until both arms have some: then they are a block.

    `candidate` holds the candidate's that wait (unit, whether it had the event), `baseline` the numbers of
    the baseline's that wait (without, with the event), `known` those of the blocks so far.
    """

    candidate: list[tuple[str, bool]] = field(default_factory=list)
    baseline: list[int] = field(default_factory=lambda: [0, 0])
    known: list[int] = field(default_factory=lambda: [0, 0])

    def add(
        self, evidence: Evidence, *, unit: str, candidate: bool, share: float, event: bool, factor: float
    ) -> bool:
        """Add a unit's first exchange. True when it completed a block, which is in the evidence now."""
        if not 0.0 < share < 1.0:
            return False
        if candidate:
            self.candidate.append((unit, event))
            del self.candidate[:-MOST_WAITING]
        else:
            self.baseline[event] += 1
        usual = (1.0 - share) / share  # baseline units for each of the candidate
        waiting = sum(self.baseline)
        if not self.candidate:
            if waiting > 4.0 * usual + 4.0:  # they were there long before the next one of the candidate
                self.baseline = [0, 0]
            return False
        if not waiting or waiting < len(self.candidate) * usual / 2.0:
            return False
        self._close(evidence, factor)
        return True

    def _close(self, evidence: Evidence, factor: float) -> None:
        """Add the block to the evidence, against what earlier blocks told of the baseline."""
        without, having = self.baseline
        weight = len(self.candidate) / (len(self.candidate) + without + having)
        steps = unit_steps((self.known[1] + 0.5) / (sum(self.known) + 10.0), weight, factor)
        if steps is not None:
            of_candidate, of_baseline = steps
            group: list[Counted] = [
                (unit, event, of_candidate[0 if event else 1]) for unit, event in self.candidate
            ]
            a, b, c = (
                sum(own[k] for _, _, own in group) + having * of_baseline[0][k] + without * of_baseline[1][k]
                for k in (0, 1, 2)
            )
            evidence.add_block(group, (a, b, c), test=UNITS)
        self.known = [self.known[0] + without, self.known[1] + having]
        self.candidate, self.baseline = [], [0, 0]


def risk_ratio(events: Window, now: float) -> float | None:
    """The candidate's event rate over the baseline's; None without a baseline event."""
    count, share = events.count(now), events.mean(now)
    if share is None or count == events.over(now):
        return None
    of_candidate = events.over(now)
    return (of_candidate / share) / ((count - of_candidate) / (1.0 - share))


def over_ratio(events: Window, now: float, factor: float) -> bool:
    """True when the ratio is above `factor`, or undefined because the baseline has no event. False with fewer
    than three candidate events, or the first one would stop a ramp."""
    if events.over(now) < MINIMUM_UNITS:
        return False
    ratio = risk_ratio(events, now)
    return ratio is None or ratio > factor
