"""`canary issues …`: what models once got wrong, asked again of every new one."""

import asyncio
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from canary.commands.shell import (
    CONFIG,
    ConfigFile,
    Form,
    example,
    fail,
    print_json,
    print_text,
    read_config,
    say,
    user,
)
from canary.commands.text_file import read

if TYPE_CHECKING:
    from bench.issues import Issue
    from canary.config import Config

app = typer.Typer(help="What models once got wrong, asked again of every new one.", no_args_is_help=True)

Judge = Annotated[
    str | None, typer.Option("--judge", help="The model that gives marks, where an example needs one.")
]


@app.callback()
def issues() -> None:
    """Keep the known issues, and recheck them."""


@app.command("list", epilog=example("issues list"))
def list_(config: ConfigFile = CONFIG, output: Form = "text") -> None:
    """List the known issues, oldest first."""
    found = known(config)
    if output == "json":
        return print_json({"issues": [_shown(each) for each in found]})
    for each in found:
        print_text(f"{each.example.id}  {each.what}  (since {each.since}, {each.at}, {each.by})")
    return say(f"{len(found)} known issue(s)")


@app.command(epilog=example('issues add r-17 --dataset support --what "invents a date" --since gpt-4o'))
def add(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The example that shows it.")],
    dataset: Annotated[str, typer.Option("--dataset", help="The config's dataset, or the file, it is in.")],
    what: Annotated[str, typer.Option("--what", help="What went wrong.")],
    since: Annotated[str, typer.Option("--since", help="The model it was first seen with.")],
    config: ConfigFile = CONFIG,
    output: Form = "text",
) -> None:
    """Add a known issue: an example, what went wrong, and with which model first."""
    from bench.errors import BadDataset
    from bench.issues import parse_issues
    from bench.recheck import file_of

    line = _line_of(config, dataset, id_)
    issue = {
        "example": line,
        "what": what,
        "since": since,
        "at": datetime.fromtimestamp(time.time(), UTC).date().isoformat(),
        "by": user(),
    }
    file = file_of(config)
    before = read(file) if file.exists() else ""
    text = f"{before.rstrip()}\n{json.dumps(issue, ensure_ascii=False)}\n".lstrip()
    try:
        count = len(parse_issues(text))
    except BadDataset as problem:
        fail(f"{file}: {problem}")
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as problem:
        fail(f"{file} cannot be written: {problem.strerror}")
    if output == "json":
        return print_json({"file": str(file), "issues": count})
    return say(f"{count} known issue(s) in {file}")


@app.command(epilog=example("issues recheck gpt-4o-2024-11-20"))
def recheck(
    model: Annotated[str, typer.Argument(help="The model to ask, as MODEL or PROVIDER/MODEL.")],
    judge: Judge = None,
    config: ConfigFile = CONFIG,
    output: Form = "text",
) -> None:
    """Ask a model all known issues. Exits 0 all are gone, 3 one is still there, 4 one could not be told."""
    found = rechecked(read_config(config), config, model, judge=judge)
    if found is None:
        fail("there is no known issue; `canary issues add` adds one")
    if output == "json":
        print_json(found)
    else:
        print_text("\n".join(lines(found)))
    raise typer.Exit(3 if found["still_there"] else 4 if found["unknown"] else 0)


def rechecked(config: "Config", file: Path, model: str, *, judge: str | None) -> dict[str, Any] | None:
    """What a model does with the known issues; None where there are none."""
    from bench.errors import BenchError
    from bench.models import named
    from bench.recheck import document
    from bench.recheck import recheck as ask_again
    from bench.targets import NoKey

    there_are = known(file)
    if not there_are:
        return None
    asked = named(config.bench, model)
    by = named(config.bench, judge) if judge is not None else None
    try:
        found = asyncio.run(ask_again(config.bench, asked, there_are, os.environ, judge=by))
    except (BenchError, NoKey, OSError) as problem:
        fail(str(problem))
    return document(asked.name, found)


def known(config: Path) -> "list[Issue]":
    """The known issues beside this config; ends the command with 1 where a line is wrong."""
    from bench.errors import BadDataset
    from bench.issues import parse_issues
    from bench.recheck import file_of

    file = file_of(config)
    if not file.exists():
        return []
    try:
        return parse_issues(read(file))
    except BadDataset as problem:
        fail(f"{file}: {problem}")


def lines(found: dict[str, Any]) -> list[str]:
    """For a terminal."""
    words = {"still_there": "still there", "unknown": "not known", "gone": "gone"}
    head = f"{found['model']}: {found['still_there']} of {len(found['issues'])} known issues still there"
    return [
        head,
        *(f"  {words[each['state']]:<11}  {each['id']}  {each['what']}" for each in found["issues"]),
    ]


def _line_of(config: Path, dataset: str, id_: str) -> dict[str, Any]:
    from bench.benchmark import path_of, sources
    from bench.benchmark import read as check
    from bench.errors import BadDataset

    (source,) = sources(read_config(config).bench, [dataset])
    path = path_of(source, config.parent)
    text = read(path)
    try:
        check(source, config.parent)
    except BadDataset as problem:
        fail(str(problem))
    found: list[dict[str, Any]] = [json.loads(line) for line in text.split("\n") if line.strip()]
    of_it = [line for line in found if line["id"] == id_]
    if len(of_it) != 1:
        fail(f"{path} has {len(of_it)} examples with the id {id_!r}; one is needed")
    return of_it[0]


def _shown(issue: "Issue") -> dict[str, Any]:
    return {
        "id": issue.example.id,
        "task": issue.example.task,
        "what": issue.what,
        "since": issue.since,
        "at": issue.at,
        "by": issue.by,
    }
