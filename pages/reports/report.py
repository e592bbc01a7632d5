"""The report of `canary report` as a document, and in every form. Computes nothing."""

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from pages.charts import bar, curves, density_plot, look_charts
from pages.document import (
    Block,
    BulletList,
    Cell,
    CodedSentence,
    Column,
    Criteria,
    CriterionCard,
    Document,
    Drawings,
    FactList,
    FoldedBlocks,
    Paragraph,
    Row,
    ScoreGauge,
    Section,
    Table,
    columns,
)
from pages.words import arms, gains, judge, plan, verdict
from pages.words.figures import between, bound_words, ends_in_words, label, signed, title
from pages.words.plan import next_steps
from pages.words.reasons import sentences
from pages.writers import written
from verdict.decision.document import MetricLine, PartLine, Report, to_json
from verdict.decision.plan_course import possible
from verdict.details import CoursePoint, LookPoint
from verdict.terms.measures import Unit, is_cost, quantile_level

_FIRST, _PARTS, _MODES = 5, 15, 6
_STEPS = 4
_RESULTS = ("", "metric", "baseline", "candidate")
_BOUNDS = ("acceptable", "ideal")

_Point = TypeVar("_Point")


def rendered(report: Report, form: str, *, width: int = 110) -> str:
    """The report as "text" of at most `width` columns, "json", "markdown" or "html". Raises ValueError for
    another form."""
    if form == "json":
        return json.dumps(to_json(report, sentences), indent=2, ensure_ascii=False, allow_nan=False)
    return written(document(report), form, width=width)


def document(report: Report) -> Document:
    """The whole report, the verdict first."""
    models = verdict.models(report)
    return Document(
        title=verdict.HEADLINES[report.verdict][0],
        topic=report.canary,
        about=models,
        tone=report.verdict,
        head=[
            Paragraph(verdict.meaning(report)),
            _score(report),
            Paragraph(gains.in_short(report), weight="strong"),
            Paragraph(gains.known_of_answers(report), weight="small"),
            Paragraph(plan.plan_line(report), weight="small"),
            Paragraph(plan.rests_on(report), weight="small"),
            BulletList(gains.further_reasons(report), few=_FIRST),
            Section("What would change the verdict", [BulletList(next_steps(report), few=_STEPS)]),
            _facts(report),
        ],
        sections=[
            Section("Criteria and results", _criteria(report)),
            *([Section("What the arms' texts change", _texts(report))] if report.texts else []),
            Section("Gains and losses", _gains(report)),
            Section("Layers of evidence", [_layers(report)]),
            Section(judge.TITLE, _judge(report)),
            *_courses(report),
            Section("How long answers take", [_spreads(report)]),
            Section("Segments and categories, worst first", _parts(report)),
            Section("Failure modes", _failures(report)),
            Section("By day since a user's first request", [_since_first(report)], aside=True),
            Section("How to read this", [BulletList(verdict.method(report))], aside=True),
        ],
        foot=("Rubric", report.rubric_sha256),
    )


def _score(report: Report) -> ScoreGauge:
    score = report.score
    return ScoreGauge(
        low=score.low,
        estimate=score.estimate,
        high=score.high,
        says=f"Score {verdict.score_words(report)}.",
        range=verdict.score_range(report),
    )


def _texts(report: Report) -> list[Block]:
    """The prompts and descriptions that differ, side by side."""
    found: list[Block] = []
    for change in report.texts:
        rows = [
            (Cell(left, tone=_TONES.get(kind, "")), Cell(right, tone=_TONES.get(kind, "")))
            for left, right, kind in arms.side_by_side(change)
        ]
        found += [
            Paragraph(arms.heading(change)),
            Table(columns("baseline", "candidate"), rows, few=_FEW_LINES),
        ]
    return found


_TONES, _FEW_LINES = {"changed": "warn"}, 40


def _facts(report: Report) -> FactList:
    pairs = {
        "Users": verdict.users(report),
        "Window": verdict.span_of_days(report),
        "Split": verdict.split(report),
        "Prompt cache": verdict.cache_hits(report),
        "Quota": verdict.quota(report),
        "Mirror": verdict.mirror(report),
        "Decided": verdict.decision(report),
    }
    return FactList([(name, value) for name, value in pairs.items() if value])


def _criteria(report: Report) -> list[Block]:
    if not report.metrics:
        return [Paragraph("There is no rubric.")]
    planned = report.plan is not None
    criteria = Criteria(
        cards=[_card(line, report) for line in report.metrics],
        key=_KEY_OF_LOOKS if planned else _KEY,
        reads=plan.COLUMNS if planned else "",
        table=_planned_rubric(report) if planned else _rubric(report),
    )
    return [Paragraph(plan.heading(report), weight="bold"), criteria]


_SIDES = (("diamond", "current model"), ("zone", "acceptable"), ("ideal", "ideal"))
_KEY = (("interval", "candidate with its 95 % interval"), *_SIDES)
_KEY_OF_LOOKS = (
    ("looks", "candidate, and what the looks leave possible: this decides"),
    ("open", "still open on this side"),
    ("live", "live 95 % interval: may be read any time, does not decide"),
    *_SIDES,
)


