"""A candidate that dies is rolled back although its breaker keeps nearly all requests from it."""

import os
import random
from statistics import median
from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.rules.rule import DEFAULT_RULES
from proxy.network.upstream.breaker import CandidateBreaker

RUNS = int(os.environ.get("CANARY_SIMULATED_RUNS", "5"))
SHARE = 0.5
GIVEN_UP_S = 60.0
MOST_S = {5: 20.0, 20: 10.0}
"""Of requests per second. The candidate's part of five is two or three."""


def dies_after(good: int, rate: float, traffic: Any, seed: int) -> float:
    """The seconds from the candidate's first failure to its rollback."""
    rng, breaker = random.Random(seed), CandidateBreaker()
    traffic.share, traffic.now = SHARE, 10_000.0
    died, judged_at = None, traffic.now
    while died is None or traffic.now < died + GIVEN_UP_S:
        gap_s = rng.expovariate(rate)
        if rng.random() >= SHARE:
            traffic.send(1, gap_s=gap_s)
        elif not breaker.allows(traffic.now + gap_s, 1):
            traffic.send(1, gap_s=gap_s, arm="candidate", outcome="fallback", error_type="breaker_open")
        elif good:
            good -= 1
            breaker.succeeded()
            traffic.send(1, gap_s=gap_s, arm="candidate")
        else:
            traffic.send(1, gap_s=gap_s, arm="candidate", outcome="fallback", error_type="provider_5xx")
            breaker.ended("provider_5xx", traffic.now)
            died = died or traffic.now
        if traffic.now - judged_at >= 1.0:
            judged_at = traffic.now
            if any(status.action == "rollback" for status in traffic.decide().values()):
                return traffic.now - (died or traffic.now)
    return float("inf")


@pytest.mark.parametrize("rate", MOST_S)
@pytest.mark.parametrize("good", [0, 28, 35, 100, 500])
def test_a_candidate_that_dies_is_rolled_back_at_once_whatever_its_breaker_keeps_from_it(
    traffic_of: Any, good: int, rate: int
) -> None:
    runs = [
        dies_after(good, rate, traffic_of(Watch("support-nov", DEFAULT_RULES)), seed) for seed in range(RUNS)
    ]
    print(f"\n{good} good answers, then none, {rate} requests/s: rolled back after "
          f"{median(runs):.0f} s (median), {max(runs):.0f} s at most")  # fmt: skip
    assert max(runs) <= MOST_S[rate]
