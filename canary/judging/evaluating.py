"""An entry of the audit log becomes an evaluation: its canary's report as it is now, with whose models."""

from canary.config import Config
from canary.judging.benchmarked import synthetic_score
from canary.judging.kept_terms import past_arms
from canary.judging.reporting import report_of
from records.evaluations import Kept
from records.store import Audited, Store
from report.archive import Evaluation, Event, Model, key, to_document
from routing.canary import Arm

_EVENTS: dict[str, Event] = {
    "decide": "decided",
    "end": "ended",
    "promote": "promoted",
    "rollback": "rolled_back",
}


def key_of(entry: Audited) -> str:
    """The key of the evaluation that this entry asks for."""
    act = entry.act
    return key(entry.canary, entry.after.run, _EVENTS[act.action], act.who, act.at)


def evaluation_of(config: Config, entry: Audited, store: Store, *, now: float) -> Kept:
    """The evaluation, to be kept. Raises NoSuchCanary (a LookupError), ValueError and StoreDown."""
    act, run = entry.act, entry.after.run
    baseline, candidate = _arms(config, entry.canary, store)
    report = report_of(config, entry.canary, store, now=now, run=run)
    return kept(
        Evaluation(
            canary=entry.canary,
            run=run,
            at=act.at,
            event=_EVENTS[act.action],
            who=act.who,
            reason=act.reason,
            baseline=_model(baseline),
            candidate=_model(candidate),
            report=report,
            synthetic=synthetic_score(report.details.benchmarks),
        )
    )


def kept(evaluation: Evaluation) -> Kept:
    """As the store takes it."""
    return Kept(
        key=evaluation.key, at=evaluation.at, canary=evaluation.canary, document=to_document(evaluation)
    )


def _arms(config: Config, name: str, store: Store) -> tuple[Arm | None, Arm | None]:
    wanted = config.canaries.get(name)
    if wanted is not None:
        return wanted.canary.baseline, wanted.canary.candidate
    return past_arms(store.rubric(name))


def _model(arm: Arm | None) -> Model | None:
    return Model.of(arm.provider, arm.model) if arm is not None else None
