"""Units' events, such as failures, and their evidence that the candidate's units have more of them.

An event is a unit's first. In a healthy canary it is the candidate's with probability w, the share, exactly,
because a hash assigned the unit. The mixture counts a unit's first event in the run, the CUSUM its first in
24 hours.
"""

from dataclasses import dataclass, field
from heapq import nlargest

from alerts.evidence import MINIMUM_UNITS, Evidence, relative_steps
from alerts.windows import Window

DAY_S = 86_400.0
UNITS = 50_000


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
    if len(state.counted_at) > 2 * UNITS:
        state.counted_at = dict(nlargest(UNITS, state.counted_at.items(), key=lambda item: item[1]))
    state.events.add(at, share, over=candidate)
    of_candidate, of_baseline = relative_steps(share, factor)
    state.evidence.add(unit, of_candidate if candidate else of_baseline, mixture=last is None)
    return True


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
