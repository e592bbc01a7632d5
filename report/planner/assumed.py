"""The assumptions behind a prospect, one by one, each with its value and where it comes from; and those that
a person gives."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from records.metric import Metric
from report.arm_sums import GATE
from report.bounds import scale_of
from report.measures import known, quantile_level
from report.planner.assumptions import Assumptions, asked_for, believed, is_share
from report.planner.critical import PartChance, part_chances
from report.planner.prospect import Prospect, one_in, percent
from report.rubric import Criterion
from report.wording import Unit, amount, count, label, unit_of

_FORM = (
    "write METRIC=BASELINE, METRIC.sd=NUMBER, METRIC.rated=SHARE, METRIC.candidate=VALUE, "
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
    if part == "rated" or (part != "sd" and is_share(metric, metrics)):
        possible = 0 <= value <= 1 and (part != "rated" or value > 0)
        return "" if possible else " is a share and must lie between 0 % and 100 %"
    if scale is None:
        return ""
    if part != "sd":
        return "" if scale.low <= value <= scale.high else f" is outside {metric}'s values, {scale.words}"
    if value < 0:
        return ": a standard deviation is not below 0"
    most = (scale.high - scale.low) / 2
    if value <= most:
        return ""
    return f": values of {scale.words} have a standard deviation of {most:g} at most"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """One assumption: its name (`users`, `csat.sd`), value (shares as fractions), source and words. The value
    is None where no value would do."""

    name: str
    value: float | None
    source: str
    words: str

    @property
    def sentence(self) -> str:
        return f"{self.words} ({self.source})"


def assumed(prospect: Prospect) -> list[Assumption]:
    """Everything that the chances rest on."""
    return [
        *_of_traffic(prospect),
        *_of_critical_parts(prospect),
        *(each for row in prospect.judged.criteria for each in _of_row(prospect, row)),
    ]


def _of_traffic(prospect: Prospect) -> Iterator[Assumption]:
    expected = prospect.expected
    yield Assumption(
        name="users",
        value=float(prospect.users),
        source=expected.users_from,
        words=f"{count(prospect.users, 'user')} in {prospect.days} days, evenly: {prospect.users_a_day}",
    )
    yield Assumption(
        name="requests",
        value=expected.requests,
        source=expected.requests_from,
        words=f"{expected.requests:.3g} requests a user, 1 + Poisson",
    )
    steps = " → ".join(percent(step.share) for step in prospect.steps)
    yield Assumption(
        name="share", value=prospect.share, source=prospect.shares_from, words=f"a share of {steps}"
    )
    alike = prospect.assumptions.alike
    yield Assumption(
        name="alike",
        value=alike,
        source="assumed",
        words=f"{percent(alike)} of the variance of requests lies between users",
    )


def _of_critical_parts(prospect: Prospect) -> Iterator[Assumption]:
    given, day = prospect.assumptions, prospect.days
    for part in part_chances(prospect.judged, prospect.course, given, day):
        yield Assumption(
            name=part.name,
            value=part.share,
            source=given.sources.get(part.name, "assumed"),
            words=f"{part.words}: {percent(part.share)} of the users are in it; {needed(part)} by day {day}",
        )


def needed(part: PartChance) -> str:
    """What a critical part has of the users that it needs, in words."""
    return (
        f"it needs {GATE} users of each arm with a value of {label(part.metric)}, or the verdict is extend, "
        f"and gets about {part.units:.0f}"
    )


def _of_row(prospect: Prospect, row: Criterion) -> Iterator[Assumption]:
    assumptions, metrics = prospect.assumptions, prospect.judged.metrics
    truth, name, unit = believed(row, assumptions, metrics), row.metric, _unit(row, metrics)

    def one(part: Part, value: float, words: str, usual: str = "assumed") -> Assumption:
        key = f"{name}.{part}" if part else name
        source = assumptions.sources.get(key, usual)
        return Assumption(name=key, value=value, source=source, words=f"{label(name)}: {words}")

    if row.acceptable.relative or name in assumptions.baselines:
        yield one("", truth.baseline, f"the baseline has {amount(truth.baseline, unit)}")
    yield one(
        "candidate",
        truth.value,
        f"the candidate truly has {amount(truth.value, unit)}",
        "halfway between acceptable and ideal",
    )
    if not is_share(name, metrics):
        yield one("sd", truth.sd, _spread(name, truth.sd, unit))
    if asked_for(name, metrics) or name in assumptions.responses:
        yield one("rated", truth.response, f"{one_in(truth.response)} has a value")


def _spread(name: str, sd: float, unit: Unit) -> str:
    if quantile_level(name) is not None:
        return f"over n requests its standard error is {amount(sd, unit)} / √n"
    return f"one value has a standard deviation of {amount(sd, unit)}"


def _unit(row: Criterion, metrics: Mapping[str, Metric]) -> Unit:
    return "share" if is_share(row.metric, metrics) else unit_of(row.metric, row.acceptable.text)
