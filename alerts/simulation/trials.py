"""Runs simulated traffic through the real guardrails, to measure delay and false alarms.

Pure: a scenario and a seed in, a detection out. `Watch` and `step` run as in the server; only the traffic is
synthetic. Times are seconds from the start. The traffic has no feedback and no tags, so rules about those see
nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from alerts.evidence.exchanges import MINUTE_S
from alerts.guardrails import Watch
from alerts.incidents.incident import Incident, step
from alerts.incidents.notice import Notice
from alerts.rules.rule import DEFAULT_RULES, RATINGS, Rule, RuleName
from alerts.simulation.traffic import EPOCH, NAME, Record, Scenario, records
from records.outcome import Outcome

CALM_JUDGE_S = 60.0
"""Seconds between judgements before the fault. A rule convicts at the outcome itself, so rare judgements
delay the report of a decision, not the decision."""
WORKER = ("", 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What the guardrails did. `rolled_back_by` None: no rollback. `paged_at_s` None: no page.

    `candidate_outcomes` counts the candidate's outcomes (one per unit and minute, in the fault's category if
    it has one) between the fault and the rollback or the end, those in flight included; `outcomes_at_page`
    counts them up to the first page. `candidate_exchanges` counts all exchanges of the candidate.
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


def detect(scenario: Scenario, seed: int, rules: Sequence[Rule] = DEFAULT_RULES) -> Detection:
    """Run one scenario until its end or the rollback."""
    watch = Watch(NAME, rules)
    incident: Incident | None = None
    notices: list[Notice] = []
    faced: set[tuple[str, int]] = set()
    heard: set[str] = set()
    judged_at = 0.0
    rolled_back_by: str | None = None
    page: tuple[float, int] | None = None
    for now, record in records(scenario, seed):
        if isinstance(record, Outcome):
            watch.observe(record)
        else:
            watch.observe_in_flight(WORKER, record)
        if _of_fault(scenario, record):
            faced.add((record.unit, int(record.mono // MINUTE_S)))
            heard.add(record.exchange_id)
        if now - judged_at < _judge_each_s(scenario, now):
            continue
        judged_at = now
        statuses = watch.decide(now, routed=False)
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
        candidate_exchanges=len(heard),
        notices=tuple(notices),
        paged_at_s=page[0] if page else None,
        outcomes_at_page=page[1] if page else None,
    )


def _of_fault(scenario: Scenario, record: Record) -> bool:
    faulty = record.arm == "candidate" and record.mono >= scenario.fault_at_s
    return faulty and scenario.candidate.category in (None, record.category)


def _judge_each_s(scenario: Scenario, now: float) -> float:
    calm = now < scenario.fault_at_s
    return max(scenario.judge_each_s, CALM_JUDGE_S) if calm else scenario.judge_each_s


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
