"""Candidates of one release window beside each other, each by its own report against its own baseline.

They are not compared with each other: a row is what its canary's report says, and the order is that of the
verdicts, then of the scores. Candidates whose scores' intervals overlap are not told apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from records.interval import Range
from records.store import Store
from records.store.rollbacks import was_rolled_back
from report.document import MetricLine, Report, Verdict
from report.judged_canary import JudgedCanary, ReportSettings
from report.reports import judged_canary, report_of
from report.wording import count, joined
from routing.canary import Arm
from routing.plan import State

NOT_COMPARED = (
    "Each candidate was compared with its own baseline, over its own users. The candidates were not compared "
    "with each other: that one stands before another does not say that it is better."
)
_ORDER: Sequence[Verdict] = ("ship_now", "ship", "ship_with_caveats", "extend", "dont_ship")


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateStanding:
    """One candidate with its report. `lane` is its canary's part of the units, None: all, 0: refused, since
    other canaries have all. `rolled_back` is that of this run."""

    report: Report
    state: str
    candidate: Arm | None
    baseline: Arm | None
    lane: float | None = None
    rolled_back: bool = False

    @property
    def name(self) -> str:
        """The canary's name."""
        return self.report.canary

    @property
    def saved(self) -> Range | None:
        """Dollars saved a month at full rollout, below 0 for more spent; None if it cannot be told."""
        money = self.report.details.money
        if money is None or self.report.details.unknown_costs is not None:
            return None
        cost = money.difference_usd
        return Range(low=_negated(cost.high), estimate=-cost.estimate, high=_negated(cost.low))


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """The candidates in their order, and the metrics of the rows that all their rubrics have.

    `alike` are the pairs of names that are not told apart. `warnings` say what makes the rows hard to set
    beside each other.
    """

    candidates: Sequence[CandidateStanding]
    metrics: Sequence[str]
    alike: Sequence[tuple[str, str]]
    warnings: Sequence[str]

    @property
    def one_rubric(self) -> bool:
        """True if all rubrics have the same rows."""
        return len({_rows(each) for each in self.candidates}) == 1

    def alike_to(self, name: str) -> list[str]:
        """The names from which this one is not told apart."""
        return [one if other == name else other for one, other in self.alike if name in (one, other)]


def compare_from_store(
    settings: ReportSettings, names: Sequence[str], store: Store, *, now: float
) -> SideBySide:
    """Report on each canary and set them side by side. Raises ValueError for fewer than two different names,
    and what `report_of` raises."""
    if len(set(names)) < 2:
        raise ValueError("name two canaries or more to compare")
    return side_by_side([_standing(settings, name, store, now=now) for name in dict.fromkeys(names)])


def _standing(settings: ReportSettings, name: str, store: Store, *, now: float) -> CandidateStanding:
    judged, known = judged_canary(settings, name, store), store.states().get(name)
    return CandidateStanding(
        report=report_of(settings, name, store, now=now),
        state=known.state.state if known is not None else "waiting",
        candidate=judged.candidate,
        baseline=judged.baseline,
        lane=_lane(settings, name, known.state if known is not None else None),
        rolled_back=known is not None and was_rolled_back(store, name, known.state),
    )


def _lane(settings: ReportSettings, name: str, state: State | None) -> float | None:
    """The canary's part of the units. One that waits without a lane has all only where none else shares its
    requests."""
    if state is not None and state.lane is not None:
        return state.lane.part
    if state is None or state.state != "waiting":
        return None
    others = [each for other, each in settings.canaries.items() if other != name]
    return 0.0 if any(_meet(settings.canaries[name], each) for each in others) else None


def _meet(one: JudgedCanary, other: JudgedCanary) -> bool:
    """True when one request could be taken by both."""
    if one.baseline is None or one.match is None or other.baseline is None or other.match is None:
        return False
    return one.baseline.provider == other.baseline.provider and one.match.overlaps(other.match)


def side_by_side(found: Sequence[CandidateStanding]) -> SideBySide:
    """Order the candidates, and say what is to be said of each pair. Pure."""
    candidates = sorted(found, key=_rank)
    return SideBySide(
        candidates=candidates,
        metrics=_common(candidates),
        alike=[(one.name, other.name) for one, other in combinations(candidates, 2) if _alike(one, other)],
        warnings=list(_warnings(candidates)),
    )


