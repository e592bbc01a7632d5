"""What a promotion promised of each row of the rubric, and what came while users were held back.

The promise is the interval of the difference, promoted less former, in the report at the promotion. What came
is the same difference while users were held back, at a fixed time, with ends that are each wrong once in 20.

    kept       at its worse end, what came is no worse than the promise at its worse end
    not kept   at its better end, what came is worse than that
    unknown    neither, or one of them is not known: a lack of evidence keeps no promise

So where the truth is no worse than the worse end of the promise, a row is said to be not kept once in 20 at
most; and where it is worse, it is said to be kept once in 20 at most. The held-back arm is the small one:
its few users and events are what the methods for few must look at, so the arms change places.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scipy import special

from common.interval import Interval, Range
from common.numbers import count
from records.facts.metric import Metric, Per
from records.store import Store
from records.store.releases import Releases
from routing.states import Holdback
from verdict.decision.document import Difference, MetricLine, Report, Units
from verdict.rows.margins import contrast
from verdict.rows.reasons import attempt
from verdict.rows.row import condition
from verdict.sample.cohort import from_store
from verdict.sample.observations import observe
from verdict.sample.sample import Sample
from verdict.sample.unit_totals import RunPart
from verdict.statistics.ratio import distinct
from verdict.statistics.types import Ints
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.measures import Unit, per_unit
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Bound, Criterion

WRONG = 0.05
"""How often each end of what came is wrong, at most."""

_REACH = -float(special.ndtri(WRONG))

Kept = Literal["kept", "not_kept", "unknown"]
Why = Literal["", "open", "no_promise", "too_few", "not_judged", "sums_up"]
"""Why it is unknown: the intervals do not tell; nothing was promised; too few users on one side; its values
cannot be judged; it sums up over time, so that two windows of different lengths have different values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisedRow:
    """One row of the rubric. Both intervals are of promoted less former, in the metric's unit. `users` are
    those with a value, held back and promoted."""

    metric: str
    unit: Unit
    per: Per | None
    higher_is_better: bool
    promised: Difference
    came: Range | None
    users: tuple[int, int]
    kept: Kept
    why: Why = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekAfter:
    """What came of a promotion. Times are UTC seconds: users were held back `since`, of whose traffic what
    came after `compared_from` is compared, and `until`, which was `planned_until`. `share` is theirs of the
    units. `ended_by` says what ended it early, and who; "" for nothing."""

    since: float
    compared_from: float
    until: float
    planned_until: float
    share: float
    units: Units
    rows: tuple[PromisedRow, ...]
    ended_by: str = ""

    def count(self, kept: Kept) -> int:
        """The number of these rows."""
        return sum(row.kept == kept for row in self.rows)


def kept(promised: Difference, came: Range | None, *, higher_is_better: bool) -> Kept:
    """Whether the promise was kept. An end that is None is open."""
    worst = promised.low if higher_is_better else promised.high
    if worst is None or came is None:
        return "unknown"
    worse, better = (came.low, came.high) if higher_is_better else (came.high, came.low)
    sign = 1.0 if higher_is_better else -1.0
    if worse is not None and sign * (worse - worst) >= 0:
        return "kept"
    return "not_kept" if better is not None and sign * (better - worst) < 0 else "unknown"


def promises_kept(kept: int, not_kept: int, unknown: int) -> str:
    """How many rows kept their promise, of those of which it is known: unknown is not broken."""
    known = kept + not_kept
    if not known:
        return f"it cannot be told of any of {count(unknown, 'row')} whether it kept what was promised"
    rest = f"; of {unknown} more it cannot be told" if unknown else ""
    return f"{kept} of {count(known, 'row')} kept what was promised{rest}"


