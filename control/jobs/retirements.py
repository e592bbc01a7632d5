"""Models that retire: which canaries use them, by when a canary of a successor must begin, when to tell.

A model answers until the day (UTC) on which it retires. A canary's report comes after the first midnight by
which its planned days are over; so the last day to begin one lies its planned days and one day before.

days left                                                → told
90 … 31, 30 … 8, 7 … 0                                   → once each
7 before the last day to begin a canary, until the next  → once, unless another is told within three days
another day, or another plan                             → what is due then
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Literal

import msgspec

from control.settings import CanarySettings, StandingCanary
from records.facts.retirement import LastDay
from routing.canary import Arm

THRESHOLDS = (7, 30, 90)
"""Days ahead, the nearest first."""

NOTICE_DAYS = 7
"""Days before the last day to begin a canary on which somebody is told of it."""

WARNED_DAYS = 30
"""Days ahead on which check and status warn of a canary's model; also 14 before the last day to begin."""


Part = Literal["baseline", "candidate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """What a canary of the config has a model for. `planned_days`: how long a canary to replace a baseline
    takes; None without a plan, and for a candidate. `owner`: "" for nobody named."""

    canary: str
    part: Part
    owner: str = ""
    planned_days: int | None = None

    @property
    def lead(self) -> int | None:
        """The days from the last day to begin a canary to the day on which the model retires."""
        return None if self.planned_days is None else self.planned_days + 1


Uses = Mapping[str, Sequence[ModelUse]]
"""What the canaries have each model for, by `provider/model`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """A model that retires, as `provider/model`. `successor`: "" where nobody names one."""

    model: str
    on: date
    successor: str = ""
    uses: Sequence[ModelUse] = field(default=())

    def days(self, today: date) -> int:
        """The days left."""
        return (self.on - today).days

    @property
    def planned(self) -> ModelUse | None:
        """The use whose canary must begin first; None where none has a plan."""
        plans = [each for each in self.uses if each.lead is not None]
        return max(plans, key=lambda each: each.lead or 0) if plans else None

    @property
    def last_start(self) -> date | None:
        """The last day on which a canary of the planned days can begin and still finish."""
        planned = self.planned
        return None if planned is None else self.on - timedelta(days=planned.lead or 0)

    @property
    def owners(self) -> tuple[str, ...]:
        """The owners of the canaries, each once."""
        return tuple(dict.fromkeys(each.owner for each in self.uses if each.owner))

    def stage(self, today: date) -> int | None:
        """What is due to be told, as days ahead; None if nothing is yet, or any more."""
        days, planned = self.days(today), self.planned
        own = (planned.lead or 0) + NOTICE_DAYS if planned is not None else None
        apart = own is not None and all(abs(own - each) > _NEAR_DAYS for each in THRESHOLDS)
        stages = sorted((*THRESHOLDS, own) if own is not None and apart else THRESHOLDS)
        return next((each for each in stages if 0 <= days <= each), None)

    def is_urgent(self, today: date) -> bool:
        """True if a canary's model has retired, will soon, or leaves little time to begin a canary."""
        planned = self.planned
        ahead = 0 if planned is None else (planned.lead or 0) + 2 * NOTICE_DAYS
        return bool(self.uses) and self.days(today) <= max(WARNED_DAYS, ahead)

    def sentence(self, today: date) -> str:
        """When it retires, what it is used for, what follows it, and by when a canary must begin."""
        parts = [f"{self.model} {_when(self.on, today)}"]
        if self.uses:
            used = " and ".join(f"the {each.part} of {each.canary}" for each in self.uses)
            parts.append(f"it is {used}" if self.days(today) >= 0 else f"it was {used}")
        if self.successor:
            parts.append(f"its successor is {self.successor}")
        if (planned := self.planned) is not None and (last := self.last_start) is not None:
            canary = f"a canary of {planned.planned_days} days"
            parts.append(
                f"the last day to begin {canary} is {last}"
                if last >= today
                else f"{canary} cannot finish any more"
            )
        return "; ".join(parts)

    def about(self, today: date) -> dict[str, str | int | None]:
        """What a webhook gets."""
        return {
            "model": self.model,
            "at": str(self.on),
            "days": self.days(today),
            "successor": self.successor or None,
            "last_start": None if self.last_start is None else str(self.last_start),
        }

    def document(self, today: date) -> dict[str, Any]:
        """The same for the status, with the canaries and the sentence."""
        uses = [{"canary": each.canary, "part": each.part} for each in self.uses]
        return {**self.about(today), "canaries": uses, "sentence": self.sentence(today)}


_NEAR_DAYS = 3


def _when(on: date, today: date) -> str:
    days = (on - today).days
    if days < 0:
        return f"retired on {on}"
    left = "today" if days == 0 else f"in {days} day{'s' if days > 1 else ''}"
    return f"retires on {on}, {left}"


def uses_of(canaries: Mapping[str, CanarySettings], standing: Mapping[str, StandingCanary]) -> Uses:
    """What the canaries have each model for, the standing ones too. A trial has begun, and so asks for no
    other canary."""
    found: dict[str, list[ModelUse]] = {}
    trials = {trial for each in standing.values() for trial in each.begun.trials}
    for name, each in {**{name: one.terms for name, one in standing.items()}, **canaries}.items():
        plan = each.judged.plan
        arms: dict[Part, Arm] = {"baseline": each.canary.baseline, "candidate": each.canary.candidate}
        for part, arm in arms.items():
            if not arm.model:
                continue  # a standing canary's candidate
            asks = part == "baseline" and plan is not None and name not in trials
            days = plan.days if asks and plan is not None else None
            use = ModelUse(canary=name, part=part, owner=each.owner, planned_days=days)
            found.setdefault(f"{arm.provider}/{arm.model}", []).append(use)
    return found


def dates_of(
    listed: Mapping[str, LastDay], stated: Mapping[str, LastDay], names: Iterable[str]
) -> Mapping[str, LastDay]:
    """When each model retires, by `provider/model`: by the provider's list, or as `stated` in the config.

    What is stated comes first; a successor of the list stays where the config names none. A model that is not
    among `names` keeps the name of the config.
    """
    names = list(names)
    found = dict(listed)
    for name in names:
        if (last := last_day(name, listed, stated)) is not None:
            found[name] = last
    known = {*names, *(name.partition("/")[2] for name in names)}
    return {**found, **{key: last for key, last in stated.items() if key not in known}}


def last_day(name: str, listed: Mapping[str, LastDay], stated: Mapping[str, LastDay]) -> LastDay | None:
    """When `provider/model` retires, as in `dates_of`; None where nobody says it."""
    own, kept = stated_for(name, stated), listed.get(name)
    if own is None or kept is None:
        return own or kept
    return LastDay(on=own.on, successor=own.successor or kept.successor)


def stated_for(name: str, stated: Mapping[str, LastDay]) -> LastDay | None:
    """When the config lets `provider/model` retire: under that name, or as the model at any provider."""
    return stated.get(name) or stated.get(name.partition("/")[2])


def retiring(dates: Mapping[str, LastDay], uses: Uses) -> list[Retirement]:
    """The models that retire, the nearest first."""
    found = [
        Retirement(model=name, on=last.on, successor=last.successor, uses=tuple(uses.get(name, ())))
        for name, last in dates.items()
    ]
    return sorted(found, key=lambda each: (each.on, each.model))


def urgent(
    listed: Mapping[str, LastDay], stated: Mapping[str, LastDay], uses: Uses, today: date
) -> list[Retirement]:
    """The models of canaries that have retired, will soon, or leave little time, the nearest first."""
    return [each for each in retiring(dates_of(listed, stated, uses), uses) if each.is_urgent(today)]


class TimelyNotice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was told of a model's retirement `on` a day (ISO): the stage in days, and who lacks it."""

    on: str
    days: int
    untold: tuple[str, ...] = ()
    successor: str = ""


def after_dates(
    told: Mapping[str, TimelyNotice],
    found: Iterable[Retirement],
    *,
    today: date,
    receivers: Callable[[Retirement], Iterable[str]],
) -> dict[str, TimelyNotice]:
    """What is told and still to be told, after these were found. A model without a date now keeps its
    notice."""
    kept = {name: each for name, each in told.items() if date.fromisoformat(each.on) >= today}
    for each in found:
        stage, before = each.stage(today), kept.get(each.model)
        if stage is None or (before is not None and (before.on, before.days) == (str(each.on), stage)):
            continue
        kept[each.model] = TimelyNotice(
            on=str(each.on), days=stage, successor=each.successor, untold=tuple(receivers(each))
        )
    return kept


def to_tell(told: Mapping[str, TimelyNotice], uses: Uses) -> list[Retirement]:
    """The retirements that somebody is still to be told of, the nearest first."""
    waiting = {
        name: LastDay(on=date.fromisoformat(each.on), successor=each.successor)
        for name, each in told.items()
        if each.untold
    }
    return retiring(waiting, uses)
