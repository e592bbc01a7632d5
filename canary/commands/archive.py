"""`canary archive …`: past evaluations. Reads the store; needs no server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from canary.commands import shell
from common.text import visible

if TYPE_CHECKING:
    from verdict.archive.evaluations import Evaluation

app = typer.Typer(help="Show, summarize and export past evaluations.", no_args_is_help=True)

OfCanary = Annotated[str | None, typer.Option("--canary", help="Only evaluations of this canary.")]


@shell.command(app, "archive list --canary support-nov")
def list_(at: shell.Local, canary: OfCanary = None) -> None:
    """List the evaluations, oldest first."""
    from pages.reports.archive import listed, summary

    found = _read(at, canary)
    text = listed(found) if found else f"no evaluation{f' of {canary}' if canary else ''} yet"
    shell.answer(at.output, {"evaluations": [summary(each) for each in found]}, text)


@shell.command(app, "archive show support-nov -o markdown")
def show(
    at: shell.Local,
    which: Annotated[
        str, typer.Argument(help="An evaluation's key, or a canary's name for its latest evaluation.")
    ],
    output: Annotated[
        Literal["text", "json", "markdown", "html"], typer.Option("-o", "--output", help="The output format.")
    ] = "text",
) -> None:
    """Show one evaluation's report as it was then. With -o json, show the whole evaluation."""
    from pages.reports.report import rendered
    from pages.words.reasons import sentences
    from verdict.archive.evaluations import to_document

    found = [each for each in _read(at, None) if which in (each.key, each.canary)]
    if not found:
        shell.fail(f"there is no evaluation {which!r}; `canary archive list` lists them")
    if output == "json":
        return shell.print_json(to_document(found[-1], sentences))
    return shell.print_text(rendered(found[-1].report, output).rstrip("\n"))


@shell.command(app, "archive trends -o json")
def trends(at: shell.Local) -> None:
    """Summarize the evaluations: what a year saved, changes by vendor, how well synthetic tasks predict."""
    from pages.reports.archive import summarized
    from records.store.benchmarks import Benchmarks
    from records.store.reports import Evaluations
    from verdict.archive.evaluations import from_document
    from verdict.archive.trends import to_json
    from verdict.archive.trends import trends as sum_up

    with at.store() as store:
        found = sum_up(map(from_document, Evaluations(store).all()), Benchmarks(store).refused())
    shell.answer(at.output, to_json(found), summarized(found))


@shell.command(app, "archive export -o evaluations.jsonl")
def export(
    at: shell.Local,
    canary: OfCanary = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A file, - for stdout, or json to print one document.")
    ] = Path("-"),
) -> None:
    """Write the evaluations as JSON lines, for another archive or program."""
    from pages.words.reasons import sentences
    from verdict.archive.evaluations import to_document, to_line

    found = _read(at, canary)
    if str(output) == "json":
        return shell.print_json({"evaluations": [to_document(each, sentences) for each in found]})
    text = "".join(f"{to_line(each, sentences)}\n" for each in found)
    with shell.writing(output):
        if str(output) == "-":
            typer.echo(visible(text), nl=False)
        else:
            output.write_text(text, encoding="utf-8")
    return shell.say(f"{len(found)} evaluation(s)")


@shell.command(app, "archive import evaluations.jsonl")
def import_(
    at: shell.Local, file: Annotated[Path, typer.Argument(help="A file from `canary archive export`.")]
) -> None:
    """Add evaluations from a file, all or none. Existing evaluations do not change."""
    from pages.words.reasons import sentences
    from records.store.reports import Evaluations
    from verdict.archive.evaluations import BadEvaluation, parse, to_stored

    with shell.ended_by(BadEvaluation, about=file):
        found = parse(shell.read_file(file))
    with at.store() as store:
        added = Evaluations(store).add([to_stored(each, sentences) for each in found])
    others = "; the others existed already" if added < len(found) else ""
    text = f"{added} of {len(found)} evaluation(s) added{others}"
    shell.answer(at.output, {"read": len(found), "added": added}, text, by=shell.say)


def _read(at: shell.Local, canary: str | None) -> "list[Evaluation]":
    from records.store.reports import Evaluations
    from verdict.archive.evaluations import from_document

    with at.store() as store:
        return [from_document(each) for each in Evaluations(store).all(canary)]
