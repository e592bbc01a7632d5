"""The monitor: takes in outcomes and feedback, judges the guardrails, rolls back, opens incidents.

The monitor reads no file and no database. Its controller's source brings the events and keeps its memory.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from alerts import pulse as pulses
from alerts.course import Course
from alerts.guardrails import Watch
from alerts.incidents import incident as incidents
from alerts.incidents.incident import Incident, RecordAlarm, RecordState
from alerts.incidents.notice import Notice
from alerts.incidents.notifier import Outbox
from alerts.incidents.rollback import RollbackEvidence
from alerts.pulse import Pulse
from alerts.quota import QuotaStatus
from alerts.rules.rule import CANNOT_SERVE, GuardrailStatus, paging
from alerts.wording import UNNAMED, ArmNames, Trouble, cause
from common.clock import Utc
from control.feed.events import WorkerEvents, WorkerKey
from control.monitor.outages import BaselineOutages, PromotedOutage, is_unanswered
from control.monitor.traffic import AstrayTraffic, CallerTraffic, UnmatchedTraffic, one_sided
from control.monitor.wait_limits import CandidatePatience
from control.settings import CanarySettings, ControlSettings
from control.states.rollouts import Rollouts
from records.exports.prometheus import HeardFeedback, Meters
from records.outcome import Heartbeat, Outcome
from records.store import Act, Store
from records.store.releases import Releases, SentPage
from routing import transitions
from routing.canary import Arm, ArmName, Canary
from routing.canary import arm_names as names_of
from routing.states import State

MOST_UNLOGGED = 1000
"""Messages that wait for a store that is down."""

DECIDE_EVERY_S = 0.2
FORGOTTEN_AFTER_S = 60.0
PAST_COURSES = 20
"""Canaries that left the config whose charts are kept."""
"""A worker without a heartbeat for this long counts anew when it comes back."""


@dataclass(slots=True)
class WatchedCanary:
    """One canary under watch: its guardrails, figures and incident, the last status of every rule, whether
    its provider throttles the candidate, whether the baseline's model has retired, and whether the candidate
    answers once it is promoted."""

    watch: Watch
    pulse: Pulse
    incident: Incident | None = None
    statuses: tuple[GuardrailStatus, ...] = ()
    throttled: bool = False
    retired: bool = False
    unanswered: PromotedOutage = field(default_factory=PromotedOutage)

    @property
    def holds_ramp(self) -> bool:
        """True while any rule warns or fires, or the provider throttles: the ramp does not advance then."""
        return self.throttled or any(
            status.state in ("warn", "firing", "latched") for status in self.statuses
        )

    def follow(self, run: int) -> None:
        """Begin this run with fresh evidence, unless it is the one under watch."""
        if run != self.watch.run:
            self.watch.rearm(run)
            self.pulse, self.statuses = Pulse(run=run), ()

    def observe(self, outcomes: Sequence[Outcome], state: State | None) -> None:
        """Take in outcomes of the canary."""
        self.watch.observe(*outcomes)
        if state is not None and state.state == "promoted":
            self.unanswered.take(outcomes, state)

    def look(self, now_mono: float, state: State | None = None, *, routed: bool, heard: bool = False) -> None:
        """Have the guardrails decide again."""
        told = self.incident is not None and self.incident.state != "resolved"
        found = self.watch.decide(now_mono, routed=routed, outcome_arrived=heard, told=told)
        found = list(map(paging, found)) if self.only_pages(state) else found
        if state is None or state.state != "promoted":
            self.unanswered = PromotedOutage()
            self.statuses = tuple(found)
        else:
            self.statuses = tuple(self.unanswered.beside(found, now_mono))
        self.throttled = self.pulse.quota.status(None, now_mono).holds

    def only_pages(self, state: State | None) -> bool:
        """True once the candidate is promoted and guardrails page instead of rolling back: its hold-back says
        so, or there is no way back, since the baseline has retired.

        That stays so when the hold-back is over: what a person has been told of must not be undone then.
        During a trial the baseline serves the others, and what it does there counts, no date.
        """
        if state is None or state.state != "promoted":
            return False
        return self.retired or (state.holdback is not None and not state.holdback.rollback)

    @property
    def answers(self) -> ArmName | Literal["nobody"]:
        """Who answers most of those who are to get the candidate: after a promotion it may be another."""
        found = next((each.evidence for each in self.statuses if is_unanswered(each)), None)
        if found is None:
            return "candidate"
        return "baseline" if 2.0 * found["covered"] > found["bad"] else "nobody"

    def headline(self, now: Utc) -> str | None:
        """The sentence of an incident that is not resolved, without a provider's words."""
        if self.incident is None or self.incident.state == "resolved":
            return None
        return self.incident.headline(now, quoting=False)

    def why(self, act: Act, *, rule: str = "", share: float, arms: ArmNames = UNNAMED) -> RollbackEvidence:
        """The evidence at the moment of this rollback from `share`; `rule` is "" for a person's rollback."""
        return self.watch.why(
            self.statuses, rule=rule, who=act.who, reason=act.reason, at=Utc(act.at), share=share, arms=arms
        )


