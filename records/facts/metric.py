"""What a metric is: the kinds of values that apps report, the built-in metrics, those of a benchmark
alone, and bounds on them as a rubric writes them."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

LARGEST = 1e15
"""Largest absolute value accepted, so that squares of mistaken values do not overflow a float."""

MetricKind = Literal["bool", "rating", "nps", "count", "amount"]

Per = Literal["value", "exchange", "session", "user"]
"""What one observation is: an opinion that somebody gave, or an exchange, session or user to which something
happened or did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A feedback metric, or the cost of each event of one.

    `low` and `high` bound its values (None: unbounded). `question` is the business question that it answers.
    `matures_after_s` is the time from a unit's first exposure until its value is complete. `cost_per` names
    the metric by whose events an arm's cost is divided ("": this metric's values are reported). Nobody sends
    values of such a metric, lower is better, and it matures as the named one.
    """

    name: str
    kind: MetricKind
    question: str
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True
    matures_after_s: float = 0.0
    per: Per = "value"
    cost_per: str = ""

    @property
    def is_event(self) -> bool:
        """True where every exposed exchange, session or user is one observation: without a value it is 0."""
        return self.per != "value"


def _bool(name: str, question: str, *, per: Per = "value", higher_is_better: bool = True) -> Metric:
    return Metric(
        name=name, kind="bool", question=question, low=0, high=1, higher_is_better=higher_is_better, per=per
    )


BUILT_IN: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="csat", kind="rating", low=1, high=5, question="Are users satisfied with the answers?"),
        Metric(name="nps", kind="nps", low=0, high=10, question="Would users recommend us?"),
        _bool("thumbs", "Do users like the single answer?"),
        _bool("helped", "Did the answer help?"),
        _bool("escalated", "Did the user need a human after all?", per="session", higher_is_better=False),
        _bool("repeat_question", "Did the user have to ask again?", per="session", higher_is_better=False),
        _bool("task_completed", "Did the user get done what they came for?"),
        _bool("conversion", "Did the user buy?", per="user"),
        Metric(name="revenue", kind="amount", question="How much did the user spend?", per="user"),
        _bool("churn", "Did the user leave us?", per="user", higher_is_better=False),
        _bool(
            "compliance_violation",
            "Did an answer break a rule we must keep?",
            per="exchange",
            higher_is_better=False,
        ),
    )
}

JUDGED_PREFERENCE, JUDGED_MARK = "judged_preference", "judged_mark"
JUDGED_SESSION, SESSION_DONE = "judged_session", "session_done"
"""What a judge says of whole sessions: a mark, and whether the task was done. No rubric has them."""

JUDGED: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _bool(JUDGED_PREFERENCE, "Are the candidate's answers better?"),
        Metric(name=JUDGED_MARK, kind="rating", low=1, high=5, question="Are the answers good?"),
    )
}
"""The metrics that a judge measures, not apps. A preference is 1 for a pair of answers of which the
candidate's is better, .5 for a tie, and 0 otherwise."""

PREDICTED_BY = {"csat": JUDGED_MARK, "task_completed": SESSION_DONE}
"""What a judge says of an answer, or of a session, and what users who rate it may say."""


# Metrics that only a benchmark measures, because they need right answers or a rate of questions.


THROUGHPUT = "throughput"
"""Answers an hour."""

ClassMeasure = Literal["recall", "precision", "false_positive_rate"]
CLASS_MEASURES: tuple[ClassMeasure, ...] = get_args(ClassMeasure)


def class_measure(name: str) -> tuple[ClassMeasure, str] | None:
    """("recall", "fraud") for `recall:fraud`; None for another metric, and without a class."""
    stem, _, of = name.partition(":")
    return next(((measure, of.strip()) for measure in CLASS_MEASURES if measure == stem and of.strip()), None)


def is_offline(name: str) -> bool:
    """True for a metric that only a benchmark measures."""
    return name == THROUGHPUT or class_measure(name) is not None


Comparison = Literal["<", "<=", ">", ">="]

_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_UNIT = r"\s*(%|pp|ms|s)?"
_ABSOLUTE = re.compile(rf"(<=|>=|<|>)\s*(?:\$\s*)?(-?){_NUMBER}{_UNIT}")
_RANGE = re.compile(rf"(<=|>=|<|>)?\s*(?:\$\s*)?{_NUMBER}\s*(?:%\s*)?[-–]\s*{_NUMBER}{_UNIT}")
_OFFSET = re.compile(rf"(<=|>=|<|>)\s*baseline(?:\s*([+-])\s*{_NUMBER}{_UNIT})?")
_FACTOR = re.compile(rf"(<=|>=|<|>)\s*{_NUMBER}\s*(?:x|×|\*)\s*baseline")

