"""What rules have counted in a run, and since when an incident counts it. For people: no rule decides by it.

While a rule calls for a person, rules count from the same moment: that at which the evidence of the one that
called first began to grow. Every surface says these figures, so none of them disagree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from alerts.wording import clock
from common.clock import Utc

USERS = 5_000
"""Users of bad outcomes that are known by name; of more, the newest."""
MARKS = 24


class RuleCounts(NamedTuple):
    """Both arms' outcomes in a run, and how many were bad. `silent`: those of the candidate's bad ones that
    had no answer, or stalled."""

    outcomes: int = 0
    bad: int = 0
    baseline_outcomes: int = 0
    baseline_bad: int = 0
    silent: int = 0

    def after(self, before: "RuleCounts") -> "RuleCounts":
        """What has come since there were `before`."""
        return RuleCounts(*(max(0, now - then) for now, then in zip(self, before, strict=True)))


@dataclass(slots=True)
class HarmedUsers:
    """The users of a rule's bad outcomes in a run, JSON-able: by user, which of those outcomes was the user's
    newest, counted from 1."""

    newest: dict[str, int] = field(default_factory=dict)
    bad: int = 0

    def add(self, unit: str) -> None:
        """Add the next bad outcome."""
        self.bad += 1
        self.newest.pop(unit, None)
        self.newest[unit] = self.bad
        if len(self.newest) > USERS:
            del self.newest[next(iter(self.newest))]

    def after(self, bad: int) -> int:
        """The users of the bad outcomes after the first so many."""
        return sum([each > bad for each in self.newest.values()])


@dataclass(frozen=True, slots=True)
class CountStart:
    """From where on an incident counts a rule's outcomes: UTC seconds, in words, and what came before."""

    since: Utc
    words: str
    before: RuleCounts


@runtime_checkable
class CountingRule(Protocol):
    """A rule that counts outcomes. `counts` are those of the whole run. From a start on, its status has what
    came since then."""

    def counts(self) -> RuleCounts: ...

    def count_from(self, start: CountStart | None) -> None: ...


def figures_since(start: CountStart, counts: RuleCounts, harmed: HarmedUsers) -> dict[str, float]:
    """The figures of a status from `start` on."""
    found = counts.after(start.before)
    return {
        "since": start.since,
        "outcomes": float(found.outcomes),
        "bad": float(found.bad),
        "baseline_outcomes": float(found.baseline_outcomes),
        "baseline_bad": float(found.baseline_bad),
        "adverse_units": float(harmed.after(start.before.bad)),
    }


class CountMark(NamedTuple):
    """What every rule had counted at UTC `at`, in the order of the rules, and how many of the candidate's
    exchanges had failed. Since UTC `began` nothing bad had come."""

    began: Utc
    at: Utc
    counts: tuple[RuleCounts, ...]
    failing: int


@dataclass(slots=True)
class IncidentStart:
    """From where on rules about one thing count an incident, JSON-able: UTC seconds, and what each rule had
    counted before, and the failing exchanges."""

    since: Utc
    before: dict[str, RuleCounts]
    failing: int


@dataclass(slots=True)
class Incidence:
    """The moments from which an incident may count, and those from which one does, JSON-able.

    `rules` are the keys of the rules that the marks have. Of old marks, every other one is dropped: the first
    is of the run's beginning. `starts` are by what the rules are about, the first one's first: what begins to
    fail while an incident about something else is open counts from its own beginning. `risen` says since when
    each rule is seen to have evidence.
    """

    rules: tuple[str, ...] = ()
    marks: list[CountMark] = field(default_factory=list)
    starts: dict[str, IncidentStart] = field(default_factory=dict)
    risen: dict[str, Utc] = field(default_factory=dict)

    def rise(self, evidence: Mapping[str, float], at: Utc) -> None:
        """Note the logarithm of each rule's evidence since it last looked healthy, at UTC `at`."""
        self.risen = {key: self.risen.get(key, at) for key, proof in evidence.items() if proof > 0.0}

    def note(self, counts: Mapping[str, RuleCounts], failing: int, at: Utc) -> None:
        """Note what every rule has counted at UTC `at`."""
        now = tuple(counts.values())
        if self.rules != tuple(counts):
            none = CountMark(Utc(0.0), Utc(0.0), (RuleCounts(),) * len(now), 0)
            self.marks = [] if self.rules else [none]
            self.rules = tuple(counts)
        last = self.marks[-1] if self.marks else None
        quiet = last is not None and last.failing == failing and _same(last.counts, now)
        self.marks.append(CountMark(self.marks.pop().began if quiet else at, at, now, failing))
        if len(self.marks) > MARKS:
            self.marks = [*self.marks[: MARKS // 2 : 2], *self.marks[MARKS // 2 :]]

    def begin(self, about: str, rising: Utc) -> None:
        """Let rules about this count from the last moment before UTC `rising` at which nothing bad had come
        yet."""
        before = [each for each in self.marks if each.began < rising]
        mark = before[-1] if before else self.marks[0]
        since = mark.at if mark.at and mark.began >= rising else min(rising, mark.at or rising)
        self.starts[about] = IncidentStart(
            Utc(since), dict(zip(self.rules, mark.counts, strict=True)), mark.failing
        )

    def start_of(self, about: str) -> IncidentStart | None:
        """Where rules about this count from: with the incident, unless it began later."""
        return self.starts.get(about) or next(iter(self.starts.values()), None)

    def start(self, key: str, about: str, now: Utc | None) -> CountStart | None:
        """From where on the rule of this key counts, at UTC `now`; None for the whole run."""
        found = self.start_of(about)
        before = found.before.get(key) if found is not None else None
        if found is None or before is None or now is None:
            return None
        return CountStart(found.since, f"since {clock(found.since, now)}", before)

    def end(self) -> None:
        """Count the whole run again."""
        self.starts = {}


def _same(before: Sequence[RuleCounts], now: Sequence[RuleCounts]) -> bool:
    """True if nothing bad has come of the candidate, or of the baseline."""
    return all(
        (one.bad, one.baseline_bad) == (other.bad, other.baseline_bad)
        for one, other in zip(before, now, strict=True)
    )
