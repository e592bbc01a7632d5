"""`canary records …`: exports records to a file, and rolls outcomes into files at once."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

from canary.commands import shell
from common.numbers import count

FileForm = Literal["csv", "parquet"]

app = typer.Typer(help="Export records, or roll outcomes into files.", no_args_is_help=True)


@shell.command(app, "records roll")
def roll(at: shell.Local) -> None:
    """Write the outcomes that are stored now as Parquet files, without waiting for their hour to end.

    Works with and without a running server. A file each hour for itself, so many calls make many small files.
    """
    from records.store.segment_writer import TIMEOUTS
    from records.store.segment_writer import roll as roll_outcomes

    read = at.read()
    with shell.opened(read, at.data, TIMEOUTS) as store:
        rolled = roll_outcomes(store, time.time(), all_of_it=True)
        where = store.folder.place if store.folder is not None else "the database"
    files = count(rolled.segments, "file" if store.folder is not None else "segment")
    text = f"{rolled.outcomes} outcomes in {files} in {where}"
    shell.answer(
        at.output,
        {"outcomes": rolled.outcomes, "segments": rolled.segments, "place": where},
        text,
        by=shell.say,
    )


@shell.command(app, "records export --canary support-nov --since 7d -o week.csv")
def export(
    at: shell.Local,
    canary: Annotated[str | None, typer.Option(help="Only records of this canary. Default: all.")] = None,
    what: Annotated[
        Literal["outcomes", "sessions", "feedback", "labels", "judgements"],
        typer.Option(help="Which records."),
    ] = "outcomes",
    since: Annotated[
        str | None, typer.Option(help="Only from this time, date or age on, for example 7d.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only before this time, date or age.")] = None,
    form: Annotated[
        FileForm | None, typer.Option("--format", help="The file format. Default: by the file's ending.")
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="A file (.csv, .parquet), - to print CSV, or json to print JSON."
        ),
    ] = Path("-"),
) -> None:
    """Export records, sessions or feedback, without prompts or answers. Needs no server."""
    from records.exports.files import (
        export_columns,
        export_pages,
        with_definitions,
        write_arrow,
        write_csv,
        write_json,
        write_table,
    )

    now = time.time()
    form = _form(form, output)
    begin, end = moment(since, 0.0, now), moment(until, float("inf"), now)
    read = at.read()
    with shell.opened(read, at.data) as store, shell.writing(output):
        spooled = _spooled(at.data, read.store) if what in ("outcomes", "sessions", "feedback") else 0
        shown = export_columns(what)
        found = export_pages(store, what, canary=canary, since=begin, until=end)
        if what == "feedback":
            shown, found = with_definitions(shown, found, read.metrics)
        if str(output) == "json":
            count = write_json(sys.stdout, shown, found)
        elif str(output) == "-":
            count = write_csv(sys.stdout, shown, found)
        elif what == "outcomes" and form == "parquet":
            from records.exports.files import outcome_tables

            count = write_arrow(output, outcome_tables(store, canary=canary, since=begin, until=end))
        else:
            count = write_table(output, form, shown, found)
        sys.stdout.flush()
    shell.say(f"{count} {what}")
    if spooled:
        wait = "1 record in the spool is" if spooled == 1 else f"{spooled} records in the spool are"
        shell.say(f"{wait} not stored yet, and may be missing: a running server stores what waits there")


def _form(form: FileForm | None, output: Path) -> FileForm:
    """The file format, by the file's ending if none is asked for. Exits 2 if it cannot be that."""
    if not output.name or output.is_dir():
        shell.fail(f"-o {str(output)!r} is a folder; name a file in it", code=2)
    if str(output) in ("-", "json"):
        if form == "parquet":
            shell.fail("Parquet needs a file: -o FILE", code=2)
        return "csv"
    ending = output.suffix.lower().removeprefix(".") or "csv"
    if form is None and ending not in get_args(FileForm):
        shell.fail(
            f"-o {str(output)!r} does not end in .csv or .parquet; give the format with --format", code=2
        )
    return form or cast("FileForm", ending)


def _spooled(data: Path, url: str) -> int:
    """The records that wait in this machine's spool."""
    from canary.commands.doctor_machine import spooled

    return spooled(data / "spool", url) if (data / "spool").is_dir() else 0


def moment(text: str | None, otherwise: float, now: float) -> float:
    """UTC seconds of a time, a date or an age such as "7d". Exits 2 if the text is none of them."""
    from canary.config.quantity import parse_duration

    if text is None:
        return otherwise
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    try:
        return now - parse_duration(text)
    except ValueError:
        shell.fail(
            f'"{text}" is not a time; write 2026-11-24, 2026-11-24T16:00:00Z, or an age such as 7d', code=2
        )
