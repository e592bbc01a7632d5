"""What a plan takes to be true of users, models and traffic before a run has measured it, and from where."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from scipy import special

from records.facts.metric import BUILT_IN, Metric
from routing.canary import Step
from verdict.terms.judged_canary import JudgedCanary, part_name
from verdict.terms.measures import known, per_session, quantile_level, share
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Bound, Criterion, scale_of

_BASELINES: Mapping[str, float] = {
    "error_rate": 0.01,
    "refused": 0.01,
    "cut_off": 0.02,
    "empty": 0.005,
    "invalid_output": 0.02,
    "answer_faults": 0.03,
    "abandoned": 0.03,
    "session_repeats": 0.1,
    "session_faults": 0.05,
    "session_abandoned": 0.05,
    "session_cache_hits": 0.5,
    "escalated": 0.05,
    "repeat_question": 0.1,
    "churn": 0.03,
    "conversion": 0.05,
    "compliance_violation": 0.001,
    "nps": 30.0,
}
_COMMON, _RARE = 0.8, 0.05
"""A share of feedback without a baseline of its own: that a good thing, or a bad one, happened."""

_NPS_SD = 78.0
"""Of one answer in points: half of the users are promoters, a fifth detractors."""

_MONEY_CV = 2.0
"""Of an amount such as revenue, which is 0 for many users."""

SESSIONS = 1.0
"""Of a user, where nobody said and nothing was recorded: the fewest that may tell of an event."""

_ASKED_FOR = frozenset({"thumbs", "helped"})
_BY_NAME = ("values", "baselines", "responses", "sds", "parts", "sources")
"""The assumptions that each have a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """The assumptions about users, by metric where they differ.

    `values` are the candidate's true values, by default halfway between acceptable and ideal. `baselines` are
    the baseline's. `responses` is the share of exchanges with a value: by default `asked` for values that
    users must be asked for (ratings, NPS, thumbs, "did this help?"), and 1 for values that the app knows. An
    event has a value wherever it could happen. `sds` is the standard deviation of one value. `sessions` is
    the mean of a user, who has 1 + Poisson(sessions − 1); None: SESSIONS. `alike` is the intraclass
    correlation: the share of the variance between users. `cost_cv` is the coefficient of variation of a
    request's cost (for `cost_total` and the cost of an event, a user's). `log_latency_sd` is the standard
    deviation of the log latency. `parts` are the shares of users that critical parts have, by
    `category:VALUE` or `segment:TAG=VALUE`. `sources` says where a value comes from, by its name (`csat`,
    `csat.sd`, `csat.rated`, `csat.candidate`, `sessions`, a part's); without an entry it is assumed.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    responses: Mapping[str, float] = field(default_factory=dict)
    sds: Mapping[str, float] = field(default_factory=dict)
    sessions: float | None = None
    alike: float = 0.4
    asked: float = 0.125
    cost_cv: float = 1.0
    log_latency_sd: float = 0.6
    parts: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def with_response(self, name: str, response: float, source: str) -> "Assumptions":
        """These, with the share of exchanges that have a value of the metric, and where it comes from."""
        return Assumptions(responses={name: response}, sources={f"{name}.rated": source}).over(self)

    def over(self, other: "Assumptions") -> "Assumptions":
        """These assumptions where they say something, else those of `other`."""
        both: dict[str, Any] = {name: {**getattr(other, name), **getattr(self, name)} for name in _BY_NAME}
        return replace(self, **both, sessions=other.sessions if self.sessions is None else self.sessions)


@dataclass(frozen=True, slots=True, kw_only=True)
class BelievedMetric:
    """What is taken to be true of one row's metric.

    `value` is the candidate's, `baseline` the baseline's. `response` is the share of exchanges with a value.
    `sd` is the standard deviation of one value of the candidate (for a quantile: that of n exchanges'
    quantile, times √n).
    """

    baseline: float
    value: float
    response: float
    sd: float


def believed(criterion: Criterion, assumptions: Assumptions, metrics: Mapping[str, Metric]) -> BelievedMetric:
    """The assumptions for one row."""
    name = criterion.metric
    baseline = _baseline(name, assumptions, metrics)
    value = assumptions.values.get(name, halfway(criterion.acceptable, criterion.ideal, baseline))
    usual = assumptions.asked if asked_for(name, metrics) else 1.0
    return BelievedMetric(
        baseline=baseline,
        value=value,
        response=assumptions.responses.get(name, usual),
        sd=_sd(name, value, assumptions, metrics),
    )


def halfway(acceptable: Bound, ideal: Bound, baseline: float) -> float:
    """The value in the middle of both bounds, in the metric's unit."""
    return (acceptable.at(baseline) + ideal.at(baseline)) / 2


