"""The report as Markdown, for a pull request, an issue or a wiki."""

from collections.abc import Sequence

from report.document import Report
from report.render import prose
from report.wording import label


def markdown(report: Report) -> str:
    """GitHub-flavoured Markdown; texts from outside are escaped."""
    headline, meaning = prose.HEADLINES[report.verdict]
    sections = [
        f"# {headline}: {_safe(report.canary)}",
        f"{meaning} Score {prose.score_words(report)}.",
        _bullets(report.reasons),
        _rubric(report),
        _bullets(
            [
                f"**Users**: {prose.users(report)}",
                f"**Window**: {prose.span_of_days(report)}",
                f"**Split**: {prose.split(report)}",
                *([f"**Mirror**: {mirror}"] if (mirror := prose.mirror(report)) else []),
                *([f"**Decided**: {_safe(decided)}"] if (decided := prose.decision(report)) else []),
            ],
            escape=False,
        ),
        _section("What would change the verdict", _bullets(prose.next_steps(report))),
        _section("Segments and categories", _parts(report)),
        _section("How to read this", _bullets(prose.METHOD)),
        f"Rubric `{report.rubric_sha256}`",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _bullets(sentences: Sequence[str], *, escape: bool = True) -> str:
    return "\n".join(f"- {_safe(sentence) if escape else sentence}" for sentence in sentences)


def _rubric(report: Report) -> str:
    rows = [
        [
            " ".join(prose.STATES[line.state]),
            f"{_safe(label(line.metric))}<br>{_safe(line.question)}",
            prose.value(line, line.baseline),
            prose.value(line, line.candidate),
            prose.interval(line),
            _safe(line.acceptable),
            _safe(line.ideal),
            f"{line.weight:g}",
            f"{line.units:,}",
        ]
        for line in report.metrics
    ]
    head = ["", "metric", "baseline", "candidate", "95 % interval", "acceptable", "ideal", "weight", "users"]
    return _table(head, rows)


def _parts(report: Report) -> str:
    rows = [
        [
            prose.PART_STATES[part.state] + (" (blocks)" if part.blocks else ""),
            _safe(prose.part_name(part)),
            _safe(label(part.metric)),
            prose.part_difference(part, report),
        ]
        for part in prose.worst_first([*report.categories, *report.segments])
    ]
    return _table(["", "where", "metric", "against the baseline"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _safe(text: str) -> str:
    """Escaped so that no name, question or reason can open markup or break out of a cell."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"&#{ord(mark)};")
    return " ".join(text.split())
