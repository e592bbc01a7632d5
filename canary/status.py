"""The status document of one canary, as the command line, the API and the page have it. Decides nothing."""

from typing import Any

from alerts.frozen import RolledBack
from alerts.incident import Incident
from alerts.status import rule_key
from canary.config import CanaryConfig
from canary.news.live import Patient
from canary.states.orders import ORDER_OF
from console.rollbacks import brief_of
from routing import transitions
from routing.plan import State


def status_of(
    wanted: CanaryConfig, state: State | None, patient: Patient, rolled_back: RolledBack | None, now: float
) -> dict[str, Any]:
    """How a canary stands at monotonic `now`; `state` is None while nothing is known of it, `rolled_back`
    the rollback that it stands under."""
    return {
        "name": wanted.canary.name,
        "state": state.state if state is not None else "waiting",
        "share": state.effective_share if state is not None else 0.0,
        "actual_share": patient.pulse.actual_share(),
        "run": state.run if state is not None else 0,
        "reason": state.reason if state is not None else "",
        "started_at": state.started_at if state is not None else None,
        "rollback": brief_of(rolled_back),
        "incident": patient.incident.dedup_key if patient.incident is not None else None,
        "open_incident": _open_incident(patient.incident),
        "ramp": _ramp(wanted, state, patient),
        "orders": _orders(state),
        "captures": wanted.capture is not None,
        "arms": patient.pulse.document(now),
        "mirror": _mirror(wanted, patient, now),
        "guardrails": _guardrails(wanted, patient),
    }


def _guardrails(wanted: CanaryConfig, patient: Patient) -> list[dict[str, Any]]:
    """Each rule and how it stands; `action` is what the config lets it do, None for a rule of our own."""
    actions = {rule_key(each.rule, each.category, each.segment): each.action for each in wanted.guardrails}
    return [
        {
            "rule": status.key,
            "state": status.state,
            "action": actions.get(status.key),
            "value": status.value,
            "threshold": status.threshold,
            "evidence": dict(status.evidence),
            "sentence": status.sentence,
        }
        for status in patient.statuses
    ]


def _ramp(wanted: CanaryConfig, state: State | None, patient: Patient) -> dict[str, Any]:
    """Where the canary is in its ramp: `step` from 0, None where it is at no step of it; `left_s` of this
    step, None where it has no end; `held` while a guardrail stops the clock, `too_few_users` while this step
    stays because too few have seen it."""
    steps = wanted.canary.steps
    step = state.step if state is not None and state.step < len(steps) else None
    lasts = steps[step].for_s if step is not None and step + 1 < len(steps) else None
    return {
        "steps": [{"share": each.share, "for_s": each.for_s} for each in steps],
        "step": step,
        "left_s": max(0.0, lasts - state.step_elapsed_s) if state is not None and lasts is not None else None,
        "held": patient.holds_ramp,
        "too_few_users": state is not None and not patient.watch.enough_in(state.phase),
    }


def _orders(state: State | None) -> list[str]:
    """The orders that are legal now, and change something."""
    legal = [ORDER_OF[each] for each in transitions.legal(state) if each in ORDER_OF] if state else []
    return [each for each in legal if state is None or (each, state.state) != ("rollback", "rolled_back")]


def _mirror(wanted: CanaryConfig, patient: Patient, now: float) -> dict[str, Any] | None:
    """The mirror copies; None where there are none and none are wanted."""
    pulse = patient.pulse
    if not (wanted.mirror or pulse.mirror.requests or pulse.mirrors_dropped):
        return None
    return {"share": wanted.mirror, **pulse.mirror_document(now)}


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