def asked_for(name: str, metrics: Mapping[str, Metric]) -> bool:
    """True for a metric whose value a user must be asked for."""
    metric = metrics.get(name)
    if metric is None or metric.is_event:
        return False
    return metric.kind in ("rating", "nps") or name in _ASKED_FOR


def is_opinion(name: str, metrics: Mapping[str, Metric]) -> bool:
    """True for a metric that has a value only where somebody gave one."""
    metric = metrics.get(name)
    return metric is not None and not metric.is_event and not metric.cost_per


def is_share(name: str, metrics: Mapping[str, Metric]) -> bool:
    """True for a metric whose single values are 0 or 1."""
    metric = metrics.get(name)
    return metric.kind == "bool" if metric is not None else share(name)


def _baseline(name: str, assumptions: Assumptions, metrics: Mapping[str, Metric]) -> float:
    if name in assumptions.baselines:
        return assumptions.baselines[name]
    metric = metrics.get(name, BUILT_IN.get(name))
    if name in _BASELINES or metric is None:
        return _BASELINES.get(name, 1.0)
    if metric.kind == "bool":
        return _COMMON if metric.higher_is_better else _RARE
    if metric.kind == "rating" and metric.low is not None and metric.high is not None:
        return metric.low + 0.75 * (metric.high - metric.low)
    return 1.0


def _sd(name: str, value: float, assumptions: Assumptions, metrics: Mapping[str, Metric]) -> float:
    if name in assumptions.sds:
        return assumptions.sds[name]
    level = quantile_level(name)
    if level is not None:
        density = math.exp(-(float(special.ndtri(level)) ** 2) / 2) / math.sqrt(2 * math.pi)
        return value * assumptions.log_latency_sd * math.sqrt(level * (1 - level)) / density
    if is_share(name, metrics):
        return math.sqrt(max(0.0, value * (1 - value)))
    metric = metrics.get(name)
    if metric is not None and metric.cost_per:
        return abs(value) * math.hypot(assumptions.cost_cv, _events_cv(metric.cost_per, assumptions, metrics))
    if metric is not None and metric.kind == "count" and metric.is_event:
        return math.hypot(abs(value) * assumptions.cost_cv, math.sqrt(abs(value)))
    if metric is None or metric.kind in ("amount", "count"):
        return abs(value) * (
            _MONEY_CV if metric is not None and metric.kind == "amount" else assumptions.cost_cv
        )
    if metric.kind == "nps" or metric.low is None or metric.high is None:
        return _NPS_SD
    place = (value - metric.low) / (metric.high - metric.low)
    return (metric.high - metric.low) * max(0.25, math.sqrt(max(0.0, place * (1 - place)) / 3))


def _events_cv(name: str, assumptions: Assumptions, metrics: Mapping[str, Metric]) -> float:
    """The coefficient of variation of a user's number of these events, as if each could have one chance."""
    mean = _baseline(name, assumptions, metrics)
    if mean <= 0:
        return math.inf
    return math.sqrt(max(0.0, 1 - mean) / mean if is_share(name, metrics) else 1 / mean + 1)


# The assumptions behind a prospect, one by one, each with its value and where it comes from; and those that


_FORM = (
    "write METRIC=BASELINE, METRIC.sd=NUMBER, METRIC.rated=SHARE, METRIC.candidate=VALUE, sessions=NUMBER, "
    "category:NAME=SHARE or segment:TAG=VALUE=SHARE, for example csat.sd=1.1,escalated=4%,category:refund=5%"
)
_NUMBER = re.compile(r"\$?(-?(?:\d+(?:\.\d*)?|\.\d+))\s*(%|ms|s)?")
_SCALE = {"": 1.0, "%": 0.01, "ms": 0.001, "s": 1.0}
_PARTS = ("sd", "rated", "candidate")

Part = Literal["", "sd", "rated", "candidate"]


class BadAssumption(ValueError):
    """An assumption that cannot be read; the message says what would be right."""


def parse_assumptions(text: str, metrics: Mapping[str, Metric]) -> Assumptions:
    """Read assumptions such as `csat.sd=1.1,escalated=4%,csat.rated=25%`. Raises BadAssumption."""
    found = Assumptions()
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        found = _read(piece, metrics).over(found)
    return found


