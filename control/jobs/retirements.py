"""Which models retire soon, and who is still to be told. Pure: the day is an argument.

days left       90 … 31     30 … 8     7 … 0     fewer
told once as    90          30         7         never again
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import msgspec

from routing.canary import Canary

THRESHOLDS = (7, 30, 90)
"""Days ahead, the nearest first."""

WARNED_DAYS = 30
"""`canary check` warns of a model of a canary this many days ahead."""


class TimelyNotice(msgspec.Struct, frozen=True, kw_only=True):
    """What was told of a model's retirement `on` a day (ISO): the threshold in days, and who lacks it."""

    on: str
    days: int
    untold: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """A model that retires, as `provider/model`, and the days left."""

    model: str
    on: date
    days: int


def dates_of(
    listed: Mapping[str, date], stated: Mapping[str, date], names: Sequence[str]
) -> Mapping[str, date]:
    """When each model retires, by `provider/model`: by the provider's list, or as `stated` in the config.

    What is stated comes first. A model that is not among `names` keeps the name of the config.
    """
    found = {**listed, **{name: on for name in names if (on := stated_for(name, stated)) is not None}}
    known = {*names, *(name.partition("/")[2] for name in names)}
    return {**found, **{key: on for key, on in stated.items() if key not in known}}


def stated_for(name: str, stated: Mapping[str, date]) -> date | None:
    """When the config lets `provider/model` retire: under that name, or as the model at any provider."""
    return stated.get(name) or stated.get(name.partition("/")[2])


def arms_of(canaries: Iterable[Canary]) -> Mapping[str, str]:
    """The models of the canaries, as `provider/model`, with their part in words."""
    found: dict[str, str] = {}
    for canary in canaries:
        for part, arm in (("baseline", canary.baseline), ("candidate", canary.candidate)):
            name = f"{arm.provider}/{arm.model}"
            known = f"{found[name]} and " if name in found else ""
            found[name] = f"{known}the {part} of {canary.name}"
    return found


def retiring(canaries: Iterable[Canary], stated: Mapping[str, date], today: date) -> Iterator[str]:
    """A sentence for each model of the canaries that has retired, or will within WARNED_DAYS."""
    for name, part in arms_of(canaries).items():
        on = stated_for(name, stated)
        if on is not None and (on - today).days <= WARNED_DAYS:
            yield f"{name}, {part}, {in_words(on, today)}"


def in_words(on: date, today: date) -> str:
    """When a model retires, or retired, on a day."""
    days = (on - today).days
    if days < 0:
        return f"retired on {on}"
    left = "today" if days == 0 else f"in {days} day{'s' if days > 1 else ''}"
    return f"retires on {on}, {left}"


def after_dates(
    told: Mapping[str, TimelyNotice], dates: Mapping[str, date], *, today: date, receivers: Sequence[str]
) -> dict[str, TimelyNotice]:
    """What is told and still to be told, after these dates. A model without a date now keeps its notice."""
    found = {name: each for name, each in told.items() if date.fromisoformat(each.on) >= today}
    for name, on in dates.items():
        threshold = _threshold((on - today).days)
        before = found.get(name)
        if threshold is None or (before is not None and (before.on, before.days) == (str(on), threshold)):
            continue
        found[name] = TimelyNotice(on=str(on), days=threshold, untold=tuple(receivers))
    return found


def to_tell(told: Mapping[str, TimelyNotice], today: date) -> Iterator[Retirement]:
    """The retirements that somebody is still to be told of, the nearest first."""
    waiting = ((date.fromisoformat(each.on), name) for name, each in told.items() if each.untold)
    for on, name in sorted(waiting):
        yield Retirement(model=name, on=on, days=(on - today).days)


def _threshold(days: int) -> int | None:
    return next((each for each in THRESHOLDS if 0 <= days <= each), None)
