"""What is known of one canary as JSON: its status, why it was rolled back, which arm a unit gets. For
commands, the API and the page."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from alerts.incidents.incident import RESOLVE_AFTER_S, Incident
from alerts.incidents.rollback import EvidencePoint, RollbackEvidence, RolledBack, RuleThen, rolled_back
from alerts.rules.few_users import FewUsers, few_users
from alerts.rules.places import to_document
from alerts.rules.rule import Action, Rule
from alerts.rules.scope import users_needed
from common.clock import Utc, utc_now
from common.numbers import set_percent
from control.monitor.monitor import WatchedCanary
from control.operator.orders import ORDERS
from control.settings import CanarySettings
from control.states.rollouts import NEVER_REFUSED, Rollouts, laneless, refusal
from records.errors import StoreDown
from records.facts.prices import UnpricedArm
from records.store import Store
from records.store.decisions import Decision, Decisions
from records.store.reports import DailyReport, DailyReports
from routing import transitions
from routing.assign import Assignment, Given, Held, assign, everybody
from routing.assignment import UNASSIGNED
from routing.canary import Arm, Canary, HoldbackTerms, arm_names, definition
from routing.cohort import SPACE, bucket
from routing.lanes import holds
from routing.states import State, lane_place


def document_of(rolled_back: RolledBack) -> dict[str, Any]:
    """The whole rollback. Times are UTC seconds; numbers named `ln_…` are natural logarithms."""
    why = rolled_back.why
    return {
        **_told(rolled_back),
        "canary": why.canary,
        "run": why.run,
        "reason": why.reason,
        "sentence": why.sentence or f"rolled back by {why.who}, no reason given",
        "value": why.value,
        "threshold": why.threshold,
        "evidence": dict(why.evidence),
        "limits": dict(why.limits),
        "path": _points(why.path),
        "failures": [failure._asdict() for failure in why.failures],
        "rules": [_rule(each) for each in why.rules],
        "before": rolled_back.before.document,
        "after": rolled_back.after.document,
    }


def brief_of(rolled_back: RolledBack | None) -> dict[str, Any] | None:
    """The rollback in brief; None for none."""
    if rolled_back is None:
        return None
    why = rolled_back.why
    page = f"/canaries/{why.canary}/why?run={why.run}"
    return {**_told(rolled_back), "share_before": why.share_before, "page": page}


def _told(rolled_back: RolledBack) -> dict[str, Any]:
    """What both documents have of it."""
    why = rolled_back.why
    return {
        "rule": why.rule or None,
        "who": why.who,
        "headline": why.on_call(),
        "summary": why.on_call(quoting=False),
        "sentence": why.sentence,
        "where": why.where.document,
        "where_sentence": why.where.sentence,
        "provider_error": to_document(why.provider_error),
        "at": why.at,
        "arms": {arm: asdict(figures) for arm, figures in why.arms.items()},
        "stored": rolled_back.stored,
    }


def _rule(then: RuleThen) -> dict[str, Any]:
    return asdict(then) | {"path": _points(then.path), "where": then.where.document}


def _points(path: Sequence[EvidencePoint]) -> list[dict[str, float]]:
    return [point._asdict() for point in path]


NOT_SEEN = "Text that refuses, wrong language, invention: not seen without feedback or a judge"
"""What no guardrail reads, and what would show it."""


def status_of(
    wanted: CanarySettings,
    state: State | None,
    watched: WatchedCanary,
    now: float,
    *,
    unpriced: Sequence[UnpricedArm] = (),
    laneless: str | None = None,
    step_users: int | None = None,
    why: RollbackEvidence | None = None,
    outage: Incident | None = None,
) -> dict[str, Any]:
    """What a canary's state and traffic say of it at monotonic `now`. `state` is None while it is not known;
    `unpriced` are its arms whose price no list and no config names; `laneless` says why it gets no lane;
    `step_users` are the candidate's users in the ramp's step. `refused` in the status says that the config
    redefines the canary, or that it gets no lane; `lane` is its lane's size, None without one; `not_seen`
    what nobody reads; `few_users` what its users are too few for, None for nothing. `why`: the rollback that
    is in force; rules that counted its incident have the figures of its moment, as its other surfaces do.
    `outage`: the incident of its baseline while nothing is tried beside it; it comes before its own."""
    where = why.where if why is not None else watched.watch.where(watched.statuses)
    sessions = watched.watch.state.sessions.document()
    arms = {
        name: {**each, "sessions": sessions[name], "feedback": _said_per(each["feedback"], watched)}
        for name, each in watched.pulse.document(now).items()
    }
    refused = transitions.redefinition(wanted.canary, state) or laneless
    few = _too_few(wanted, state, watched)
    incident = outage or watched.incident
    quota = watched.pulse.quota.status(state.cap if state is not None else None, now)
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
        "holdback": _holdback(wanted.canary.holdback, state, watched),
        "lane": state.lane.part if state is not None and state.lane is not None else None,
        "started_at": state.started_at if state is not None else None,
        "incident": incident.dedup_key if incident is not None else None,
        "answers": watched.answers,
        "open_incident": _open_incident(incident, utc_now()),
        "ramp": _ramp(wanted, state, watched, step_users, quota.holds),
        "quota": quota.document if quota.throttled or quota.holds else None,
        "orders": _orders(wanted, state, laneless),
        "promoted_by": wanted.promoted_by,
        "captures": wanted.capture is not None,
        "prompt_missed": watched.pulse.prompt_missed,
        "changed_texts": list(wanted.changed_texts),
        "base_path": wanted.base_path,
        "arms": arms,
        "unpriced": [asdict(each) for each in unpriced if arms[each.arm]["cost_usd"] is None],
        "mirror": _mirror(wanted, watched, now),
        "not_seen": None if _is_read(wanted, arms) else NOT_SEEN,
        "where": where.document,
        "where_sentence": where.sentence,
        "provider_error": to_document(watched.watch.state.provider_error),
        "guardrails": _guardrails(wanted, watched, state, why.rules if why is not None else ()),
        "few_users": few.document if few is not None else None,
    }


def too_few(
    wanted: CanarySettings, users: int, *, share: float | None = None, candidate: int | None = None
) -> FewUsers | None:
    """What so many users of both arms are too few for at a share (None: the last one of the config)."""
    return few_users(
        wanted.guardrails,
        wanted.canary.steps[-1].share if share is None else share,
        users,
        candidate=candidate,
        rated=[row.metric for row in wanted.judged.criteria],
    )


def _too_few(wanted: CanarySettings, state: State | None, watched: WatchedCanary) -> FewUsers | None:
    """The same of those who came, once hardly anybody new comes; until then of those whom the config expects.
    None without a comparison to come."""
    expected = wanted.judged.expected.users
    if state is None or state.state not in ("waiting", "running", "paused"):
        return None
    if state.state == "waiting":
        return None if expected is None else too_few(wanted, expected)
    share, came = state.effective_share, watched.watch.state.users
    if came.settled:
        return too_few(wanted, len(came.users), share=share, candidate=came.candidate)
    return None if expected is None else too_few(wanted, expected, share=share)


def _holdback(
    terms: HoldbackTerms | None, state: State | None, watched: WatchedCanary
) -> dict[str, Any] | None:
    """Who keeps the baseline after a promotion, now or once it comes (no `since` and `until`); None for
    nobody."""
    held = state.holdback if state is not None and state.holds_back else None
    if state is not None and held is not None:
        return {
            "share": 1.0 - state.share,
            "for_s": held.until - held.since,
            "rollback": not watched.only_pages(state),
            "since": held.since,
            "until": held.until,
        }
    if terms is None or (state is not None and state.state not in ("waiting", "running", "paused")):
        return None
    return {**asdict(terms), "since": None, "until": None}


def _said_per(feedback: Mapping[str, Mapping[str, Any]], watched: WatchedCanary) -> dict[str, Any]:
    """The values of each metric, with what one observation of it is: a mean of events says nothing."""
    metrics = watched.watch.metrics
    return {
        name: {**each, "per": metrics[name].per if name in metrics else "value"}
        for name, each in feedback.items()
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
    """Both arms, with what differs in words where their models are the same (`request`)."""
    arms = {"baseline": canary.baseline, "candidate": canary.candidate}
    named = dict(zip(arms, arm_names(**arms), strict=True))
    requests = {name: label.partition(" · ")[2] for name, label in named.items()}
    return {
        name: {
            "provider": arm.provider,
            "model": arm.model,
            **({"request": requests[name]} if requests[name] else {}),
            **({"name": arm.name} if arm.name else {}),
            "fingerprint": arm.fingerprint,
        }
        for name, arm in arms.items()
    }


def _guardrails(
    wanted: CanarySettings, watched: WatchedCanary, state: State | None, then: Sequence[RuleThen]
) -> list[dict[str, Any]]:
    """Each rule with its status, and with the figures of `then` if it counted an incident then.

    `action` is what the rule may do now, None for a built-in rule;
    `window_s`: the time that its value is of, None for the whole run;
    `waits`: what it waits for ({have, need, of}), None if for nothing;
    `users_needed`: so many of the candidate's users, if all of them meet the event, are enough for that."""
    rules = {each.key: each for each in wanted.guardrails}
    share = state.effective_share if state is not None else 0.0
    pages = watched.only_pages(state)
    counted = {each.rule: each for each in then if "since" in each.evidence}
    return [
        {
            "rule": key,
            "state": status.state,
            "action": _action(rule, pages) if (rule := rules.get(key)) is not None else None,
            "users_needed": users_needed(rule, share) if rule is not None else None,
            "window_s": rule.window_s if rule is not None else None,
            "value": found.value,
            "threshold": found.threshold,
            "evidence": dict(found.evidence),
            "sentence": found.sentence,
            "waits": asdict(status.waits) if status.waits is not None else None,
            "where": found.where.document,
        }
        for status, key in ((each, each.key) for each in watched.statuses)
        for found in [counted.get(key, status)]
    ]