def week_after(
    store: Store,
    judged: JudgedCanary,
    run: int,
    held: Holdback,
    promised: Report,
    *,
    until: float,
    ended_by: str = "",
    now: float,
) -> WeekAfter:
    """Set what came of a run beside what the report promised. May raise StoreDown."""
    share, settled_at = _promotion(store, judged.name, run, held)
    # A user who was busy at the promotion came over later, one who is held back never had to.
    cut = [] if settled_at <= held.since else [-(-settled_at // DAY_S) * DAY_S]
    part = RunPart(first=held.phase, before=held.phase + 1, from_day=int(cut[0] // DAY_S) if cut else 0)
    with store.reading() as connection:
        sample = from_store(
            connection,
            judged.name,
            run,
            metrics=["error_rate", "abandoned", *(row.metric for row in judged.criteria)],
            declared=judged.metrics,
            cuts=lambda _candidate_at: cut,
            part=part,
        )
    return WeekAfter(
        since=held.since,
        compared_from=cut[0] if cut else held.since,
        until=until,
        planned_until=held.until,
        ended_by=ended_by if until < held.until else "",
        share=1.0 - share,
        units=Units(
            baseline=distinct(sample.unit[~sample.candidate]),
            candidate=distinct(sample.unit[sample.candidate]),
        ),
        rows=rows_of(sample, judged, promised.metrics, now=now),
    )


def _promotion(store: Store, canary: str, run: int, held: Holdback) -> tuple[float, float]:
    """The candidate's share after the promotion, and when everybody had moved at the latest."""
    acts = (each.after for each in Releases(store).acts(canary) if each.act.action == "promote")
    after = next((each for each in acts if each.run == run and each.holdback is not None), None)
    if after is None:
        return 1.0, held.since
    return after.share, max((hold.until for hold in after.holds), default=held.since)


def rows_of(
    sample: Sample, judged: JudgedCanary, promised: Iterable[MetricLine], *, now: float
) -> tuple[PromisedRow, ...]:
    """Every row of the rubric of which something was promised, by the sample of the time in which users were
    held back. Pure."""
    turned, lines = _turned(sample), {line.metric: line for line in promised}
    return tuple(
        _row(turned, judged, row, lines[row.metric], now) for row in judged.criteria if row.metric in lines
    )


def _turned(sample: Sample) -> Sample:
    return replace(
        sample,
        candidate=~sample.candidate,
        shares={phase: 1.0 - share for phase, share in sample.shares.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Came:
    difference: Range | None
    users: tuple[int, int] = (0, 0)
    why: Why = ""


def _row(turned: Sample, judged: JudgedCanary, row: Criterion, line: MetricLine, now: float) -> PromisedRow:
    higher = row.acceptable.higher_is_better

    def unknown(why: str) -> _Came:
        return _Came(difference=None, why="not_judged")

    came = attempt(f"what came of {row.metric}", lambda: _came(turned, judged, row, now), unknown)
    found = kept(line.difference, came.difference, higher_is_better=higher)
    worst = line.difference.low if higher else line.difference.high
    why: Why = "" if found != "unknown" else came.why or ("no_promise" if worst is None else "open")
    return PromisedRow(
        metric=row.metric,
        unit=line.unit,
        per=line.per,
        higher_is_better=higher,
        promised=line.difference,
        came=came.difference,
        users=came.users,
        kept=found,
        why=why,
    )


def _came(turned: Sample, judged: JudgedCanary, row: Criterion, now: float) -> _Came:
    """Promoted less held back. In `turned` the held-back arm stands for the candidate, so the bound that
    orients the margin is turned, too."""
    higher = row.acceptable.higher_is_better
    level = Bound(comparison="<=" if higher else ">=", text="", relative=True)
    if _sums_up(row.metric, judged.metrics.get(row.metric)):
        return _Came(difference=None, why="sums_up")
    observed = observe(turned, row.metric, judged.metrics, now=now)
    found = contrast(turned, observed)
    users = _with_value(turned, observed.row)
    if found is None or not found.enough(level):
        return _Came(difference=None, users=users, why="too_few")
    plain = replace(row, acceptable=level, assisted=False)
    held = condition(plain, turned, observed, judged.metrics, enough=True, events=found.sums.events)
    if held is not None:
        return _Came(difference=None, users=users, why="not_judged")
    margin = found.margin(level)
    worse, middle, better = margin.low(_REACH), margin.estimate, margin.high(_REACH)
    low, estimate, high = (worse, middle, better) if higher else (-better, -middle, -worse)
    return _Came(difference=Interval(low=low, estimate=estimate, high=high).shown(), users=users)


def _sums_up(name: str, metric: Metric | None) -> bool:
    """True for a metric whose value of a user grows with time."""
    of_user = metric is not None and metric.per == "user" and metric.is_event
    return per_unit(name) or (of_user and metric is not None and metric.matures_after_s == 0)


def _with_value(turned: Sample, rows: Ints) -> tuple[int, int]:
    held = turned.candidate[rows]
    return distinct(turned.unit[rows[held]]), distinct(turned.unit[rows[~held]])


# How often promises held, over all releases with a week after.


NEEDED = 5
"""The fewest releases of which more than their number is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisesHeld:
    """The rows of these releases. The counts are None below `needed` releases."""

    releases: int
    needed: int
    rows: int | None = None
    kept: int | None = None
    not_kept: int | None = None
    unknown: int | None = None


def promises_held(found: Sequence[tuple[Hashable, WeekAfter]]) -> PromisesHeld:
    """Count the rows of every week after, one a run, each with what tells its release from others."""
    releases, weeks = len({release for release, _ in found}), [each for _, each in found]
    if releases < NEEDED:
        return PromisesHeld(releases=releases, needed=NEEDED)
    return PromisesHeld(
        releases=releases,
        needed=NEEDED,
        rows=sum(len(each.rows) for each in weeks),
        kept=sum(each.count("kept") for each in weeks),
        not_kept=sum(each.count("not_kept") for each in weeks),
        unknown=sum(each.count("unknown") for each in weeks),
    )