class Monitor:
    """Watches every canary. A listener; belongs to the event loop's thread."""

    def __init__(
        self,
        *,
        meters: Meters,
        rollouts: Rollouts,
        settings: ControlSettings,
        has_retired: Callable[[Arm, float], bool] = lambda arm, now: False,
    ) -> None:
        """`has_retired` says whether an arm's model has, at a UTC second."""
        self.outbox = Outbox(settings.notify)
        self.canaries: dict[str, WatchedCanary] = {}
        self.record_alarm = RecordAlarm()
        self.patience = CandidatePatience()
        self.unmatched = UnmatchedTraffic()
        self.baselines = BaselineOutages(settings)
        self.callers = CallerTraffic()
        self._failed_preflights: Mapping[str, str] = {}
        """What the candidate refused of each canary that waits for that, in a sentence. Replaced whole."""
        self._heard = HeardFeedback()
        self._meters = meters
        self._rollouts, self._has_retired = rollouts, has_retired
        self._settings = settings
        self._finished: dict[WorkerKey, tuple[int, float]] = {}
        self._left: list[Incident | None] = []
        self.past_courses: Mapping[str, tuple[int, Course]] = {}
        self._unlogged: list[Notice] = []
        self._decided_at = float("-inf")
        self._outcomes_heard = self._finished_heard = self._dropped_heard = 0
        self.configure(settings)

    def page_of_preflights(self, failed: Mapping[str, str]) -> None:
        """Page of the candidates that refuse what they are asked before their start: why, by canary."""
        self._failed_preflights = failed

    def configure(self, settings: ControlSettings) -> None:
        """Watch the canaries of a changed config, and keep what was learnt of those that stay.

        The incidents of canaries that left the config end with the next judgement.
        """
        self._settings = settings
        self.baselines.configure(settings)
        self._meters.configure(
            canaries=settings.canaries,
            feedback_metrics=settings.metrics,
            callers=[each.name for each in settings.callers],
        )
        self._meters.set_metrics(settings.metrics)
        self.callers.configure(settings.callers)
        self.outbox.set_receivers(settings.notify)
        gone = {name: each for name, each in self.canaries.items() if name not in settings.canaries}
        self._left += [each.incident for each in gone.values()]
        self._keep({name: (each.pulse.run, each.pulse.course) for name, each in gone.items()})
        self.canaries = {name: self._watched(wanted) for name, wanted in settings.canaries.items()}
        self.patience.keep_only(settings.canaries)

    def take(self, events: WorkerEvents) -> None:
        """Process outcomes, feedback, heartbeats and worker exits."""
        for key, beat in events.beats:
            self._beat(key, beat)
        for worker, running in events.in_flight:
            if running.canary in self.canaries:
                self.canaries[running.canary].watch.observe_in_flight(worker, running)
        for name, known in self.canaries.items():
            if (state := self._rollouts.state(name)) is not None:
                known.follow(state.run)  # the first outcomes after a resume come before it is judged
        self.unmatched.take(events)
        self.callers.take(events)
        self._outcomes_heard += events.heard
        self._dropped_heard += events.dropped
        for group in events.alike:
            watched = self.canaries.get(group[0].canary)
            if watched is not None:
                watched.pulse.observe(*group)
                self.patience.observe(*group)
        self.baselines.take(events.outcomes)
        for name, outcomes in self._by_canary(events.outcomes).items():
            self.canaries[name].observe(outcomes, self._rollouts.state(name))
        for feedback in events.feedback:
            watched = self.canaries.get(feedback.canary)
            if watched is not None:
                watched.watch.observe_feedback(feedback)
                watched.pulse.observe_feedback(feedback, before=self._heard.hear(feedback))
        for key, _ in events.deaths:
            self._forget(key)

    def decide(self, now_utc: Utc, now_mono: float) -> bool:
        """Judge if it is time. True when there are new notices: save the memory, then send them."""
        if now_mono - self._decided_at < DECIDE_EVERY_S:
            return False
        self._decided_at = now_mono
        # Exchanges finish and none of their outcomes arrives: the telemetry is broken, not the traffic quiet.
        heard = self._outcomes_heard > 0
        silent = self._finished_heard > 0 and not heard
        self._finished_heard = self._outcomes_heard = 0
        # The exit of another machine's worker is not reported.
        oldest = now_mono - FORGOTTEN_AFTER_S
        for key in [key for key, (_, at) in self._finished.items() if at <= oldest]:
            self._forget(key)
        told = [notice for incident in self._left for notice in incidents.over(incident, now_utc)]
        self._left.clear()
        states = {name: self._rollouts.state(name) for name in self.canaries}
        tried = {name for name, state in states.items() if state is not None and state.effective_share > 0.0}
        told += self.baselines.decide(now_utc, now_mono, tried=tried)
        for name, watched in self.canaries.items():
            told += self._decide_one(name, watched, now_utc, now_mono, routed=silent, heard=heard)
        self._meters.set_guardrails(
            {
                (name, status.key): status.state
                for name, watched in self.canaries.items()
                for status in watched.statuses
            }
        )
        self._meters.set_sessions(
            {
                (name, arm): figures
                for name, watched in self.canaries.items()
                for arm, figures in watched.watch.state.sessions.document().items()
                if figures["begun"]
            }
        )
        for each in told:
            if each.event == "page":
                self._meters.count_page(each.canary)
        self.outbox.put(told, now_utc)
        self._unlogged = [*self._unlogged, *told][-MOST_UNLOGGED:]
        return bool(told)

    async def log_pages(self, store: Store) -> None:
        """Store what people were told of the canaries since the last time. May raise StoreDown; the next time
        stores it then."""
        told = self._unlogged
        if not told:
            return
        sent = [
            SentPage(
                key=f"{each.dedup_key}/{each.sequence}",
                at=each.at,
                canary=each.canary,
                event=each.event,
                title=each.title or each.headline,
            )
            for each in told
        ]
        await asyncio.to_thread(Releases(store).paged, sent)
        self._unlogged = [each for each in self._unlogged if each not in told]

    def count_manual_rollback(self, name: str) -> None:
        """Count a rollback that a person ordered."""
        self._meters.count_rollback(name, "manual")

    def watch_records(
        self, now_utc: Utc, now_mono: float, *, room_bytes: int | None, waiting: int, down: str | None
    ) -> bool:
        """Check whether records are lost or late. True when there are new notices, as for `judge`."""
        facts = RecordState(
            dropped=self._dropped_heard, room_bytes=room_bytes, waiting=waiting, down=down or ""
        )
        self._dropped_heard = 0
        told = self.record_alarm.decide(facts, now_utc=now_utc, now_mono=now_mono)
        self.outbox.put(told, now_utc)
        return bool(told)

    def watch_config(self, refused: str, now_utc: Utc, now_mono: float) -> bool:
        """Check how long the config file is refused. True when there are new notices, as for `judge`."""
        told = self.record_alarm.decide_config(refused, now_utc=now_utc, now_mono=now_mono)
        self.outbox.put(told, now_utc)
        return bool(told)

    def astray(self, now_utc: float) -> list[AstrayTraffic]:
        """What is wrong with most requests, though no guardrail sees it."""
        canaries, metrics = self._settings.canaries, self._settings.metrics
        states = {name: self._rollouts.state(name) for name in canaries}
        found = self.unmatched.astray(now_utc, canaries, states)
        for name, watched in self.canaries.items():
            found += one_sided(name, watched.pulse, metrics)
        return found

    def look(self, now_mono: float) -> None:
        """Update the rules' statuses without acting on them: an admin in standby only shows them."""
        for name, watched in self.canaries.items():
            watched.look(now_mono, self._rollouts.state(name), routed=False)

    def holding(self) -> list[str]:
        """The canaries whose ramp must not advance now."""
        return [name for name, watched in self.canaries.items() if watched.holds_ramp]

    def caps(self, now_mono: float) -> Mapping[str, QuotaStatus]:
        """The canaries whose share is to be capped otherwise than it is, by the provider's quota."""
        found = {}
        for name, watched in self.canaries.items():
            state, canary = self._rollouts.state(name), self._settings.canaries[name].canary
            if state is None or state.state != "running" or canary.assigned_outside:
                continue
            quota = watched.pulse.quota
            wanted = quota.wanted_cap(state.phase, state.share, state.cap, now_mono)
            if wanted != state.cap:
                found[name] = quota.status(wanted, now_mono)
        return found

    def thin(self) -> list[str]:
        """The canaries whose current step has been seen by too few users to be judged."""
        states = {name: self._rollouts.state(name) for name in self.canaries}
        return [
            name
            for name, state in states.items()
            if state is not None and not self.canaries[name].watch.enough_in(state.phase)
        ]

    def snapshot(self) -> Mapping[str, Any]:
        """Evidence, incidents, unsent notices, and the patience with candidates, to be encoded at once."""
        return {
            "outbox": self.outbox.snapshot(),
            "canaries": {
                name: {
                    "watch": watched.watch.live_document(),
                    "pulse": replace(watched.pulse, course=Course()),  # `courses` has it
                    "incident": incidents.to_document(watched.incident),
                }
                for name, watched in self.canaries.items()
            },
            "service": self.record_alarm.snapshot(),
            "patience": self.patience.snapshot(),
            "requests": self.unmatched.snapshot(),
            "callers": self.callers.snapshot(),
            "feedback": self._heard.snapshot(),
            "standing": self.baselines.snapshot(),
        }

    def courses(self) -> bytes:
        """What the charts show, by canary, the newest past ones last. It is large, and kept less often than
        the rest."""
        live = {name: (each.pulse.run, each.pulse.course) for name, each in self.canaries.items()}
        return msgspec.json.encode({**live, **self.past_courses})

    def _keep(self, courses: Mapping[str, tuple[int, Course]]) -> None:
        """Keep the courses of canaries that left the config, the newest PAST_COURSES of them."""
        known = {name: each for name, each in self.past_courses.items() if name not in courses}
        self.past_courses = dict([*known.items(), *courses.items()][-PAST_COURSES:])

    def take_courses(self, document: bytes) -> None:
        """Go on with these courses of the runs that are watched. Raises msgspec.MsgspecError for another
        shape."""
        found = msgspec.json.decode(document or b"{}", type=dict[str, tuple[int, Course]], strict=False)
        for name, (run, course) in found.items():
            if name in self.canaries and self.canaries[name].pulse.run == run:
                self.canaries[name].pulse.course = course
        self._keep({name: each for name, each in found.items() if name not in self.canaries and each[0]})

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None) -> None:
        """Replace the memory by a snapshot, but for the courses."""
        if "canaries" not in document:
            return
        self.outbox.restore(document["outbox"])
        self.record_alarm.restore(document.get("service", {}))
        self.patience.restore(document.get("patience", {}))
        self.unmatched.restore(document.get("requests", []))
        self.callers.restore(document.get("callers", {}))
        self._heard.restore(document.get("feedback", {}))
        self.baselines.restore(document.get("standing", {}))
        self._left.clear()
        for name, kept in document["canaries"].items():
            wanted = self._settings.canaries.get(name)
            if wanted is None:
                self._left.append(incidents.from_document(kept["incident"]))
                continue
            watch = self._watch(wanted)
            watch.restore(kept["watch"], new_boot=new_boot)
            pulse, before = pulses.from_document(kept["pulse"]), self.canaries.get(name)
            if before is not None and before.pulse.run == pulse.run:
                pulse.course = before.pulse.course
            self.canaries[name] = WatchedCanary(
                watch=watch,
                pulse=pulse if new_boot is None else pulses.elsewhere(pulse),
                incident=incidents.from_document(kept["incident"]),
            )

    def _by_canary(self, outcomes: Sequence[Outcome]) -> Mapping[str, Sequence[Outcome]]:
        """The outcomes of each canary under watch, in the order in which they arrived."""
        found: dict[str, list[Outcome]] = {name: [] for name in self.canaries}
        for each in outcomes:
            if each.canary in found:
                found[each.canary].append(each)
        return found

    def _forget(self, worker: WorkerKey) -> None:
        self._finished.pop(worker, None)
        for watched in self.canaries.values():
            watched.watch.forget_worker(worker)

    def _beat(self, key: WorkerKey, beat: Heartbeat) -> None:
        before, _ = self._finished.get(key, (beat.finished, beat.mono))
        self._finished_heard += beat.finished - before
        if beat.closing:
            self._finished.pop(key, None)
        else:
            self._finished[key] = (beat.finished, beat.mono)
        for name, count in beat.mirrors_dropped.items():
            if name in self.canaries:
                self.canaries[name].pulse.drop_mirrors(count)
        for name, used in beat.quota_used.items():
            if name in self.canaries:
                self.canaries[name].pulse.quota.hear(used, beat.mono)

    def _decide_one(
        self, name: str, watched: WatchedCanary, now_utc: Utc, now_mono: float, *, routed: bool, heard: bool
    ) -> list[Notice]:
        state = self._rollouts.state(name)
        if state is None:
            return []
        watched.follow(state.run)
        watched.retired = self._has_retired(self._settings.canaries[name].canary.baseline, now_utc)
        watched.look(now_mono, state, routed=routed, heard=heard)
        arms = arm_names(self._settings.canaries[name].canary)
        why = self._roll_back(name, watched, now_utc, arms)
        after = self._rollouts.state(name)
        watched.incident, notices = incidents.step(
            watched.incident,
            [
                *watched.statuses,
                *self._preflight(name, state),
                *self._prompt_missed(name, state, now_utc),
                *_throttled(watched, state, now_mono),
            ],
            canary=name,
            run=watched.watch.run,
            now=now_utc,
            rolled_back=after is not None and after.state == "rolled_back",
            why=why,
            provider_error=watched.watch.state.provider_error,
            trouble=lambda status: _trouble(watched, status, arms, now_utc, now_mono),
            share=after.effective_share if after is not None else None,
            owner=self._settings.canaries[name].owner,
        )
        return notices

    def _preflight(self, name: str, state: State) -> list[GuardrailStatus]:
        """The status that calls a person while the canary waits because of its preflight."""
        sentence = self._failed_preflights.get(name, "") if state.state == "waiting" else ""
        if not sentence:
            return []
        return [GuardrailStatus(rule="preflight_failed", state="firing", action="page", sentence=sentence)]

    def _prompt_missed(self, name: str, state: State, now: float) -> list[GuardrailStatus]:
        """The status that calls a person while many requests have not the text of a prompt."""
        canary = self._settings.canaries[name].canary
        if not state.effective_share or (canary.baseline.prompt is None and canary.candidate.prompt is None):
            return []
        return [
            GuardrailStatus(rule="prompt_missed", state="firing", action="page", sentence=each.sentence)
            for each in self.unmatched.prompt_missed(name, now)
        ]

    def _roll_back(
        self, name: str, watched: WatchedCanary, now: float, arms: ArmNames
    ) -> RollbackEvidence | None:
        """Roll back if a rule convicted the candidate. Returns the evidence, or None."""
        convictions = [status for status in watched.statuses if status.action == "rollback"]
        state = self._rollouts.state(name)
        if not convictions or state is None or not state.effective_share:
            return None
        convicting = convictions[0]
        hard = any(status.rule in CANNOT_SERVE for status in convictions)
        reason = cause(watched.watch.trouble(convicting, arms))
        act = Act(at=now, action="rollback", who=f"guardrail {convicting.key}", reason=reason)
        why = watched.why(act, rule=convicting.key, share=state.effective_share, arms=arms)
        self._rollouts.change(
            name,
            act,
            lambda before: transitions.rollback(before, reason=act.reason, now=now, hard=hard),
            why=why,
        )
        self._meters.count_rollback(name, convicting.rule)
        return why

    def _watched(self, wanted: CanarySettings) -> WatchedCanary:
        """The canary under these rules, with what was learnt before."""
        name = wanted.canary.name
        known = self.canaries.get(name)
        if known is not None and known.watch.watches(wanted.guardrails, wanted.judged.segments):
            return known
        state = self._rollouts.state(name)
        run = state.run if state is not None else 1
        watch = self._watch(wanted, run)
        if known is None:
            return WatchedCanary(watch=watch, pulse=Pulse(run=run))
        watch.restore(known.watch.snapshot())
        return replace(known, watch=watch)

    def _watch(self, wanted: CanarySettings, run: int = 1) -> Watch:
        return Watch(
            wanted.canary.name,
            wanted.guardrails,
            run=run,
            metrics=self._settings.metrics,
            segments=wanted.judged.segments,
        )