def _read(piece: str, metrics: Mapping[str, Metric]) -> Assumptions:
    name, equals, number = (each.strip() for each in piece.rpartition("="))
    if not equals or not name:
        raise BadAssumption(f"{piece!r} is not an assumption; {_FORM}")
    match = _NUMBER.fullmatch(number)
    if match is None:
        raise BadAssumption(f"{piece!r}: {number!r} is not a number, such as 4, .4%, 250ms or $0.02; {_FORM}")
    value = float(match[1]) * _SCALE[match[2] or ""]
    if name.startswith(("category:", "segment:")):
        return _part(name, value, piece)
    if name == "sessions" and name not in metrics:
        if value < 1:
            raise BadAssumption(f"{piece!r}: a user who is exposed has 1 session or more")
        return Assumptions(sessions=value, sources={name: "given"})
    metric, dot, part = name.partition(".")
    if not known(metric, metrics):
        raise BadAssumption(f"{piece!r}: there is no metric {metric!r}; {_FORM}")
    if dot and part not in _PARTS:
        raise BadAssumption(
            f"{piece!r}: {metric} has no {part!r} to assume, but sd, rated and candidate; {_FORM}"
        )
    return _given(metric, part, value, piece, metrics)


def _part(name: str, share: float, piece: str) -> Assumptions:
    if name.startswith("segment:") and "=" not in name:
        raise BadAssumption(f"{piece!r} names no tag's value; {_FORM}")
    if not 0 < share <= 1:
        raise BadAssumption(f"{piece!r} is a part of the users and must lie above 0 % and up to 100 %")
    return Assumptions(parts={name: share}, sources={name: "given"})


def _given(metric: str, part: str, value: float, piece: str, metrics: Mapping[str, Metric]) -> Assumptions:
    wrong = _impossible(metric, part, value, metrics)
    if wrong:
        raise BadAssumption(f"{piece!r}{wrong}")
    values = {metric: value}
    sources = {f"{metric}.{part}" if part else metric: "given"}
    match part:
        case "sd":
            return Assumptions(sds=values, sources=sources)
        case "rated":
            return Assumptions(responses=values, sources=sources)
        case "candidate":
            return Assumptions(values=values, sources=sources)
    return Assumptions(baselines=values, sources=sources)


def _impossible(metric: str, part: str, value: float, metrics: Mapping[str, Metric]) -> str:
    """Why the metric cannot have this value, as the rest of a sentence; "" if it can."""
    scale = scale_of(metric, metrics)
    if part == "rated" and metric in metrics and not is_opinion(metric, metrics):
        return f": {metric} is no opinion, and whoever sent nothing counts too"
    if part == "rated" or (part != "sd" and is_share(metric, metrics)):
        possible = 0 <= value <= 1 and (part != "rated" or value > 0)
        return "" if possible else " is a share and must lie between 0 % and 100 %"
    if scale is None:
        return ""
    if part != "sd":
        return "" if scale.low <= value <= scale.high else f" is outside {metric}'s values, {scale.words}"
    if value < 0:
        return ": a standard deviation is not below 0"
    most = scale.width / 2
    if value <= most:
        return ""
    return f": values of {scale.words} have a standard deviation of {most:g} at most"


# How many users a candidate meets by a day, at an expected traffic and a course of shares.


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """The users by a day: the candidate's, the baseline's, and `odds`, the mean of share/(1 − share) over the
    candidate's users, by which a bound on the baseline pays for the baseline's noise."""

    candidate: float
    baseline: float
    odds: float


def step_days(step: Step, users_per_day: float) -> float | None:
    """The days that a step of a ramp lasts, with so many new users of both arms a day, evenly; None if it has
    no end."""
    if not step.ends:
        return None
    candidates = users_per_day * step.share
    waits = 0.0 if step.users is None else step.users / candidates if candidates > 0 else math.inf
    return max((step.for_s or 0.0) / DAY_S, waits)


@dataclass(frozen=True, slots=True, kw_only=True)
class RampLength:
    """How long the steps of a ramp last that end by themselves, in days, at so many users a day of both arms;
    None: the traffic is not known. `users_from` says where that figure comes from, or why there is none."""

    steps: Sequence[Step]
    users_per_day: float | None
    users_from: str

    @property
    def each(self) -> Sequence[float | None]:
        """The days of each step but the last, which lasts."""
        if self.users_per_day is None:
            return [None for _ in self.steps[:-1]]
        return [step_days(step, self.users_per_day) for step in self.steps[:-1]]

    @property
    def days(self) -> float | None:
        """The days until the last step; None if not known, or never."""
        known = [each for each in self.each if each is not None]
        return sum(known) if len(known) == len(self.steps) - 1 and math.isfinite(sum(known)) else None