def _action(rule: Rule, pages: bool) -> Action:
    return "page" if pages and rule.action == "rollback" else rule.action


def _ramp(
    wanted: CanarySettings, state: State | None, watched: WatchedCanary, users: int | None, quota: bool
) -> dict[str, Any]:
    """The canary's place in its ramp.

    `step` counts from 0, None if the share is not of a step; `left_s` is what is left of the step, None if it
    names no time; `users` are the candidate's with an outcome in it, where it waits for some (None: not
    counted); `held` is True while a guardrail or the provider's quota stops the clock, `too_few_users` while
    too few users have seen the step.
    """
    steps = wanted.canary.steps
    step = state.step if state is not None and state.step < len(steps) else None
    ends = step is not None and step + 1 < len(steps)
    lasts = steps[step].for_s if step is not None and ends else None
    needs = steps[step].users if step is not None and ends else None
    return {
        "steps": [{"share": each.share, "for_s": each.for_s, "users": each.users} for each in steps],
        "step": step,
        "users": {"have": users, "need": needs} if needs is not None else None,
        "left_s": max(0.0, lasts - state.step_elapsed_s) if state is not None and lasts is not None else None,
        "held": watched.holds_ramp or quota,
        "too_few_users": state is not None and not watched.watch.enough_in(state.phase),
    }