def _throttled(watched: WatchedCanary, state: State, now_mono: float) -> list[GuardrailStatus]:
    """The status that calls a person while the provider lets nothing of the candidate's through."""
    found = watched.pulse.quota.trouble(now_mono) if state.effective_share else None
    return [] if found is None else [found]


def _trouble(
    watched: WatchedCanary, status: GuardrailStatus, arms: ArmNames, now_utc: Utc, now_mono: float
) -> Trouble:
    """What people on call are told of a status. What the provider throttles is no evidence, so the watch
    does not know since when."""
    found = watched.watch.trouble(status, arms)
    if is_unanswered(status):
        return watched.unanswered.trouble(found, now_mono, now_utc)
    if status.rule != "throttled":
        return found
    return replace(found, since=Utc(now_utc - (now_mono - watched.pulse.quota.refused_since)))


def arm_names(canary: Canary) -> ArmNames:
    """What people call both arms: their models, with their providers if the models are the same, and by what
    they differ if these are, too."""
    ours, theirs = names_of(canary.baseline, canary.candidate)
    if canary.baseline.model != canary.candidate.model:
        ours, theirs = (name.partition("/")[2] for name in (ours, theirs))
    if ours == theirs:
        return ArmNames(fall_back=canary.fall_back)
    return ArmNames(baseline=ours, candidate=theirs, fall_back=canary.fall_back)
