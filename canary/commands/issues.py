"""`canary issues …`: known issues, which every new model is tested for."""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from canary.commands import shell

if TYPE_CHECKING:
    from bench.known_issues import Issue
    from canary.config import Config
    from records.store.benchmarks import IssueCheck

app = typer.Typer(help="List, add and recheck known issues of models.", no_args_is_help=True)

Judge = Annotated[
    str | None,
    typer.Option("--judge", help="The model that marks answers; by default the config's judge."),
]


@shell.command(app, "issues list")
def list_(at: shell.Local) -> None:
    """List the known issues, oldest first, each with the models that were asked: which has it, since when, in
    which it is cured, or back."""
    from bench.known_issues import modes_of
    from pages.words.issues import mode_document, mode_lines

    read = at.read()
    with shell.opened(read, at.data) if shell.has_store(read, at.data) else nullcontext():
        found = modes_of(*known(read, at.config, at.data))
    if at.output == "json":
        return shell.print_json({"issues": [mode_document(each) for each in found]})
    for each in found:
        shell.print_text("\n".join(mode_lines(each)))
    return shell.say(f"{len(found)} known issue(s)")


@shell.command(
    app, 'issues add "invents refund policy" --description "Grants 60 days; it is 30." --example support:r-17'
)
def add(
    at: shell.Local,
    name: Annotated[str, typer.Argument(help="The issue's name, new or known.")],
    description: Annotated[str, typer.Option(help="What goes wrong, for the judge.")] = "",
    from_: Annotated[
        str | None, typer.Option("--from", metavar="EXCHANGE", help="A captured exchange that shows it.")
    ] = None,
    shown_by: Annotated[
        str | None,
        typer.Option(
            "--example", metavar="DATASET:ID", help="An example that shows it; DATASET may be a file."
        ),
    ] = None,
    since: Annotated[str, typer.Option(help="With --example, the first model with the issue.")] = "",
) -> None:
    """Add an example of a known issue, which every new model is tested for."""
    from bench.errors import BadDataset
    from bench.known_issues import NoExample, failed_exchange, issue_of_example, issue_of_exchange
    from records.errors import StoreDown
    from records.store.benchmarks import StoredIssues

    if (from_ is None) == (shown_by is None) or not name.strip():
        shell.fail("give a name, and one of --from EXCHANGE and --example DATASET:ID", code=2)
    read, who, now, name = at.read(), shell.user(), time.time(), name.strip()
    listed, _ = known(read, at.config, at.data)
    at.data.mkdir(mode=0o700, exist_ok=True)
    with (
        shell.ended_by(BadDataset, NoExample, StoreDown, OSError),
        closing(read.open_store(at.data)) as store,
    ):
        if from_ is not None:
            issue, had = issue_of_exchange(failed_exchange(store, from_), name, description, who=who, at=now)
        else:
            source = shown_by or ""
            line = _line_of(read, at.config, source)
            issue, had = issue_of_example(line, source, name, description, who=who, at=now, since=since)
        is_new = issue.hash not in {each.example.hash for each in listed}
        if not (is_new and StoredIssues(store).add(issue, had)):
            shell.fail("the example is one of a known issue already")
    id_ = issue.example["id"]
    text = f"{name}: {id_} is asked of every model from now on"
    shell.answer(at.output, {"issue": name, "example": id_, "since": issue.since}, text, by=shell.say)


@shell.command(app, 'issues remove "invents refund policy"')
def remove(at: shell.Local, name: Annotated[str, typer.Argument(help="The issue's name.")]) -> None:
    """Delete a known issue with its examples from the store. What models had it stays."""
    from records.errors import StoreDown
    from records.store.benchmarks import StoredIssues

    with shell.ended_by(StoreDown), at.store() as store:
        count = StoredIssues(store).remove(name)
    if not count:
        shell.fail(f"the store has no known issue {name!r}")
    shell.answer(
        at.output, {"issue": name, "examples": count}, f"{name}: {count} example(s) deleted", by=shell.say
    )


@shell.command(app, "issues recheck gpt-6.1-terra")
def recheck(
    at: shell.Local,
    model: Annotated[str, typer.Argument(help="The model to test: MODEL or PROVIDER/MODEL.")],
    judge: Judge = None,
) -> None:
    """Test a model for all known issues. Exits 0 if all are gone, 3 if one remains, 4 if one is unknown."""
    from pages.reports.bench_text import issue_lines

    read = at.read()
    found = rechecked(read, at.config, model, at.data, judge=judge)
    if found is None:
        shell.fail("there are no known issues; add one with `canary issues add`")
    shell.answer(at.output, found, "\n".join(issue_lines(found)))
    raise typer.Exit(3 if found["still_there"] else 4 if found["unknown"] else 0)


def rechecked(
    config: "Config", file: Path, model: str, data: Path, *, judge: str | None = None
) -> dict[str, Any] | None:
    """Test a model for the known issues, and store what became of each; None if there are none. `judge`: None
    for the config's. Exits 1 if it cannot run."""
    from bench.errors import BenchError
    from bench.known_issues import document, judge_of
    from bench.known_issues import recheck as ask_again
    from bench.models.pair import AmbiguousModel, named

    listed, _ = known(config, file, data)
    if not listed:
        return None
    judge = judge or judge_of(config.bench)
    with shell.ended_by(BenchError, OSError), shell.ended_by(AmbiguousModel, code=2):
        asked = named(config.bench, model)
        by = named(config.bench, judge) if judge is not None else None
        found = asyncio.run(ask_again(config.bench, asked, listed, os.environ, judge=by))
    told = document(asked.name, found)
    _keep(config, data, told)
    return told


def known(config: "Config", file: Path, data: Path) -> "tuple[list[Issue], list[IssueCheck]]":
    """The known issues of the store and of the file beside the config, and what became of them. Exits 1 if a
    line is invalid; a store that does not answer is told on stderr."""
    from bench.errors import BadDataset
    from bench.known_issues import file_of, known_issues
    from records.store.benchmarks import IssueHistory

    beside, without = file_of(file), "the known issues in the store could not be read"
    with shell.ended_by(BadDataset, OSError, about=beside):
        found = shell.from_store(
            config,
            data,
            lambda store: (known_issues(store, beside), IssueHistory(store).all()),
            None,
            without,
        )
        return found or (known_issues(None, beside), [])


def _line_of(config: "Config", file: Path, shown_by: str) -> dict[str, Any]:
    from bench.benchmark.run import path_of, sources
    from bench.known_issues import line_of

    dataset, _, id_ = shown_by.rpartition(":")
    (source,) = sources(config.bench, [dataset])
    return line_of(path_of(source, file.parent), id_)


def _keep(config: "Config", data: Path, found: Mapping[str, Any]) -> None:
    """Store the document of a recheck. Where that fails, a line on stderr says so."""
    from records.errors import StoreDown
    from records.store.benchmarks import IssueCheck, IssueHistory

    at = time.time()
    checks = [
        IssueCheck(at=at, model=found["model"], issue=each["issue"], state=each["state"])
        for mode in found["issues"]
        for each in mode["examples"]
    ]
    try:
        data.mkdir(mode=0o700, exist_ok=True)
        with closing(config.open_store(data)) as store:
            IssueHistory(store).add(checks)
    except (StoreDown, OSError) as problem:
        shell.say(f"the recheck was not stored: {problem}")
