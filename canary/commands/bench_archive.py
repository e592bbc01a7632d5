"""Stores a benchmark, and reads what the store knows about the model's canary and vendor."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.benchmark.comparison import Comparison, to_csv
from bench.benchmark.marks import marks_of
from bench.models.pair import ModelPair
from bench.settings import BenchSettings, PromotedCanary
from canary.commands import shell
from canary.commands.report import ReportOutput
from canary.config import Config
from canary.config.config import bench_terms
from pages.reports.release import headline, rendered
from pages.words.archive import reasons_of
from pages.words.gains import forecast_document, layers
from records.store import Store
from records.store.benchmarks import (
    BenchFailures,
    BenchMarks,
    Benchmarks,
    FailureRow,
    StoredIssues,
)
from records.store.captures import CaptureStore
from records.store.releases import Releases, past_canaries
from records.store.reports import Evaluations
from routing.canary import Canary
from verdict.archive.evaluations import from_document
from verdict.archive.releases import Dossier, measured, of_benchmark, with_texts
from verdict.archive.trends import trends
from verdict.decision.document import vendor
from verdict.decision.offline import forecast, read_spending
from verdict.decision.reports import report_of
from verdict.terms.fixed_terms import judged_by

LAYERS = ("user_experience", "business")


def settings_now(config: Config, data: Path) -> BenchSettings:
    """The config's part for benchmarks, with the canaries that were promoted: their candidates are what users
    have now, whoever asks. Without a store, as the file alone has it."""
    promoted = shell.from_store(
        config, data, lambda store: dict(_promoted(config, store)), None, "what was promoted is not known"
    )
    return config.bench if promoted is None else replace(config.bench, promoted=promoted)


def stored_issues(config: Config, data: Path) -> list[str]:
    """The hashes of the store's known issues; none without a store."""
    return shell.from_store(
        config, data, lambda store: sorted(each.hash for each in StoredIssues(store).all()), []
    )


def _promoted(config: Config, store: Store) -> Iterator[tuple[str, PromotedCanary]]:
    states = {name: each.state for name, each in store.states().items()}
    over = {name: state for name, state in states.items() if state.state in ("promoted", "ended")}
    for past in past_canaries(store, over):
        wanted, fixed = config.canaries.get(past.name), store.rubric(past.name)
        if past.ending != "promoted":
            continue
        if wanted is not None:
            yield past.name, PromotedCanary(arm=wanted.canary.candidate, terms=config.bench.terms[past.name])
        elif fixed is not None and (judged := judged_by(past.name, fixed)).candidate is not None:
            yield past.name, PromotedCanary(arm=judged.candidate, terms=bench_terms(judged, None))


def save(
    config: Config,
    pair: ModelPair,
    document: Mapping[str, Any],
    found: Comparison,
    wrong: Sequence[FailureRow],
    data: Path,
    *,
    now: float,
    whole: bool,
) -> dict[str, Any]:
    """Store the marks of both models' answers, and the document and the `wrong` answers if they cover all
    datasets (`whole`). Raises StoreDown.

    Returns `canary`, the user and business layers of the report of the canary that tries the model,
    `forecast`, what a model without such a canary would save, stored with the document, and `family`, the
    mean changes of the vendor's past releases. Each may be None.
    """
    with closing(config.open_store(data)) as store:
        canary = _canary(config, pair, store, now)
        saves = {"forecast": _forecast(config, pair, document, store, now) if canary is None else None}
        for model, marks in marks_of(config.bench, pair, found).items():
            BenchMarks(store).put(model, marks, at=now)
        if whole:
            _store(config, pair, {**document, **saves}, wrong, store, now)
        return {"canary": canary, **saves, "family": _family(pair, store)}