def waits_for_users(steps: Sequence[Step]) -> bool:
    """True if some step but the last waits for users."""
    return any(step.users is not None for step in steps[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedTraffic:
    """The expected traffic: new users a day, evenly, of both arms, and the shares of the candidate in order.

    `requests` is the mean of a user, at least 1: each makes 1 + Poisson(requests − 1) requests.
    """

    users_per_day: float
    requests: float
    steps: Sequence[Step]

    def until(self, days: float) -> Exposure:
        """The users of the first `days` days, while both arms had a share."""
        candidate = baseline = noise = 0.0
        for part, lasts in self._concurrent(days):
            users = self.users_per_day * lasts
            candidate += users * part
            baseline += users * (1 - part)
            noise += users * part * part / (1 - part)
        odds = noise / candidate if candidate > 0 else 0.0
        return Exposure(candidate=candidate, baseline=baseline, odds=odds)

    def _concurrent(self, days: float) -> Iterator[tuple[float, float]]:
        """The shares between 0 and 1, and the days that each lasts."""
        left = max(0.0, days)
        for step in self.steps:
            needs = step_days(step, self.users_per_day)
            lasts = left if needs is None else min(left, needs)
            left -= lasts
            if 0 < step.share < 1:
                yield step.share, lasts
        last = self.steps[-1] if self.steps else None
        if last is not None and last.ends and 0 < last.share < 1:
            yield last.share, left


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuesPerUser:
    """The number of values per user: `answers` is the share of users with any; `mean` and `mean_square` are
    the moments among those. `inverse` is the mean of 1/N, where a user's mean is one value; else None."""

    answers: float
    mean: float
    mean_square: float
    inverse: float | None = None

    @classmethod
    def one_voice(cls, requests: float, response: float) -> "ValuesPerUser":
        """As `of`, where the mean of each user's values is one value."""
        further = (requests - 1) * response
        answers = cls.of(requests, response).answers
        inverse = response * _inverse(further, 1) + (1 - response) * _inverse(further, 0)
        return cls(answers=answers, mean=1.0, mean_square=1.0, inverse=inverse / answers if answers else 1.0)

    @classmethod
    def of(cls, requests: float, response: float = 1.0) -> "ValuesPerUser":
        """For 1 + Poisson(requests − 1) requests, each with a value at the rate `response`."""
        further = (requests - 1) * response
        answers = 1 - (1 - response) * math.exp(-further)
        mean, variance = response + further, response * (1 - response) + further
        if answers <= 0:
            return cls(answers=0.0, mean=1.0, mean_square=1.0)
        return cls(answers=answers, mean=mean / answers, mean_square=(variance + mean**2) / answers)

    @property
    def weighted(self) -> float:
        """m̃ = ΣN²/ΣN, the size of the user of a value."""
        return self.mean_square / self.mean

    def variance(self, alike: float) -> float:
        """K times the variance of ΣS/ΣN over K users, for values of variance 1. Users with many values weigh
        more, and so does their correlation, but where each has one voice."""
        if self.inverse is not None:
            return alike + (1 - alike) * self.inverse
        return (1 - alike) / self.mean + alike * self.mean_square / self.mean**2


def values_per_user(
    criterion: Criterion, requests: float, assumptions: Assumptions, metrics: Mapping[str, Metric]
) -> ValuesPerUser:
    """The number of a row's observations per user: what is measured, and an event, has one in every exchange,
    session or user; of an opinion each user who gave any has one voice."""
    metric = metrics.get(criterion.metric)
    if metric is not None and (metric.cost_per or metric.per == "user"):
        return ValuesPerUser.of(1.0)
    if per_session(criterion.metric, metrics):
        return ValuesPerUser.of(min(requests, assumptions.sessions or SESSIONS))
    if metric is None or metric.per == "exchange":
        return ValuesPerUser.of(requests)
    return ValuesPerUser.one_voice(requests, believed(criterion, assumptions, metrics).response)


def events_per_user(
    criterion: Criterion, requests: float, assumptions: Assumptions, metrics: Mapping[str, Metric]
) -> float | None:
    """The events of one user by which a cost is divided; None for a row that is no cost of an event."""
    metric = metrics.get(criterion.metric)
    if metric is None or not metric.cost_per:
        return None
    per = metrics[metric.cost_per].per
    chances = requests if per == "exchange" else 1.0 if per == "user" else assumptions.sessions or SESSIONS
    return chances * _baseline(metric.cost_per, assumptions, metrics)


_MANY = 50.0


def _inverse(mean: float, more: int) -> float:
    """The mean of 1/(P + more) over Poisson P with this mean, where P + more is above 0; `more` is 0 or 1."""
    if more:
        return -math.expm1(-mean) / mean if mean else 1.0
    if mean > _MANY:
        return (1 + 1 / mean) / mean
    if mean < 1e-6:
        return mean
    return math.exp(-mean) * (float(special.expi(mean)) - math.log(mean) - float(np.euler_gamma))


def part_names(judged: JudgedCanary) -> tuple[str, ...]:
    """The names of a canary's critical parts: categories first, each kind in order."""
    return tuple(part_name(*place) for place in judged.critical_parts)
