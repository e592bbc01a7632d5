"""Plays traffic of many unlike users through the real guardrails, to see how soon and how wrongly they act.

Pure: a scenario and a seed in, a detection out. Every figure comes from `Watch` and `step` as the server runs
them; only the traffic is made up. Times are seconds from the start.
"""

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from alerts.guardrails import Watch
from alerts.incident import Incident, Notice, step
from alerts.rule import DEFAULT_RULES, Rule
from alerts.selection import MINUTE_S
from records.outcome import Outcome

NAME = "simulated"
EPOCH = 1_800_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Who sends what, and what goes wrong.

    Users differ: their activity is gamma distributed (shape .5: a few send most), and the `base_error` share
    is beta distributed over them around its mean (`alike` 0 < κ: the smaller, the more some users always
    fail). From `fault_at_s` the candidate fails `candidate_error` of the time; between `outage_s` both arms
    fail `outage_error` of it. Latency is log-normal with median `latency_s`.
    """

    users: int = 2_000
    exchanges_per_minute: float = 200.0
    share: float = 0.05
    base_error: float = 0.01
    alike: float = 20.0
    candidate_error: float | None = None
    fault_at_s: float = 0.0
    outage_s: tuple[float, float] | None = None
    outage_error: float = 0.0
    latency_s: float = 0.8
    duration_s: float = 3_600.0
    judge_each_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What the guardrails did. None rule: nothing was rolled back.

    `candidate_outcomes` counts the candidate's outcomes (one a unit and minute) that had ended between the
    fault and the end, which is the rollback if there was one; `candidate_exchanges` all its exchanges.
    """

    rolled_back_by: str | None
    at_s: float
    candidate_outcomes: int
    candidate_exchanges: int
    notices: tuple[Notice, ...]

    @property
    def pages(self) -> int:
        """How often a person was woken."""
        return sum(notice.event == "page" for notice in self.notices)

    def outage_pages(self) -> int:
        """How many of those pages speak of an outage of the baseline."""
        return sum(notice.event == "page" and "outage" in notice.rules for notice in self.notices)


@dataclass(frozen=True, slots=True)
class _User:
    unit: str
    candidate: bool
    base_error: float


def exchanges(scenario: Scenario, seed: int) -> Iterator[Outcome]:
    """The traffic, in order of completion."""
    draw = random.Random(seed)  # noqa: S311  a simulation, no secret
    users, activity = _users(scenario, draw)
    running: list[tuple[float, int, Outcome]] = []
    at, serial = 0.0, 0
    while True:
        at += draw.expovariate(scenario.exchanges_per_minute / 60.0)
        if at >= scenario.duration_s:
            break
        serial += 1
        (user,) = draw.choices(users, cum_weights=activity)
        outcome = _exchange(scenario, user, at, serial, draw)
        heapq.heappush(running, (at + (outcome.latency_s or 0.0), serial, outcome))
        while running and running[0][0] <= at:
            yield heapq.heappop(running)[2]
    while running:
        yield heapq.heappop(running)[2]


def _users(scenario: Scenario, draw: random.Random) -> tuple[list[_User], list[float]]:
    base = scenario.base_error
    users = [
        _User(
            f"{index:032x}",
            draw.random() < scenario.share,
            draw.betavariate(base * scenario.alike, (1 - base) * scenario.alike) if base > 0 else 0.0,
        )
        for index in range(scenario.users)
    ]
    return users, list(accumulate(draw.gammavariate(0.5, 1.0) for _ in users))


def _exchange(scenario: Scenario, user: _User, at: float, serial: int, draw: random.Random) -> Outcome:
    failed = draw.random() < _error_share(scenario, user, at)
    return Outcome(
        exchange_id=f"x{serial}",
        at=EPOCH + at,
        mono=at,
        outcome="error" if failed else "ok",
        error_type="provider_5xx" if failed else None,
        canary=NAME,
        run=1,
        phase=1,
        share=scenario.share,
        arm="candidate" if user.candidate else "baseline",
        reason="cohort",
        unit=user.unit,
        latency_s=scenario.latency_s * draw.lognormvariate(0.0, 0.5),
    )


def _error_share(scenario: Scenario, user: _User, at: float) -> float:
    share = user.base_error
    if user.candidate and scenario.candidate_error is not None and at >= scenario.fault_at_s:
        share = scenario.candidate_error
    if scenario.outage_s is not None and scenario.outage_s[0] <= at < scenario.outage_s[1]:
        share = max(share, scenario.outage_error)
    return share


def detect(scenario: Scenario, seed: int, rules: Sequence[Rule] = DEFAULT_RULES) -> Detection:
    """Play one scenario until it is over or the candidate is rolled back."""
    watch = Watch(NAME, rules)
    incident: Incident | None = None
    notices: list[Notice] = []
    faced: list[tuple[str, int]] = []
    rolled_back_by, judged_at = None, 0.0
    for outcome in exchanges(scenario, seed):
        now = outcome.mono + (outcome.latency_s or 0.0)
        watch.observe(outcome)
        if outcome.arm == "candidate" and outcome.mono >= scenario.fault_at_s:
            faced.append((outcome.unit, int(outcome.mono // MINUTE_S)))
        if now - judged_at < scenario.judge_each_s:
            continue
        judged_at = now
        statuses = watch.judge(now, routed=True)
        incident, told = step(incident, statuses, canary=NAME, run=1, now=EPOCH + now, rolled_back=False)
        notices += told
        rolled_back_by = next((status.key for status in statuses if status.action == "rollback"), None)
        if rolled_back_by is not None:
            break
    return Detection(
        rolled_back_by=rolled_back_by,
        at_s=judged_at,
        candidate_outcomes=len(set(faced)),
        candidate_exchanges=len(faced),
        notices=tuple(notices),
    )
