"""`canary archive …`: every evaluation there was. It reads the store, and works with the server down."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from canary.commands.shell import (
    CONFIG,
    DATA,
    ConfigFile,
    DataFolder,
    Form,
    example,
    fail,
    needs_store,
    print_json,
    print_text,
    read_config,
    say,
    writing,
)

if TYPE_CHECKING:
    from records.evaluations import Evaluations
    from report.archive import Evaluation

app = typer.Typer(help="Every evaluation there was.", no_args_is_help=True)

OfCanary = Annotated[str | None, typer.Option("--canary", help="Only this canary's.")]


@app.callback()
def archive() -> None:
    """Look at past evaluations, sum them up, take them along."""


@app.command("list", epilog=example("archive list --canary support-nov"))
def list_(
    canary: OfCanary = None, config: ConfigFile = CONFIG, data: DataFolder = DATA, output: Form = "text"
) -> None:
    """List the evaluations, oldest first."""
    from canary.commands.archive_text import listed, summary

    found = _read(config, data, canary)
    if output == "json":
        return print_json({"evaluations": [summary(each) for each in found]})
    return _print(listed(found) if found else f"no evaluation{f' of {canary}' if canary else ''} yet")


@app.command(epilog=example("archive show support-nov -o markdown"))
def show(
    which: Annotated[str, typer.Argument(help="An evaluation's key, or a canary's name for its last.")],
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Annotated[
        Literal["text", "json", "markdown", "html"], typer.Option("-o", "--output", help="How it is printed.")
    ] = "text",
) -> None:
    """Show one evaluation: its report as it was then. As json everything that is kept of it."""
    from report.archive import to_document
    from report.reports import rendered

    found = [each for each in _read(config, data, None) if which in (each.key, each.canary)]
    if not found:
        fail(f"no evaluation {which!r}; `canary archive list` names them")
    if output == "json":
        return print_json(to_document(found[-1]))
    return _print(rendered(found[-1].report, output))


@app.command(epilog=example("archive trends -o json"))
def trends(config: ConfigFile = CONFIG, data: DataFolder = DATA, output: Form = "text") -> None:
    """Say what evaluations changed by vendor family, what synthetic scores are worth, and what it saves."""
    from canary.commands.archive_text import told
    from report.archive_trends import to_json
    from report.archive_trends import trends as sum_up

    found = sum_up(_read(config, data, None))
    return print_json(to_json(found)) if output == "json" else _print(told(found))


@app.command(epilog=example("archive export -o evaluations.jsonl"))
def export(
    canary: OfCanary = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The file, - for stdout, or json to print one document.")
    ] = Path("-"),
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
) -> None:
    """Write the evaluations as JSON, one a line, for another archive or another program."""
    from report.archive import to_document, to_line

    found = _read(config, data, canary)
    if str(output) == "json":
        return print_json({"evaluations": [to_document(each) for each in found]})
    text = "".join(f"{to_line(each)}\n" for each in found)
    with writing(output):
        if str(output) == "-":
            typer.echo(text, nl=False)
        else:
            output.write_text(text, encoding="utf-8")
    return say(f"{len(found)} evaluation(s)")


@app.command("import", epilog=example("archive import evaluations.jsonl"))
def import_(
    file: Annotated[Path, typer.Argument(help="What `canary archive export` wrote.")],
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Add evaluations from a file, all or none. Those that are there already stay as they are."""
    from canary.commands.text_file import read
    from report.archive import BadEvaluation, parse
    from report.evaluation import to_stored

    try:
        found = parse(read(file))
    except BadEvaluation as problem:
        fail(f"{file}: {problem}")
    with _opened(config, data) as evaluations:
        added = evaluations.add([to_stored(each) for each in found])
    counts: dict[str, Any] = {"read": len(found), "added": added}
    if output == "json":
        return print_json(counts)
    others = "; the others were there" if added < len(found) else ""
    return say(f"{added} of {len(found)} evaluation(s) added{others}")


def _read(config: Path, data: Path, canary: str | None) -> "list[Evaluation]":
    from report.archive import from_document

    with _opened(config, data) as evaluations:
        return [from_document(each) for each in evaluations.all(canary)]


@contextmanager
def _opened(config: Path, data: Path) -> "Iterator[Evaluations]":
    """The store's evaluations; ends the command with 1 where there is no store."""
    from records.evaluations import Evaluations
    from records.store import Store

    read = read_config(config)
    with needs_store(read, data), closing(Store.open(read.store, data)) as store:
        yield Evaluations(store)


def _print(text: str) -> None:
    print_text(text.rstrip("\n"))
