"""Simulated runs of one canary's guardrails: what is asked, what is played, the answer as a document."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from multiprocessing import active_children
from typing import Any

from scipy.stats import beta

from alerts.rule import Rule
from alerts.simulate import Detection, Scenario
from alerts.status import rule_key
from alerts.trials import UNFED, Task, alarms, calm_week, detected, going_bad, play

P95_SIGMAS = 1.6448536269514722
LOOK_EACH_S = 2.0
TELL_EACH_S = 0.25
SAMPLE = 2_000
"""Exchanges of the runs that tell how fast this machine is."""

Told = Callable[[float, float], None]
"""Is told how many seconds of work are done, of how many."""

_KILLED = "a process of the simulation was killed: is memory short? Fewer --jobs take less"


class Killed(Exception):
    """Somebody ended a process; the message says what to do."""


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


def answer(
    canary: str,
    rules: Sequence[Rule],
    question: Question,
    *,
    jobs: int,
    foretell: Callable[[str], None],
    told: Told,
) -> dict[str, Any]:
    """Play everything, and give the figures as a document. `foretell` hears how long it may take, `told` how
    far it is."""
    week, bad = calm_week(healthy(question)), faults(question)
    calm = [Task(week, question.seed + n, rules) for n in range(question.weeks)]
    ill = {what: _tasks(scenario, question, rules) for what, scenario in bad.items()}
    everything = [*calm, *chain.from_iterable(ill.values())]
    with _pool(jobs) as pool:
        work = _work(pool, everything, jobs)
        foretell(_foretold(everything, sum(work) / jobs, jobs))
        found = iter(_played(pool, everything, work, told))
    return {
        "canary": canary,
        "traffic": {
            "rate": question.rate,
            "users": question.users,
            "share": question.share,
            "base_error": question.base_error,
            "base_latency_s": question.base_latency_s,
        },
        "equal_arms": _alarms_document(list(islice(found, len(calm)))),
        "bad_candidates": [
            {
                "candidate": what,
                **_detected_document(list(islice(found, len(tasks))), bad[what].fault_at_s),
            }
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


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that Ctrl-C ends at once: it breaks the pool, and interrupts none of its own steps."""
    asked = False

    def end(*_: object) -> None:
        nonlocal asked
        asked = True
        for process in active_children():
            process.terminate()

    before = signal.signal(signal.SIGINT, end)
    ignoring = (signal.SIGINT, signal.SIG_IGN)
    try:
        with ProcessPoolExecutor(jobs, initializer=signal.signal, initargs=ignoring) as pool:
            yield pool
    except BrokenProcessPool as broken:
        raise (KeyboardInterrupt if asked else Killed(_KILLED)) from broken
    finally:
        signal.signal(signal.SIGINT, before)


def _played(
    pool: ProcessPoolExecutor, tasks: Sequence[Task], work: Sequence[float], told: Told
) -> list[Detection]:
    """What came of each task, in their order."""
    running = dict(zip((pool.submit(play, task) for task in tasks), work, strict=True))
    left, of, done = set(running), sum(work), 0.0
    while left:
        ended, left = wait(left, timeout=TELL_EACH_S, return_when=FIRST_COMPLETED)
        done += sum(running[each] for each in ended)
        told(done, of)
    return [each.result() for each in running]


def _work(pool: ProcessPoolExecutor, tasks: Sequence[Task], jobs: int) -> list[float]:
    """How many seconds each task takes at most, from how long small ones do just now, `jobs` at once."""
    samples = {_sample(task): 0.0 for task in tasks}
    tried = [sample for sample in samples for _ in range(jobs)]
    for sample, took_s in zip(tried, pool.map(_time_of, tried), strict=True):
        samples[sample] = max(samples[sample], took_s)
    return [samples[_sample(task)] * _exchanges(task) / SAMPLE for task in tasks]


def _sample(task: Task) -> Task:
    """The task's beginning without its fault, which could end it early."""
    healthy = replace(task.scenario, candidate_error=None, candidate_cost=1.0, candidate_latency_s=None)
    duration_s = SAMPLE / task.scenario.exchanges_per_minute * 60.0
    return Task(replace(healthy, fault_at_s=0.0, duration_s=duration_s), 0, task.rules)


def _exchanges(task: Task) -> float:
    return task.scenario.duration_s / 60.0 * task.scenario.exchanges_per_minute


def _foretold(tasks: Sequence[Task], seconds: float, jobs: int) -> str:
    millions, minutes = sum(_exchanges(task) for task in tasks) / 1e6, seconds / 60.0
    return f"up to {millions:.1f} million exchanges, {jobs} at once: about {minutes:.1f} minutes at most"


def _time_of(task: Task) -> float:
    """How many seconds the task takes here and now."""
    began = time.perf_counter()
    play(task)
    return time.perf_counter() - began


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
