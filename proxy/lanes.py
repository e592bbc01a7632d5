"""Which of the canaries that match a request takes it: the one whose lane has the unit."""

from collections.abc import Callable, Mapping, Sequence
from random import getrandbits

from proxy.caller_labels import DISTINCT
from proxy.facts import RequestFacts
from proxy.pins import NAME, PIN
from proxy.routes import ArmTarget, Route, Routes, Trial
from routing.canary import UNIT_FROM, UnitSource
from routing.lane import Lane, lane_place
from routing.lanes import holds
from routing.plan import Plan

Choice = tuple[Trial | None, ArmTarget | None, str | None]
"""The canary that takes a request; the baseline of one that no lane has; the unit."""

NOBODYS: Choice = (None, None, None)


class Lanes:
    """Follows the plan. `key` returns the assignment key."""

    def __init__(self, plan: Callable[[], Plan], key: Callable[[], bytes]) -> None:
        self._plan = plan
        self._key = key
        self._seen: tuple[Plan, Routes] | None = None
        self._left: Sequence[Lane] = ()

    def choose(
        self,
        routes: Routes,
        route: Route,
        facts: RequestFacts,
        named: Mapping[bytes, bytes],
        tags: Mapping[str, str],
    ) -> Choice:
        """The canary that takes the request: of several that match the one whose lane has the unit, the first
        one where lanes do not matter, none where no lane has it."""
        trials = routes.matching(route, facts.model, named, tags)
        if not trials:
            return None, None, _unit(UNIT_FROM, named, facts)
        first, states = trials[0], self._plan().states
        unit = _unit(first.canary.unit_from, named, facts)
        if len(trials) == 1 and ((state := states.get(first.canary.name)) is None or state.lane is None):
            return first, None, unit
        if PIN in named:
            return self._pinned(trials, unit, named), None, unit
        if unit is None and not first.canary.random_without_unit:
            return first, None, None
        place = getrandbits(32) if unit is None else lane_place(self._key(), unit)
        known = [(trial, states.get(trial.canary.name)) for trial in trials]
        trial = next((each for each, state in known if holds(state, place)), None)
        if trial is None and not any(state is not None and state.lane is not None for _, state in known):
            trial = first
        rest = self._rest(routes, first, place, route, facts.model, named, tags) if trial is None else None
        return trial, rest, unit

    def _pinned(self, trials: Sequence[Trial], unit: str | None, named: Mapping[bytes, bytes]) -> Trial:
        """The canary that the request names, else the one whose lane has the unit, else the first."""
        called = (each for each in trials if each.canary.name.encode() == named.get(NAME))
        if (trial := next(called, None)) is not None:
            return trial
        states, place = self._plan().states, None if unit is None else lane_place(self._key(), unit)
        mine = (each for each in trials if place is not None and holds(states.get(each.canary.name), place))
        return next(mine, trials[0])

    def _rest(
        self, routes: Routes, first: Trial, place: int, route: Route, model: str,
        named: Mapping[bytes, bytes], tags: Mapping[str, str],
    ) -> ArmTarget:  # fmt: skip
        """The baseline of a request whose unit's place no lane has: the last one of the newest canary that
        took such a request before it ended, else that of the first canary that matches."""
        left = (each for each in self._lanes_that_left(routes) if each.has(place))
        last = (routes.last_baseline(each, route, model, named, tags) for each in left)
        return next((each for each in last if each is not None), first.baseline)

    def _lanes_that_left(self, routes: Routes) -> Sequence[Lane]:
        """The lanes of canaries that have ended, or have left the config and will: the newest first."""
        seen = self._plan(), routes
        if seen != self._seen:
            states = seen[0].states.items()
            left = [each for name, each in states if each.state == "ended" or name not in routes.trials]
            left.sort(key=lambda state: (state.state != "ended", state.changed_at or 0.0), reverse=True)
            self._seen, self._left = seen, [state.lane for state in left if state.lane is not None]
        return self._left


def _unit(sources: Sequence[UnitSource], named: Mapping[bytes, bytes], facts: RequestFacts) -> str | None:
    """Return the unit from the first source that has one. An empty unit would be one bucket for everyone."""
    for source in sources:
        if source == "body":
            unit = facts.unit
        else:
            unit = named.get(_UNIT_HEADERS[source], b"").decode(*DISTINCT).strip()
        if unit:
            return unit
    return None


_UNIT_HEADERS: Mapping[UnitSource, bytes] = {"header": b"x-canary-unit", "session": b"x-canary-session"}