def _card(line: MetricLine, report: Report) -> CriterionCard:
    bounds = f"Acceptable: {bound_words(line.acceptable)}; ideal: {bound_words(line.ideal)}"
    about = "" if line.per in (None, "value") else f"; each {line.per} counts"
    return CriterionCard(
        name=title(line.metric),
        mark=" ".join(verdict.mark(line, report)),
        tone=line.state,
        says=[line.question, f"{bounds}; weight {line.weight:g}{about}"],
        candidate=verdict.value(line, line.candidate),
        baseline=verdict.value(line, line.baseline),
        found=[
            Paragraph(verdict.against_baseline(line)),
            Paragraph(verdict.by_users(line), weight="soft"),
            Paragraph(verdict.evidence(line, report), weight="soft"),
            Paragraph(plan.row_outlook(line, report)),
            Paragraph(
                verdict.cache_hits(report) if line.cost_per or is_cost(line.metric) else "", weight="soft"
            ),
        ],
        bar=bar(line),
    )


def _rubric(report: Report) -> Table:
    """Every row's results and bounds."""
    head = [
        *_results(),
        Column("95 % interval"),
        *columns(*_BOUNDS),
        Column("weight", place="full"),
        Column("users", figure=True),
    ]
    rows: list[Row] = [
        [
            *_result(line, report),
            verdict.interval(line),
            line.acceptable,
            line.ideal,
            f"{line.weight:g}",
            f"{line.units:,}",
        ]
        for line in report.metrics
    ]
    narrow = [(*_RESULTS, "95 % interval"), ("metric", *_BOUNDS, "users")]
    return Table(head, rows, narrow=narrow)


def _planned_rubric(report: Report) -> Table:
    """The rows with what the looks leave possible, the interval to read any time, and what is to come."""
    by = plan.chance_by(report)
    head = [
        *_results(),
        Column("may be, by the looks"),
        *columns(*_BOUNDS),
        Column("outlook", place="full"),
        Column("any time, 95 %"),
        Column("risk (allowed)", place="brief"),
        Column(by, place="brief"),
        Column("weight", place="full"),
        Column("users", figure=True),
    ]
    rows: list[Row] = [
        [
            *_result(line, report),
            plan.possible_cell(line),
            line.acceptable,
            line.ideal,
            plan.row_outlook(line, report) or "–",
            verdict.interval(line),
            plan.risk_cell(line),
            plan.chance_cell(line, report),
            f"{line.weight:g}",
            f"{line.units:,}",
        ]
        for line in report.metrics
    ]
    results, outlook = (*_RESULTS, "may be, by the looks"), ("metric", "any time, 95 %", "risk (allowed)", by)
    return Table(
        head,
        rows,
        wide=[(*results, *_BOUNDS), (*outlook, "users")],
        narrow=[results, ("metric", *_BOUNDS, "users"), outlook],
    )


def _results() -> list[Column]:
    return [*columns("", "metric"), *(Column(name, figure=True) for name in ("baseline", "candidate"))]


def _result(line: MetricLine, report: Report) -> list[str | Cell]:
    return [
        Cell(" ".join(verdict.mark(line, report)), tone=line.state),
        Cell(label(line.metric), note=line.question),
        verdict.value(line, line.baseline),
        verdict.value(line, line.candidate),
    ]


def _gains(report: Report) -> list[Block]:
    facts = gains.money_facts(report)
    return [
        BulletList(gains.changes(report)),
        FactList(facts, wide=True, place="full"),
        Paragraph("" if facts else gains.no_money(report), place="full"),
    ]


def _layers(report: Report) -> Table:
    rows: list[Row] = [[layer.name, Cell(layer.says, tone=layer.tone)] for layer in gains.layers(report)]
    return Table(columns("layer", "result"), rows)


def _judge(report: Report) -> list[Block]:
    found = report.judge
    if found is None:
        return []
    whole = judge.headline_bar(found)
    categories = Table(
        columns("category", "pairs", "candidate preferred"),
        [_category(each) for each in judge.categories(found)],
    )
    losses = [
        CodedSentence(
            code=each.exchange_id,
            short=each.short_id,
            text=" – ".join(part for part in (each.category, each.said) if part),
        )
        for each in judge.lost(found)
    ]
    return [
        Paragraph(judge.headline(found), weight="bold"),
        Drawings(drawn=[whole] if whole is not None else [], kind="preference"),
        Paragraph(judge.below(found)),
        *map(Paragraph, judge.beside(found)),
        categories,
        BulletList([*judge.worth(found, report.canary), judge.identity(found)]),
        Paragraph(judge.LOST if losses else ""),
        BulletList(losses),
    ]


def _category(found: judge.CategoryPreference) -> Row:
    return [found.value, f"{found.pairs:,}", Cell(found.says, bar=found.bar)]


_COURSES = (
    "Candidate minus current model, over all users who had come by that day. The band is valid at every "
    "point, however often you look. Where it does not touch the dashed line, the arms differ."
)
_READS_LOOKS = (
    "One bar per night’s look: the values that the data up to that night left possible. A bar without an end "
    "on one side has not ruled anything out there. From day {first} on (dotted line) a look may ship: it "
    "does so where its whole bar is on the better side of the dashed bound."
)


