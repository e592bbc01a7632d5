"""A release's documents: one list of sections, of which each reader gets some.

| reader  | gets                                                                                    |
|---------|-----------------------------------------------------------------------------------------|
| vendor  | what failed, when and how often, the provider's words and request ids, adapted members; |
|         | no cost, no user, and no text unless asked for                                          |
| finance | costs of a request, a user and an outcome, month and year with intervals, net, what is  |
|         | assumed                                                                                 |
| team    | all of it, and what happened when                                                       |
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from alerts.wording import capitalized
from pages.document import (
    Block,
    BulletList,
    Cell,
    Column,
    Document,
    FactList,
    Paragraph,
    Section,
    Table,
    columns,
)
from pages.reports import release
from pages.words import archive as words
from pages.words import gains, verdict
from pages.words.figures import between, defined
from pages.words.status import day, moment
from pages.words.verdict import failed_by, failure_rate
from pages.writers import to_json, written
from records.captures.capture import Capture, CapturedMessage
from verdict.archive.release_facts import (
    DAY_S,
    FailedRequest,
    ProviderFailure,
    ProviderFailures,
    Reader,
    ReleaseCosts,
    ReleaseFacts,
    TimelineEntry,
)
from verdict.archive.releases import Dossier, ReleaseClock
from verdict.decision.document import MetricLine, Report

_For: TypeAlias = tuple[tuple[Reader, ...], Section]


def document(found: ReleaseFacts, reader: Reader, links: Sequence[tuple[str, str]] = ()) -> Document:
    """The sections for this reader. `links`: pages that its HTML leads to."""
    about = found.dossier.release
    return Document(
        title=f"{about.candidate}: {_TITLES[reader]}",
        about=f"Release {about.id}, for the {_NAMES[reader]}",
        tone="",
        head=[BulletList([*_head(found, reader), "Dates and times are UTC."])],
        sections=[section for readers, section in _sections(found) if reader in readers],
        links=links,
    )


def page(
    found: Dossier, timeline: Sequence[TimelineEntry], links: Sequence[tuple[str, str]] = ()
) -> Document:
    """The release's page: what happened first, then all that `release.document` has."""
    whole = release.document(found, links)
    return replace(whole, sections=[*_happened(found, timeline), *whole.sections])


_MOST_DAYS = 14

_TITLES: dict[Reader, str] = {
    "vendor": "what failed at the provider",
    "finance": "what it costs",
    "team": "from noticed to decided",
}
_NAMES: dict[Reader, str] = {"vendor": "model's vendor", "finance": "finance department", "team": "team"}


def rendered(found: ReleaseFacts, reader: Reader, form: str, links: Sequence[tuple[str, str]] = ()) -> str:
    """As "text", "json", "markdown" or "html". Raises ValueError for another form."""
    made = document(found, reader, links)
    if form != "json":
        return written(made, form, width=120)
    about = found.dossier.release
    return json.dumps({"release": about.id, "candidate": about.candidate, "for": reader, **to_json(made)})


def _head(found: ReleaseFacts, reader: Reader) -> list[str]:
    failed = words.failed_requests(found.failures)
    if reader == "vendor":
        return failed
    if reader == "finance":
        about = found.dossier
        return [f"{release.headline(about)}.", *words.decided(about), *release.money(about)]
    return [*words.reasons_of(found.dossier), *failed]


def _sections(found: ReleaseFacts) -> Iterator[_For]:
    failures = found.failures
    for each in _happened(found.dossier, found.timeline):
        yield ("team",), each
    title = "What a request, a user and an outcome cost"
    for costs in found.costs:
        of_run = f": {costs.canary}, run {costs.run}" if len(found.costs) > 1 else ""
        yield ("finance", "team"), Section(f"{title}{of_run}", _costs(costs))
    for costs in found.costs[-1:]:
        yield ("finance", "team"), Section("A month and a year", _money(costs.report))
    told = list(dict.fromkeys(said for costs in found.costs for said in words.assumed(costs)))
    yield ("finance", "team"), Section("What is assumed", [BulletList(told)])
    yield (
        ("finance",),
        Section("Time and cost of the examples", [release.spent(found.dossier.benchmark or {})]),
    )
    for each in release.document(found.dossier).sections:
        yield ("team",), each
    yield ("vendor", "team"), Section("What failed", [_kinds(failures)])
    for number, kind in enumerate(failures.kinds, 1):
        yield (
            ("vendor", "team"),
            Section(f"{number}. {_what(kind)}", [_days(kind), _requests(kind.newest), *_texts(kind)]),
        )
    yield ("vendor", "team"), Section("In the benchmark", [_examples(failures.examples)])
    changed = [words.adapted_members(canary, arm) for canary, arm in failures.adapted.items()]
    yield ("vendor", "team"), Section("Members of the requests that are adapted", [BulletList(changed)])