def _store(
    config: Config,
    pair: ModelPair,
    document: Mapping[str, Any],
    wrong: Sequence[FailureRow],
    store: Store,
    now: float,
) -> None:
    baseline, candidate = pair.names
    benchmark = Benchmarks(store).add(document, baseline=baseline, candidate=candidate, at=now)
    BenchFailures(store).add(benchmark, wrong, config.bench.wrong_kept, now=now)
    CaptureStore(store).expire(now)


def _canary(config: Config, pair: ModelPair, store: Store, now: float) -> dict[str, Any] | None:
    started = store.states()
    for name, each in reversed(list(config.canaries.items())):
        arm = each.canary.candidate
        if pair.candidate is None or arm != pair.candidate.arm:
            continue
        if name in started:
            report = report_of(config.control.reports, name, store, now=now)
            if report.units.candidate:
                return {
                    "name": name,
                    "verdict": report.verdict,
                    "layers": [
                        {"layer": one.kind, "says": one.says, "state": one.tone}
                        for one in layers(report)
                        if one.kind in LAYERS
                    ],
                }
    return None


def _forecast(
    config: Config, pair: ModelPair, document: Mapping[str, Any], store: Store, now: float
) -> dict[str, Any] | None:
    """What the candidate would save a month of what the current model costs now."""
    if pair.candidate is None:
        return None
    arms = {(name, 0): _arms(each.canary) for name, each in config.canaries.items()}
    models = {
        each.id: {"baseline": each.baseline.partition(" · ")[0], "candidate": each.candidate}
        for each in Releases(store).all()
    }
    arms |= {(run.canary, run.run): models[run.release] for run in Releases(store).runs()}
    current = pair.baseline
    matching = [
        each.canary.match.models
        for name, each in config.canaries.items()
        if current.name in arms[name, 0].values()
    ]
    with store.reading() as connection:
        asked_for = {current.model}.union(*matching)
        spending = read_spending(connection, current.name, asked_for, arms, now=now)
    found = forecast(spending, document["layers"])
    return None if found is None else forecast_document(found)


def _arms(canary: Canary) -> dict[str, str]:
    arms = {"baseline": canary.baseline, "candidate": canary.candidate}
    return {name: f"{arm.provider}/{arm.model}" for name, arm in arms.items()}


def _family(pair: ModelPair, store: Store) -> dict[str, Any] | None:
    if pair.candidate is None:
        return None
    past = [from_document(each) for each in Evaluations(store).all()]
    whose = vendor(pair.candidate.model, pair.candidate.provider.name)
    refused = {name: at for name, at in Benchmarks(store).refused().items() if name != pair.candidate.name}
    return next((asdict(each) for each in trends(past, refused).families if each.vendor == whose), None)


def release_of(config: Config, document: Mapping[str, Any], data: Path) -> Dossier:
    """The release that was just measured. Without a store, only the benchmark speaks."""
    now = time.time()

    def look(store: Store) -> Dossier:
        return with_texts(store, measured(config.control.reports, store, document, now=now), now=now)

    alone = of_benchmark(document, now=now)
    return shell.from_store(config, data, look, alone, "the canaries of this model are not in the verdict")


def with_verdict(document: Mapping[str, Any], release: Dossier) -> dict[str, Any]:
    """The document with the release's verdict and reasons, and the benchmark's own under `examples`."""
    own = {name: document[name] for name in ("verdict", "reasons")}
    return {
        **document,
        "verdict": release.verdict,
        "reasons": list(reasons_of(release)),
        "examples": own,
    }


def write_report(found: Dossier, output: ReportOutput) -> None:
    """Write the one report of the release."""
    output.write(rendered(found, output.form))
    shell.say(f"{headline(found)}\nwrote {output.file}")


def write_failures(file: Path, wrong: Sequence[FailureRow]) -> None:
    """Write the rows as CSV. Exits 1 if the file cannot be written."""
    with shell.writing(file):
        file.write_text(to_csv(wrong), encoding="utf-8", newline="")
    shell.say(f"wrote {len(wrong)} wrong answers to {file}")
