"""Why a release stands as it does, in sentences."""

from collections.abc import Iterator, Sequence

from pages.words.figures import joined
from pages.words.reasons import sentences
from pages.words.verdict import in_words
from verdict.archive.releases import Dossier, RunStanding, verdicts
from verdict.decision.document import Report

_POINTS = 2
"""So many reasons of a canary that keeps the release from shipping are told."""


def reasons_of(found: Dossier) -> tuple[str, ...]:
    """The reasons of the release's verdict, the deciding ones first."""
    promoted = [run for run in found.newest if run.state == "promoted"]
    return (
        *_superseded(found),
        *(_pulled_back(run) for run in found.newest if run.state == "rolled_back"),
        *map(_promoted, promoted),
        *_not_made(found),
        *(_begun(run) for run in found.newest if run.verdict is None and run not in promoted),
        *_agreement(found),
        *_open_points(found),
        *_missing(found),
    )


def _superseded(found: Dossier) -> Iterator[str]:
    """Where the candidate's story goes on."""
    after = found.superseded_by
    if after is not None:
        yield f"Superseded by release {after.id}, against {after.baseline}."


def _pulled_back(run: RunStanding) -> str:
    return f"Canary {run.canary} was rolled back by {run.who}{f': {run.reason}' if run.reason else ''}."


def _begun(run: RunStanding) -> str:
    return f"Canary {run.canary} has begun, and has no report yet."


def _promoted(run: RunStanding) -> str:
    """Who decided, and what the report said of it then."""
    against = "without a report" if run.verdict is None else f"when the verdict was {in_words(run.verdict)}"
    reason = f": {run.reason.rstrip('.')}" if run.reason else ""
    return f"Canary {run.canary} was promoted by {run.who} {against}{reason}."


def _not_made(found: Dossier) -> Iterator[str]:
    for run in found.missing:
        instead = "the newest kept one is shown" if run.kept else "no earlier one was kept"
        yield f"The present report of canary {run.canary} could not be made, {instead}: {run.why}."


def _agreement(found: Dossier) -> Iterator[str]:
    """Who decides, where the layers disagree."""
    told = [(who, verdict) for who, verdict in verdicts(found.benchmark, found.newest) if verdict is not None]
    if len({"ship" if verdict == "ship_now" else verdict for _, verdict in told}) < 2:
        return
    parts = [
        f"{'the benchmark' if who is None else f'canary {who}'} says {in_words(verdict)}"
        for who, verdict in told
    ]
    yield f"They disagree: {joined(parts)}. The worst of them decides."


def _open_points(found: Dossier) -> Iterator[str]:
    """What keeps each part from a ship, of a canary its first two reasons; and what a benchmark says beside
    its verdict."""
    for run in found.newest:
        if run.verdict in ("dont_ship", "extend") and run.state != "rolled_back":
            yield from (f"{run.canary}: {text}" for text in _first(run.report))
    document = found.benchmark or {}
    examples = document.get("reasons", ()) if document.get("verdict") != "ship" else ()
    yield from (f"Examples: {text}." for text in (*examples, *document.get("caveats", ())))


def _first(report: Report | None) -> Sequence[str]:
    return sentences(report)[:_POINTS] if report is not None else ()


def _missing(found: Dossier) -> Iterator[str]:
    if not any(run.report for run in found.newest):
        yield "No user has tried it yet: the verdict rests on examples only."
    if found.benchmark is None:
        yield "No benchmark has compared these two models on all datasets."
