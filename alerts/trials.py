"""Many simulated runs and what came of them: how often wrongly, how soon rightly. Runs nothing by itself.

`detect` plays one scenario; here are the scenarios worth playing, and counts and quantiles of the results.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from alerts.rule import Rule, RuleName
from alerts.simulate import Detection, Scenario, detect

WEEK_S = 7 * 86_400.0
WEEK_JUDGE_S = 3_600.0
"""How often a calm week is looked at: rarely, for a look costs as much as a hundred exchanges and decides
nothing. A page that came and went between two looks is not seen."""
WARM_S = 600.0
WARM_BASELINE = 300
"""Outcomes of the baseline before a fault begins: enough for each rule to know what is usual."""
UNFED: tuple[RuleName, ...] = ("csat", "thumbs", "escalated", "telemetry")
"""Rules that simulated traffic never feeds."""


class Task(NamedTuple):
    """One run: what is played, with which draws, under which rules."""

    scenario: Scenario
    seed: int
    rules: Sequence[Rule]


def play(task: Task) -> Detection:
    """Play one run; a plain function of the module, so that another process can."""
    return detect(task.scenario, task.seed, task.rules)


def calm_week(scenario: Scenario) -> Scenario:
    """A week of two equal arms."""
    return replace(scenario, duration_s=WEEK_S, judge_each_s=max(scenario.judge_each_s, WEEK_JUDGE_S))


def going_bad(scenario: Scenario, *, within_s: float) -> Scenario:
    """A candidate that goes bad once the baseline is known, watched for `within_s` seconds from there."""
    per_second = scenario.exchanges_per_minute / 60.0 * (1.0 - scenario.share)
    fault_at_s = max(WARM_S, WARM_BASELINE / per_second)
    return replace(scenario, fault_at_s=fault_at_s, duration_s=fault_at_s + within_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """What equal arms set off: runs by the rule that rolled back, runs by the first rule that paged."""

    runs: int
    rolled_back: Mapping[str, int]
    paged: Mapping[str, int]


def alarms(found: Sequence[Detection]) -> Alarms:
    """Count the runs in which anything happened."""
    return Alarms(runs=len(found), rolled_back=_convicting(found), paged=_paging(found))


class RunSpread(NamedTuple):
    """Median and 95th percentile over all runs; None where that many runs never got there."""

    median: float | None
    p95: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """How soon a bad candidate was rolled back, and a person paged, counted from where it went bad.

    Outcomes are the candidate's, one a user and minute; minutes are of the clock.
    """

    runs: int
    rolled_back: Mapping[str, int]
    paged: Mapping[str, int]
    outcomes: RunSpread
    minutes: RunSpread
    outcomes_to_page: RunSpread
    minutes_to_page: RunSpread


def detected(found: Sequence[Detection], fault_at_s: float) -> Detected:
    """Sum up runs of `going_bad`. What was set off before the fault counts as found after no time."""
    back = [one for one in found if one.rolled_back_by is not None]
    paged = [(one.paged_at_s, one.outcomes_at_page) for one in found]
    return Detected(
        runs=len(found),
        rolled_back=_convicting(found),
        paged=_paging(found),
        outcomes=spread([one.candidate_outcomes for one in back], len(found)),
        minutes=spread([_minutes(one.at_s, fault_at_s) for one in back], len(found)),
        outcomes_to_page=spread([count for _, count in paged if count is not None], len(found)),
        minutes_to_page=spread([_minutes(at, fault_at_s) for at, _ in paged if at is not None], len(found)),
    )


def spread(values: Sequence[float], runs: int) -> RunSpread:
    """Quantiles of `values` among `runs`, those that have no value being longer than any."""
    ordered = sorted(values)

    def at(part: float) -> float | None:
        place = int(part * runs)
        return ordered[place] if place < len(ordered) else None

    return RunSpread(at(0.5), at(0.95))


def _minutes(at_s: float, fault_at_s: float) -> float:
    return max(0.0, at_s - fault_at_s) / 60.0


def _convicting(found: Sequence[Detection]) -> Mapping[str, int]:
    return Counter(one.rolled_back_by for one in found if one.rolled_back_by is not None)


def _paging(found: Sequence[Detection]) -> Mapping[str, int]:
    firsts = (next((each for each in one.notices if each.event == "page"), None) for one in found)
    return Counter(first.rules[0] for first in firsts if first is not None)
