"""A release as a document, which every form of the report shows, and as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Any

from common.numbers import count, dollars, percent, seconds
from pages.document import BulletList, Cell, Document, Row, Section, ShownId, Table, columns
from pages.reports.bench_text import judged_parts
from pages.words import gains, judge, plan, verdict
from pages.words.archive import came, ending, promised, promises, reasons_of, week_after
from pages.words.drift import SINCE_DRIFT
from pages.words.figures import bound_words, joined, label
from pages.words.issues import MOST_IDS, example_address, example_ids, more_ids, short_id
from pages.words.reasons import miss_words, sentences
from pages.words.status import day, in_words, minute
from pages.writers import listing, written
from records.store.benchmarks import FailureRow
from records.store.releases import ReleaseNote, is_drift
from verdict.archive.evaluations import moment
from verdict.archive.releases import LAYERS, Dossier, LayerName, LayerStanding, ReleaseClock, RunStanding
from verdict.archive.week_after import Kept, WeekAfter
from verdict.decision.document import SHIPS, MetricLine, Report
from verdict.decision.document import to_json as report_json

_LAYERS: dict[LayerName, str] = {
    "synthetic": "Synthetic tasks",
    "real": "Real-world tasks",
    "users": "User experience",
    "business": "Business",
}
_KEPT: dict[Kept, tuple[str, str, str]] = {
    "kept": ("✓", "Kept", "PASS"),
    "not_kept": ("✗", "Not kept", "FAIL"),
    "unknown": ("?", "Unknown", "INCONCLUSIVE"),
}
_BY_EXAMPLES = {"ship": "Ship, by examples only", "extend": "Not enough examples to decide"}
"""While no user has tried the model."""
_MOST_WRONG, _LONGEST = 50, 300
"""Wrong answers that are shown, and the characters of a text."""


def headline(found: Dossier) -> str:
    """Ship, by examples only: openai/gpt-6 against openai/gpt-5; Promoted: … once somebody has decided."""
    against = f" against {found.release.baseline}" if found.release.baseline else ""
    if found.state == "promoted":  # what a person decided stands over what the report advised
        return f"Promoted: {found.release.candidate}{against}"
    said = "No verdict yet" if found.verdict is None else verdict.HEADLINES[found.verdict][0]
    if is_drift(found.release.candidate, found.release.baseline):
        said = SINCE_DRIFT.get(found.verdict or "", said)
    elif found.report is None:
        said = _BY_EXAMPLES.get(found.verdict or "", said)
    return f"{said}: {found.release.candidate}{against}"


def document(found: Dossier, links: Sequence[tuple[str, str]] = ()) -> Document:
    """The whole release, the deciding sections first. `links`: pages that its HTML leads to."""
    return Document(
        title=headline(found),
        about=f"Release {found.release.id}, {ending(found)}",
        tone=found.verdict or "extend",
        head=[BulletList([*reasons_of(found), *_forecasts(found)])],
        sections=_sections(found),
        links=links,
    )


def _forecasts(found: Dossier) -> list[str]:
    """When each canary under way decides, and how likely it ships."""
    under_way = [run for run in found.newest if run.state in ("running", "paused") and run.report is not None]
    told = {run.canary: plan.forecast(run.report) for run in under_way if run.report is not None}
    return [f"{canary}: {says}" for canary, says in told.items() if says]


def _sections(found: Dossier) -> list[Section]:
    return [
        _section("The four layers against the current model", table=_layers(found)),
        _section("Money", says=money(found)),
        _section("Time", says=_clock(found)),
        _section("Canaries", table=_runs(found.runs)),
        *(
            _criteria(run, run.report)
            for run in found.runs
            if run.report is not None and (run.report.metrics or run.report.judge)
        ),
        *(_week_after(run, run.week_after, found) for run in found.runs if run.week_after is not None),
        *_benchmark(found.benchmark or {}),
        _section(
            "The wrong answers",
            says=_counted(found.wrong),
            table=_wrong(found.wrong, found.release.candidate),
        ),
        _section("Known issues", says=_issues((found.benchmark or {}).get("issues"))),
        _section("Notes", says=[_noted(note) for note in found.notes]),
    ]


def _section(title: str, says: Sequence[str] = (), table: Table | None = None) -> Section:
    return Section(title, [BulletList(says), *([table] if table is not None else [])])


def _noted(note: ReleaseNote) -> str:
    minutes = f" ({note.minutes:g} minutes)" if note.minutes else ""
    return f"{day(note.at)}, {note.who}: {note.text}{minutes}"


def _layers(found: Dossier) -> Table:
    rows: list[Row] = [
        [
            _mark(verdict.STATES[layer.state][0], _word(layer), layer.state),
            _LAYERS[name],
            "–" if layer.score is None else f"{layer.score:.0f}",
            *layer_words(layer),
        ]
        for name in LAYERS
        for layer in [found.layers[name]]
    ]
    return Table(columns("", "layer", "of 100", "current model", "candidate"), rows)


def _word(layer: LayerStanding) -> str:
    """The layer's state in words."""
    return verdict.TOO_FEW if layer.too_few else verdict.STATES[layer.state][1]