def _orders(wanted: CanarySettings, state: State | None, laneless: str | None) -> list[str]:
    """The orders that are legal now and change something."""
    if state is None:
        return []
    legal = [each for each in transitions.legal(state) if each in ORDERS]
    useful = [each for each in legal if (each, state.state) != ("rollback", "rolled_back")]
    given = [each for each in useful if laneless is None or each != "start"]
    refused = any(refusal(each, wanted.canary, state) for each in given if each not in NEVER_REFUSED)
    return [each for each in given if not refused or each in NEVER_REFUSED]


def _mirror(wanted: CanarySettings, watched: WatchedCanary, now: float) -> dict[str, Any] | None:
    """The figures of mirror copies; None if there are none and none are configured."""
    pulse = watched.pulse
    if not (wanted.mirror or pulse.mirror.requests or pulse.mirrors_dropped):
        return None
    return {"share": wanted.mirror, **pulse.mirror_document(now)}


def _open_incident(incident: Incident | None, now: Utc) -> dict[str, Any] | None:
    """The incident that is not resolved. `sentence` is its headline without words of a provider, `closes_at`
    when it closes if nothing calls until then; None while something does."""
    if incident is None or incident.state == "resolved":
        return None
    return {
        "state": incident.state,
        "opened_at": incident.opened_at,
        "closes_at": None if incident.since is None else incident.since + RESOLVE_AFTER_S,
        "headline": incident.headline(now),
        "sentence": incident.headline(now, quoting=False),
        "rules": list(incident.rules),
        "done": incident.done,
    }


