"""The report as Markdown, for a pull request, an issue or a wiki."""

import re
from collections.abc import Sequence

from pages.words import failures, gains, judge, plan, verdict
from pages.words.gains import known_of_answers
from pages.words.steps import next_steps
from report.details import CoursePoint, LookPoint
from report.document import MetricLine, Report
from report.look_values import ends_in_words, possible
from report.measures import quantile_level
from report.wording import Unit, between, label, signed, unit_of

_MARKS = re.compile(r"[\\`*_\[\]<>]")


def markdown(report: Report) -> str:
    """GitHub-flavoured Markdown. External texts are escaped."""
    headline, meaning = verdict.HEADLINES[report.verdict]
    sections = [
        f"# {headline}: {safe(report.canary)}",
        safe(verdict.models(report)),
        f"{meaning} Score {verdict.score_words(report)}.",
        f"**{safe(short)}**" if (short := gains.in_short(report)) else "",
        safe(known_of_answers(report)),
        f"{plan.plan_line(report)} {plan.rests_on(report)}" if report.plan else "",
        _bullets(gains.further_reasons(report)),
        _section("What would change the verdict", _bullets(next_steps(report))),
        _section("Criteria and results", _rubric(report)),
        _bullets(
            [
                f"**Users**: {verdict.users(report)}",
                f"**Window**: {verdict.span_of_days(report)}",
                f"**Split**: {verdict.split(report)}",
                *([f"**Mirror**: {mirror}"] if (mirror := verdict.mirror(report)) else []),
                *([f"**Decided**: {safe(decided)}"] if (decided := verdict.decision(report)) else []),
            ],
            escape=False,
        ),
        _section("Gains and losses", _trade(report)),
        _section("Layers of evidence", _layers(report)),
        _section(judge.TITLE, _judge(report)),
        _section("Over time", _looks(report) if report.plan else _courses(report)),
        _folded("By day since a user's first request", _since_first(report)),
        _section("Segments and categories", _parts(report)),
        _section("Failure modes", _failures(report)),
        _folded("How to read this", _bullets(verdict.method(report))),
        f"Rubric `{report.rubric_sha256}`",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _bullets(sentences: Sequence[str], *, escape: bool = True) -> str:
    return "\n".join(f"- {safe(sentence) if escape else sentence}" for sentence in sentences)


def _rubric(report: Report) -> str:
    if report.plan is not None:
        return _planned_rubric(report)
    rows = [
        [
            " ".join(verdict.mark(line, report)),
            f"{safe(label(line.metric))}<br>{safe(line.question)}",
            verdict.value(line, line.baseline),
            verdict.value(line, line.candidate),
            verdict.interval(line),
            safe(line.acceptable),
            safe(line.ideal),
            f"{line.weight:g}",
            f"{line.units:,}",
        ]
        for line in report.metrics
    ]
    head = ["", "metric", "baseline", "candidate", "95 % interval", "acceptable", "ideal", "weight", "users"]
    return _table(head, rows)


def _planned_rubric(report: Report) -> str:
    """The rows with what the looks leave possible, the interval to read any time, and what is to come."""
    rows = [
        [
            " ".join(verdict.mark(line, report)),
            f"{safe(label(line.metric))}<br>{safe(line.question)}",
            verdict.value(line, line.baseline),
            verdict.value(line, line.candidate),
            plan.possible_cell(line),
            safe(line.acceptable),
            safe(line.ideal),
            safe(plan.row_outlook(line, report)) or "–",
            verdict.interval(line),
            f"{line.weight:g}",
            f"{line.units:,}",
        ]
        for line in report.metrics
    ]
    head = ["", "metric", "baseline", "candidate", "may be, by the looks", "acceptable", "ideal", "outlook"]
    table = _table([*head, "any time, 95 %", "weight", "users"], rows)
    return f"{plan.heading(report)} {plan.COLUMNS}\n\n{table}"


def _parts(report: Report) -> str:
    """The parts that differ, worst first; the others in a folded block."""
    parts = verdict.worst_first([*report.categories, *report.segments])
    if not parts:
        return ""
    differing, alike = ([part for part in parts if verdict.differs(part) is side] for side in (True, False))
    found = (
        _places(differing, report)
        or "In no segment or category does the candidate differ from the current model by more than chance."
    )
    folded = _folded(f"{len(alike)} more: no difference seen, or too few users", _places(alike, report))
    return "\n\n".join(block for block in (found, folded) if block)


def _places(parts: Sequence[verdict.Part], report: Report) -> str:
    rows = [
        [
            verdict.PART_STATES[part.state] + (" (blocks)" if part.blocks else ""),
            safe(verdict.part_name(part)),
            safe(label(part.metric)),
            verdict.part_difference(part, report),
        ]
        for part in parts
    ]
    return _table(["", "where", "metric", "against the baseline"], rows)


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>" if body else ""


def _trade(report: Report) -> str:
    facts = gains.money_facts(report) or [("Money", gains.no_money(report))]
    lines = [*gains.changes(report), *(f"{name}: {value}" for name, value in facts)]
    return _bullets(lines)


def _layers(report: Report) -> str:
    rows = [[safe(layer.name), safe(layer.says)] for layer in gains.layers(report)]
    return _table(["layer", "result"], rows)


def _judge(report: Report) -> str:
    found = report.judge
    if found is None:
        return ""
    rows = [[safe(each.value), f"{each.pairs:,}", each.says] for each in judge.categories(found)]
    losses = [
        f"`{each.exchange_id}` {safe(each.category)}".strip() + f": {safe(each.said)}" * bool(each.said)
        for each in judge.lost(found)
    ]
    parts = [
        judge.summary(found),
        _table(["category", "pairs", "candidate preferred"], rows),
        _bullets([*judge.worth(found, report.canary), judge.identity(found)]),
        f"{judge.LOST}\n\n{_bullets(losses, escape=False)}" if losses else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _courses(report: Report) -> str:
    """Each metric's first, middle and last point."""
    lines = {line.metric: line for line in report.metrics}
    rows = [
        [
            safe(label(course.metric)),
            *(
                _point(point, lines[course.metric])
                for point in (course.points[0], course.points[len(course.points) // 2], course.points[-1])
            ),
        ]
        for course in report.details.over_time
    ]
    return _table(["candidate minus baseline", "first", "middle", "now"], rows)


def _looks(report: Report) -> str:
    """Each row's first, middle and latest look."""
    lines = {line.metric: line for line in report.metrics}
    rows = [
        [
            safe(label(course.metric)),
            *(
                _look(point, lines[course.metric])
                for point in (course.points[0], course.points[len(course.points) // 2], course.points[-1])
            ),
        ]
        for course in report.details.looks
    ]
    return _table(["left possible by", "first look", "middle", "latest look"], rows)


def _look(point: LookPoint, line: MetricLine) -> str:
    ends = ends_in_words(possible(point, line), unit_of(line.metric, line.acceptable))
    return f"{ends}<br>day {point.day}, {point.units:,} users"


def _point(point: CoursePoint, line: MetricLine) -> str:
    unit = unit_of(line.metric, line.acceptable)
    ends = between(point.low, point.high, unit)
    return f"{signed(point.estimate, unit)} ({ends})<br>{point.day}, {point.units:,} users"


def _since_first(report: Report) -> str:
    """Each metric's difference by day since a user's first request, percentiles as shares beyond them."""
    units: dict[str, Unit] = {line.metric: unit_of(line.metric, line.acceptable) for line in report.metrics}
    rows = [
        [
            safe(label(found.metric)),
            f"{point.day + 1}",
            between(point.low, point.high, "share" if quantile_level(found.metric) else units[found.metric]),
            f"{point.units:,}",
        ]
        for found in report.details.since_first
        for point in found.days
    ]
    return _table(["candidate minus baseline", "day since a user's first request", "95 %", "users"], rows)


def _failures(report: Report) -> str:
    found = report.details.failures
    if found is None or not found.modes:
        return ""
    rows = [
        [
            safe(failures.name(mode, found))
            + (f"<br>`{failures.code(mode)}`" if failures.code(mode) else ""),
            failures.rate(mode.candidate, mode.candidate_of),
            failures.rate(mode.baseline, mode.baseline_of),
            safe(failures.examples(mode)),
        ]
        for mode in found.modes
    ]
    place = f"{safe(failures.place(report.details))}\n\n" if report.details.where else ""
    return f"{place}{failures.basis(found)}\n\n{_table(['', 'candidate', 'baseline', 'examples'], rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def safe(text: str) -> str:
    """Escape a text so that it cannot open markup or leave its cell."""
    escaped = _MARKS.sub(r"\\\g<0>", text).replace("|", "&#124;")
    return " ".join(escaped.split())
