"""The status of one canary as JSON, for the command line, the API and the page."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from alerts.figures.places import to_document
from alerts.figures.rollback import RolledBack
from alerts.incidents.incident import Incident
from alerts.rules.status import rule_key
from alerts.scope import users_needed
from control.approval import PromoteRequest
from control.monitor import WatchedCanary
from control.orders import ORDER_OF
from control.redefinitions import redefinition, refusal
from control.rollback_document import brief_of
from control.settings import CanarySettings
from control.unmatched import Astray
from records.unpriced import UnpricedArm
from routing import transitions
from routing.assignment import UNASSIGNED
from routing.canary import Canary, arm_names
from routing.plan import State

NOT_SEEN = "Text that refuses, wrong language, invention: not seen without feedback or a judge"
"""What no guardrail reads, and what would show it."""


def status_of(
    wanted: CanarySettings,
    state: State | None,
    watched: WatchedCanary,
    rolled_back: RolledBack | None,
    now: float,
    preflight: Mapping[str, Any] | None = None,
    *,
    unpriced: Sequence[UnpricedArm] = (),
    laneless: str | None = None,
    promote_asked: PromoteRequest | None = None,
    breakers_open: int = 0,
    astray: Sequence[Astray] = (),
) -> dict[str, Any]:
    """The canary's status at monotonic `now`. `state` is None while it is not known; `rolled_back` is the
    rollback in force; `preflight` is what the candidate took before the start; `unpriced` are its arms whose
    price no list and no config names; `laneless` says why it gets no lane; `promote_asked` is the open
    request to promote it; `breakers_open` is the number of workers whose breaker is open; `astray` is what is
    wrong with most of its requests. `refused` in the status says that the config redefines the canary, or
    that it gets no lane; `lane` is its lane's size, None without one; `not_seen` what nobody reads."""
    where = watched.watch.where(watched.statuses)
    arms = watched.pulse.document(now)
    refused = redefinition(wanted.canary, state) or laneless
    return {
        "name": wanted.canary.name,
        "owner": wanted.owner,
        "models": _models(wanted.canary),
        "state": state.state if state is not None else "waiting",
        "share": state.effective_share if state is not None else 0.0,
        "actual_share": watched.pulse.actual_share(),
        "assignment": _assignment(wanted, watched),
        "run": state.run if state is not None else 0,
        "hard": state is not None and state.hard,
        "reason": state.reason if state is not None else "",
        "refused": refused,
        "lane": state.lane.part if state is not None and state.lane is not None else None,
        "preflight": preflight,
        "started_at": state.started_at if state is not None else None,
        "rollback": brief_of(rolled_back),
        "incident": watched.incident.dedup_key if watched.incident is not None else None,
        "open_incident": _open_incident(watched.incident, time.time()),
        "ramp": _ramp(wanted, state, watched),
        "orders": _orders(wanted, state, laneless),
        "promoted_by": wanted.promoted_by,
        "promote_asked": promote_asked.document() if promote_asked is not None else None,
        "captures": wanted.capture is not None,
        "base_path": wanted.base_path,
        "arms": arms,
        "breakers_open": breakers_open,
        "traffic": [each.document for each in astray],
        "unpriced": [asdict(each) for each in unpriced if arms[each.arm]["cost_usd"] is None],
        "mirror": _mirror(wanted, watched, now),
        "not_seen": None if _is_read(wanted, arms) else NOT_SEEN,
        "where": where.document,
        "where_sentence": where.sentence,
        "provider_error": to_document(watched.watch.state.provider_error),
        "guardrails": _guardrails(wanted, watched, state.effective_share if state is not None else 0.0),
    }


def _is_read(wanted: CanarySettings, arms: Mapping[str, Mapping[str, Any]]) -> bool:
    """True if somebody reads the candidate's answers: a judge, or users who have rated them in this run."""
    return wanted.judge is not None or any(each["count"] for each in arms["candidate"]["feedback"].values())