_COMPARISONS: dict[str, Comparison] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
_SCALE = {"": 1.0, "%": 0.01, "pp": 0.01, "ms": 0.001, "s": 1.0}

FORMS = (
    'write ">= 85%", "< 2s", "< 0.12" or "> 4.1", '
    'or against the baseline ">= baseline - 2%", ">= baseline - 2pp", "<= 1.2x baseline"'
)


class BadBound(ValueError):
    """A bound that cannot be parsed, or a pair that cannot be judged; the message says what is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """`metric comparison value`, or with `relative`, `metric comparison factor·baseline + offset`.

    Values are in the metric's unit: shares in [0, 1], seconds, dollars, rating points. `text` is the bound as
    written.
    """

    comparison: Comparison
    text: str
    value: float = 0.0
    relative: bool = False
    factor: float = 1.0
    offset: float = 0.0

    @property
    def higher_is_better(self) -> bool:
        return self.comparison in (">", ">=")

    @property
    def terms(self) -> tuple[float, float]:
        """k and the offset of the contrast R_T − k·R_C − offset that is 0 at the bound."""
        return (self.factor, self.offset) if self.relative else (0.0, self.value)

    @property
    def as_baseline(self) -> "Bound":
        """The bound that equal arms are at."""
        return Bound(comparison=self.comparison, text=f"{self.comparison} baseline", relative=True)

    def at(self, baseline: float) -> float:
        """The bound's value for this value of the baseline, in the metric's unit."""
        return self.factor * baseline + self.offset if self.relative else self.value


def parse_bound(text: str) -> Bound:
    """Parse a bound.

    Absolute: a number, optionally in `%` (`85%` is .85), `ms` or `s`. A range such as `85–92%` means its more
    lenient end, at least 85 %. Relative: `baseline - 2%` is .98 times the baseline, `- 2pp` two percentage
    points, `- 0.1` the metric's unit, `1.2x baseline` a factor. Raises BadBound for anything else.
    """
    trimmed = text.strip()
    for pattern, read in _FORMS:
        if found := pattern.fullmatch(trimmed):
            return read(text, found)
    raise BadBound(f"{text!r} is not a bound: {FORMS}{_reason(trimmed)}")


def _reason(text: str) -> str:
    return "" if text.startswith(("<", ">")) else "; it must start with <, <=, > or >="


def _absolute(text: str, found: re.Match[str]) -> Bound:
    comparison, sign, number, unit = found.groups()
    if unit == "pp":
        raise BadBound(f"{text!r}: pp is a distance from the baseline; write an absolute share in %")
    value = float(sign + number) * _SCALE[unit or ""]
    return Bound(comparison=_COMPARISONS[comparison], text=text, value=value)


def _range(text: str, found: re.Match[str]) -> Bound:
    comparison, first, second, unit = found.groups()
    ends = sorted(float(end) * _SCALE[unit or ""] for end in (first, second))
    floor = comparison is None or comparison.startswith(">")
    return Bound(comparison=_COMPARISONS[comparison or ">="], text=text, value=ends[0] if floor else ends[1])


def _offset(text: str, found: re.Match[str]) -> Bound:
    comparison, sign, number, unit = found.groups()
    step = (float(number) * _SCALE[unit or ""] if number else 0.0) * (-1 if sign == "-" else 1)
    if unit == "%":
        return _relative(comparison, text, factor=1 + step, offset=0.0)
    return _relative(comparison, text, factor=1.0, offset=step)


def _factor(text: str, found: re.Match[str]) -> Bound:
    comparison, number = found.groups()
    return _relative(comparison, text, factor=float(number), offset=0.0)


def _relative(comparison: str, text: str, *, factor: float, offset: float) -> Bound:
    if factor <= 0:
        raise BadBound(f"{text!r}: the factor of the baseline must be above 0")
    return Bound(comparison=_COMPARISONS[comparison], text=text, relative=True, factor=factor, offset=offset)


_FORMS = ((_ABSOLUTE, _absolute), (_RANGE, _range), (_OFFSET, _offset), (_FACTOR, _factor))
