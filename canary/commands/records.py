"""`canary records …`: exports records to a file."""

import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from canary.commands.shell import (
    CONFIG,
    DATA,
    ConfigFile,
    DataFolder,
    example,
    fail,
    needs_store,
    read_config,
    say,
    writing,
)

app = typer.Typer(help="Export records.", no_args_is_help=True)


@app.callback()
def records() -> None:
    """Export records."""


@app.command(epilog=example("records export --canary support-nov --since 7d -o week.csv"))
def export(
    canary: Annotated[
        str | None, typer.Option("--canary", help="Only records of this canary. Default: all.")
    ] = None,
    what: Annotated[
        Literal["outcomes", "feedback", "labels", "judgements"], typer.Option("--what", help="Which records.")
    ] = "outcomes",
    since: Annotated[
        str | None, typer.Option("--since", help="Only from this time, date or age on, for example 7d.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Only before this time, date or age.")] = None,
    form: Annotated[Literal["csv", "parquet"], typer.Option("--format", help="The file format.")] = "csv",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A file, - to print CSV, or json to print JSON.")
    ] = Path("-"),
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
) -> None:
    """Export outcomes, feedback, labels or judgements, without prompts or answers. Needs no server."""
    from records.export import columns, pages
    from records.export_file import NoParquet, write_csv, write_json, write_table
    from records.store import Store

    now = time.time()
    if form == "parquet" and str(output) == "-":
        fail("Parquet needs a file: -o FILE", code=2)
    if not output.name or output.is_dir():
        fail(f"-o {str(output)!r} is a folder; name a file in it", code=2)
    begin, end = moment(since, 0.0, now), moment(until, float("inf"), now)
    read = read_config(config)
    try:
        with needs_store(read, data), closing(Store.open(read.store, data)) as store, writing(output):
            shown = columns(what)
            found = pages(store, what, canary=canary, since=begin, until=end)
            if str(output) == "json":
                count = write_json(sys.stdout, shown, found)
            elif str(output) == "-":
                count = write_csv(sys.stdout, shown, found)
            else:
                count = write_table(output, form, shown, found)
            sys.stdout.flush()
    except NoParquet as problem:
        fail(str(problem))
    say(f"{count} {what}")


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
        fail(f'"{text}" is not a time; write 2026-11-24, 2026-11-24T16:00:00Z, or an age such as 7d', code=2)
