"""What is known of when models retire, and which orders would give users one that does.

    order      gives                                             wants a person's word where it retires
    promote    everybody the candidate                           within 30 days
               those who are held back the former baseline       before the hold-back is over
    rollback   everybody the former baseline, after a promotion  within 30 days
               everybody the baseline, during a trial            by today
    revert     everybody the baseline before                     within 30 days

Arms of one model are no question: users have it already. Guardrails ask nobody: see `has_retired`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from control.jobs.retirements import WARNED_DAYS, Retirement, last_day, urgent, uses_of
from control.operator.orders import BadOrder, Order
from control.settings import ControlSettings, StandingCanary
from records.facts.retirement import LastDay
from records.facts.standing import ArmDocument
from records.store import Store
from records.store.releases import ListedRetirements
from routing.canary import Arm, Canary
from routing.states import State

_SOON = timedelta(days=WARNED_DAYS)


class KnownRetirements:
    """When models retire: by the config, and by what the watcher stored of the providers' lists."""

    def __init__(self, store: Store, settings: Callable[[], ControlSettings]) -> None:
        self._store, self._settings = store, settings
        self._listed: Mapping[str, LastDay] = {}

    def look(self) -> None:
        """Read what the watcher stored. May raise StoreDown."""
        self._listed = ListedRetirements(self._store).all()

    def document(self, now: float) -> list[dict[str, Any]]:
        """Those of the canaries' models that have happened, will soon, or leave little time to begin a
        canary, the nearest first."""
        settings, today = self._settings(), day_of(now)
        found = urgent(self._listed, settings.retires, uses_of(settings.canaries, settings.standing), today)
        return [each.document(today) for each in found]

    def has_retired(self, arm: Arm, now: float) -> bool:
        """True once the arm's model has retired."""
        return self._by(arm.provider, arm.model, day_of(now)) is not None

    def of_order(self, order: Order, canary: Canary, state: State, now: float) -> list[Retirement]:
        """The retirements that an order on this canary goes against."""
        today, old, new = day_of(now), canary.baseline, canary.candidate
        if (old.provider, old.model) == (new.provider, new.model):
            return []
        found: list[Retirement | None] = []
        if order == "promote":
            found.append(self._by(new.provider, new.model, today + _SOON))
            if canary.holdback is not None:
                found.append(self._by(old.provider, old.model, day_of(now + canary.holdback.for_s)))
        if order == "rollback" and state.effective_share:
            until = today + _SOON if state.state == "promoted" else today
            found.append(self._by(old.provider, old.model, until))
        return [each for each in found if each is not None]

    def of_revert(self, now_given: ArmDocument, former: ArmDocument, now: float) -> list[Retirement]:
        """The retirement that the order to give everybody the former baseline goes against."""
        names = [(str(each.get("provider", "")), str(each.get("model", ""))) for each in (former, now_given)]
        found = None if names[0] == names[1] else self._by(*names[0], day_of(now) + _SOON)
        return [] if found is None else [found]

    def of_standing(self, standing: StandingCanary, now: float) -> list[Retirement]:
        """The same for a standing canary; empty where nothing was promoted."""
        if standing.begun.baseline is None:
            return []
        return self.of_revert(standing.baseline, standing.former, now)

    def _by(self, provider: str, model: str, until: date) -> Retirement | None:
        """When the model retires, if that is until this day."""
        name = f"{provider}/{model}"
        last = last_day(name, self._listed, self._settings().retires)
        if last is None or last.on > until:
            return None
        return Retirement(model=name, on=last.on, successor=last.successor)


def day_of(now: float) -> date:
    """The day (UTC) of a UTC second."""
    return datetime.fromtimestamp(now, UTC).date()


def told(found: Sequence[Retirement], now: float) -> str:
    """These retirements in a sentence without its full stop; "" for none."""
    return "; ".join(each.sentence(day_of(now)) for each in found)


def despite(found: Sequence[Retirement], reason: str, now: float, *, wanted: bool) -> str:
    """The order's reason, with the retirements that it goes against. Raises BadOrder (409) unless that is
    `wanted`."""
    if not found:
        return reason
    if not wanted:
        raise BadOrder(
            409,
            f"not done: it gives users a model that retires: {told(found, now)}. To do it all the same, say "
            "that it is despite the retirement (--despite-retirement)",
        )
    dates = " and ".join(f"{each.model} on {each.on}" for each in found)
    return f"{reason} (despite the retirement of {dates})".strip()
