"""Why a verdict is what it is: a class for each kind of reason. `pages.words.reasons` has the sentences.

A reason holds what the report's own lines do not: the sentence on a row takes the row's figures from there.
`acceptable` is the row's bound as written: a metric may have several rows.
"""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import numpy as np
import structlog

from common.interval import Range
from records.errors import StoreDown
from routing.canary import ArmName
from verdict.details import CacheHits, SinceFirst, Throttled
from verdict.rows.days import DayFinding
from verdict.rows.reading import OneUnit
from verdict.sample.observations import MissingShare
from verdict.sample.sample import Outage
from verdict.statistics.types import NO_NUMBER, NotComputed
from verdict.terms.judged_canary import RunRolledBack
from verdict.terms.plan import ShareChange

if TYPE_CHECKING:
    from records.store.drift import ModelChange


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReason:
    """A reason of a stored report, in the words of its time."""

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOff:
    """The split of users does not match the share: the sample-ratio check."""

    p_value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitNotChecked:
    """The split could not be checked; `assigned_outside`: because a flag system assigned the users."""

    assigned_outside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRun:
    """Nobody has tried the candidate in this run, and so many `users` have in an earlier one."""

    run: int
    users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRubric:
    """The canary has no row to judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreached:
    """The candidate's exchanges that did not reach it though it is not to blame, counted by error type, of
    all its exchanges."""

    found: Mapping[str, int]
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverQuota:
    """The candidate's requests that its provider throttled; the baseline answered them."""

    found: Throttled


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMissed:
    """A row whose interval is entirely on the wrong side. `now_worse_than`: who outweighed it, before it
    became worse than was likely then; `undecided_for`: who outweighed it while it was undecided."""

    metric: str
    acceptable: str
    now_worse_than: str = ""
    undecided_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartWorse:
    """A metric in a value of the tag `by` (None: the category) that is worse, by an interval or an estimate
    (`low` and `high` None).

    `interval`: its ends are told, None for an open one. `exact_users`: the candidate's users, where the exact
    test tells it. `shown_on`: the day of the look that found it. `below_floor`: it misses an absolute bound.
    `now_worse_than` as in RowMissed.
    """

    by: str | None
    value: str
    metric: str
    estimate: float | None
    low: float | None
    high: float | None
    interval: bool
    exact_users: int | None
    shown_on: int | None = None
    below_floor: bool = False
    now_worse_than: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorseInParts:
    """A metric that is worse in parts that do not block."""

    metric: str
    parts: tuple[PartWorse, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundMissedInParts:
    """A metric that misses its acceptable bound in parts that do not block."""

    metric: str
    acceptable: str
    parts: tuple[PartWorse, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissesOutweighed:
    """The misses, and what is undecided, by name (`verdict.decision.decide`), that a person outweighed."""

    who: str
    why: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowNotComputed:
    """A row, or a part of it, of which nothing can be computed, and why; `day`: not at the look of this day,
    the latest."""

    metric: str
    why: str
    by: str | None = None
    value: str | None = None
    day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostsUnknown:
    """A row that stays open because too many costs are not known."""

    metric: str
    share: MissingShare


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAgainst:
    """A judge's own preference whose whole interval is beyond the acceptable bound of its row: so many of so
    many pairs `lost`, and the candidate's share."""

    lost: int
    pairs: int
    share: Range
    acceptable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsWanted:
    """A row on what people prefer of which too few `labels` count, or one that a judge assists with too few
    ratings of what it marked. `enough`: its users are there, and labels are all that is missing. `against`:
    the judge's own word, where that is clear."""

    metric: str
    labels: int
    enough: bool
    against: JudgeAgainst | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OneSided:
    """A row on opinions of which nobody in either arm ever gave the other value: only `said` was sent."""

    metric: str
    said: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TooFewEvents:
    """A row on the cost of an event that happened too rarely, or a critical part of it: so often in the arm
    that has fewer."""

    metric: str
    event: str
    arm: Literal["candidate", "baseline"]
    events: int
    by: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TooFewUsers:
    """A row without data: the users of the arm that lacks them, and the effective number behind its value."""

    metric: str
    acceptable: str
    arm: Literal["candidate", "baseline"]
    users: int
    carrying: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OneUser:
    """A row that one user alone would decide, or keeps from being decided: no user may."""

    metric: str
    acceptable: str
    found: OneUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOpen:
    """A row that is undecided. `heavy`: without a plan, more than a fifth of its variance is one user's."""

    metric: str
    acceptable: str
    heavy: bool = False


FewerUsers: TypeAlias = tuple[str, Literal["candidate", "baseline"], int]
"""A metric, an arm, and its effective number of users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartUnseen:
    """A critical part without any exchange."""

    by: str | None
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTooFew:
    """A critical part with too few users: by metric, the effective users of the arm that has fewer."""

    by: str | None
    value: str
    users: tuple[FewerUsers, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTooWide:
    """A critical part in which these metrics may still miss their bound by twice its room."""

    by: str | None
    value: str
    users: tuple[FewerUsers, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanUsedUp:
    """The plan and its extension are over, with these rows open."""

    open: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotExpected:
    """The plan will not decide in the candidate's favour: even if its true value is halfway between the
    bounds, this row's chance to pass by the last look is small."""

    metric: str
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysMissing:
    """Too few whole days of candidate traffic; `more` are still to come."""

    done: int
    required: float
    more: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnotherRubric:
    """The rubric is not the one that was fixed before the run (None: none was). `retro`: it was chosen after
    the run. `judged`: a row is on a judge's word."""

    fixed: str | None
    used: str
    retro: bool
    judged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskTaken:
    """Rows with a high risk. A candidate that misses the bound by `miss` standard errors of `day` still ships
    1 time in 20; `misses` are those in the metrics' units, as far as they have data."""

    risk: float
    metrics: tuple[str, ...]
    miss: float
    day: int
    misses: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareChanged:
    """The share was changed by hand when results could be seen."""

    change: ShareChange


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundMoved:
    """An arm's model changed under its name on this day of the run, from 1 on."""

    arm: ArmName
    change: "ModelChange"
    day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnevenlyAbandoned:
    """Callers abandon requests more often in one arm; these metrics lack them."""

    share: MissingShare
    lacking: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheDiffers:
    """The arms' shares of cached input tokens differ, and with them these metrics on costs."""

    metrics: tuple[str, ...]
    hits: CacheHits


@dataclass(frozen=True, slots=True, kw_only=True)
class UnequalResponse:
    """One arm's users give a value more often: the candidate's and the baseline's rate, compared in so many
    phases. `ends`: the difference in the worst and the best case of the missing values, None if unknown."""

    metric: str
    acceptable: str
    rates: tuple[float, float]
    phases: int
    p_value: float
    ends: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysDecide:
    """A row that would pass but for what its days show."""

    metric: str
    acceptable: str
    found: DayFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageLeftOut:
    """Hours in which the baseline had an outage, which count for neither arm."""

    outage: Outage


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceDecides:
    """A row on an opinion that would pass but for those who gave none: how many a user of the candidate and
    of the baseline gave, as if both had made as many requests, compared in so many phases."""

    metric: str
    acceptable: str
    rates: tuple[float, float]
    phases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotByUsers:
    """A row that is decided by its exchanges, or sessions, and would not be if each user counted once: the
    arms' values then, and by their short hashes the users of the candidate, at most three, who move its value
    most, with their part of what is counted."""

    metric: str
    acceptable: str
    candidate: float
    baseline: float | None
    users: tuple[str, ...]
    part: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyUser:
    """A user, by the short hash, with this part of the candidate's requests."""

    user: str
    part: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficDiffers:
    """The requests of a user differ between the arms: their means, compared in so many phases."""

    candidate: float
    baseline: float
    phases: int
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsDiffer:
    """The sessions of a user differ between the arms, and this row counts by the session: the candidate's and
    the baseline's sessions of a user, and what a user has of the metric, compared in so many phases."""

    metric: str
    acceptable: str
    sessions: tuple[float, float]
    by_user: tuple[float, float]
    phases: int
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsEndEarly:
    """The candidate's sessions are far smaller than the baseline's, and no row says that tasks were done all
    the same: what a session has of `metric` in both arms, compared in so many phases. `p_value` holds at any
    time."""

    metric: Literal["session_exchanges", "session_tokens"]
    candidate: float
    baseline: float
    phases: int
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitsNotUsers:
    """The units are sessions or requests, not users. So many have `known` users: `users` of them, each of
    which counts as one. `sure`: not only by the looks of a log. `fleeting`: by none that comes back, as users
    do."""

    of: Literal["session", "request"]
    units: int
    known: int
    users: int
    sure: bool
    fleeting: bool = False

    @property
    def understated(self) -> bool:
        """True if wrong verdicts are likelier than the risk says: one person is several units."""
        return self.sure and self.known < self.units


@dataclass(frozen=True, slots=True, kw_only=True)
class LateFeedback:
    """Feedback that comes late: looks count only what had so many days for it."""

    metric: str
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectFades:
    """The difference of a metric changes with a user's time."""

    since: SinceFirst


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsIdeal:
    """The rows that are ideal."""

    metrics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsAcceptable:
    """The rows that pass, and those of them that may be ideal."""

    metrics: tuple[str, ...]
    may_be_ideal: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FewDaysRequired:
    """The config asks for less than a week, and perhaps for fewer days than a real decision needs."""

    days: float
    needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Capped:
    """The amounts of a metric that were cut."""

    metric: str
    acceptable: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InBothArms:
    """The users, of those who had the candidate, to whom a flag system gave both arms."""

    users: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NobodyRead:
    """No user, no judge and no labeller has read what the candidate answered."""


Detail = Literal[
    "over_time",
    "by_day",
    "judge",
    "looks",
    "spreads",
    "failures",
    "money",
    "where",
    "benchmark",
    "cache_hits",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A detail, some of them of one metric, that could not be made."""

    detail: Detail
    why: str
    metric: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEnds:
    """The log ends on a day, at this UTC second, before its look, that of `day`."""

    at: float
    day: int


Reason: TypeAlias = (
    StoredReason
    | SplitOff
    | SplitNotChecked
    | RunRolledBack
    | EarlierRun
    | NoRubric
    | Unreached
    | OverQuota
    | RowMissed
    | PartWorse
    | WorseInParts
    | BoundMissedInParts
    | MissesOutweighed
    | RowNotComputed
    | CostsUnknown
    | LabelsWanted
    | OneSided
    | TooFewEvents
    | TooFewUsers
    | OneUser
    | RowOpen
    | PartUnseen
    | PartTooFew
    | PartTooWide
    | PlanUsedUp
    | NotExpected
    | DaysMissing
    | AnotherRubric
    | RiskTaken
    | ShareChanged
    | GroundMoved
    | UnevenlyAbandoned
    | CacheDiffers
    | UnequalResponse
    | NotByUsers
    | BusyUser
    | SessionsDiffer
    | SessionsEndEarly
    | TrafficDiffers
    | UnitsNotUsers
    | LateFeedback
    | EffectFades
    | DaysDecide
    | OutageLeftOut
    | SilenceDecides
    | RowsIdeal
    | RowsAcceptable
    | FewDaysRequired
    | Capped
    | InBothArms
    | NobodyRead
    | LeftOut
    | LogEnds
)
"""One reason."""


# Makes the parts of a report one by one: one that cannot be computed never takes the others along.


log = structlog.get_logger()

_Part = TypeVar("_Part")
_Else = TypeVar("_Else")


def attempt(what: str, make: Callable[[], _Part], otherwise: Callable[[str], _Else]) -> _Part | _Else:
    """The part, or `otherwise` of the reason in words; `what` names the part in the log.

    A store that does not answer is no fault of the part: StoreDown goes on. Values of which nothing can be
    computed are logged in a line, anything else with its trace.
    """
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            return make()
    except StoreDown:
        raise
    except (NotComputed, FloatingPointError) as problem:
        why = str(problem) if isinstance(problem, NotComputed) else NO_NUMBER
        log.warning("report.not_computed", part=what, problem=why)
        return otherwise(why)
    except Exception as problem:
        log.error("report.not_computed", part=what, problem=str(problem), trace=traceback.format_exc())
        why = f"{type(problem).__name__}: {problem}"
        return otherwise(f"an error of canary's own ({why}), which is in the log with its trace")


def left_out(
    detail: Detail, make: Callable[[], _Part], otherwise: _Else, notes: list[Reason], *, metric: str = ""
) -> _Part | _Else:
    """As `attempt`, for a detail (of one metric): `otherwise` in its place, and the reason in `notes`."""

    def without(why: str) -> _Else:
        notes.append(LeftOut(detail=detail, metric=metric, why=why))
        return otherwise

    return attempt(f"{detail} {metric}".strip(), make, without)