def layer_words(layer: LayerStanding) -> tuple[str, str]:
    """What was measured of the current model and of the candidate."""
    current, candidate = "–", "not measured"
    if layer.examples is not None:
        current, candidate = _right(layer.examples["baseline"]), _right(layer.examples["candidate"])
        candidate = f"{candidate} of {layer.examples['examples']:,} examples"
    elif layer.rows:
        current, candidate = (
            ", ".join(f"{label(line.metric)} {_value(line, value(line))}" for line in layer.rows)
            for value in (attrgetter("baseline"), attrgetter("candidate"))
        )
    said = [judge.in_short(each) for each in layer.judged]
    return current, "; ".join([candidate, *said])


def _right(side: Mapping[str, Any]) -> str:
    if side["completion"] is None:
        return "–"
    low, high = side["interval"]
    return f"{100 * side['completion']:.1f} % right ({100 * low:.0f} to {100 * high:.0f})"


def _value(line: MetricLine, value: float | None) -> str:
    return "unknown" if value is None else verdict.value(line, value)


def money(found: Dossier) -> list[str]:
    """What would be saved, by users or by a benchmark; over a verdict that does not ship, its reason."""
    told = ""
    if found.report is not None:
        told = (gains.in_short if found.verdict in SHIPS else gains.saved)(found.report)
    expected = ((found.benchmark or {}).get("forecast") or {}).get("says", "")
    return [each for each in (told, "" if told else expected) if each]


def _clock(found: Dossier) -> list[str]:
    clock = found.clock
    words = {"started": "first given to users"}
    reached = [
        f"{words.get(name, name)} {minute(at)}" for name, at in _stages(clock).items() if at is not None
    ]
    told = [f"{', '.join(reached).capitalize()} (UTC)."]
    if clock.days is not None:
        told.append(f"From the first of these to the decision it took {clock.days:.1f} days.")
    if clock.minutes:
        return [*told, f"People noted {clock.minutes:.0f} minutes of work on it: {_by_stage(clock)}."]
    return [*told, "Nobody noted how long people worked on it."]


def _by_stage(clock: ReleaseClock) -> str:
    return ", ".join(f"{minutes:.0f} {stage}" for stage, minutes in clock.minutes_by_stage.items())


def _stages(clock: ReleaseClock) -> dict[str, float | None]:
    return {
        "noticed": clock.noticed,
        "benchmarked": clock.benchmarked,
        "started": clock.started,
        "decided": clock.decided,
    }


def _runs(runs: Sequence[RunStanding]) -> Table:
    rows = [
        [
            f"{run.canary}, run {run.run}",
            day(run.started_at),
            run.state.replace("_", " ") + (f" {day(run.ended_at)}" if run.ended_at is not None else ""),
            ": ".join(part for part in (run.who, run.reason) if part) or "–",
            in_words(run.verdict) if run.verdict is not None else "–",
            _decided(run),
        ]
        for run in runs
    ]
    return Table(columns("canary", "started", "state", "by", "verdict", "a person decided"), rows)