class LastDecisions:
    """People's newest decisions by canary, as last read."""

    def __init__(self, store: Store, rollouts: Rollouts) -> None:
        self._store, self._rollouts = store, rollouts
        self._known: Mapping[str, Decision] = {}

    def document(self, name: str) -> Mapping[str, Any] | None:
        """What somebody decided about the canary's run, last; None for none. `at` is UTC seconds."""
        state, known = self._rollouts.state(name), self._known.get(name)
        if known is None or state is None or known.run != state.run:
            return None
        said = {name: getattr(known, name) for name in ("decision", "who", "reason", "at")}
        return {**said, "despite": list(known.names)}

    def look(self) -> None:
        """Read them: another admin, or an earlier process, may have stored one. May raise StoreDown."""
        self._known = Decisions(self._store).newest()


class LastReports:
    """The newest stored report of each canary's present run. A document is read once."""

    def __init__(self, rollouts: Rollouts) -> None:
        self._rollouts = rollouts
        self._known: dict[str, DailyReport] = {}

    def newest(self, store: Store) -> Mapping[str, DailyReport]:
        """The reports by canary. May raise StoreDown."""
        stored, known = DailyReports(store), self._known
        runs = {name: each.state.run for name, each in self._rollouts.states.items()}
        wanted = {name: at for name, run, at in stored.newest_of_each() if runs.get(name) == run}
        found = {name: each for name, each in known.items() if name in wanted and each.at == wanted[name]}
        for name in wanted.keys() - found.keys():
            report = stored.newest(name, run=runs[name])
            if report is not None:
                found[name] = report
        self._known = found
        return found


class RollbackHistory:
    """Rollbacks by canary. The newest of each is in memory."""

    def __init__(self, store: Store, rollouts: Rollouts) -> None:
        self._store, self._rollouts = store, rollouts
        self._known: dict[str, RolledBack] = {}
        self._missing: dict[str, int] = {}

    def current(self, name: str) -> RolledBack | None:
        """The rollback that is in force; None for none, or while it is not read yet."""
        waiting = self._rollouts.pending_rollback(name)
        if waiting is not None:
            self._known[name] = waiting
        state, known = self._rollouts.state(name), self._known.get(name)
        if state is None or state.state != "rolled_back" or known is None or known.why.run != state.run:
            return None
        return known

    async def history(self, name: str, limit: int) -> Sequence[RolledBack]:
        """The canary's rollbacks, newest first. While the store is down, only the one in force, else
        StoreDown."""
        waiting = self._rollouts.pending_rollback(name)
        try:
            stored = await asyncio.to_thread(self._read, name, limit)
        except StoreDown:
            current = self.current(name)
            if current is None:
                raise
            return [current]
        return [*([waiting] if waiting is not None else []), *stored][:limit]

    def look(self) -> None:
        """Read rollbacks that another admin or an earlier process ordered. May raise StoreDown."""
        for name, run in self._unknown():
            if found := self._read(name, 1, run):
                self._known[name] = found[0]
            else:
                self._missing[name] = run

    def _unknown(self) -> list[tuple[str, int]]:
        """(canary, run) of the stored rollbacks that are not read yet."""
        held = self._rollouts.states.items()
        back = [(name, each.state.run) for name, each in held if each.state.state == "rolled_back"]
        return [(name, run) for name, run in back if not self._is_known(name, run)]

    def _is_known(self, name: str, run: int) -> bool:
        known = self._known.get(name)
        read = known is not None and known.stored and known.why.run == run
        return read or self._missing.get(name) == run

    def _read(self, name: str, limit: int, run: int | None = None) -> list[RolledBack]:
        kept = self._store.rollbacks(name, limit=limit, run=run)
        found = [rolled_back(each.why, each.before, each.after, stored=True) for each in kept]
        return [each for each in found if each is not None]