def _happened(found: Dossier, timeline: Sequence[TimelineEntry]) -> list[Section]:
    return [
        Section("What happened", [_timeline(timeline)]),
        Section("Minutes by stage", [_minutes(found.clock)]),
    ]


def _timeline(entries: Sequence[TimelineEntry]) -> Table:
    return Table(
        columns("when", "what", "by whom", "reason", "minutes"),
        [
            [
                f"{moment(each.at)} UTC",
                words.happened(each),
                each.who or "–",
                each.reason or "–",
                f"{each.minutes:g} {each.stage}" if each.minutes else "–",
            ]
            for each in entries
        ],
    )


def _costs(costs: ReleaseCosts) -> list[Block]:
    figures = [Column(name, figure=True) for name in ("current model", "candidate", "users")]
    table = Table(
        [Column("cost"), *figures[:2], *columns("95 % of the candidate", "change"), figures[2]],
        [
            [
                capitalized(defined(line.metric, line.per, line.cost_per)),
                verdict.value(line, line.baseline),
                verdict.value(line, line.candidate),
                verdict.interval(line),
                _change(line),
                f"{line.units:,}",
            ]
            for line in costs.rows
        ],
    )
    why = f"These could not be computed: {costs.left_out}." if costs.left_out else ""
    return [Paragraph(why), table]


def _change(line: MetricLine) -> str:
    """50 % lower (−$0.0204 to −$0.0196); nothing is told without an interval."""
    found = line.difference
    if found.low is None and found.high is None:
        return "too few users"
    return f"{verdict.change(line)} ({between(found.low, found.high, line.unit)})"


def _money(report: Report) -> list[Block]:
    facts = gains.money_facts(report)
    return [FactList(facts, wide=True)] if facts else [Paragraph(gains.no_money(report))]


def _minutes(clock: ReleaseClock) -> Table:
    rows = [[stage, f"{minutes:g}"] for stage, minutes in clock.minutes_by_stage.items()]
    return Table([Column("stage"), Column("minutes", figure=True)], rows)


def _what(failure: ProviderFailure) -> str:
    return f"{failed_by(failure.what).capitalize()}{f' ({failure.status})' if failure.status else ''}"


def _kinds(found: ProviderFailures) -> Table:
    return Table(
        [
            *columns("what", "model", "status", "the provider's words"),
            *(Column(name, figure=True) for name in ("how often", "first", "last")),
        ],
        [
            [
                Cell(f"{number}. {failed_by(each.what)}", code=each.what),
                each.model,
                str(each.status or "–"),
                words.provider_said(each.said),
                failure_rate(each.count, found.asked),
                *("–" if at is None else f"{moment(at)} UTC" for at in (each.first_at, each.last_at)),
            ]
            for number, each in enumerate(found.kinds, 1)
        ],
    )


def _days(failure: ProviderFailure) -> Paragraph:
    """How often on each of the last days."""
    last = list(failure.days.items())[-_MOST_DAYS:]
    return Paragraph(", ".join(f"{day(number * DAY_S)}: {found:,}" for number, found in last))


def _requests(newest: Sequence[FailedRequest]) -> Table:
    """The newest requests, as the provider finds them."""
    return Table(
        columns("the provider's request id", "when"),
        [[each.request_id or "none in its answer", f"{moment(each.at)} UTC"] for each in newest],
        folds=True,
        few=8,
    )


def _texts(failure: ProviderFailure) -> list[Table]:
    """What was asked, and what the candidate answered: another model's answer is not its vendor's."""
    rows = [
        [f"{moment(each.about.at)} UTC", message.role, message.said]
        for each in failure.texts
        for message in (*each.messages, *_answer(each))
        if message.said
    ]
    return [Table(columns("when", "role", "text, redacted"), rows)]


def _answer(capture: Capture) -> list[CapturedMessage]:
    by_candidate = capture.about.served_by == "candidate" or capture.about.copy_of
    return [CapturedMessage("assistant", capture.answer, capture.answer_calls)] if by_candidate else []


def _examples(found: Sequence[ProviderFailure]) -> Table:
    return Table(
        columns("what", "model", "examples", "the provider's request ids"),
        [
            [
                Cell(failed_by(each.what), code=each.what),
                each.model,
                str(each.count),
                ", ".join(one.request_id for one in each.newest) or "–",
            ]
            for each in found
        ],
    )