def _decided(run: RunStanding) -> str:
    """What a person decided: ship despite satisfaction."""
    if run.decision is None:
        return "–"
    despite = f" despite {joined([miss_words(name) for name in run.despite])}" if run.despite else ""
    return f"{in_words(run.decision)}{despite}"


def _criteria(run: RunStanding, report: Report) -> Section:
    return _section(
        f"What users say: {run.canary}, run {run.run}",
        says=[*sentences(report), *_of_judge(report)],
        table=Table(
            columns("", "criterion", "current model", "candidate", "acceptable", "ideal", "users"),
            [_criterion(line, report) for line in report.metrics],
        ),
    )


def _week_after(run: RunStanding, found: WeekAfter, of: Dossier) -> Section:
    """What was promised of each row, and what came while users were held back."""
    return _section(
        f"The week after: {run.canary}, run {run.run}",
        says=[*week_after(found), *([promises(of.promises)] if of.promises is not None else [])],
        table=Table(
            columns("", "criterion", "promised", "came", "held back", "promoted"),
            [
                [
                    _mark(*_KEPT[row.kept]),
                    label(row.metric),
                    promised(row),
                    came(row),
                    *(f"{users:,}" for users in row.users),
                ]
                for row in found.rows
            ],
        ),
    )


def _of_judge(report: Report) -> list[str]:
    """What a judge says of the run's answers, in one sentence."""
    return [] if report.judge is None else [judge.summary(report.judge)]


def _mark(glyph: str, word: str, state: str) -> Cell:
    return Cell(f"{glyph} {word}", tone=state, mark=True)


def _criterion(line: MetricLine, report: Report) -> list[str | Cell]:
    return [
        _mark(*verdict.mark(line, report), line.state),
        f"{label(line.metric)}: {line.question}",
        verdict.value(line, line.baseline),
        verdict.value(line, line.candidate),
        bound_words(line.acceptable),
        bound_words(line.ideal),
        f"{line.units:,}",
    ]


def _benchmark(document: Mapping[str, Any]) -> Iterator[Section]:
    if not document.get("layers"):
        return
    at, took_s = document["at"], sum(document["stages"].values())
    yield _section(
        "The benchmark",
        says=[
            *document["reasons"],
            *(says for layer in document["layers"] for says in _weighted(layer)),
            f"Made {at[:10]} by {document['owner']} in {took_s / 60:.0f} minutes, {document['via']}.",
        ],
        table=Table(
            columns("", "examples", "current right", "candidate right", "p", "new failures", "p95", "cost"),
            [
                _dataset(name, node, of, document.get("candidate") or "")
                for layer in document["layers"]
                for name, node, of in _datasets(layer)
            ],
        ),
    )
    yield _section("Time and cost of the examples", table=spent(document))
    if judge := document.get("judge"):
        yield _judged(judge)
    if rows := document.get("rubric"):
        yield _section("The rubric on examples", table=_rubric(rows))


def spent(document: Mapping[str, Any]) -> Table:
    """Both models' measured times and costs, by dataset."""
    return Table(
        columns("", "", "timed", "p50", "p95", "p99", "total cost", "per request"),
        [
            [
                dataset["dataset"],
                name,
                count(side.get("timed")),
                *(seconds(side.get(key)) for key in ("p50_s", "p95_s", "p99_s")),
                *(dollars(side.get(key)) for key in ("cost_usd", "cost_per_request_usd")),
            ]
            for layer in document.get("layers", ())
            for dataset in layer["datasets"]
            for name, side in (("current model", dataset["baseline"]), ("candidate", dataset["candidate"]))
            if side is not None
        ],
    )


def _counted(rows: Sequence[FailureRow]) -> list[str]:
    some = f"; the first {_MOST_WRONG} are shown" if len(rows) > _MOST_WRONG else ""
    told = (
        f"{count(len(rows), 'example')} that the candidate got wrong, redacted, the new failures first{some}."
    )
    return [told] if rows else []


