"""The report as a value, and its JSON document."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_type_hints

import msgspec

from common.clock import rfc3339
from common.interval import finite
from judge.figures import JudgeFigures
from records.facts.arm_texts import TextChange
from records.facts.metric import MetricKind, Per
from routing.canary import Arm, arm_names
from verdict.details import Details, Mirror, savings
from verdict.rows.reasons import Reason, StoredReason
from verdict.rows.row import State
from verdict.terms.measures import BUSINESS, Unit, unit_of

# Which models a report compares.


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmModel:
    """One arm's provider entry and model; `request` is its request in words where the other arm has the same
    model."""

    provider: str
    model: str
    request: str = ""

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}{f' · {self.request}' if self.request else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmModels:
    """Both arms'."""

    baseline: ArmModel
    candidate: ArmModel


def models_of(baseline: Arm | None, candidate: Arm | None) -> ArmModels | None:
    """The models of these arms; None unless both are known."""
    if baseline is None or candidate is None:
        return None
    names = arm_names(baseline, candidate)
    ours, theirs = (_model(arm, name) for arm, name in zip((baseline, candidate), names, strict=True))
    return ArmModels(baseline=ours, candidate=theirs)


def _model(arm: Arm, name: str) -> ArmModel:
    return ArmModel(provider=arm.provider, model=arm.model, request=name.partition(" · ")[2])


# The vendor family of a model, by how vendors name their models.


_BEGINNINGS = {
    "openai": ("gpt-", "chatgpt", "o1", "o3", "o4", "text-embedding-", "ft:gpt", "davinci"),
    "anthropic": ("claude",),
    "google": ("gemini", "gemma", "palm"),
    "meta": ("llama", "meta-llama"),
    "mistral": ("mistral", "mixtral", "codestral", "ministral", "magistral", "pixtral"),
    "qwen": ("qwen", "qwq"),
    "deepseek": ("deepseek",),
    "xai": ("grok",),
    "cohere": ("command", "c4ai"),
    "amazon": ("nova", "titan"),
    "microsoft": ("phi-",),
}


def vendor(model: str, provider: str) -> str:
    """The vendor family by the model's name (also by the part after a slash, as in `meta-llama/llama-3`),
    else the provider entry's name."""
    name = model.lower()
    for part in (name, name.rpartition("/")[2], name.partition(".")[2]):
        for family, beginnings in _BEGINNINGS.items():
            if part and part.startswith(beginnings):
                return family
    return provider.lower()


