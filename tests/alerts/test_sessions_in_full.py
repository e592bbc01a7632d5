"""Sessions of agents, at full size: how soon the rules about them act, and how seldom wrongly.

`make test-statistics` runs these; each prints its figure, and docs/guardrails.md tells them.
"""

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, chain, product
from operator import itemgetter
from random import Random

import pytest

from alerts.evidence.sessions import STUCK_AT, LiveSession, SessionStep
from alerts.evidence.statistics import ROLLBACK_CUSUM, ROLLBACK_MIXTURE
from alerts.rules.relative import DAY_S
from alerts.rules.rule import DEFAULT_RULES, OF_SESSIONS
from alerts.rules.sessions import SessionRule, StuckRule
from alerts.simulation.traffic import ArmBehaviour, Scenario
from alerts.simulation.trials import WEEK_JUDGE_S, WEEK_S, Detection, Task, play, spread
from records.outcome import Outcome
from tests.alerts.agents_start import Start, heard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]

RUNS = int(os.environ.get("CANARY_SIMULATED_RUNS", "500"))
RULES = tuple(rule for rule in DEFAULT_RULES if rule.rule in OF_SESSIONS)
AGENTS = Scenario(steps=8.0, cost_cv=0.4, exchanges_per_minute=40.0, judge_each_s=15.0)
"""2,000 users, a few of whom have most of the sessions: five a minute, of eight exchanges on average."""


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(int(os.environ.get("CANARY_JOBS", os.cpu_count() or 1))) as running:
        yield running


