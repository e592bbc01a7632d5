"""Which of the canaries that match a request takes it: the one whose lane has the unit."""

from collections.abc import Callable, Mapping, Sequence
from random import getrandbits

from proxy.pins import PIN
from proxy.routes import ArmTarget, Routes, Trial
from routing.lane import Lane, lane_place
from routing.lanes import taker
from routing.plan import NO_PLAN, Plan

NAME = b"x-canary-name"
"""The header by which a pinned request says which canary it means."""


class Lanes:
    """Follows the plan. `key` returns the assignment key."""

    def __init__(self, plan: Callable[[], Plan], key: Callable[[], bytes]) -> None:
        self._plan = plan
        self._key = key
        self._seen = NO_PLAN
        self._ended: Mapping[str, Sequence[Lane]] = {}

    def choose(
        self, trials: Sequence[Trial], unit: str | None, named: Mapping[bytes, bytes]
    ) -> tuple[Trial | None, Lane | None]:
        """The canary that takes the request: the first where lanes do not matter. None, and the lane that the
        unit had in a canary that has ended or no lane, where none takes it.

        `trials` are the canaries that match, at least one.
        """
        first, states = trials[0], self._plan().states
        if len(trials) == 1:
            state = states.get(first.canary.name)
            if state is None or state.lane is None:
                return first, None
        elif PIN in named and (wanted := named.get(NAME)) is not None:
            return next((each for each in trials if each.canary.name.encode() == wanted), first), None
        if unit is None and not first.canary.random_without_unit:
            return first, None
        place = getrandbits(32) if unit is None else lane_place(self._key(), unit)
        name = taker([each.canary.name for each in trials], states, place)
        if name is not None:
            return next(each for each in trials if each.canary.name == name), None
        lanes = [state.lane for each in trials if (state := states.get(each.canary.name)) is not None]
        group = next((lane.group for lane in lanes if lane is not None), None)
        if group is None:
            return first, None
        return None, self._ended_lane(group, place)

    def rest(self, routes: Routes, trials: Sequence[Trial], ended: Lane | None) -> ArmTarget:
        """The baseline of a request that no lane has: the ended lane's, else the first canary's."""
        last = routes.baseline(ended.baseline) if ended is not None else None
        return last or routes.baseline(trials[0].canary.baseline) or routes.plain(trials[0].baseline.provider)

    def _ended_lane(self, group: str, place: int) -> Lane | None:
        plan = self._plan()
        if plan is not self._seen:
            ended: dict[str, list[Lane]] = {}
            for state in plan.states.values():
                if state.state == "ended" and state.lane is not None:
                    ended.setdefault(state.lane.group, []).append(state.lane)
            self._seen, self._ended = plan, ended
        return next((lane for lane in self._ended.get(group, ()) if lane.has(place)), None)