def _courses(report: Report) -> list[Section]:
    """Each row's course: day by day without a plan, look by look with one."""
    if report.plan is None:
        drawings = Drawings(drawn=curves(report), kind="curve", reads=_COURSES, table=_course_table(report))
        return [Section("Over time", [drawings])]
    drawings = Drawings(
        drawn=look_charts(report),
        kind="looks",
        reads=_READS_LOOKS.format(first=report.plan.first_look),
        table=_look_table(report),
    )
    return [Section("Over time, look by look", [drawings])]


def _course_table(report: Report) -> Table:
    """Each metric's first, middle and last point."""

    def cell(point: CoursePoint, line: MetricLine) -> Cell:
        unit = line.unit
        ends = between(point.low, point.high, unit)
        return Cell(f"{signed(point.estimate, unit)} ({ends})", note=f"{point.day}, {point.units:,} users")

    courses = [(each.metric, each.points) for each in report.details.over_time]
    return Table(columns("candidate minus baseline", "first", "middle", "now"), _three(courses, report, cell))


def _look_table(report: Report) -> Table:
    """Each row's first, middle and latest look."""

    def cell(point: LookPoint, line: MetricLine) -> Cell:
        ends = ends_in_words(possible(point, line), line.unit)
        return Cell(ends, note=f"day {point.day}, {point.units:,} users")

    courses = [(each.metric, each.points) for each in report.details.looks]
    names = ("left possible by", "first look", "middle", "latest look")
    return Table(columns(*names), _three(courses, report, cell))


def _three(
    courses: Sequence[tuple[str, Sequence[_Point]]],
    report: Report,
    cell: Callable[[_Point, MetricLine], Cell],
) -> list[Row]:
    """Each course's first, middle and last point."""
    lines = {line.metric: line for line in report.metrics}
    rows: list[Row] = []
    for metric, points in courses:
        chosen = (points[0], points[len(points) // 2], points[-1])
        rows.append([label(metric), *(cell(point, lines[metric]) for point in chosen)])
    return rows


def _spreads(report: Report) -> Drawings:
    return Drawings(
        drawn=[density_plot(spread) for spread in report.details.spreads],
        kind="density",
        key=(
            ("area", "candidate"),
            ("line", "current model"),
            ("", "Each arm’s requests by time, on a logarithmic scale; dashed lines mark the medians."),
        ),
    )


def _parts(report: Report) -> list[Block]:
    """The parts that differ, worst first; the others folded."""
    parts = verdict.worst_first(report.parts)
    differing, alike = ([part for part in parts if verdict.differs(part) is side] for side in (True, False))
    none = "In no segment or category does the candidate differ from the current model by more than chance."
    return [
        _places(differing, report, few=_PARTS),
        Paragraph(none if parts and not differing else "", place="full"),
        FoldedBlocks(f"{len(alike)} more: no difference seen, or too few users", [_places(alike, report)]),
    ]


def _places(parts: Sequence[PartLine], report: Report, few: int | None = None) -> Table:
    rows: list[Row] = [
        [
            Cell(
                verdict.part_word(part) + (", blocks" if part.blocks else ""),
                tone=part.state,
                mark=True,
            ),
            verdict.part_name(part),
            label(part.metric),
            verdict.part_difference(part, report),
        ]
        for part in parts
    ]
    names = ("against the current model", "where", "metric", "candidate minus current model")
    return Table(columns(*names), rows, few=few, folds=True)


def _failures(report: Report) -> list[Block]:
    """All failure modes; in a terminal the errors and answer faults, or the first few."""
    found = report.details.failures
    if found is None or not found.modes:
        return []
    rows: list[Row] = [
        [
            Cell(verdict.failure_name(mode, found), code=verdict.failure_code(mode)),
            verdict.failure_rate(mode.candidate, mode.candidate_of),
            verdict.failure_rate(mode.baseline, mode.baseline_of),
            verdict.failure_examples(mode),
        ]
        for mode in found.modes
    ]
    head = [*columns("failure mode", "candidate", "current model"), Column("examples", place="full")]
    counted = sum(mode.kind not in ("slow", "rating") for mode in found.modes)
    return [
        Paragraph(verdict.failing_place(report.details)),
        Table(head, rows, few=max(_MODES, counted)),
        Paragraph(verdict.failure_basis(found), weight="small", place="full"),
    ]


def _since_first(report: Report) -> Table:
    """Each metric's difference by day since a user's first request, percentiles as shares beyond them."""
    units: dict[str, Unit] = {line.metric: line.unit for line in report.metrics}
    rows: list[Row] = [
        [
            label(found.metric),
            f"{point.day + 1}",
            between(point.low, point.high, "share" if quantile_level(found.metric) else units[found.metric]),
            f"{point.units:,}",
        ]
        for found in report.details.since_first
        for point in found.days
    ]
    names = ("candidate minus baseline", "day since a user's first request", "95 %", "users")
    return Table(columns(*names), rows)
