"""Simulates traffic of heterogeneous users through the real guardrails, to measure delay and false alarms.

Pure: a scenario and a seed in, a detection out. `Watch` and `step` run as in the server; only the traffic is
synthetic. Times are seconds from the start. The traffic has no feedback, categories or tags, so rules about
those see nothing.
"""

import heapq
import math
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
CALM_JUDGE_S = 60.0
"""Seconds between judgements before the fault. A rule convicts at the outcome itself, so rare judgements
delay the report of a decision, not the decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The traffic and its fault.

    Users differ. Their activity is gamma distributed (shape .5: a few send most). `base_error` is the mean of
    a beta distribution over users (`alike` > 0: the smaller, the more some users always fail). Half of the
    variance of the log cost (log-normal, coefficient of variation `cost_cv`) is between users. Latency is
    log-normal with median `latency_s` and sigma `latency_sigma`. From `fault_at_s` on, the candidate fails
    with probability `candidate_error`, costs `candidate_cost` times as much, and has a median latency of
    `candidate_latency_s` with `candidate_sigma`; None means no change. During `outage_s` both arms fail with
    probability `outage_error`.
    """

    users: int = 2_000
    exchanges_per_minute: float = 200.0
    share: float = 0.05
    base_error: float = 0.01
    alike: float = 20.0
    cost_usd: float = 0.01
    cost_cv: float = 0.75
    latency_s: float = 0.8
    latency_sigma: float = 0.5
    candidate_error: float | None = None
    candidate_cost: float = 1.0
    candidate_latency_s: float | None = None
    candidate_sigma: float | None = None
    fault_at_s: float = 0.0
    outage_s: tuple[float, float] | None = None
    outage_error: float = 0.0
    duration_s: float = 3_600.0
    judge_each_s: float = 1.0

    @property
    def cost_sigma(self) -> float:
        """The sigma of the costs' logarithm."""
        return math.sqrt(math.log1p(self.cost_cv**2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What the guardrails did. `rolled_back_by` None: no rollback. `paged_at_s` None: no page.

    `candidate_outcomes` counts the candidate's outcomes (one per unit and minute) between the fault and the
    rollback or the end; `outcomes_at_page` counts them up to the first page. `candidate_exchanges` counts all
    exchanges of the candidate.
    """

    rolled_back_by: str | None
    at_s: float
    candidate_outcomes: int
    candidate_exchanges: int
    notices: tuple[Notice, ...]
    paged_at_s: float | None = None
    outcomes_at_page: int | None = None

    @property
    def pages(self) -> int:
        """The number of pages."""
        return sum(notice.event == "page" for notice in self.notices)


@dataclass(frozen=True, slots=True)
class _User:
    unit: str
    candidate: bool
    base_error: float
    cost_usd: float


def exchanges(scenario: Scenario, seed: int) -> Iterator[Outcome]:
    """The traffic, in order of completion."""
    draw = random.Random(seed)  # noqa: S311  a simulation, not a secret
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
    base, sigma = scenario.base_error, scenario.cost_sigma / math.sqrt(2.0)
    middle = math.log(scenario.cost_usd) - scenario.cost_sigma**2 / 2.0
    users = [
        _User(
            f"{index:032x}",
            draw.random() < scenario.share,
            draw.betavariate(base * scenario.alike, (1 - base) * scenario.alike) if base > 0 else 0.0,
            draw.lognormvariate(middle, sigma),
        )
        for index in range(scenario.users)
    ]
    return users, list(accumulate(draw.gammavariate(0.5, 1.0) for _ in users))


def _exchange(scenario: Scenario, user: _User, at: float, serial: int, draw: random.Random) -> Outcome:
    faulty = user.candidate and at >= scenario.fault_at_s
    failed = draw.random() < _error_share(scenario, user, at)
    cost_usd = user.cost_usd * draw.lognormvariate(0.0, scenario.cost_sigma / math.sqrt(2.0))
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
        latency_s=_latency_s(scenario, draw, faulty=faulty),
        cost_usd=cost_usd * scenario.candidate_cost if faulty else cost_usd,
    )


def _latency_s(scenario: Scenario, draw: random.Random, *, faulty: bool) -> float:
    median_s, sigma = scenario.latency_s, scenario.latency_sigma
    if faulty and scenario.candidate_latency_s is not None:
        median_s = scenario.candidate_latency_s
        sigma = sigma if scenario.candidate_sigma is None else scenario.candidate_sigma
    return median_s * draw.lognormvariate(0.0, sigma)


def _error_share(scenario: Scenario, user: _User, at: float) -> float:
    share = user.base_error
    if user.candidate and scenario.candidate_error is not None and at >= scenario.fault_at_s:
        share = scenario.candidate_error
    if scenario.outage_s is not None and scenario.outage_s[0] <= at < scenario.outage_s[1]:
        share = max(share, scenario.outage_error)
    return share


def detect(scenario: Scenario, seed: int, rules: Sequence[Rule] = DEFAULT_RULES) -> Detection:
    """Run one scenario until its end or the rollback."""
    watch = Watch(NAME, rules)
    incident: Incident | None = None
    notices: list[Notice] = []
    faced: set[tuple[str, int]] = set()
    candidate_exchanges, judged_at = 0, 0.0
    rolled_back_by: str | None = None
    page: tuple[float, int] | None = None
    for outcome in exchanges(scenario, seed):
        now = outcome.mono + (outcome.latency_s or 0.0)
        watch.observe(outcome)
        if outcome.arm == "candidate" and outcome.mono >= scenario.fault_at_s:
            faced.add((outcome.unit, int(outcome.mono // MINUTE_S)))
            candidate_exchanges += 1
        if now - judged_at < _judge_each_s(scenario, now):
            continue
        judged_at = now
        statuses = watch.judge(now, routed=False)
        incident, new = step(incident, statuses, canary=NAME, run=1, now=EPOCH + now, rolled_back=False)
        notices += new
        if page is None and new:
            page = now, len(faced)
        rolled_back_by = next((status.key for status in statuses if status.action == "rollback"), None)
        if rolled_back_by is not None:
            break
    return Detection(
        rolled_back_by=rolled_back_by,
        at_s=judged_at,
        candidate_outcomes=len(faced),
        candidate_exchanges=candidate_exchanges,
        notices=tuple(notices),
        paged_at_s=page[0] if page else None,
        outcomes_at_page=page[1] if page else None,
    )


def _judge_each_s(scenario: Scenario, now: float) -> float:
    calm = now < scenario.fault_at_s
    return max(scenario.judge_each_s, CALM_JUDGE_S) if calm else scenario.judge_each_s
