"""Candidates of one release window beside each other, each by its own report against its own baseline.

They are not compared with each other: a row is what its canary's report says, and the order is that of the
verdicts, then of the scores. Candidates whose scores' intervals overlap are not told apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from records.store import Store
from routing.canary import Arm
from routing.states import State
from verdict.decision.document import Report, Verdict
from verdict.decision.reports import judged_canary, report_of
from verdict.terms.judged_canary import JudgedCanary, ReportSettings

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
    def rows(self) -> tuple[tuple[str, str, str, float], ...]:
        """Its rubric's rows: metric, acceptable and ideal bound, weight."""
        lines = self.report.metrics
        return tuple(sorted((each.metric, each.acceptable, each.ideal, each.weight) for each in lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """The candidates in their order, and the metrics of the rows that all their rubrics have.

    `alike` are the pairs of names that are not told apart.
    """

    candidates: Sequence[CandidateStanding]
    metrics: Sequence[str]
    alike: Sequence[tuple[str, str]]

    @property
    def one_rubric(self) -> bool:
        """True if all rubrics have the same rows."""
        return len({each.rows for each in self.candidates}) == 1

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
        rolled_back=known is not None and store.was_rolled_back(name, known.state),
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
    return overlap or one.rows != other.rows


def at_the_same_time(one: Report, other: Report) -> bool:
    """True if the windows overlap by half of the longer one, or one has no traffic yet."""
    mine, theirs = one.window, other.window
    if mine.start is None or mine.end is None or theirs.start is None or theirs.end is None:
        return True
    shared = min(mine.end, theirs.end) - max(mine.start, theirs.start)
    return shared >= max(mine.end - mine.start, theirs.end - theirs.start) / 2
