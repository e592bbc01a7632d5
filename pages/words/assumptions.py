"""The assumptions behind a prospect, one by one, each with its value and where it comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pages.words.figures import amount, count, label
from records.facts.metric import Metric
from verdict.planner.assumptions import PartChance, asked_for, believed, is_share, part_chances
from verdict.planner.prospect import Prospect, one_in, percent
from verdict.rows.comparison import GATE
from verdict.terms.measures import Unit, quantile_level, unit_of
from verdict.terms.rubric import Criterion


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

    def one(part: str, value: float, words: str, usual: str = "assumed") -> Assumption:
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