def _rank(standing: CandidateStanding) -> tuple[int, float, str]:
    score = standing.report.score.estimate
    return _ORDER.index(standing.report.verdict), -1.0 if score is None else -score, standing.name


def _common(candidates: Sequence[CandidateStanding]) -> list[str]:
    """The metrics that every rubric has a row on, in the first one's order."""
    rubrics = [[line.metric for line in each.report.metrics] for each in candidates]
    return [metric for metric in rubrics[0] if all(metric in rubric for rubric in rubrics)]


def _alike(one: CandidateStanding, other: CandidateStanding) -> bool:
    """True for candidates of one verdict whose scores overlap, or answer different questions."""
    if one.report.verdict != other.report.verdict:
        return False
    mine, theirs = one.report.score, other.report.score
    overlap = mine.low <= theirs.high and theirs.low <= mine.high
    return overlap or _rows(one) != _rows(other)


def _warnings(candidates: Sequence[CandidateStanding]) -> Iterator[str]:
    yield from (
        f"{each.name} was rolled back: users no longer get it, and its window ended then."
        for each in candidates
        if each.rolled_back
    )
    yield from (
        f"{each.name} is promoted: everybody{'' if each.lane is None else ' in its lane'} gets it."
        for each in candidates
        if each.state == "promoted"
    )
    yield from (
        f"{each.name} gets no lane: other canaries have all users of these requests."
        for each in candidates
        if each.lane == 0.0
    )
    yield from (f"{each.name} has no traffic yet." for each in candidates if each.report.window.start is None)
    yield from _of_windows(candidates)
    yield from _of_rubrics(candidates)
    baselines = {each.name: each.baseline for each in candidates}
    if len({_words(arm) for arm in baselines.values()}) > 1:
        listed = joined([f"{name} against {_words(arm)}" for name, arm in baselines.items()])
        yield f"The baselines differ: {listed}. The differences are not from the same model."


def _of_windows(candidates: Sequence[CandidateStanding]) -> Iterator[str]:
    apart = [
        f"{one.name} with {other.name}"
        for one, other in combinations(candidates, 2)
        if not _at_the_same_time(one.report, other.report)
    ]
    if apart:
        yield (
            f"Windows that overlap by less than half of the longer one: {'; '.join(apart)}. What happened "
            "outside the overlap is in one figure and not in the other."
        )


def _at_the_same_time(one: Report, other: Report) -> bool:
    """True if the windows overlap by half of the longer one, or one has no traffic yet."""
    mine, theirs = one.window, other.window
    if mine.start is None or mine.end is None or theirs.start is None or theirs.end is None:
        return True
    shared = min(mine.end, theirs.end) - max(mine.start, theirs.start)
    return shared >= max(mine.end - mine.start, theirs.end - theirs.start) / 2


def _of_rubrics(candidates: Sequence[CandidateStanding]) -> Iterator[str]:
    if len({each.report.rubric_sha256 for each in candidates}) == 1:
        return
    if len({_rows(each) for each in candidates}) == 1:
        yield "The rubrics have the same rows, but different plans: days, minimum days, units or risk."
        return
    kept = set(_common(candidates))
    gone = {line.metric for each in candidates for line in each.report.metrics if line.metric not in kept}
    left = f" {count(len(gone), 'metric')} left out: {', '.join(sorted(gone))}." if gone else ""
    yield (
        "The rubrics differ: only metrics that all of them have are shown, each by its own bounds, and no "
        f"scores are told apart.{left}"
    )


def _rows(standing: CandidateStanding) -> tuple[tuple[str, str, str, float], ...]:
    lines = standing.report.metrics
    return tuple(sorted((each.metric, each.acceptable, each.ideal, each.weight) for each in lines))


def line_of(standing: CandidateStanding, metric: str) -> MetricLine:
    """The candidate's row on a metric that its rubric has."""
    return next(line for line in standing.report.metrics if line.metric == metric)


def model_words(arm: Arm | None) -> str:
    """openai/gpt-5.2, or that it is unknown."""
    return "an unknown model" if arm is None else f"{arm.provider}/{arm.model}"


def _words(arm: Arm | None) -> str:
    """The model, and whether its requests are changed."""
    changed = " with its requests changed" if arm is not None and arm.request else ""
    return f"{model_words(arm)}{changed}"


def _negated(value: float | None) -> float | None:
    return None if value is None else -value