def explanation(
    canaries: Mapping[str, CanarySettings],
    rollouts: Rollouts,
    unit: str,
    key: bytes,
    held: Held = everybody,
    missed: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Any]:
    """The document of `/api/explain`. `key`: the assignment key; `held`: who keeps an arm for a while;
    `missed`: how many requests of each canary's run had not the text of a prompt."""
    refused = laneless(canaries, rollouts.states)
    return {
        "canaries": [
            {
                **_of(each, canaries, rollouts, unit, key, held, refused.get(name)),
                "prompt_missed": missed.get(name, 0),
            }
            for name, each in canaries.items()
        ]
    }


def _of(
    wanted: CanarySettings,
    canaries: Mapping[str, CanarySettings],
    rollouts: Rollouts,
    unit: str,
    key: bytes,
    keeps: Held,
    without_lane: str | None,
) -> dict[str, Any]:
    """One canary's entry. `arm` is None where a flag system decides; `model` is the arm as it is called
    everywhere, None where this canary does not decide. A unit of another lane has the reason
    `no_lane`, and so has every unit for a canary that gets no lane; `without_lane` says why."""
    canary, name = wanted.canary, wanted.canary.name
    held, place = rollouts.state(name), lane_place(key, unit)
    mine = without_lane is None and (held is None or held.lane is None or held.lane.has(place))
    state = rollouts.in_force.state_of(name, definition(canary))
    # Given the candidate, a unit gets it exactly where the flag system decides: the state wins over it.
    given: Given | None = "candidate" if canary.assigned_outside else None
    found = assign(canary, state, key=key, unit=unit, given=given, held=keeps)
    until = _held_until(state, found)
    promoted = state is not None and state.state == "promoted"
    by_flag = canary.assigned_outside and found.reason == "cohort" and not promoted
    assignment = found if mine else Assignment(arm="baseline", reason="no_lane", share=found.share)
    names = dict(zip(("baseline", "candidate"), arm_names(canary.baseline, canary.candidate), strict=True))
    at, refused = bucket(key, name, unit) / SPACE, transitions.redefinition(canary, held) or without_lane
    hashed = (
        f"its hash falls at {at:.2%}, the candidate gets those below {assignment.share:.2%}; "
        f"reason: {assignment.reason}"
    )
    whatever = _in_spite_of_flag(state, found) if canary.assigned_outside else hashed
    arms = _BY_FLAG if by_flag else whatever
    if until is not None:
        arms = f"{arms}; {_kept(canary, until, state)}"
    back = _held_back_until(state, found)
    if back is not None:
        arms = f"{arms}; {_held_back(found, back)}"
    if state is not None and state.cap is not None:
        arms = f"{arms}; quota: its share of {state.share:.2%} is capped at {state.cap:.2%}"
    return {
        "canary": name,
        "arm": None if by_flag and mine else assignment.arm,
        "model": None if (by_flag if mine else refused is None) else names[assignment.arm],
        "reason": assignment.reason,
        "share": assignment.share,
        "bucket": at,
        "held_until": until if mine else None,
        "held_back_until": back if mine else None,
        "lane": _lane(held, place, mine),
        "refused": refused,
        "sentence": refused or (arms if mine else _elsewhere(wanted, canaries, rollouts, place)),
        "request": {
            "baseline": canary.baseline.request.document(),
            "candidate": canary.candidate.request.document() if refused is None else {},
        },
        "texts": {
            "baseline": _texts(canary.baseline),
            "candidate": _texts(canary.candidate) if refused is None else {},
        },
    }


