"""A replay of captured sessions as JSON, and as a document that every form of the report shows."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from bench.benchmark.replay import UNUSABLE, Difference, Replay
from common.numbers import count
from pages.document import BulletList, Column, Document, Paragraph, Row, Section, Table, columns
from pages.reports.bench_text import SPENT, failures, judged, made, percent_words, points, spent
from pages.writers import written

MEASURES = {
    "action": "same tools and arguments",
    "tool": "same tools",
    "unusable": "no answer, or a call that cannot run",
}
_HOW: Mapping[Difference, str] = {
    "no_answer": "gives no answer",
    "unknown_tool": "calls a tool that is not declared",
    "bad_arguments": "arguments do not fit the schema",
    "other_arguments": "other arguments",
    "other_tool": "another tool",
    "answers": "answers instead",
    "calls": "calls instead of answering",
}
_WHO = {"baseline": "the current model", "candidate": "the candidate"}
_MOST = 12
_FEW_SESSIONS = 20

Node = Mapping[str, Any]


def to_document(found: Replay, benchmark: Node) -> dict[str, Any]:
    """The replay as JSON types: a benchmark's document without a verdict to ship, and what the steps say."""
    replay = asdict(found)
    replay |= {"differences": dict(zip(_WHO, replay["differences"], strict=False))}
    document = {**benchmark, "verdict": found.verdict, "replay": replay}
    return {**document, "reasons": list(_says(document))}


def rendered(document: Node, form: str, *, width: int = 110) -> str:
    """The replay as text, Markdown or HTML."""
    return written(_page(document), form, width=width)


def _page(document: Node) -> Document:
    found = document["replay"]
    against = f" against {document['baseline']}" if document["candidate"] else ""
    headline = "Don’t ship: actions that cannot run" if document["verdict"] else "What each model does next"
    return Document(
        title=f"{headline}: {document['candidate'] or document['baseline']}{against}",
        about=f"{count(found['steps'], 'step')} of {count(found['sessions'], 'captured session')}",
        tone=document["verdict"] or "extend",
        head=[BulletList([*document["reasons"], *(f"but: {each}" for each in document["caveats"])])],
        sections=[
            Section("The next action beside the recorded one", [_shares(document)]),
            Section("How it differs", [_differences(document)]),
            Section("By what was recorded", [_tools(document)]),
            Section("Where each session first differs", [_divergences(document)]),
            Section(
                SPENT.get(document["via"], "Latency (quantiles: inverted CDF) and cost"),
                [
                    spent(document),
                    *(Paragraph(f"{each['says']}; {each['do']}") for each in document["unpriced"]),
                ],
            ),
            *judged(document["judge"]),
            Section("", [Paragraph(each) for each in _missing(document)]),
        ],
    )


def _says(document: Node) -> Iterator[str]:
    found = document["replay"]
    if document["verdict"]:
        unusable = found["unusable"]
        new, known = (percent_words(unusable[side]) for side in ("candidate", "baseline"))
        yield (
            f"the candidate gives no answer, or calls what cannot run, at {new} of the steps, the current "
            f"model at {known}: {points(unusable['difference'])} points, p {unusable['p']:.2g}"
        )
    yield _action(found["action"])
    if found["alike"] is not None:
        yield f"both models do the same at {percent_words(found['alike'])} of the steps"
    yield "the current model recorded the sessions, so what differs is not wrong: read the steps below"
    if found["sessions"] < _FEW_SESSIONS:
        yield f"{count(found['sessions'], 'session')} are few: the intervals go by session"
    for why, times in found["left_out"].items():
        yield f"left out: {count(times, 'exchange')} {why}"


def _action(found: Node) -> str:
    own = f"the current model does again what was recorded at {percent_words(found['baseline'])} of the steps"
    if found["candidate"] is None:
        return own
    new, by = percent_words(found["candidate"]), points(found["difference"])
    return f"the candidate does what was recorded at {new} of the steps; {own}: {by} points"


def _shares(document: Node) -> Table:
    rows: list[Row] = [
        [
            words,
            percent_words(found["baseline"]),
            percent_words(found["candidate"]),
            points(found["difference"]),
            "–" if found["p"] is None else f"{found['p']:.2g}",
        ]
        for measure, words in MEASURES.items()
        for found in [document["replay"][measure]]
    ]
    return Table(columns("share of steps", "current", "candidate", "points", "p"), rows)


def _differences(document: Node) -> Table:
    by = document["replay"]["differences"]
    rows: list[Row] = [
        [words, *(str(by[side].get(how, 0)) if side in by else "–" for side in _WHO), mark]
        for how, words in _HOW.items()
        for mark in ["cannot run" if how in UNUSABLE else ""]
        if any(how in each for each in by.values())
    ]
    return Table(columns("", "current", "candidate", ""), rows)


def _tools(document: Node) -> Table:
    rows: list[Row] = [
        [_named(each["tools"]), str(each["steps"])]
        + [
            "–" if each[f"{side}_{what}"] is None else str(each[f"{side}_{what}"])
            for what in ("tool", "same")
            for side in _WHO
        ]
        for each in document["replay"]["tools"]
    ]
    names = ("recorded", "steps", "same tools: current", "candidate", "and arguments: current", "candidate")
    return Table(columns(*names), rows, few=_MOST, folds=True)


def _divergences(document: Node) -> Table:
    rows: list[Row] = [
        [
            each["session"][:8],
            str(each["place"]),
            _named(each["recorded"]),
            _named(each["baseline"]),
            _named(each["candidate"]) if document["candidate"] else "–",
            f"{_HOW[each['difference']]}{' (only the candidate)' if each['alone'] else ''}",
            each["exchange_id"],
        ]
        for each in document["replay"]["divergences"]
    ]
    names = columns("session", "step", "recorded", "current", "candidate", "")
    return Table([*names, Column("exchange", place="full")], rows, few=_MOST, folds=True)


def _named(tools: Any) -> str:
    """search + read; (answer) where none is called, – where there is no answer."""
    return "–" if tools is None else " + ".join(tools) or "(answer)"


def _missing(document: Node) -> Iterator[str]:
    """Why answers are missing, and what was done when and by whom."""
    for side, who in _WHO.items():
        found = failures(document, side)
        said = (document["layers"][0][side] or {"said": ""})["said"]  # at the most common failure, the first
        for number, (failure, times) in enumerate(found.items()):
            yield f"{who}: {times} times {failure}{f': {said}' if said and not number else ''}"
    yield made(document)