def _assignment(wanted: CanarySettings, watched: WatchedCanary) -> dict[str, Any] | None:
    """The run's requests without a good arm from the flag system, and the set and the actual share of the
    phase if they differ much (`split_off`); None where the hash assigns."""
    if not wanted.canary.assigned_outside:
        return None
    counts, split = watched.pulse.unassigned, watched.pulse.split
    actual = split.actual()
    return {
        **{name: counts.get(name, 0) for name in UNASSIGNED},
        "split_off": None if actual is None else {"share": split.share, "actual": actual},
    }


def _models(canary: Canary) -> dict[str, dict[str, str]]:
    """Both arms' models, with their requests in words where these alone differ."""
    arms = {"baseline": canary.baseline, "candidate": canary.candidate}
    named = dict(zip(arms, arm_names(**arms), strict=True))
    requests = {name: label.partition(" · ")[2] for name, label in named.items()}
    return {
        name: {
            "provider": arm.provider,
            "model": arm.model,
            **({"request": requests[name]} if requests[name] else {}),
        }
        for name, arm in arms.items()
    }


def _guardrails(wanted: CanarySettings, watched: WatchedCanary, share: float) -> list[dict[str, Any]]:
    """Each rule with its status. `action` is what the config lets the rule do, None for a built-in rule;
    `users_needed`: so many of the candidate's users, if all of them meet the event, are enough for that."""
    rules = {rule_key(each.rule, each.category, each.segment): each for each in wanted.guardrails}
    return [
        {
            "rule": status.key,
            "state": status.state,
            "action": rule.action if (rule := rules.get(status.key)) is not None else None,
            "users_needed": users_needed(rule, share) if rule is not None else None,
            "value": status.value,
            "threshold": status.threshold,
            "evidence": dict(status.evidence),
            "sentence": status.sentence,
            "where": status.where.document,
        }
        for status in watched.statuses
    ]


def _ramp(wanted: CanarySettings, state: State | None, watched: WatchedCanary) -> dict[str, Any]:
    """The canary's place in its ramp.

    `step` counts from 0, None if the share is not of a step; `left_s` is what is left of the step, None if it
    has no end; `held` is True while a guardrail stops the clock, `too_few_users` while too few users have
    seen the step.
    """
    steps = wanted.canary.steps
    step = state.step if state is not None and state.step < len(steps) else None
    lasts = steps[step].for_s if step is not None and step + 1 < len(steps) else None
    return {
        "steps": [{"share": each.share, "for_s": each.for_s} for each in steps],
        "step": step,
        "left_s": max(0.0, lasts - state.step_elapsed_s) if state is not None and lasts is not None else None,
        "held": watched.holds_ramp,
        "too_few_users": state is not None and not watched.watch.enough_in(state.phase),
    }


def _orders(wanted: CanarySettings, state: State | None, laneless: str | None) -> list[str]:
    """The orders that are legal now and change something."""
    if state is None:
        return []
    legal = [ORDER_OF[each] for each in transitions.legal(state) if each in ORDER_OF]
    useful = [each for each in legal if (each, state.state) != ("rollback", "rolled_back")]
    given = [each for each in useful if laneless is None or each != "start"]
    return [each for each in given if refusal(each, wanted.canary, state) is None]


def _mirror(wanted: CanarySettings, watched: WatchedCanary, now: float) -> dict[str, Any] | None:
    """The figures of mirror copies; None if there are none and none are configured."""
    pulse = watched.pulse
    if not (wanted.mirror or pulse.mirror.requests or pulse.mirrors_dropped):
        return None
    return {"share": wanted.mirror, **pulse.mirror_document(now)}


def _open_incident(incident: Incident | None, now: float) -> dict[str, Any] | None:
    """The incident that is not resolved. `sentence` is its headline without words of a provider."""
    if incident is None or incident.state == "resolved":
        return None
    return {
        "state": incident.state,
        "opened_at": incident.opened_at,
        "headline": incident.headline(now),
        "sentence": incident.headline(now, quoting=False),
        "rules": list(incident.rules),
        "done": incident.done,
    }
