"""What guards: takes in the news, judges, rolls back, opens incidents. Reads and keeps nothing.

Where the news comes from (this machine's spool, or many machines' stream and store) and where its memory is
kept, its owner knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from alerts import incident as incidents
from alerts import pulse as pulses
from alerts.frozen import Why
from alerts.guardrails import Watch
from alerts.incident import Incident, Notice
from alerts.keeping import Facts, Keeping
from alerts.outbox import Outbox
from alerts.pulse import Pulse
from alerts.status import GuardrailStatus
from canary.config import CanaryConfig, Config
from canary.news.listener import News, WorkerKey
from canary.states.rollouts import Rollouts
from records.meters import Meters
from records.outcome import Heartbeat, Outcome
from records.store import Act
from routing import transitions

JUDGE_EVERY_S = 0.2


@dataclass(slots=True)
class Patient:
    """One canary under watch: its guardrails, its figures, its incident, and how the rules stood last."""

    watch: Watch
    pulse: Pulse
    incident: Incident | None = None
    statuses: tuple[GuardrailStatus, ...] = ()

    @property
    def holds_ramp(self) -> bool:
        """True while any rule warns or worse: exposure does not grow then."""
        return any(status.state in ("warn", "firing", "latched") for status in self.statuses)

    def why(self, act: Act, *, rule: str = "", share: float) -> Why:
        """What stands at the moment of this rollback from `share`: by a rule, or ("") by a person."""
        return self.watch.why(
            self.statuses, rule=rule, who=act.who, reason=act.reason, at=act.at, share=share
        )


class Live:
    """The live view of every canary. A listener; belongs to the event loop's thread."""

    def __init__(self, *, meters: Meters, rollouts: Rollouts, config: Config) -> None:
        self.outbox = Outbox(config.notify)
        self.patients: dict[str, Patient] = {}
        self.keeping = Keeping()
        self._meters = meters
        self._rollouts = rollouts
        self._config = config
        self._finished: dict[WorkerKey, int] = {}
        self._left: list[Incident | None] = []
        self._judged_at = float("-inf")
        self._outcomes_heard = self._finished_heard = self._dropped_heard = 0
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take in a loaded config: watch new canaries, forget those that left it, keep what was learnt. The
        incidents of those that left are over with the next judgement."""
        self._config = config
        self._meters.configure(canaries=config.canaries, feedback_metrics=config.metrics)
        self.outbox.address(config.notify)
        self._left += [each.incident for name, each in self.patients.items() if name not in config.canaries]
        self.patients = {name: self._patient(wanted) for name, wanted in config.canaries.items()}

    def take(self, news: News) -> None:
        """Take in what happened."""
        for key, beat in news.beats:
            self._beat(key, beat)
        for key, _ in news.deaths:
            self._finished.pop(key, None)
        self._outcomes_heard += news.heard
        self._dropped_heard += news.dropped
        for record in news.records:
            patient = self.patients.get(record.canary)
            if patient is None:
                continue
            if isinstance(record, Outcome):
                patient.watch.observe(record)
                patient.pulse.observe(record)
            else:
                patient.watch.observe_feedback(record)
                patient.pulse.observe_feedback(record)

    def judge(self, now_utc: float, now_mono: float) -> bool:
        """Judge if it is time; True when somebody has to be told something, which is to be kept first."""
        if now_mono - self._judged_at < JUDGE_EVERY_S:
            return False
        self._judged_at = now_mono
        # Exchanges finish and none of their outcomes arrives: the telemetry is broken, not the traffic quiet.
        heard = self._outcomes_heard > 0
        silent = self._finished_heard > 0 and not heard
        self._finished_heard = self._outcomes_heard = 0
        told = [notice for incident in self._left for notice in incidents.over(incident, now_utc)]
        self._left.clear()
        for name, patient in self.patients.items():
            told += self._judge_one(name, patient, now_utc, now_mono, routed=silent, heard=heard)
        self._meters.set_guardrails(
            {
                (name, status.key): status.state
                for name, patient in self.patients.items()
                for status in patient.statuses
            }
        )
        self.outbox.put(told, now_utc)
        return bool(told)

    def count_manual_rollback(self, name: str) -> None:
        """A person pulled the candidate back."""
        self._meters.count_rollback(name, "manual")

    def look_after_records(
        self, now_utc: float, now_mono: float, *, room_bytes: int | None, waiting: int, down: str | None
    ) -> bool:
        """See whether the records are kept; True when somebody has to be told, which is to be kept first."""
        facts = Facts(dropped=self._dropped_heard, room_bytes=room_bytes, waiting=waiting, down=down or "")
        self._dropped_heard = 0
        told = self.keeping.look(facts, now_utc=now_utc, now_mono=now_mono)
        self.outbox.put(told, now_utc)
        return bool(told)

    def look(self, now_mono: float) -> None:
        """Say how the rules stand, and act on nothing: for somebody who only shows them."""
        for patient in self.patients.values():
            patient.statuses = tuple(patient.watch.judge(now_mono, routed=False))

    def holding(self) -> list[str]:
        """The canaries whose exposure must not grow now."""
        return [name for name, patient in self.patients.items() if patient.holds_ramp]

    def thin(self) -> list[str]:
        """The canaries whose present step too few users have seen for anybody to judge it."""
        states = {name: self._rollouts.state(name) for name in self.patients}
        return [
            name
            for name, state in states.items()
            if state is not None and not self.patients[name].watch.enough_in(state.phase)
        ]

    def snapshot(self) -> Mapping[str, Any]:
        """Evidence, incidents and unsent pages."""
        canaries = {name: _document(patient) for name, patient in self.patients.items()}
        return {
            "outbox": self.outbox.snapshot(),
            "canaries": canaries,
            "service": self.keeping.snapshot(),
        }

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None) -> None:
        """Go on from a snapshot, in place of what was learnt here."""
        if "canaries" not in document:
            return
        self.outbox.restore(document["outbox"])
        self.keeping.restore(document.get("service", {}))
        self._left.clear()
        for name, kept in document["canaries"].items():
            wanted = self._config.canaries.get(name)
            if wanted is None:
                self._left.append(incidents.from_document(kept["incident"]))
                continue
            watch = Watch(name, wanted.guardrails, metrics=self._config.metrics)
            watch.restore(kept["watch"], new_boot=new_boot)
            pulse = pulses.from_document(kept["pulse"])
            self.patients[name] = Patient(
                watch=watch,
                pulse=pulse if new_boot is None else pulses.elsewhere(pulse),
                incident=incidents.from_document(kept["incident"]),
            )

    def _beat(self, key: WorkerKey, beat: Heartbeat) -> None:
        self._finished_heard += beat.finished - self._finished.get(key, beat.finished)
        if beat.closing:
            self._finished.pop(key, None)
        else:
            self._finished[key] = beat.finished
        for name, count in beat.mirrors_dropped.items():
            if name in self.patients:
                self.patients[name].pulse.mirrors_dropped += count

    def _judge_one(
        self, name: str, patient: Patient, now_utc: float, now_mono: float, *, routed: bool, heard: bool
    ) -> list[Notice]:
        state = self._rollouts.state(name)
        if state is None:
            return []
        if state.run != patient.watch.run:
            patient.watch.rearm(state.run)
            patient.pulse = Pulse(run=state.run)
        patient.statuses = tuple(patient.watch.judge(now_mono, routed=routed, heard=heard))
        why = self._roll_back(name, patient, now_utc)
        patient.incident, notices = incidents.step(
            patient.incident,
            patient.statuses,
            canary=name,
            run=patient.watch.run,
            now=now_utc,
            rolled_back=self._is_rolled_back(name),
            why=why,
        )
        return notices

    def _roll_back(self, name: str, patient: Patient, now: float) -> Why | None:
        """Pull the candidate back if a rule convicted it; the evidence as it stood, or None."""
        convicting = next((status for status in patient.statuses if status.action == "rollback"), None)
        state = self._rollouts.state(name)
        if convicting is None or state is None or not state.effective_share:
            return None
        act = Act(at=now, action="rollback", who=f"guardrail {convicting.key}", reason=convicting.sentence)
        why = patient.why(act, rule=convicting.key, share=state.effective_share)
        self._rollouts.change(
            name, act, lambda before: transitions.rollback(before, reason=act.reason, now=now), why=why
        )
        self._meters.count_rollback(name, convicting.rule)
        return why

    def _is_rolled_back(self, name: str) -> bool:
        state = self._rollouts.state(name)
        return state is not None and state.state == "rolled_back"

    def _patient(self, wanted: CanaryConfig) -> Patient:
        """The canary's watch under these rules, with what was learnt before."""
        name = wanted.canary.name
        known = self.patients.get(name)
        if known is not None and known.watch.rules == wanted.guardrails:
            return known
        state = self._rollouts.state(name)
        run = state.run if state is not None else 1
        watch = Watch(name, wanted.guardrails, run=run, metrics=self._config.metrics)
        if known is None:
            return Patient(watch=watch, pulse=Pulse(run=run))
        watch.restore(known.watch.snapshot())
        return replace(known, watch=watch)


def _document(patient: Patient) -> dict[str, Any]:
    return {
        "watch": patient.watch.snapshot(),
        "pulse": pulses.to_document(patient.pulse),
        "incident": incidents.to_document(patient.incident),
    }