Verdict = Literal["ship_now", "ship", "ship_with_caveats", "dont_ship", "extend"]
SHIPS: tuple[Verdict, ...] = ("ship_now", "ship", "ship_with_caveats")
PartState = Literal["WORSE", "BETTER", "NO_DIFFERENCE", "TOO_FEW"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """0 to 100. `estimate` is None when no metric has data."""

    low: float
    estimate: float | None
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportWindow:
    """From the first exposure to the last, UTC seconds (None: no exchange yet), and the length in days.

    `whole_days` of candidate traffic, out of `days_required`.
    """

    start: float | None
    end: float | None
    days: float
    whole_days: int
    days_required: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """The number of distinct units exposed in each arm."""

    baseline: int
    candidate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatioCheck:
    """The sample-ratio check. p is None if it could not be made, `off` where a flag system assigns units."""

    p_value: float | None
    blocked: bool
    off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Candidate minus baseline in the metric's unit; None if unbounded or not shown."""

    low: float | None = None
    estimate: float | None = None
    high: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LookLine:
    """What the plan's looks say of a row. `low` and `high` are the ends of the margin to the acceptable
    bound, in the metric's unit, 0 or more keeping the bound; None if open. `day` is that of the latest look
    (None: none yet), `p` the smallest risk at which a look would have passed, `risk` the row's own,
    `boundary` that of the latest look that may ship, `chance` that of passing by the end of the plan,
    `halfway` that of passing by its last look if the true value is halfway between both bounds. None without
    enough units."""

    day: int | None
    low: float | None
    high: float | None
    p: float | None
    risk: float
    boundary: float | None
    chance: float | None
    halfway: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    """The plan of the verdict: `first_look` is the first day on which it may be to ship, `looks` are the
    days of those that were made, `next_look` is the day of the next one, None when the plan is used up or
    the run is over. `spent_before` is the part of the risk that looks of earlier runs spent."""

    planned_days: int
    minimum_days: float
    risk: float
    first_look: int
    looks: tuple[int, ...]
    next_look: int | None
    spent_before: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ByUsers:
    """Both arms' value of a metric over requests or sessions, if each user counts once."""

    candidate: float | None
    baseline: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLine:
    """One row of the rubric. `units` counts candidate units with a value, `units_needed` those still to come.
    A unit's value is complete `matures_days` after its first request. `kind`, `per` and `cost_per` are the
    metric's; None and "" for a measured one. `by_users`: None where each user counts once anyway."""

    metric: str
    baseline: float | None
    candidate: float | None
    candidate_interval: tuple[float | None, float | None]
    difference: Difference
    state: State
    acceptable: str
    ideal: str
    weight: float
    units: int
    mde: float | None
    units_needed: int | None
    days_needed: float | None
    question: str
    matures_days: float = 0.0
    look: LookLine | None = None
    kind: MetricKind | None = None
    per: Per | None = None
    cost_per: str = ""
    by_users: ByUsers | None = None

    @property
    def unit(self) -> Unit:
        """The unit of the metric's values."""
        if self.cost_per:
            return "usd"
        return "share" if self.kind == "bool" else unit_of(self.metric, self.acceptable)

    @property
    def of_business(self) -> bool:
        """True for what a company counts."""
        return self.metric in BUSINESS or self.cost_per != ""

    @property
    def definition(self) -> tuple[str, str, str, str]:
        """What the row is about: its metric by name, and as it was defined."""
        return self.metric, self.kind or "", self.per or "", self.cost_per


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLine:
    """One metric among the exchanges of a segment, whose tag `by` has this value, or of a category (`by`
    None). `misses_bound`: the row's acceptable bound is missed there, whether or not that blocks."""

    by: str | None
    value: str
    metric: str
    difference: Difference
    state: PartState
    blocks: bool
    misses_bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A person's last decision about this run. `at` is in UTC seconds. `despite` names the misses that it
    outweighs (`verdict.decision.decide`)."""

    decision: Literal["ship", "dont_ship", "extend"]
    by: str
    reason: str
    at: float
    despite: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of `canary report`. Its fields are those of the JSON, which omits `mirror` without copies,
    `decision` without a decision, `judge` without a judgement, `lane` without one, `models` where they are
    not known, `plan` and the rows' `look` without a plan, and a row's `kind`, `per` and `cost_per` where it
    has none. `lane`: the canary's part of its requests' users, in [0, 1]. `texts`: those that differ between
    the arms, omitted without any."""

    canary: str
    verdict: Verdict
    reasons: tuple[Reason, ...]
    score: Score
    rubric_sha256: str
    window: ReportWindow
    units: Units
    srm: SampleRatioCheck
    metrics: tuple[MetricLine, ...]
    segments: tuple[PartLine, ...]
    categories: tuple[PartLine, ...]
    mirror: Mirror | None = None
    decision: Decided | None = None
    plan: PlanLine | None = None
    judge: JudgeFigures | None = None
    lane: float | None = None
    models: ArmModels | None = None
    texts: tuple[TextChange, ...] = ()
    details: Details = field(default_factory=Details)

    @property
    def parts(self) -> Sequence[PartLine]:
        """The categories, then the segments."""
        return (*self.categories, *self.segments)


def without_reasons(report: Report) -> Report:
    """The report for what is stored longer than the texts: a judge's reasons quote them."""
    judge = report.judge
    return replace(report, judge=judge.without_reasons()) if judge is not None else report


Sentences: TypeAlias = Callable[[Report], Sequence[str]]
"""The reasons of a report in words, which `pages.words.reasons.sentences` has."""


_OPTIONAL = ("mirror", "decision", "plan", "judge", "lane", "models", "texts")
_OF_LINES = ("kind", "per", "cost_per", "by_users")


def to_json(report: Report, sentences: Sentences) -> dict[str, Any]:
    """The report as JSON types: times in RFC 3339, unbounded ends null; `details` with the `savings`."""
    whole: dict[str, Any] = _plain(asdict(replace(report, reasons=())))
    document = {name: each for name, each in whole.items() if name not in _OPTIONAL or each not in (None, [])}
    document["reasons"] = list(sentences(report))
    if (saved := savings(report.details)) is not None:
        document["details"]["savings"] = asdict(saved)
    document["window"] |= {name: _moment(document["window"][name]) for name in ("start", "end")}
    without = _OF_LINES if report.plan is not None else (*_OF_LINES, "look")
    document["metrics"] = [_brief(line, without) for line in document["metrics"]]
    document["categories"] = [_brief(line, ["by"]) for line in document["categories"]]
    if "models" in document:
        document["models"] = {name: _brief(arm, ["request"]) for name, arm in document["models"].items()}
    if "decision" in document:
        document["decision"]["at"] = _moment(document["decision"]["at"])
    return document


def _brief(line: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The line without those of these members that say nothing."""
    return {name: value for name, value in line.items() if value or name not in names}


def from_json(document: Mapping[str, Any]) -> Report:
    """The report from a document that `to_json` wrote."""
    window = document["window"]
    told = {
        **document,
        "window": {**window, **{name: _seconds(window[name]) for name in ("start", "end")}},
        "categories": [{"by": None, **line} for line in document["categories"]],
    }
    if "decision" in told:
        told["decision"] = {**told["decision"], "at": _seconds(told["decision"]["at"])}
    kinds = get_type_hints(Report)
    reasons = tuple(StoredReason(words=each) for each in told.pop("reasons"))
    known = {
        name: msgspec.convert(told[name], kind)
        for name, kind in kinds.items()
        if name != "reasons" and (name in told or name not in (*_OPTIONAL, "details"))
    }
    return Report(reasons=reasons, **known)


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case float():
            return finite(value)
        case _:
            return value


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds, "milliseconds")


def _seconds(moment: str | None) -> float | None:
    return None if moment is None else datetime.fromisoformat(moment).timestamp()
