"""Standing canaries: models are begun by their names, end before they ran, and baselines are taken back.

The store is the truth; `trials.json` takes it to the processes of a machine, whose supervisor reads the
config anew when it changes. Killed between the two, a process writes the file after its next start.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from control.fleet.publisher import TrialsFile
from control.operator.orders import BadOrder, refusing
from control.settings import ControlSettings, StandingCanary, held_back
from control.states.rollouts import Rollouts
from records.errors import StoreDown
from records.facts.standing import OVER, ArmDocument, BegunTrial, Standing
from records.store import Act, Store
from records.store.standing import CannotStand, Standings
from routing.canary import Arm

log = structlog.get_logger()

TAKEN_WITHIN_S = 10.0
SOON_S = 0.05
_NAME = 63

Misfit = Callable[[str, Mapping[str, BegunTrial]], str]
"""Why the config cannot be read with these trials of a standing canary; "" if it can."""


class StandingOrders:
    """What people order of standing canaries. Every method may raise BadOrder."""

    def __init__(
        self,
        store: Store,
        rollouts: Rollouts,
        settings: Callable[[], ControlSettings],
        file: TrialsFile,
        misfit: Misfit,
    ) -> None:
        self._standings, self._rollouts, self._settings = Standings(store), rollouts, settings
        self._file, self._misfit = file, misfit

    async def begin(
        self, name: str, arm: ArmDocument, *, who: str, reason: str, by_hand: bool
    ) -> Mapping[str, Any]:
        """Begin a trial: the standing canary's candidate with what `arm` says, `by_hand` for a person to
        start. Waits until it is taken up."""
        standing = self._standing(name)
        model = arm.get("model")
        if not isinstance(model, str) or not model.strip():
            raise BadOrder(400, 'begin needs the candidate\'s "model"')
        with refusing(409, CannotStand), refusing(503, StoreDown):
            begun = (await asyncio.to_thread(self._standings.all)).get(name, Standing())
            trial = _fresh(name, model, {*begun.trials, *self._rollouts.states, *self._settings().canaries})
            standing = replace(standing, begun=begun)  # the settings may be older
            if problem := _astray(name, standing):
                raise BadOrder(409, f"not begun: {problem}")
            new = BegunTrial(
                baseline=standing.baseline,
                candidate=standing.candidate(arm),
                at=time.time(),
                who=who or "unknown",
                by_hand=by_hand,
                terms=standing.fixed,
            )
            leaving = {
                each: replace(old, left_at=new.at) for each, old in begun.open.items() if self._is_over(each)
            }
            if problem := await asyncio.to_thread(self._misfit, name, {**leaving, trial: new}):
                raise BadOrder(400, f"not begun: {problem}")
            alone = standing.terms.canary.lane is None
            await asyncio.to_thread(self._rollouts.settle)
            left = await asyncio.to_thread(
                self._standings.begin, name, trial, new, reason=reason, alone=alone
            )
            known = self._settings().canaries
            over = [held_back(known[each].canary, state) for each, state in left.items() if each in known]
            await asyncio.to_thread(self._file.write)
        log.info("standing.begun", canary=name, trial=trial, who=who)
        return {
            **await self._taken_up(name, trial),
            "takes_over": list(standing.taken_over(arm)),
            "ended_early": [each for each in over if each is not None],
        }

    async def end(self, trial: str, *, who: str, reason: str) -> Mapping[str, Any]:
        """End a trial that never ran."""
        act = Act(at=time.time(), action="end", who=who or "unknown", reason=reason or "never ran")
        with refusing(409, CannotStand), refusing(503, StoreDown):
            await asyncio.to_thread(self._standings.end, trial, act)
            await asyncio.to_thread(self._file.write)
        return {"canary": trial, "state": "ended"}

    async def stored(self, name: str) -> StandingCanary:
        """The standing canary as the store has it now. Raises BadOrder (404, 503)."""
        known = self._standing(name)
        with refusing(503, StoreDown):
            begun = (await asyncio.to_thread(self._standings.all)).get(name, Standing())
        return replace(known, begun=begun)

    async def revert(self, name: str, canary: str | None, act: Act) -> list[str]:
        """Take back the baseline of this trial, which has left: the trials that end with it."""
        with refusing(409, CannotStand), refusing(503, StoreDown):
            return await asyncio.to_thread(self._standings.revert, name, canary, act)

    async def baseline(self, name: str) -> ArmDocument:
        """The baseline in force, after telling the machine's processes."""
        with refusing(409, CannotStand), refusing(503, StoreDown):
            await asyncio.to_thread(self._file.write)
        return (await self.stored(name)).baseline

    async def tell(self) -> None:
        """Tell the machine's processes what an order made of a baseline. May raise StoreDown."""
        if self._settings().standing:
            await asyncio.to_thread(self._file.write)

    def document(self) -> list[dict[str, Any]]:
        """Every standing canary for the status document."""
        return [self._about(name, each) for name, each in self._settings().standing.items()]

    def _about(self, name: str, standing: StandingCanary) -> dict[str, Any]:
        newest, baseline = standing.begun.baseline, standing.terms.canary.baseline
        over = [each for each in standing.begun.open if self._is_over(each)]
        return {
            "name": name,
            "owner": standing.terms.owner,
            "baseline": shown(baseline),
            "since": newest.at if newest is not None else None,
            "by": newest.who if newest is not None else None,
            "canary": newest.canary if newest is not None else None,
            "older_in_file": standing.in_file != standing.baseline,
            "taken_back": standing.taken_back,
            "kept": standing.kept(self._lane),
            "held_back": standing.held_back(self._settings().canaries, self._rollouts.state),
            "others": standing.others(self._settings().canaries, self._rollouts.state),
            "trials": [each for each in standing.begun.open if each not in over],
            "ends_with_it": [each for each in standing.begun.based if each not in over],
            "over": over,
        }

    def _lane(self, trial: str) -> float | None:
        state = self._rollouts.state(trial)
        return state.lane.part if state is not None and state.lane is not None else None

    def _is_over(self, trial: str) -> bool:
        state = self._rollouts.state(trial)
        return state is not None and state.state in OVER

    def _standing(self, name: str) -> StandingCanary:
        known = self._settings().standing
        if name not in known:
            raise BadOrder(404, f"no standing canary {name!r}; there are: {', '.join(known) or 'none'}")
        return known[name]

    async def _taken_up(self, name: str, trial: str) -> Mapping[str, Any]:
        """The answer, once the trial is in our config and has a state, or after ten seconds without."""
        until = time.monotonic() + TAKEN_WITHIN_S
        while time.monotonic() < until:
            if trial in self._settings().canaries and self._rollouts.in_force.is_settled([trial]):
                break
            await asyncio.sleep(SOON_S)
        state = self._rollouts.state(trial)
        known = self._settings().canaries.get(trial)
        by_hand = known is not None and known.canary.start_by_hand
        return {
            "standing": name,
            "canary": trial,
            "state": state.state if state is not None else "waiting",
            "reason": state.reason if state is not None else "",
            "start": "manual" if by_hand else "auto",
            "same_arm": known is not None and known.canary.baseline == known.canary.candidate,
        }


def shown(arm: Arm) -> dict[str, str]:
    """An arm as JSON types, with what it is more than its model (`request`), if anything."""
    more = {"request": arm.words} if arm.words else {}
    return {"provider": arm.provider, "model": arm.model, **more}


def _astray(name: str, standing: StandingCanary) -> str:
    """Why the next trial would take no request of the apps, which ask at the entry of the file's baseline;
    "" if it would. A trial takes what comes in at the entry of its own baseline."""
    asked, now = standing.in_file["provider"], standing.baseline["provider"]
    if asked == now:
        return ""
    return (
        f"the promoted baseline of {name} is at the entry {now}, and apps ask at {asked}: the next trial "
        f"would take none of their requests. Write this baseline into the file (`canary show {name} -o "
        f"yaml`), and let apps ask at /{now}/; until then everybody keeps it"
    )


def _fresh(name: str, model: str, used: set[str]) -> str:
    """The trial's name: the standing canary's with the model's, and a number where that was used before."""
    plain = f"{name}-{re.sub('[^A-Za-z0-9._-]', '-', model)}"[:_NAME]
    number = 2
    found = plain
    while found in used:
        found, number = f"{plain[: _NAME - 4]}-{number}", number + 1
    return found