def _texts(arm: Arm) -> dict[str, Any]:
    """An arm's own texts by their digests; empty for none."""
    prompt = {} if arm.prompt is None else {"prompt": {"find": arm.prompt.find, "put": arm.prompt.put}}
    return {**prompt, **({"tools": dict(arm.tools)} if arm.tools else {})}


def _held_until(state: State | None, found: Assignment) -> float | None:
    """Until which UTC second at most the unit keeps the arm that it had before a change of share."""
    holds = () if state is None or found.phase == state.phase else state.holds
    return next((each.until for each in holds if each.before.phase == found.phase), None)


def _held_back_until(state: State | None, found: Assignment) -> float | None:
    """Until when the unit keeps the baseline after the promotion; None if it does not."""
    held = state.holdback if state is not None and state.holds_back else None
    mine = held is not None and (found.arm, found.reason, found.phase) == ("baseline", "cohort", held.phase)
    return held.until if held is not None and mine else None


def _held_back(found: Assignment, until: float) -> str:
    at = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"it is one of the {set_percent(1.0 - found.share)} of the users who are held back with the former "
        f"baseline since the promotion, until {at}"
    )


def _kept(canary: Canary, until: float, state: State | None) -> str:
    at_most = datetime.fromtimestamp(until, UTC).strftime("%H:%M UTC")
    now = state.effective_share if state is not None else 0.0
    return (
        f"it keeps this arm, from before the last change (to {now:.2%}), until it has been idle for "
        f"{canary.settle_s:g} s, {at_most} at the latest"
    )


_BY_FLAG = (
    "the flag system decides: its arm comes with each request, signed, in x-canary-assignment, and a request "
    "without one gets the baseline"
)


def _in_spite_of_flag(state: State | None, found: Assignment) -> str:
    """Why the state of a canary decides, and not the flag system."""
    name = state.state.replace("_", " ") if state is not None else "not known yet"
    return (
        f"the canary is {name} and its share is {found.share:.2%}: everybody gets the {found.arm}, whatever "
        f"the flag system says; reason: {found.reason}"
    )


def _lane(state: State | None, place: int, mine: bool) -> dict[str, Any] | None:
    """The canary's lane, and whether it has the unit; None without one."""
    if state is None or state.lane is None:
        return None
    return {"size": state.lane.part, "place": place / SPACE, "mine": mine}


def _elsewhere(
    wanted: CanarySettings, canaries: Mapping[str, CanarySettings], rollouts: Rollouts, place: int
) -> str:
    """Who serves a unit that this canary's lane does not have."""
    known = {name: state for name in rollouts.states if (state := rollouts.state(name)) is not None}
    for name, other in canaries.items():
        if other.canary.meets(wanted.canary) and holds(known.get(name), place):
            return f"not its lane: the unit is in the lane of canary {name!r}"
    ended = [(state.changed_at or 0.0, name) for name, state in known.items() if _had(state, wanted, place)]
    if ended:
        return f"not its lane: that of {max(ended)[1]!r}, which has ended and whose baseline serves the unit"
    return "not its lane: the unit is in no lane. A baseline serves it, outside every canary"


def _had(state: State, wanted: CanarySettings, place: int) -> bool:
    lane = state.lane
    return state.state == "ended" and lane is not None and lane.meets(wanted.canary) and lane.has(place)