def played(pool: ProcessPoolExecutor, scenarios: Iterable[Scenario]) -> list[Detection]:
    """Each scenario once, its place in the list its seed."""
    return list(pool.map(play, [Task(each, seed, RULES) for seed, each in enumerate(scenarios)], chunksize=4))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize(
    ("what", "candidate", "rolls_back"),
    [
        ("three times the steps", ArmBehaviour(steps=3.0), False),
        ("three times the cost", ArmBehaviour(cost=3.0), True),
        ("every third session stuck", ArmBehaviour(stuck=1 / 3), False),
    ],
)
def test_a_candidate_that_runs_away_is_noticed_soon(
    pool: ProcessPoolExecutor, what: str, candidate: ArmBehaviour, rolls_back: bool, share: float
) -> None:
    scenario = replace(AGENTS, candidate=candidate, share=share, duration_s=2_400.0 / share)
    found = played(pool, [scenario] * RUNS)
    acted = [each.sessions if rolls_back else each.sessions_at_page for each in found]
    known = spread([count for count in acted if count is not None], RUNS)
    print(f"\n{what}, {share:.0%}: {known} sessions of {RUNS} runs")
    assert known.median is not None and known.median <= (30 if share < 0.5 else 60)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Agents of one week. Half of the variance of the logarithm of steps is between users. On one day all
    sessions are `shock` times as large."""

    users: int
    steps_sigma: float
    cost_sigma: float
    stuck: float
    shock: float


FLEETS = [
    Fleet(*each)
    for each in product((30, 200, 2_000), (0.6, 1.0, 1.5), (0.3, 0.8), (0.0, 0.02, 0.4), (1.0, 3.0))
]
SESSIONS = 1_000


def moments(
    fleet: Fleet, share: float, draw: Random
) -> Iterator[tuple[float, LiveSession, int, float, bool]]:
    """What sessions become over a week, each half-way and at its end, in order of time: when, the session,
    and its exchanges, its cost and whether it is stuck by then."""
    half = fleet.steps_sigma / math.sqrt(2.0)
    users = [
        (f"u{n}", draw.random() < share, 8.0 * draw.lognormvariate(0.0, half), draw.lognormvariate(0.0, 0.5))
        for n in range(fleet.users)
    ]
    activity = list(accumulate(draw.gammavariate(0.5, 1.0) for _ in users))
    starts = sorted(draw.random() * WEEK_S for _ in range(SESSIONS))
    seen: set[str] = set()
    serials, found = [0, 0], []
    for at, (unit, candidate, usual, price) in zip(
        starts, draw.choices(users, cum_weights=activity, k=SESSIONS), strict=True
    ):
        large = fleet.shock if at // DAY_S == 3 else 1.0
        steps = max(1, round(usual * large * draw.lognormvariate(0.0, half)))
        cost = steps * price * draw.lognormvariate(0.0, fleet.cost_sigma)
        stuck = steps > STUCK_AT and draw.random() < fleet.stuck
        session = LiveSession(
            unit,
            "candidate" if candidate else "baseline",
            serials[candidate],
            unit not in seen,
            at,
            at,
            share,
        )
        seen.add(unit)
        serials[candidate] += 1
        middle = (steps + 1) // 2
        found.append((at + 5.0 * middle, session, middle, cost * middle / steps, False))
        found.append((at + 5.0 * steps, session, steps, cost, stuck))
    return iter(sorted(found, key=itemgetter(0)))


def lived(fleet: Fleet, share: float, seed: int) -> tuple[set[str], set[str]]:
    """The rules that paged, and those that would roll back, in a week of two equal arms."""
    wanted = [replace(rule, action="rollback") for rule in RULES]
    rules = [StuckRule(rule) if rule.rule == "stuck" else SessionRule(rule) for rule in wanted]
    paged, back, judged_at = set[str](), set[str](), 0.0
    outcome = Outcome(exchange_id="x", at=0.0, mono=0.0, outcome="ok")
    for at, session, exchanges, cost, stuck in moments(fleet, share, Random(seed)):
        session.exchanges, session.cost_usd, session.is_stuck = exchanges, cost, stuck
        for rule in rules:
            rule.hear(SessionStep(session, outcome, at))
        if at - judged_at >= 6.0 * WEEK_JUDGE_S:
            judged_at = at
            for rule in rules:
                action = rule.status(at).action
                paged |= {rule.rule.rule} if action else set()
                back |= {rule.rule.rule} if action == "rollback" else set()
    return paged, back


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_equal_agents_are_left_alone(share: float) -> None:
    weeks = 2 * RUNS // 3
    found = [lived(FLEETS[seed % len(FLEETS)], share, seed) for seed in range(weeks)]
    paged, back = (Counter(chain.from_iterable(week[place] for week in found)) for place in (0, 1))
    print(f"\nA/A, {share:.0%}: {weeks} weeks, paged {dict(paged)}, would roll back {dict(back)}")
    assert sum(bool(week[1]) for week in found) <= 0.01 * weeks


STARTS = [Start(users, share) for users in (40, 400, 4_000) for share in (0.05, 0.2, 0.5)]


def in_full(start: Start, seed: int) -> set[str]:
    """The rules of two equal arms whose whole evidence is ever enough to roll back, by either statistic."""
    found, looked = set[str](), 0.0
    for at, rules in heard(start, seed, ("session_cost", "session_exchanges", "stuck")):
        if at - looked < 5.0:
            continue
        looked = at
        for rule in rules:
            evidence = rule.state.evidence
            if evidence.mixture >= ROLLBACK_MIXTURE or evidence.cusum >= ROLLBACK_CUSUM:
                found.add(rule.rule.rule)
    return found


@pytest.mark.parametrize("start", STARTS, ids=lambda start: f"{start.users}-{start.share}")
def test_equal_agents_that_start_together_have_the_full_evidence_once_in_a_thousand(start: Start) -> None:
    """Before the second condition, the means' ratio, is asked. 1 % of the runs may be chance: the promise is
    one in a thousand for each rule."""
    runs = 2 * RUNS
    found = [in_full(start, seed) for seed in range(runs)]
    counted = Counter(chain.from_iterable(found))
    print(f"\n{start.users} users, {start.share:.0%}: full evidence in {dict(counted)} of {runs} starts")
    assert max(counted.values(), default=0) <= 0.001 * runs + 3.0 * math.sqrt(0.001 * runs)


def convicted(start: Start, seed: int, name: str) -> tuple[int, float] | None:
    """The candidate's sessions and the minutes until this rule convicts."""
    for at, (rule,) in heard(start, seed, (name,)):
        if rule.state.convicted:
            return rule.state.candidate.count, at / 60.0
    return None


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("factor", [2.5, 3.0, 5.0])
@pytest.mark.parametrize("name", ["session_cost", "session_exchanges"])
def test_larger_sessions_of_agents_that_start_together_are_found(
    name: str, factor: float, share: float
) -> None:
    runs = max(RUNS // 5, 20)
    cost, steps = (factor, 1.0) if name == "session_cost" else (1.0, factor)
    start = Start(400, share, steps, cost, for_s=6 * 3_600.0)
    found = [each for each in (convicted(start, seed, name) for seed in range(runs)) if each is not None]
    sessions, minutes = (spread([each[place] for each in found], runs) for place in (0, 1))
    print(
        f"\n{name} {factor:g}×, {share:.0%}: {len(found)} of {runs} found, {sessions} sessions, {minutes} min"
    )
    assert len(found) >= 0.9 * runs or factor < 5.0 or share < 0.2
