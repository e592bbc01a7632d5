"""A scenario of simulated traffic: its users, how healthy arms behave, and what goes wrong. No randomness."""

import math
from dataclasses import dataclass

from records.outcome import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmBehaviour:
    """How an arm behaves while it is not healthy. None and empty: as a healthy arm.

    `error` is the share of exchanges that fail, `left` that of those whose caller leaves before the end,
    `hangs` that of those that are never answered; `faults` has the share of answers with each fault. `cost`
    multiplies the cost. Latency is log-normal with median `latency_s` and sigma `latency_sigma`. With a
    `category` only its exchanges are affected.
    """

    error: float | None = None
    left: float | None = None
    hangs: float = 0.0
    latency_s: float | None = None
    latency_sigma: float | None = None
    cost: float = 1.0
    faults: tuple[tuple[Fault, float], ...] = ()
    category: str | None = None


HEALTHY = ArmBehaviour()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The traffic and its fault.

    Users differ. Their activity is gamma distributed (shape .5: a few send most). `base_error` and
    `base_left` (`ArmBehaviour.error` and `left`) are the means of beta distributions over users (`alike` > 0:
    the smaller, the more some users always fail). `base_faults` are means of gamma distributions (shape .5).
    Half of the variance of the log cost (log-normal, coefficient of variation `cost_cv`) and of the log
    latency (median `latency_s`, sigma `latency_sigma`) is between users. A share `streams` of the exchanges
    are streams, with the first token after a quarter of their time. `categories` are shares of the traffic.

    From `fault_at_s` on, the candidate behaves as `candidate` says; during `outage_s`, both arms as `outage`.
    Callers leave `app_timeout_s` after the start. The baseline answers for a candidate that is silent for
    `patience_s`. At each of `cancelled_s`, all callers in flight leave at once.
    """

    users: int = 2_000
    exchanges_per_minute: float = 200.0
    share: float = 0.05
    base_error: float = 0.01
    base_left: float = 0.0
    base_faults: tuple[tuple[Fault, float], ...] = ()
    alike: float = 20.0
    cost_usd: float = 0.01
    cost_cv: float = 0.75
    latency_s: float = 0.8
    latency_sigma: float = 0.5
    streams: float = 0.0
    categories: tuple[tuple[str, float], ...] = ()
    candidate: ArmBehaviour = HEALTHY
    fault_at_s: float = 0.0
    outage: ArmBehaviour = HEALTHY
    outage_s: tuple[float, float] | None = None
    app_timeout_s: float | None = None
    patience_s: float = 30.0
    cancelled_s: tuple[float, ...] = ()
    duration_s: float = 3_600.0
    judge_each_s: float = 1.0

    @property
    def cost_sigma(self) -> float:
        """The sigma of the costs' logarithm."""
        return math.sqrt(math.log1p(self.cost_cv**2))

    def behaviour(self, *, candidate: bool, category: str, at: float) -> ArmBehaviour:
        """How an arm behaves at second `at` in this category."""
        if self.outage_s is not None and self.outage_s[0] <= at < self.outage_s[1]:
            return self.outage
        faulty = candidate and at >= self.fault_at_s
        return self.candidate if faulty and self.candidate.category in (None, category) else HEALTHY
