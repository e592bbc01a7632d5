"""Whether the candidate's provider has quota for its share: what holds a ramp, and what caps the share.

A request that the provider throttled (429 by a rate or a quota) says nothing of the model: no rule counts it.
Counted are the candidate's requests of the last ten minutes since the share last changed.

| of them throttled                         | the ramp | the share                                          |
|-------------------------------------------|----------|----------------------------------------------------|
| at most 5 %, or fewer than 3              | goes on  | stays; a cap ends, see below                       |
| more                                      | holds    | stays                                              |
| … a minute on, of at least 20 requests    | holds    | is capped at share × the part that was let through |

No cap is below 1 % (or the share, where that is less): the baseline answers what is throttled anyway, and a
candidate with hardly any users shows nothing. A cap ends at once and whole, ten minutes after it began at the
earliest: when the newest rate-limit headers leave room for the whole share (the used part × share / cap is
0.9 at most), or where the provider sends none, after six hours. A cap is no order: it never raises what a
person set, and a person's order ends it. While a canary is paused, no cap begins, changes or ends.

While the provider lets nothing through for 15 minutes, somebody is told; nothing is rolled back by itself.
"""

from dataclasses import dataclass, field

from alerts.evidence.statistics import Window
from alerts.rules.rule import GuardrailStatus
from common.numbers import count, rough_percent, set_percent

WINDOW_S = 600.0
SHARE_LIMIT = 0.05
LEAST_THROTTLED = 3
FEWEST, SETTLED_S = 20, 60.0
FLOOR = 0.01
ROOM = 0.9
LIFT_AFTER_S, BLIND_LIFT_AFTER_S = 600.0, 6 * 3600.0
HEARD_S = 120.0
TOLD_AFTER_S = 900.0


def _requests() -> Window:
    return Window(WINDOW_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaStatus:
    """The candidate's requests of the last ten minutes, how many of them were throttled, and the cap on its
    share; None without one. `holds`: the ramp waits."""

    asked: int
    throttled: int
    cap: float | None
    holds: bool

    @property
    def sentence(self) -> str:
        """quota: 30 % of requests throttled; "" where that holds nothing."""
        capped = f"the share is capped at {set_percent(self.cap)}" if self.cap is not None else ""
        if not self.throttled or not self.holds:
            return f"quota: {capped}" if capped else ""
        part = f"quota: {rough_percent(self.throttled / self.asked)} of requests throttled"
        return f"{part}, {capped}" if capped else part

    @property
    def document(self) -> dict[str, object]:
        """The status as JSON types."""
        return {
            "asked": self.asked,
            "throttled": self.throttled,
            "cap": self.cap,
            "holds": self.holds,
            "sentence": self.sentence,
        }


@dataclass(slots=True)
class CandidateQuota:
    """The candidate's requests since the share last changed, JSON-able. Times are monotonic seconds.

    `since`: the first request in `phase`. `requests`: those of the last ten minutes; `over` are the throttled
    ones. `used`: the part of a limit that the newest headers said was used up, heard at `used_at`. `refused`:
    those in a row that were throttled up to now, from `refused_since` on; the baseline answered `covered`.
    """

    phase: int = -1
    since: float = 0.0
    requests: Window = field(default_factory=_requests)
    used: float | None = None
    used_at: float = 0.0
    refused: int = 0
    covered: int = 0
    refused_since: float = 0.0

    def add(self, phase: int, at: list[float], *, throttled: bool, covered: bool = False) -> None:
        """Add requests that ended alike, at these times. `covered`: the baseline answered."""
        if not throttled:
            self.refused = self.covered = 0
        else:
            self.refused_since = self.refused_since if self.refused else min(at)
            self.refused += len(at)
            self.covered += len(at) if covered else 0
        if phase > self.phase:
            self.phase, self.since, self.requests = phase, min(at), _requests()
        if phase == self.phase:
            self.requests.add_all([(each, 0.0) for each in at], over=throttled)

    def hear(self, used: float, now: float) -> None:
        """Note what part of a limit is used up: the most that a worker heard."""
        if used >= (self.used or 0.0) or now - self.used_at >= SETTLED_S:
            self.used, self.used_at = used, now

    def trouble(self, now: float) -> GuardrailStatus | None:
        """The status that calls a person while nothing has been let through for so long; else None."""
        if self.refused < LEAST_THROTTLED or now - self.refused_since < TOLD_AFTER_S:
            return None
        if not self.requests.count(now):
            return None
        return GuardrailStatus(
            rule="throttled",
            state="firing",
            action="hold",
            value=1.0,
            threshold=SHARE_LIMIT,
            sentence=f"quota: all of the last {count(self.refused, 'request')} throttled",
            evidence={
                "outcomes": float(self.refused),
                "bad": float(self.refused),
                "covered": float(self.covered),
            },
        )

    def status(self, cap: float | None, now: float) -> QuotaStatus:
        """What is known at `now`, with this cap on the share."""
        asked, throttled = self.requests.count(now), self.requests.over(now)
        over = throttled >= LEAST_THROTTLED and throttled > SHARE_LIMIT * asked
        return QuotaStatus(asked=asked, throttled=throttled, cap=cap, holds=over or cap is not None)

    def wanted_cap(self, phase: int, share: float, cap: float | None, now: float) -> float | None:
        """The cap that the candidate's share should have from `now` on, where it has been `share`, capped at
        `cap`, since `phase` began."""
        if phase != self.phase:
            return cap
        asked, throttled = self.requests.count(now), self.requests.over(now)
        present = share if cap is None else min(share, cap)
        if throttled >= LEAST_THROTTLED and throttled > SHARE_LIMIT * asked:
            if asked < FEWEST or now - self.since < SETTLED_S:
                return cap
            floor = min(FLOOR, share)
            lower = max(floor, round(present * (1.0 - throttled / asked), 4))
            return lower if lower < present else cap
        return None if cap is not None and self._has_room(share / cap, now) else cap

    def _has_room(self, more: float, now: float) -> bool:
        """True when the provider has quota for so many times the requests."""
        lasted_s = now - self.since
        if self.used is not None and now - self.used_at < HEARD_S:
            return lasted_s >= LIFT_AFTER_S and self.used * more <= ROOM
        return lasted_s >= BLIND_LIFT_AFTER_S