def _wrong(rows: Sequence[FailureRow], model: str) -> Table:
    """What was asked, and both answers or why there is none."""
    return Table(
        columns("example", "asked", "expected", "current model", "candidate"),
        [
            [
                _examples(
                    str(row["dataset"]),
                    [str(row["id"])],
                    model,
                    before=f"{row['dataset']}: ",
                    after=" (new)" if row["new"] == "yes" else "",
                ),
                _cut(row["asked"]),
                _cut(row["expected"]),
                *(
                    _cut(row[f"{side}_answer"] or row[f"{side}_failure"])
                    for side in ("baseline", "candidate")
                ),
            ]
            for row in rows[:_MOST_WRONG]
        ],
    )


def _cut(text: str | float | None) -> str:
    line = " ".join(str(text or "").split())
    return f"{line[:_LONGEST]} …" if len(line) > _LONGEST else line or "–"


def _judged(judge: Mapping[str, Any]) -> Section:
    """What a judge said of both models' answers to the examples."""
    return _section(
        f"What the judge {judge['provider']}/{judge['model']} says of both answers",
        says=[*judge["says"], f"asked in the words {judge['words_sha256'][:8]}: {judge['criteria']}"],
        table=Table(
            columns("", "pairs", "won", "tie", "lost", "no mark", "candidate preferred"),
            [
                _judged_row(name, node)
                for each in judge["datasets"]
                for name, node in judged_parts(each, mark="–")
            ],
        ),
    )


def _judged_row(name: str, node: Mapping[str, Any]) -> list[str]:
    found = node["judged_preference"]
    counts = [f"{node[each]:,}" for each in ("pairs", "won", "tie", "lost", "no_mark")]
    if found is None:
        return [name, *counts, "–"]
    low, high = (f"{100 * found[each]:.1f}" for each in ("low", "high"))
    return [name, *counts, f"{percent(found['estimate'])} ({low} to {high})"]


def _weighted(layer: Mapping[str, Any]) -> Iterator[str]:
    """Each dataset's rates by traffic, which decide where they exist."""
    for dataset in layer["datasets"]:
        found = dataset.get("weighted")
        if found and found["candidate"] and found["baseline"]:
            ours, theirs = (percent(found[side]["estimate"]) for side in ("candidate", "baseline"))
            yield f"{dataset['dataset']}, by traffic: {ours} against {theirs}, which decide."


def _rubric(rows: Sequence[Mapping[str, Any]]) -> Table:
    states: dict[str, tuple[str, str]] = {str(state): names for state, names in verdict.STATES.items()}
    return Table(
        columns("", "criterion", "acceptable", ""),
        [
            [
                _mark(*states[row["state"]], row["state"]),
                label(row["metric"]),
                bound_words(row["acceptable"]),
                row["says"],
            ]
            for row in rows
        ],
    )


