"""A finished evaluation in the archive: its models, how it ended, its report and decision."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec

from common.clock import rfc3339
from records.store import AuditEntry, Store
from records.store.reports import Evaluations, StoredEvaluation
from routing.canary import Arm, arm_names
from verdict.archive.week_after import WeekAfter, week_after
from verdict.decision.document import Report, Sentences, from_json, to_json, vendor, without_reasons
from verdict.decision.offline import synthetic_score
from verdict.decision.reports import judged_canary, report_of
from verdict.terms.judged_canary import JudgedCanary, ReportSettings

Event = Literal["ended", "promoted", "rolled_back", "decided", "week_after"]
EVENTS: tuple[Event, ...] = get_args(Event)


class BadEvaluation(ValueError):
    """A document that is not an evaluation; the message says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One arm: the provider entry's name, the model, and the vendor family; `request` is its difference in
    words where the other arm has the same model. `fingerprint` identifies the arm, "" if unknown."""

    provider: str
    model: str
    vendor: str
    request: str = ""
    fingerprint: str = ""

    @classmethod
    def of(cls, provider: str, model: str, request: str = "", fingerprint: str = "") -> "Model":
        return cls(
            provider=provider,
            model=model,
            vendor=vendor(model, provider),
            request=request,
            fingerprint=fingerprint,
        )

    @property
    def label(self) -> str:
        """assistant-3 · low effort."""
        return f"{self.model} · {self.request}" if self.request else self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One run of a canary at the moment of an event.

    `at` is in UTC seconds. The arms are None if unknown. `synthetic` is the candidate's score on synthetic
    examples, 0 to 100, None if not measured. `week_after` is what came of its promises, of the event of that
    name alone, whose report is that of the trial.
    """

    canary: str
    run: int
    at: float
    event: Event
    who: str
    reason: str
    baseline: Model | None
    candidate: Model | None
    report: Report
    synthetic: float | None = None
    week_after: WeekAfter | None = None

    @property
    def key(self) -> str:
        """The same for the same event in every archive, so that importing twice adds nothing."""
        return key(self.canary, self.run, self.event, self.who, self.at)

    @property
    def is_variant(self) -> bool:
        """True if both arms have one model, which differs only in its requests."""
        arms = [(arm.provider, arm.model) for arm in (self.baseline, self.candidate) if arm is not None]
        return len(arms) == 2 and arms[0] == arms[1]

    @property
    def family(self) -> str:
        """The candidate's vendor family."""
        return self.candidate.vendor if self.candidate is not None else "unknown"


def key(canary: str, run: int, event: Event, who: str, at: float) -> str:
    """An evaluation's key, 16 hex digits. `at` is in UTC seconds."""
    text = f"{canary}\0{run}\0{event}\0{who}\0{moment(at)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_document(evaluation: Evaluation, sentences: Sentences) -> dict[str, Any]:
    """JSON types only; times in RFC 3339."""
    return {
        "key": evaluation.key,
        "canary": evaluation.canary,
        "run": evaluation.run,
        "at": moment(evaluation.at),
        "event": evaluation.event,
        "who": evaluation.who,
        "reason": evaluation.reason,
        "baseline": _arm(evaluation.baseline),
        "candidate": _arm(evaluation.candidate),
        "synthetic": evaluation.synthetic,
        "report": to_json(without_reasons(evaluation.report), sentences),
        **({} if evaluation.week_after is None else {"week_after": asdict(evaluation.week_after)}),
    }


def _arm(model: Model | None) -> dict[str, str] | None:
    """The arm; `request` only where it has one."""
    return None if model is None else {key: value for key, value in asdict(model).items() if value}


def to_line(evaluation: Evaluation, sentences: Sentences) -> str:
    """One line of an export."""
    return json.dumps(to_document(evaluation, sentences), ensure_ascii=False, separators=(",", ":"))


def from_document(document: Any) -> Evaluation:
    """The evaluation that `to_document` wrote. Raises BadEvaluation."""
    if not isinstance(document, dict):
        raise BadEvaluation("not a JSON object as `canary archive export` writes it")
    try:
        return _read(document)
    except KeyError as missing:
        raise BadEvaluation(f"{missing} is missing; `canary archive export` writes it") from None
    except (TypeError, ValueError, AttributeError, msgspec.ValidationError) as problem:
        raise BadEvaluation(f"not an evaluation from `canary archive export`: {problem}") from None


