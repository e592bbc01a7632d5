"""The live consumer: follows the spool, counts metrics, judges guardrails, rolls back, opens incidents.

It has a checkpoint of its own (cursors, meters, evidence, incidents, unsent pages: one file, replaced whole),
apart from the store's: detection does not wait for the database, and a crash neither forgets nor doubles
evidence.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import structlog
from msgspec import structs

from alerts import incident as incidents
from alerts import pulse as pulses
from alerts.frozen import Why
from alerts.guardrails import Watch
from alerts.incident import Incident, Notice
from alerts.outbox import Outbox
from alerts.pulse import Pulse
from alerts.status import GuardrailStatus
from canary.config import CanaryConfig, Config
from canary.rollouts import Rollouts
from records.errors import StoreDown
from records.meters import Meters
from records.outcome import Feedback, Heartbeat, Outcome
from records.spool_reader import Batch, SpoolReader
from records.store import Act
from records.whole_file import write_whole
from routing import transitions

log = structlog.get_logger()

JUDGE_EVERY_S = 0.2
CHECKPOINT_EVERY_S = 1.0
ALIVE_WITHIN_S = 2.0
BATCH = 1000


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


class Live:
    """One admin process's live view. Belongs to the event loop's thread."""

    def __init__(
        self, folder: Path, checkpoint: Path, *, meters: Meters, rollouts: Rollouts, config: Config, boot: str
    ) -> None:
        self.meters = meters
        self.outbox = Outbox(config.notify)
        self.workers: dict[tuple[int, int], Heartbeat] = {}
        self.patients: dict[str, Patient] = {}
        self._rollouts = rollouts
        self._config = config
        self._checkpoint = checkpoint
        self._boot = boot
        self._pending: dict[str, int] = {}
        self._judged_at = self._saved_at = float("-inf")
        self._outcomes_heard = self._finished_heard = 0
        document = _read(checkpoint)
        self.reader = SpoolReader(folder, document.get("cursors", {}), quarantine=False)
        self._folder = folder
        self._restore(document)
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take in a loaded config: watch new canaries, forget ended ones, keep what was learnt."""
        self._config = config
        self.meters.configure(canaries=config.canaries, feedback_metrics=config.metrics)
        before = self.outbox.snapshot()
        self.outbox = Outbox(config.notify)
        self.outbox.restore(before)
        self.patients = {name: self._patient(wanted) for name, wanted in config.canaries.items()}

    def turn(self, now_utc: float, now_mono: float) -> bool:
        """Read what is new and judge if it is time; True when there may be more to read at once."""
        batch = self.reader.read(BATCH)
        self._pending.update(batch.cursors)
        self._take(batch)
        if now_mono - self._judged_at >= JUDGE_EVERY_S:
            self._judged_at = now_mono
            self._judge(now_utc, now_mono)
        if now_mono - self._saved_at >= CHECKPOINT_EVERY_S:
            self.save()
        return not batch.is_empty

    def save(self) -> None:
        """Write the checkpoint; only then do the cursors count."""
        cursors = {**self.reader.committed, **self._pending}
        cursors = {name: place for name, place in cursors.items() if (self._folder / name).exists()}
        document = {
            "boot": self._boot,
            "cursors": cursors,
            "meters": self.meters.snapshot(),
            "outbox": self.outbox.snapshot(),
            "canaries": {name: _document(patient) for name, patient in self.patients.items()},
        }
        write_whole(self._checkpoint, msgspec.json.encode(document))
        self.reader.committed.update(self._pending)
        self._pending = {}
        self._saved_at = time.monotonic()

    def alive(self, now_mono: float) -> list[Heartbeat]:
        """The workers that gave a sign of life just now."""
        return [beat for beat in self.workers.values() if now_mono - beat.mono < ALIVE_WITHIN_S]

    def _take(self, batch: Batch) -> None:
        for chunk in batch.chunks:
            foreign = not self._boot.startswith(chunk.writer.boot)
            for record in chunk.records:
                if type(record) is Heartbeat:
                    self._beat(record)
                elif foreign:
                    self._observe(_carried_over(record))
                else:
                    self._observe(record)
        for death in batch.deaths:
            self.workers.pop((death.writer.worker, death.writer.pid), None)
            self.meters.lose(death.lost)

    def _beat(self, beat: Heartbeat) -> None:
        key = (beat.worker, beat.pid)
        known = self.workers.get(key)
        self._finished_heard += beat.finished - (known.finished if known is not None else 0)
        if beat.closing:
            self.workers.pop(key, None)
        else:
            self.workers[key] = beat
        self.meters.beat(beat)
        for name, count in beat.mirrors_dropped.items():
            if name in self.patients:
                self.patients[name].pulse.mirrors_dropped += count

    def _observe(self, record: Outcome | Feedback | Heartbeat) -> None:
        if type(record) is Outcome:
            self._outcomes_heard += not record.mirror  # copies are no part of what a worker has finished
            self.meters.observe(record)
            patient = self.patients.get(record.canary)
            if patient is not None:
                patient.watch.observe(record)
                patient.pulse.observe(record)
        elif type(record) is Feedback:
            self.meters.observe_feedback(record)
            patient = self.patients.get(record.canary)
            if patient is not None:
                patient.watch.observe_feedback(record)

    def _judge(self, now_utc: float, now_mono: float) -> None:
        # Exchanges finish and none of their outcomes arrives: the telemetry is broken, not the traffic quiet.
        silent = self._finished_heard > 0 and self._outcomes_heard == 0
        self._finished_heard = self._outcomes_heard = 0
        told: list[Notice] = []
        for name, patient in self.patients.items():
            told += self._judge_one(name, patient, now_utc, now_mono, routed=silent)
            for status in patient.statuses:
                self.meters.set_guardrail(name, status.key, status.state)
        if told:
            self.outbox.put(told, now_utc)
            self.save()

    def _judge_one(
        self, name: str, patient: Patient, now_utc: float, now_mono: float, *, routed: bool
    ) -> list[Notice]:
        state = self._rollouts.state(name)
        if state is None:
            return []
        if state.run != patient.watch.run:
            patient.watch.rearm(state.run)
            patient.pulse = Pulse(run=state.run)
        patient.statuses = tuple(patient.watch.judge(now_mono, routed=routed))
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
        try:
            self._rollouts.change(
                name, act, lambda before: transitions.rollback(before, reason=convicting.sentence, now=now)
            )
        except StoreDown as error:
            log.error("rollback.not_stored", canary=name, problem=str(error))  # the next look tries again
            return None
        self.meters.count_rollback(name, convicting.rule)
        return patient.watch.why(convicting, at=now, share_before=state.share, share_after=0.0)

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

    def _restore(self, document: Mapping[str, Any]) -> None:
        if not document:
            return
        self.meters.restore(document["meters"])
        self.outbox.restore(document["outbox"])
        new_boot = None if document["boot"] == self._boot else time.time() - time.monotonic()
        for name, kept in document["canaries"].items():
            wanted = self._config.canaries.get(name)
            if wanted is None:
                continue
            watch = Watch(name, wanted.guardrails, metrics=self._config.metrics)
            watch.restore(kept["watch"], new_boot=new_boot)
            self.patients[name] = Patient(
                watch=watch,
                pulse=pulses.from_document(kept["pulse"]),
                incident=incidents.from_document(kept["incident"]),
            )


def _document(patient: Patient) -> dict[str, Any]:
    return {
        "watch": patient.watch.snapshot(),
        "pulse": pulses.to_document(patient.pulse),
        "incident": incidents.to_document(patient.incident),
    }


def _read(checkpoint: Path) -> dict[str, Any]:
    """The last checkpoint. One that cannot be read is put aside: counting begins anew, and says so."""
    try:
        document: dict[str, Any] = msgspec.json.decode(checkpoint.read_bytes())
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError:
        log.error("checkpoint.unreadable", file=str(checkpoint))
        checkpoint.rename(checkpoint.with_suffix(".unreadable"))
        return {}
    return document


def _carried_over(record: Outcome | Feedback | Heartbeat) -> Outcome | Feedback | Heartbeat:
    """A record of another boot, its monotonic time moved to where this boot's clock would have had it."""
    return structs.replace(record, mono=record.at - time.time() + time.monotonic())
