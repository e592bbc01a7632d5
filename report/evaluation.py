"""Makes an evaluation from an audit log entry: the canary's present report and its models."""

from records.store import Audited, Store
from records.store.reports import StoredEvaluation
from report.archive import Evaluation, Event, Model, key, to_document
from report.benchmarked import synthetic_score
from report.document import Sentences
from report.judged_canary import ReportSettings
from report.reports import judged_canary, report_of
from routing.canary import Arm, arm_names

_EVENTS: dict[str, Event] = {
    "decide": "decided",
    "end": "ended",
    "promote": "promoted",
    "rollback": "rolled_back",
}


def key_of(entry: Audited) -> str:
    """The key of this entry's evaluation."""
    act = entry.act
    return key(entry.canary, entry.after.run, _EVENTS[act.action], act.who, act.at)


def evaluation_of(
    settings: ReportSettings, entry: Audited, store: Store, sentences: Sentences, *, now: float
) -> StoredEvaluation:
    """This entry's evaluation: the canary as it stood after the act, whatever came since. Raises
    NoSuchCanary (a LookupError), ValueError and StoreDown."""
    act, run = entry.act, entry.after.run
    judged = judged_canary(settings, entry.canary, store)
    report = report_of(settings, entry.canary, store, now=now, run=run, after=entry)
    return to_stored(
        Evaluation(
            canary=entry.canary,
            run=run,
            at=act.at,
            event=_EVENTS[act.action],
            who=act.who,
            reason=act.reason,
            baseline=_model(judged.baseline, judged.candidate),
            candidate=_model(judged.candidate, judged.baseline),
            report=report,
            synthetic=synthetic_score(report.details.benchmarks),
        ),
        sentences,
    )


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
    return Model.of(arm.provider, arm.model, arm_names(arm, other or arm)[0].partition(" · ")[2])
