"""Simulated runs of one canary's guardrails: what is asked, what is played, the answer as a document."""

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from scipy.stats import beta

from alerts.rule import Rule
from alerts.simulate import Detection, Scenario, detect
from alerts.status import rule_key
from alerts.trials import UNFED, Task, alarms, calm_week, detected, going_bad, play
from canary.commands.shell import say
from canary.config import CanaryConfig

P95_SIGMAS = 1.6448536269514722
LOOK_EACH_S = 2.0
SAMPLE = 3_000
"""Exchanges of the run that tells how fast this machine is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be simulated. Seconds, shares in [0, 1], factors of the baseline's cost; latency is p95."""

    weeks: int
    runs: int
    rate: float
    users: int
    share: float
    base_error: float
    base_latency_s: float
    errors: tuple[float, ...]
    costs: tuple[float, ...]
    latencies_s: tuple[float, ...]
    within_s: float
    seed: int

    def __post_init__(self) -> None:
        """Raises ValueError for traffic that tells nothing."""
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"a share of {self.share:g} leaves one arm without users")
        if self.base_error >= 1.0:
            raise ValueError("in a healthy arm not everything fails")
        if min((*self.costs, *self.latencies_s, self.base_latency_s, self.within_s)) <= 0.0:
            raise ValueError("a cost, a latency and --within must be above 0")


def chosen(canaries: Mapping[str, CanaryConfig], name: str | None) -> CanaryConfig:
    """The canary of that name, or the only one. Raises ValueError with the names there are."""
    if name is None and len(canaries) == 1:
        return next(iter(canaries.values()))
    if name is None or name not in canaries:
        raise ValueError(f"say which with --canary; the config has: {', '.join(canaries) or 'none'}")
    return canaries[name]


def healthy(question: Question) -> Scenario:
    """The traffic while nothing is wrong."""
    plain = Scenario(
        users=question.users,
        exchanges_per_minute=60.0 * question.rate,
        share=question.share,
        base_error=question.base_error,
        judge_each_s=LOOK_EACH_S,
    )
    return replace(plain, latency_s=_median_s(plain, question.base_latency_s))


def faults(question: Question) -> dict[str, Scenario]:
    """Every bad candidate that is asked for, by what is wrong with it."""
    plain = healthy(question)
    bad = {f"{100 * error:g} % fail": replace(plain, candidate_error=error) for error in question.errors}
    bad |= {f"costs {cost:g}×": replace(plain, candidate_cost=cost) for cost in question.costs}
    for p95_s in question.latencies_s:
        bad[f"p95 of {p95_s:g} s"] = replace(plain, candidate_latency_s=_median_s(plain, p95_s))
    return {what: going_bad(scenario, within_s=question.within_s) for what, scenario in bad.items()}


def _median_s(scenario: Scenario, p95_s: float) -> float:
    """The median of the log-normal latency that has this p95."""
    return p95_s / math.exp(P95_SIGMAS * scenario.latency_sigma)


def answer(wanted: CanaryConfig, question: Question, *, jobs: int) -> dict[str, Any]:
    """Play everything, saying on stderr how long it takes, and give the figures as a document."""
    rules, week, bad = wanted.guardrails, calm_week(healthy(question)), faults(question)
    calm = [Task(week, question.seed + n, rules) for n in range(question.weeks)]
    ill = {what: _tasks(scenario, question, rules) for what, scenario in bad.items()}
    _foretell([*calm, *chain.from_iterable(ill.values())], jobs)
    with ProcessPoolExecutor(jobs) as pool:

        def played(tasks: Sequence[Task]) -> list[Detection]:
            return list(pool.map(play, tasks))

        return {
            "canary": wanted.canary.name,
            "traffic": {
                "rate": question.rate,
                "users": question.users,
                "share": question.share,
                "base_error": question.base_error,
                "base_latency_s": question.base_latency_s,
            },
            "equal_arms": _alarms_document(played(calm)),
            "bad_candidates": [
                {"candidate": what, **_detected_document(played(tasks), bad[what].fault_at_s)}
                for what, tasks in ill.items()
            ],
            "not_simulated": [
                rule_key(rule.rule, rule.category, rule.segment)
                for rule in rules
                if rule.rule in UNFED or rule.category is not None or rule.segment
            ],
        }


def _tasks(scenario: Scenario, question: Question, rules: Sequence[Rule]) -> list[Task]:
    return [Task(scenario, question.seed + n, rules) for n in range(question.runs)]


def _foretell(tasks: Sequence[Task], jobs: int) -> None:
    """Say how long it may take, from how fast a small run is just now."""
    if not tasks:
        return
    scenario = tasks[0].scenario
    sample = replace(scenario, fault_at_s=0.0, duration_s=SAMPLE / scenario.exchanges_per_minute * 60.0)
    began = time.perf_counter()
    detect(sample, 0, tasks[0].rules)
    each_s = (time.perf_counter() - began) / SAMPLE
    exchanges = sum(task.scenario.duration_s / 60.0 * task.scenario.exchanges_per_minute for task in tasks)
    minutes = exchanges * each_s / jobs / 60.0
    say(f"up to {exchanges / 1e6:.1f} million exchanges, {jobs} at once: about {minutes:.1f} minutes at most")


def _alarms_document(found: Sequence[Detection]) -> dict[str, Any]:
    """Counts, and the largest part of weeks rolled back that they leave possible (95 %, Clopper-Pearson)."""
    counted = alarms(found)
    back = sum(counted.rolled_back.values())
    return {
        "weeks": counted.runs,
        "rolled_back": dict(counted.rolled_back),
        "paged": dict(counted.paged),
        "rolled_back_at_most": _at_most(back, counted.runs),
    }


def _at_most(count: int, runs: int) -> float:
    return 1.0 if count >= runs else float(beta.ppf(0.95, count + 1, runs - count))


def _detected_document(found: Sequence[Detection], fault_at_s: float) -> dict[str, Any]:
    summed = detected(found, fault_at_s)
    return {
        "runs": summed.runs,
        "paged": dict(summed.paged),
        "minutes_to_page": summed.minutes_to_page._asdict(),
        "outcomes_to_page": summed.outcomes_to_page._asdict(),
        "rolled_back": dict(summed.rolled_back),
        "minutes": summed.minutes._asdict(),
        "outcomes": summed.outcomes._asdict(),
    }