def _read(document: Mapping[str, Any]) -> Evaluation:
    if document["event"] not in EVENTS:
        raise ValueError(f"event must be one of {', '.join(EVENTS)}, not {document['event']!r}")
    synthetic = document.get("synthetic")
    if synthetic is not None and not 0 <= float(synthetic) <= 100:
        raise ValueError(f"synthetic must be a score from 0 to 100, not {synthetic!r}")
    return Evaluation(
        canary=str(document["canary"]),
        run=int(document["run"]),
        at=datetime.fromisoformat(document["at"]).timestamp(),
        event=document["event"],
        who=str(document["who"]),
        reason=str(document["reason"]),
        baseline=Model(**document["baseline"]) if document["baseline"] else None,
        candidate=Model(**document["candidate"]) if document["candidate"] else None,
        report=from_json(document["report"]),
        synthetic=None if synthetic is None else float(synthetic),
        week_after=msgspec.convert(document.get("week_after"), WeekAfter | None),
    )


def parse(text: str) -> list[Evaluation]:
    """Read a file of `canary archive export`, one evaluation per line. BadEvaluation names the line."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                found.append(from_document(json.loads(line)))
            except ValueError as problem:
                raise BadEvaluation(f"line {number}: {problem}") from None
    return found


def moment(seconds: float) -> str:
    """UTC seconds as RFC 3339."""
    return rfc3339(seconds, "milliseconds")


# Makes an evaluation from an audit log entry: the canary's present report and its models.


_EVENTS: dict[str, Event] = {
    "decide": "decided",
    "end": "ended",
    "holdback_end": "week_after",
    "promote": "promoted",
    "rollback": "rolled_back",
}


def events_of(entry: AuditEntry) -> Sequence[Event]:
    """What this entry makes evaluations of: its own event, and the end of a hold-back, whatever ended it. A
    promotion or a rollback has ended the trial: its end, which comes with a later one, tells nothing new."""
    event = _EVENTS[entry.act.action]
    was = entry.before.state if entry.before is not None else None
    told: list[Event] = [] if event == "ended" and was in ("promoted", "rolled_back") else [event]
    over = entry.before is not None and entry.before.holds_back and not entry.after.holds_back
    return [*told, "week_after"] if over and event != "week_after" else told


def key_of(entry: AuditEntry, event: Event) -> str:
    """The key of this entry's evaluation."""
    act = entry.act
    return key(entry.canary, entry.after.run, event, act.who, act.at)


def evaluation_of(
    settings: ReportSettings,
    entry: AuditEntry,
    event: Event,
    store: Store,
    sentences: Sentences,
    *,
    now: float,
) -> StoredEvaluation:
    """This entry's evaluation: the canary as it stood after the act, whatever came since. Raises
    NoSuchCanary (a LookupError), ValueError and StoreDown."""
    act, run = entry.act, entry.after.run
    judged = judged_canary(settings, entry.canary, store)
    report = report_of(settings, entry.canary, store, now=now, run=run, after=entry)
    after = _week_after(store, judged, entry, report, now=now) if event == "week_after" else None
    return to_stored(
        Evaluation(
            canary=entry.canary,
            run=run,
            at=act.at,
            event=event,
            who=act.who,
            reason=act.reason,
            baseline=_model(judged.baseline, judged.candidate),
            candidate=_model(judged.candidate, judged.baseline),
            report=report,
            synthetic=synthetic_score(report.details.benchmarks),
            week_after=after,
        ),
        sentences,
    )


def _week_after(
    store: Store, judged: JudgedCanary, entry: AuditEntry, report: Report, *, now: float
) -> WeekAfter | None:
    """What came of the promises in the report at the promotion, else of those in this one."""
    run, held = entry.after.run, entry.before.holdback if entry.before is not None else None
    if held is None:
        return None
    kept = (from_document(each) for each in Evaluations(store).all(entry.canary))
    then = [each.report for each in kept if (each.run, each.event) == (run, "promoted")]
    promised = then[-1] if then else report
    act = entry.act
    what = act.reason if act.action == "holdback_end" else f"{act.action}{act.reason and f': {act.reason}'}"
    ended_by = f"{act.who} ({what})"
    return week_after(store, judged, run, held, promised, until=act.at, ended_by=ended_by, now=now)


def to_stored(evaluation: Evaluation, sentences: Sentences) -> StoredEvaluation:
    """The evaluation in the store's form."""
    return StoredEvaluation(
        key=evaluation.key,
        at=evaluation.at,
        canary=evaluation.canary,
        document=to_document(evaluation, sentences),
    )


def _model(arm: Arm | None, other: Arm | None) -> Model | None:
    if arm is None:
        return None
    differs = arm_names(arm, other or arm)[0].partition(" · ")[2]
    return Model.of(arm.provider, arm.model, differs, arm.fingerprint)
