"""What the console may ask and order: facts from the live view and the store, orders as audited changes."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from alerts.frozen import Why
from alerts.incident import Incident
from alerts.pulse import Pulse
from canary.config import Config
from canary.live import Live, Patient
from canary.orders import ORDER_OF, transition_for
from canary.process import WatchedConfig
from canary.rollouts import Outrun, Rollouts
from canary.secrets import Keys
from canary.workers import Workers
from console.control import BadOrder, Order
from records.capture import Capture
from records.capture_store import CaptureStore
from records.decisions import Choice, Decision, Decisions
from records.errors import StoreDown
from records.store import Act, Audited, Store
from routing import transitions
from routing.assign import assign
from routing.canary import definition
from routing.cohort import SPACE, bucket
from routing.plan import State

CONFIRM_WITHIN_S = 1.5
LOOK_EVERY_S = 0.05


@dataclass(slots=True, kw_only=True)
class Operator:
    """The console's `Control`. `problems` is what the config must not want of started canaries, `troubles`
    tells what else does not work at the moment."""

    config: WatchedConfig
    store: Store
    rollouts: Rollouts
    live: Live
    workers: Workers
    troubles: Callable[[], Sequence[str]]
    keys: Keys
    problems: list[str]

    def degraded(self) -> Sequence[str]:
        """What does not work at the moment."""
        found = list(self.problems)
        if self.config.problem:
            found.append(f"the config file is bad, the old one stays: {self.config.problem}")
        found += self.troubles()
        if not self.workers.alive(time.monotonic()):
            found.append("no traffic worker gave a sign of life")
        return found

    def status(self) -> Mapping[str, Any]:
        """The contract's status document."""
        confirmed, alive = self.workers.confirmed(self.rollouts.plan.version, time.monotonic())
        return {
            "canaries": [self._status(name) for name in self.config.current.canaries],
            "workers": {"alive": alive, "confirmed": confirmed},
        }

    def explain(self, unit: str) -> Mapping[str, Any]:
        """Which arm the unit gets, and why."""
        return {"canaries": [self._explain(name, unit) for name in self.config.current.canaries]}

    async def report(self, canary: str, form: str) -> str:
        """One canary's report, computed in a thread: requests to the console go on meanwhile."""
        config = self.config.current
        self._patient(canary)
        try:
            return await asyncio.to_thread(_report, config, canary, self.store, form)
        except StoreDown as problem:
            raise BadOrder(503, str(problem)) from problem

    async def order(
        self, canary: str, order: Order, *, who: str, reason: str, share: float | None
    ) -> Mapping[str, Any]:
        """Carry out one order, and wait a moment for the workers to confirm it."""
        wanted = self.config.current.canaries.get(canary)
        if wanted is not None and not self.rollouts.known and order != "rollback":
            raise BadOrder(503, "the store has not answered yet; only rollback needs none")
        if wanted is None or self.rollouts.state(canary) is None:
            raise BadOrder(404, f"no canary {canary!r} to {order}")
        now = time.time()
        transition = transition_for(order, wanted.canary.steps, reason=reason, share=share, now=now)
        act = Act(at=now, action=order, who=who or "unknown", reason=reason)
        try:
            # Taking the candidate out is right whatever somebody else ordered at the same moment.
            state = await asyncio.to_thread(
                self.rollouts.change, canary, act, transition, yields=order != "rollback"
            )
            with suppress(StoreDown):  # it is in force, and stored when the store answers
                await asyncio.to_thread(self.rollouts.settle)
        except (transitions.Refused, Outrun) as refusal:
            raise BadOrder(409, str(refusal)) from refusal
        except StoreDown as problem:
            raise BadOrder(503, str(problem)) from problem
        version = self.rollouts.plan.version
        confirmed, workers = await self._confirmations(version)
        return {
            "canary": canary,
            "state": state.state,
            "share": state.effective_share,
            "version": version,
            "confirmed": confirmed,
            "workers": workers,
        }

    async def decide(
        self, canary: str, choice: Choice, *, who: str, reason: str, compensating: str | None
    ) -> Mapping[str, Any]:
        """Keep what a person decided of the canary's run."""
        state = self.rollouts.state(canary)
        if state is None:
            raise BadOrder(404, f"no canary {canary!r} to decide of")
        decision = Decision(
            at=time.time(),
            canary=canary,
            run=state.run,
            decision=choice,
            who=who,
            reason=reason,
            compensating=compensating,
        )
        try:
            await asyncio.to_thread(Decisions(self.store).record, decision, state)
        except StoreDown as problem:
            raise BadOrder(503, str(problem)) from problem
        return asdict(decision)

    async def audit(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest audit entries."""
        try:
            return [_audit_entry(each) for each in await asyncio.to_thread(self.store.audit, limit)]
        except StoreDown as problem:
            raise BadOrder(503, str(problem)) from problem

    def recent(self, canary: str) -> Mapping[str, Any]:
        """The last ten minutes of both arms."""
        return self._patient(canary).pulse.recent(time.monotonic())

    def why(self, canary: str) -> Why | None:
        """The frozen evidence of this run's rollback; None where no rule did it."""
        patient = self._patient(canary)
        why = patient.incident.why if patient.incident is not None else None
        return why if why is not None and why.run == patient.watch.run else None

    async def pairs(
        self, canary: str, *, since: float, until: float, category: str | None, limit: int
    ) -> Sequence[tuple[Capture, Capture]]:
        """Captured exchanges and the candidate's answers to copies of them."""
        self._patient(canary)
        found = CaptureStore(self.store).pairs(canary, since=since, until=until, category=category)
        try:
            return await asyncio.to_thread(lambda: list(islice(found, limit)))
        except StoreDown as problem:
            raise BadOrder(503, str(problem)) from problem

    def _patient(self, canary: str) -> Patient:
        if canary not in self.live.patients:
            names = ", ".join(self.live.patients) or "none"
            raise BadOrder(404, f"no canary {canary!r}; there are: {names}")
        return self.live.patients[canary]

    async def _confirmations(self, version: int) -> tuple[int, int]:
        """(workers that follow this plan, workers alive), after at most 1.5 s."""
        deadline = time.monotonic() + CONFIRM_WITHIN_S
        while True:
            confirmed, alive = self.workers.confirmed(version, time.monotonic())
            if confirmed == alive or time.monotonic() > deadline:
                return confirmed, alive
            await asyncio.sleep(LOOK_EVERY_S)

    def _status(self, name: str) -> dict[str, Any]:
        patient = self.live.patients[name]
        state = self.rollouts.state(name)
        return {
            "name": name,
            "state": state.state if state is not None else "waiting",
            "share": state.effective_share if state is not None else 0.0,
            "actual_share": patient.pulse.actual_share(),
            "run": state.run if state is not None else 0,
            "reason": state.reason if state is not None else "",
            "incident": patient.incident.dedup_key if patient.incident is not None else None,
            "open_incident": _open_incident(patient.incident),
            "ramp": self._ramp(name, state, held=patient.holds_ramp),
            "orders": [ORDER_OF[each] for each in transitions.legal(state) if each in ORDER_OF]
            if state
            else [],
            "captures": self.config.current.canaries[name].capture is not None,
            "arms": patient.pulse.document(time.monotonic()),
            "mirror": self._mirror(name, patient.pulse),
            "guardrails": [
                {
                    "rule": status.key,
                    "state": status.state,
                    "value": status.value,
                    "threshold": status.threshold,
                    "evidence": dict(status.evidence),
                    "sentence": status.sentence,
                }
                for status in patient.statuses
            ],
        }

    def _ramp(self, name: str, state: State | None, *, held: bool) -> dict[str, Any]:
        """Where the canary is in its ramp: `step` from 0, None where it is at no step of it; `left_s` of this
        step, None where it has no end; `held` while a guardrail stops the clock."""
        steps = self.config.current.canaries[name].canary.steps
        step = state.step if state is not None and state.step < len(steps) else None
        lasts = steps[step].for_s if step is not None and step + 1 < len(steps) else None
        return {
            "steps": [{"share": each.share, "for_s": each.for_s} for each in steps],
            "step": step,
            "left_s": max(0.0, lasts - state.step_elapsed_s)
            if state is not None and lasts is not None
            else None,
            "held": held,
        }

    def _mirror(self, name: str, pulse: Pulse) -> dict[str, Any] | None:
        """The mirror copies; None where there are none and none are wanted."""
        wanted = self.config.current.canaries[name].mirror
        if not (wanted or pulse.mirror.requests or pulse.mirrors_dropped):
            return None
        return {"share": wanted, **pulse.mirror_document(time.monotonic())}

    def _explain(self, name: str, unit: str) -> dict[str, Any]:
        canary = self.config.current.canaries[name].canary
        state = self.rollouts.plan.state_of(name, definition(canary))
        assignment = assign(canary, state, key=self.keys.assignment, unit=unit)
        place = bucket(self.keys.assignment, name, unit) / SPACE
        return {
            "canary": name,
            "arm": assignment.arm,
            "reason": assignment.reason,
            "share": assignment.share,
            "bucket": place,
            "sentence": f"the unit stands at {place:.2%} of the line, the candidate gets the first "
            f"{assignment.share:.2%}; {assignment.reason}",
        }


def _report(config: Config, canary: str, store: Store, form: str) -> str:
    # Statistics take two seconds to import, and most admin processes never write a report.
    from canary.reporting import rendered, report_of

    return rendered(report_of(config, canary, store, now=time.time()), form)


def _open_incident(incident: Incident | None) -> dict[str, Any] | None:
    if incident is None or incident.state == "resolved":
        return None
    return {
        "state": incident.state,
        "opened_at": incident.opened_at,
        "headline": incident.headline,
        "rules": list(incident.rules),
        "done": incident.done,
    }


def _audit_entry(entry: Audited) -> dict[str, Any]:
    return {
        "time": datetime.fromtimestamp(entry.act.at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "canary": entry.canary,
        "action": entry.act.action,
        "who": entry.act.who,
        "reason": entry.act.reason,
        "share_before": entry.before.effective_share if entry.before is not None else None,
        "share_after": entry.after.effective_share,
    }
