"""Sets of simulated runs: the scenarios to run, and counts and quantiles of their results.

`detect` runs one scenario.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from alerts.rule import RATINGS, Rule, RuleName
from alerts.scenario import Scenario
from alerts.simulate import Detection, detect

WEEK_S = 7 * 86_400.0
WEEK_JUDGE_S = 3_600.0
"""Seconds between judgements in a calm week: rare, because a judgement costs as much as a hundred exchanges.
A page that opens and resolves between two judgements is missed."""
WARM_S = 600.0
WARM_BASELINE = 300
"""Baseline outcomes before the fault: enough for each rule to know the baseline."""
UNFED: tuple[RuleName, ...] = (*RATINGS, "escalated", "repeat_question", "telemetry")
"""Rules that get no data in a simulation."""


class Task(NamedTuple):
    """One run: a scenario, a seed, and the rules."""

    scenario: Scenario
    seed: int
    rules: Sequence[Rule]


def play(task: Task) -> Detection:
    """Run one task. A module-level function, so that another process can import it."""
    return detect(task.scenario, task.seed, task.rules)


def calm_week(scenario: Scenario) -> Scenario:
    """A week of two equal arms."""
    return replace(scenario, duration_s=WEEK_S, judge_each_s=max(scenario.judge_each_s, WEEK_JUDGE_S))


def going_bad(scenario: Scenario, *, within_s: float) -> Scenario:
    """A candidate that goes bad when the baseline is known, watched for `within_s` seconds after that."""
    per_second = scenario.exchanges_per_minute / 60.0 * (1.0 - scenario.share)
    fault_at_s = max(WARM_S, WARM_BASELINE / per_second)
    return replace(scenario, fault_at_s=fault_at_s, duration_s=fault_at_s + within_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """False alarms of equal arms: runs by the rule that rolled back, and by the first rule that paged."""

    runs: int
    rolled_back: Mapping[str, int]
    paged: Mapping[str, int]


def alarms(found: Sequence[Detection]) -> Alarms:
    """Count the runs in which anything happened."""
    return Alarms(runs=len(found), rolled_back=_convicting(found), paged=_paging(found))


class RunSpread(NamedTuple):
    """Median and 95th percentile over all runs; None where too few runs have a value."""

    median: float | None
    p95: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """The delay from the fault of a bad candidate to the rollback and to the page.

    Outcomes are the candidate's, one per user and minute. Minutes are clock time.
    """

    runs: int
    rolled_back: Mapping[str, int]
    paged: Mapping[str, int]
    outcomes: RunSpread
    minutes: RunSpread
    outcomes_to_page: RunSpread
    minutes_to_page: RunSpread


def detected(found: Sequence[Detection], fault_at_s: float) -> Detected:
    """Sum up runs of `going_bad`. An alarm before the fault counts as a delay of 0."""
    back = [detection for detection in found if detection.rolled_back_by is not None]
    paged = [(detection.paged_at_s, detection.outcomes_at_page) for detection in found]
    return Detected(
        runs=len(found),
        rolled_back=_convicting(found),
        paged=_paging(found),
        outcomes=spread([detection.candidate_outcomes for detection in back], len(found)),
        minutes=spread([_minutes(detection.at_s, fault_at_s) for detection in back], len(found)),
        outcomes_to_page=spread([count for _, count in paged if count is not None], len(found)),
        minutes_to_page=spread([_minutes(at, fault_at_s) for at, _ in paged if at is not None], len(found)),
    )


def spread(values: Sequence[float], runs: int) -> RunSpread:
    """Quantiles of `values` among `runs`. A run without a value counts as infinitely long."""
    ordered = sorted(values)

    def at(quantile: float) -> float | None:
        place = int(quantile * runs)
        return ordered[place] if place < len(ordered) else None

    return RunSpread(at(0.5), at(0.95))


def _minutes(at_s: float, fault_at_s: float) -> float:
    return max(0.0, at_s - fault_at_s) / 60.0


def _convicting(found: Sequence[Detection]) -> Mapping[str, int]:
    rules = (detection.rolled_back_by for detection in found)
    return Counter(rule for rule in rules if rule is not None)


def _paging(found: Sequence[Detection]) -> Mapping[str, int]:
    pages = ([notice for notice in detection.notices if notice.event == "page"] for detection in found)
    return Counter(notices[0].rules[0] for notices in pages if notices)
