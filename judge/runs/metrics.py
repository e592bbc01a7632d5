"""What the judge says and costs, as Prometheus families read after a scrape, at most once a minute."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, get_args

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from sqlalchemy import Row, case, func, select, tuple_

from judge.judgements import Judgements, counted
from judge.runs.job import Reason
from judge.terms import Kind
from records.exports.prometheus import after_scrapes
from records.store import Store, tables

PAIRS = ("candidate", "baseline", "tie", "no_mark")
ANSWERS = ("mark", "no_mark")
ARMS = ("baseline", "candidate")
_BY_ARM, _BY_RESULT = ("canary", "arm"), ("canary", "arm", "result")
REASONS = tuple(reason.replace(" ", "_") for reason in get_args(Reason) if reason)
"""Why the judge may pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeStatus:
    """The configured judge: its dollars a UTC day, and why it pauses, "" while it works."""

    budget_usd: float
    paused: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCounts:
    """What the newest judge said, with its newest words, in a canary's newest judged run: pairs by result,
    answers and sessions by arm and result, the mean mark of each by arm (absent without marks), and the share
    of sessions whose task was done."""

    canary: str
    pairs: Mapping[str, int]
    answers: Mapping[tuple[str, str], int]
    marks: Mapping[str, float]
    sessions: Mapping[tuple[str, str], int]
    session_marks: Mapping[str, float]
    sessions_done: Mapping[str, float]


class JudgeMetrics(Collector):
    """The judge and the canaries of the config. Only the leader reads and shows them.

    `standing` is None while no judge is configured. Belongs to the event loop's thread; the store is read in
    another.
    """

    def __init__(
        self,
        store: Store,
        leads: Callable[[], bool],
        *,
        canaries: Callable[[], Collection[str]],
        standing: Callable[[], JudgeStatus | None],
    ) -> None:
        self._store, self._leads = store, leads
        self._canaries, self._standing = canaries, standing
        self._scraped = asyncio.Event()
        self._counts: Sequence[JudgedCounts] = ()
        self._spent_usd: float | None = None

    def collect(self) -> Iterator[Family]:
        """Every family, for prometheus-client, as of the last reading."""
        self._scraped.set()
        if self._leads():
            canaries = self._canaries()
            yield from families([each for each in self._counts if each.canary in canaries])
            yield from judge_families(self._standing(), self._spent_usd)

    async def run(self) -> None:
        """Read after a scrape, at most once a minute, without end."""
        await after_scrapes(self._scraped, self._leads, self._read, "judge.not_read")

    async def _read(self) -> None:
        self._counts = await asyncio.to_thread(read, self._store)
        self._spent_usd = await asyncio.to_thread(Judgements(self._store).spent, time.time())


def read(store: Store) -> list[JudgedCounts]:
    """The newest judged run of every canary, as its report counts it. May raise StoreDown."""
    table = tables.judgements.c
    newest = select(table.canary, func.max(table.run)).group_by(table.canary)
    of = counted(tuple_(table.canary, table.run).in_(newest)).c
    same = (of.canary, of.kind, of.arm, of.result)
    done = func.avg(case((of.done.is_(None), None), (of.done, 1.0), else_=0.0))
    query = (
        select(*same, func.count().label("number"), func.avg(of.mark).label("mean"), done.label("done"))
        .group_by(*same)
        .order_by(of.canary)
    )
    with store.asking() as connection:
        rows = connection.execute(query).all()
    return [
        _counts(canary, list(of_canary)) for canary, of_canary in groupby(rows, lambda row: str(row.canary))
    ]


def _counts(canary: str, rows: Sequence[Row[*tuple[Any, ...]]]) -> JudgedCounts:
    return JudgedCounts(
        canary=canary,
        pairs={row.result: row.number for row in rows if row.kind == "pair"},
        answers=_by_result(rows, "answer"),
        marks=_marks(rows, "answer"),
        sessions=_by_result(rows, "session"),
        session_marks=_marks(rows, "session"),
        sessions_done={row.arm: float(row.done) for row in rows if row.done is not None},
    )


def _by_result(rows: Sequence[Row[*tuple[Any, ...]]], kind: Kind) -> Mapping[tuple[str, str], int]:
    return {(row.arm, row.result): row.number for row in rows if row.kind == kind}


def _marks(rows: Sequence[Row[*tuple[Any, ...]]], kind: Kind) -> Mapping[str, float]:
    return {row.arm: row.mean for row in rows if row.kind == kind and row.mean is not None}


def families(counts: Sequence[JudgedCounts]) -> Iterator[Family]:
    """The families of what was judged. A canary without a judgement of a kind has no sample of it."""
    pairs = GaugeMetricFamily("canary_judged_pairs", "Pairs by result", labels=("canary", "result"))
    by_result = {
        "answers": GaugeMetricFamily("canary_judged_answers", "Single answers by result", labels=_BY_RESULT),
        "sessions": GaugeMetricFamily(
            "canary_judged_sessions", "Whole sessions by result", labels=_BY_RESULT
        ),
    }
    by_arm = {
        "marks": GaugeMetricFamily("canary_judged_mark", "Mean mark, 1 to 5", labels=_BY_ARM),
        "session_marks": GaugeMetricFamily("canary_judged_session_mark", "Mean mark, 1 to 5", labels=_BY_ARM),
        "sessions_done": GaugeMetricFamily(
            "canary_judged_session_done", "Share of sessions whose task was done", labels=_BY_ARM
        ),
    }
    for each in counts:
        for result in PAIRS if each.pairs else ():
            pairs.add_metric((each.canary, result), each.pairs.get(result, 0))
        for member, family in by_result.items():
            known = getattr(each, member)
            for arm, result in ((arm, result) for arm in ARMS for result in ANSWERS if known):
                family.add_metric((each.canary, arm, result), known.get((arm, result), 0))
        for member, family in by_arm.items():
            for arm, value in getattr(each, member).items():
                family.add_metric((each.canary, arm), value)
    yield from (pairs, *by_result.values(), *by_arm.values())


def judge_families(standing: JudgeStatus | None, spent_usd: float | None) -> Iterator[Family]:
    """The families of the judge itself: without samples where no judge is configured, or nothing was read."""
    cost = GaugeMetricFamily("canary_judge_cost_usd", "Dollars of this UTC day")
    budget = GaugeMetricFamily("canary_judge_budget_usd", "Dollars that a UTC day may cost")
    paused = GaugeMetricFamily("canary_judge_paused", "1 while it pauses for this reason", labels=("reason",))
    if standing is not None:
        budget.add_metric((), standing.budget_usd)
        for reason in REASONS:
            paused.add_metric((reason,), float(reason == standing.paused))
        if spent_usd is not None:
            cost.add_metric((), spent_usd)
    yield from (cost, budget, paused)
