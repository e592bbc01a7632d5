"""Runs simulated traffic through the real guardrails, to measure delay and false alarms.

Pure: a scenario and a seed in, a detection out. `Watch` and `step` run as in the server; only the traffic is
synthetic. Times are seconds from the start. The traffic has no feedback and no tags, so rules about those see
nothing.
"""

import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from multiprocessing import active_children
from typing import Any, NamedTuple

from alerts.evidence.exchanges import MINUTE_S
from alerts.guardrails import Watch
from alerts.incidents.incident import Incident, step
from alerts.incidents.notice import Notice
from alerts.rules.rule import DEFAULT_RULES, OF_METRICS, OF_SESSIONS, Rule, RuleName
from alerts.simulation.traffic import EPOCH, HEALTHY, NAME, ArmBehaviour, Record, Scenario, records
from common.clock import Utc
from records.outcome import Fault, Outcome

CALM_JUDGE_S = 60.0
"""Seconds between judgements before the fault. A rule convicts at the outcome itself, so rare judgements
delay the report of a decision, not the decision."""
WORKER = ("", 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What the guardrails did. `rolled_back_by` None: no rollback. `paged_at_s` None: no page.

    `sessions` and `sessions_at_page` count the candidate's sessions since the fault in the same way.
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
    sessions: int = 0
    sessions_at_page: int | None = None

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
    begun: set[str] = set()
    judged_at = 0.0
    rolled_back_by: str | None = None
    page: tuple[float, int, int] | None = None
    for now, record in records(scenario, seed):
        if isinstance(record, Outcome):
            watch.observe(record)
        else:
            watch.observe_in_flight(WORKER, record)
        if _of_fault(scenario, record):
            faced.add((record.unit, int(record.mono // MINUTE_S)))
            heard.add(record.exchange_id)
            if isinstance(record, Outcome) and record.session:
                begun.add(record.session)
        if now - judged_at < _judge_each_s(scenario, now):
            continue
        judged_at = now
        statuses = watch.decide(now, routed=False)
        incident, new = step(incident, statuses, canary=NAME, run=1, now=Utc(EPOCH + now), rolled_back=False)
        notices += new
        if page is None and new:
            page = now, len(faced), len(begun)
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
        sessions=len(begun),
        sessions_at_page=page[2] if page else None,
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
UNFED: tuple[RuleName, ...] = (*OF_METRICS, "session_cache_hits", "telemetry")
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
class FalseAlarms:
    """False alarms of equal arms: runs by the rule that rolled back, and by the first rule that paged."""

    runs: int
    rolled_back: Mapping[str, int]
    paged: Mapping[str, int]


def alarms(found: Sequence[Detection]) -> FalseAlarms:
    """Count the runs in which anything happened."""
    return FalseAlarms(runs=len(found), rolled_back=_convicting(found), paged=_paging(found))


@dataclass(frozen=True, slots=True)
class RunSpread:
    """Median and 95th percentile over all runs; None where too few runs have a value."""

    median: float | None
    p95: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionSummary:
    """The delay from the fault of a bad candidate to the rollback and to the page.

    Outcomes are the candidate's, one per user and minute. Minutes are clock time.
    """

    runs: int
    paged: Mapping[str, int]
    minutes_to_page: RunSpread
    outcomes_to_page: RunSpread
    rolled_back: Mapping[str, int]
    minutes: RunSpread
    outcomes: RunSpread


def detected(found: Sequence[Detection], fault_at_s: float) -> DetectionSummary:
    """Sum up runs of `going_bad`. An alarm before the fault counts as a delay of 0."""
    back = [detection for detection in found if detection.rolled_back_by is not None]
    paged = [(detection.paged_at_s, detection.outcomes_at_page) for detection in found]
    return DetectionSummary(
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
    return dict(Counter(rule for rule in rules if rule is not None))


def _paging(found: Sequence[Detection]) -> Mapping[str, int]:
    pages = ([notice for notice in detection.notices if notice.event == "page"] for detection in found)
    return dict(Counter(notices[0].rules[0] for notices in pages if notices))


# What `canary simulate` does: runs many scenarios of one canary's guardrails in processes, and sums them up.


P95_SIGMAS = 1.6448536269514722
JUDGE_EACH_S = 2.0
PROGRESS_EACH_S = 0.25
SAMPLE = 2_000
"""Exchanges of the runs that measure this machine's speed."""

OnProgress = Callable[[float, float], None]
"""Called with the seconds of work done, and their total."""

_KILLED = "a simulation process was killed, perhaps because memory ran out: try fewer --jobs"


class Killed(Exception):
    """A simulation process was killed; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationQuestion:
    """What to simulate. Seconds, shares in [0, 1], costs as factors of the baseline's. Latencies are p95s."""

    weeks: int
    runs: int
    rate: float
    users: int
    share: float
    base_error: float
    base_latency_s: float
    steps: float = 0.0
    errors: tuple[float, ...]
    costs: tuple[float, ...]
    latencies_s: tuple[float, ...]
    hangs: tuple[float, ...] = ()
    more_steps: tuple[float, ...] = ()
    stuck: tuple[float, ...] = ()
    faults: tuple[tuple[Fault, float], ...] = ()
    within_s: float
    seed: int

    def __post_init__(self) -> None:
        """Raises ValueError for values that cannot be simulated."""
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"a share of {self.share:g} leaves one arm without users")
        if self.base_error >= 1.0:
            raise ValueError("--base-error must be below 100%: in a healthy arm some requests succeed")
        if min((*self.costs, *self.latencies_s, self.base_latency_s, self.within_s)) <= 0.0:
            raise ValueError("--cost, --latency, --base-latency and --within must be above 0")
        if not self.steps and (self.more_steps or self.stuck):
            raise ValueError("--more-steps and --stuck need sessions: give --steps, the exchanges of one")


def healthy(question: SimulationQuestion) -> Scenario:
    """The traffic without a fault."""
    plain = Scenario(
        users=question.users,
        exchanges_per_minute=60.0 * question.rate,
        share=question.share,
        base_error=question.base_error,
        steps=question.steps,
        judge_each_s=JUDGE_EACH_S,
    )
    return replace(plain, latency_s=_median_s(plain, question.base_latency_s))


def faults(question: SimulationQuestion) -> dict[str, Scenario]:
    """The bad candidates to simulate, keyed by their fault in words."""
    plain = healthy(question)
    return {
        what: going_bad(replace(plain, candidate=behaviour), within_s=question.within_s)
        for what, behaviour in _behaviours(plain, question)
    }


def _behaviours(plain: Scenario, question: SimulationQuestion) -> Iterator[tuple[str, ArmBehaviour]]:
    yield from ((f"{100 * share:g} % fail", ArmBehaviour(error=share)) for share in question.errors)
    yield from ((f"costs {cost:g}×", ArmBehaviour(cost=cost)) for cost in question.costs)
    for p95_s in question.latencies_s:
        yield f"p95 of {p95_s:g} s", ArmBehaviour(latency_s=_median_s(plain, p95_s))
    yield from ((f"takes {steps:g}× the steps", ArmBehaviour(steps=steps)) for steps in question.more_steps)
    yield from ((f"{100 * share:g} % stuck", ArmBehaviour(stuck=share)) for share in question.stuck)
    yield from ((f"{100 * share:g} % hang", ArmBehaviour(hangs=share)) for share in question.hangs)
    for fault, share in question.faults:
        yield f"{100 * share:g} % {fault}", ArmBehaviour(faults=((fault, share),))


def _median_s(scenario: Scenario, p95_s: float) -> float:
    """The median of the log-normal latency with this p95."""
    return p95_s / math.exp(P95_SIGMAS * scenario.latency_sigma)


def answer(
    canary: str,
    rules: Sequence[Rule],
    question: SimulationQuestion,
    *,
    jobs: int,
    on_estimate: Callable[[str], None],
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Run all scenarios and return the figures as a document. `on_estimate` gets the estimated duration in
    words, `on_progress` the progress."""
    week, bad = calm_week(healthy(question)), faults(question)
    calm = [Task(week, question.seed + n, rules) for n in range(question.weeks)]
    ill = {what: _tasks(scenario, question, rules) for what, scenario in bad.items()}
    everything = [*calm, *chain.from_iterable(ill.values())]
    with _pool(jobs) as pool:
        work = _work(pool, everything, jobs)
        on_estimate(_estimate(everything, sum(work) / jobs, jobs))
        found = iter(_run_all(pool, everything, work, on_progress))
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
                **asdict(detected(list(islice(found, len(tasks))), bad[what].fault_at_s)),
            }
            for what, tasks in ill.items()
        ],
        "not_simulated": [
            rule.key
            for rule in rules
            if rule.rule in UNFED
            or (rule.rule in OF_SESSIONS and not question.steps)
            or rule.metric is not None
            or rule.category is not None
            or rule.segment
        ],
    }


def _tasks(scenario: Scenario, question: SimulationQuestion, rules: Sequence[Rule]) -> list[Task]:
    return [Task(scenario, question.seed + n, rules) for n in range(question.runs)]


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A process pool that Ctrl-C ends at once: it terminates the processes, which breaks the pool, and does
    not interrupt the pool's own steps."""
    interrupted = False

    def end(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        for process in active_children():
            process.terminate()

    before = signal.signal(signal.SIGINT, end)
    ignoring = (signal.SIGINT, signal.SIG_IGN)
    try:
        with ProcessPoolExecutor(jobs, initializer=signal.signal, initargs=ignoring) as pool:
            yield pool
    except BrokenProcessPool as broken:
        raise (KeyboardInterrupt if interrupted else Killed(_KILLED)) from broken
    finally:
        signal.signal(signal.SIGINT, before)


def _run_all(
    pool: ProcessPoolExecutor, tasks: Sequence[Task], work: Sequence[float], on_progress: OnProgress
) -> list[Detection]:
    """The tasks' results, in their order."""
    running = dict(zip((pool.submit(play, task) for task in tasks), work, strict=True))
    left, total, done = set(running), sum(work), 0.0
    while left:
        ended, left = wait(left, timeout=PROGRESS_EACH_S, return_when=FIRST_COMPLETED)
        done += sum(running[future] for future in ended)
        on_progress(done, total)
    return [future.result() for future in running]


def _work(pool: ProcessPoolExecutor, tasks: Sequence[Task], jobs: int) -> list[float]:
    """The most seconds that each task may take, extrapolated from short samples, `jobs` at a time."""
    samples = {_sample(task): 0.0 for task in tasks}
    timed = [sample for sample in samples for _ in range(jobs)]
    for sample, took_s in zip(timed, pool.map(_time_of, timed), strict=True):
        samples[sample] = max(samples[sample], took_s)
    return [samples[_sample(task)] * _exchanges(task) / SAMPLE for task in tasks]


def _sample(task: Task) -> Task:
    """The start of the task without its fault, which could end the run early."""
    healthy = replace(task.scenario, candidate=HEALTHY)
    duration_s = SAMPLE / task.scenario.exchanges_per_minute * 60.0
    return Task(replace(healthy, fault_at_s=0.0, duration_s=duration_s), 0, task.rules)


def _exchanges(task: Task) -> float:
    return task.scenario.duration_s / 60.0 * task.scenario.exchanges_per_minute


def _estimate(tasks: Sequence[Task], seconds: float, jobs: int) -> str:
    millions, minutes = sum(_exchanges(task) for task in tasks) / 1e6, seconds / 60.0
    return f"up to {millions:.1f} million exchanges, {jobs} processes: about {minutes:.1f} minutes at most"


def _time_of(task: Task) -> float:
    """The seconds that the task takes on this machine."""
    began = time.perf_counter()
    play(task)
    return time.perf_counter() - began


def _alarms_document(found: Sequence[Detection]) -> dict[str, Any]:
    """Counts, and an upper bound on the share of weeks with a rollback (95 %, Clopper-Pearson)."""
    counted = alarms(found)
    back = sum(counted.rolled_back.values())
    return {
        "weeks": counted.runs,
        "rolled_back": counted.rolled_back,
        "paged": counted.paged,
        "rolled_back_at_most": _at_most(back, counted.runs),
    }


def _at_most(count: int, runs: int) -> float:
    from scipy.stats import beta

    return 1.0 if count >= runs else float(beta.ppf(0.95, count + 1, runs - count))