def _datasets(layer: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """A row's name and figures, with the dataset that it is of."""
    for dataset in layer["datasets"]:
        yield dataset["dataset"], dataset, dataset["dataset"]
        if len(dataset["categories"]) > 1:
            for part in dataset["categories"]:
                critical = ", critical" if part["critical"] else ""
                yield f"– {part['category'] or '(no category)'}{critical}", part, dataset["dataset"]


def _dataset(name: str, node: Mapping[str, Any], dataset: str, model: str) -> Row:
    ours, theirs = node["candidate"], node["baseline"]
    failures = node["new_failures"]
    return [
        name,
        f"{node['examples']:,}",
        *(percent(side and side["completion"]) for side in (theirs, ours)),
        "–" if node["mcnemar_p"] is None else f"{node['mcnemar_p']:.2g}",
        _examples(dataset, failures, model) if failures else "none",
        _ratio(node.get("latency_ratio")),
        _ratio(node.get("cost_ratio")),
    ]


def _examples(dataset: str, ids: Sequence[str], model: str, *, before: str = "", after: str = "") -> Cell:
    """The first ten examples of a dataset, each with its own page."""
    return Cell(
        f"{before}{example_ids(ids)}{after}",
        ids=[
            ShownId(
                code=each, short=f"{before}{short_id(each)}", address=example_address(dataset, each, model)
            )
            for each in ids[:MOST_IDS]
        ],
        after=f"{more_ids(ids)}{after}",
    )


def _ratio(found: Mapping[str, float] | None) -> str:
    """1.20 times (1.1 to 1.3) the current model's."""
    return "–" if found is None else f"{found['estimate']:.2f} × ({found['low']:.2f} to {found['high']:.2f})"


def _issues(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    told = []
    for state in ("still_there", "gone", "unknown"):
        names = [each["mode"] for each in found["issues"] if each["state"] == state]
        named = f": {', '.join(names)}" if state != "gone" else ""
        told += [f"{count(len(names), 'known issue')} {state.replace('_', ' ')}{named}."] if names else []
    return told


def line(found: Dossier) -> dict[str, Any]:
    """The release in a list: JSON types, times in RFC 3339."""
    clock, release = found.clock, found.release
    return {
        "id": release.id,
        "candidate": _model(release.candidate),
        "baseline": _model(release.baseline) if release.baseline else None,
        "state": found.state,
        "ending": ending(found),
        "verdict": found.verdict,
        "decision": found.decision,
        "days": None if clock.days is None else round(clock.days, 2),
        "minutes": clock.minutes,
        "minutes_by_stage": dict(clock.minutes_by_stage),
        "layers": {name: {"state": each.state, "score": each.score} for name, each in found.layers.items()},
        "stages": {name: None if at is None else moment(at) for name, at in _stages(clock).items()},
    }


def _model(name: str) -> dict[str, str]:
    provider, _, named = name.partition("/")
    model, _, request = named.partition(" · ")
    return {"provider": provider, "model": model, **({"request": request} if request else {})}


def to_json(found: Dossier) -> dict[str, Any]:
    """The whole release: `line`, reasons, each layer in words, the runs with their reports, the benchmark,
    the notes, and the wrong answers where they are known."""
    return {
        **line(found),
        "reasons": list(reasons_of(found)),
        "layers": {name: _layer(each) for name, each in found.layers.items()},
        "rubric": [
            row for run in found.runs if run.report for row in report_json(run.report, sentences)["metrics"]
        ],
        "runs": [_run(run) for run in found.runs],
        "benchmark": found.benchmark,
        "notes": [{**asdict(note), "at": moment(note.at)} for note in found.notes],
        "promises": asdict(found.promises) if found.promises is not None else None,
        **({"wrong_answers": [dict(each) for each in found.wrong]} if found.wrong else {}),
    }


def _layer(layer: LayerStanding) -> dict[str, Any]:
    current, candidate = layer_words(layer)
    return {
        "state": layer.state,
        "score": layer.score,
        "current": current,
        "candidate": candidate,
        "too_few": layer.too_few,
    }


def _run(run: RunStanding) -> dict[str, Any]:
    return {
        "canary": run.canary,
        "run": run.run,
        "state": run.state,
        "started": moment(run.started_at),
        "fingerprint": run.fingerprint,
        "ended": None if run.ended_at is None else moment(run.ended_at),
        "who": run.who,
        "reason": run.reason,
        "verdict": run.verdict,
        "against": run.against or None,
        "decision": run.decision,
        "despite": list(run.despite),
        "report": None if run.report is None else report_json(run.report, sentences),
        **({} if run.week_after is None else {"week_after": asdict(run.week_after)}),
    }


def rendered(found: Dossier, form: str) -> str:
    """As "text", "json", "markdown" or "html". Raises ValueError for another form."""
    return json.dumps(to_json(found)) if form == "json" else written(document(found), form, width=120)


def listed(found: Sequence[Dossier]) -> str:
    """A table with one release per line."""
    head = ["made", "candidate", "against", "state", "verdict", "decision", "days", "minutes", "id"]
    return listing(head, [_row(each) for each in found])


def _row(found: Dossier) -> list[str]:
    told = line(found)
    return [
        moment(found.release.made_at)[:10],
        found.release.candidate,
        found.release.baseline or "–",
        ending(found),
        *(
            "–" if told[name] is None else str(told[name]).replace("_", " ")
            for name in ("verdict", "decision")
        ),
        *("–" if told[name] is None else f"{told[name]:.1f}" for name in ("days", "minutes")),
        found.release.id,
    ]
