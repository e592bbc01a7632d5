"""`canary issues …`: known issues, which every new model is tested for."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from canary.commands.shell import (
    CONFIG,
    DATA,
    ConfigFile,
    DataFolder,
    Form,
    ended_by,
    example,
    fail,
    has_store,
    print_json,
    print_text,
    read_config,
    read_file,
    say,
    user,
    without_log_lines,
    writing,
)
from common.clock import rfc3339

if TYPE_CHECKING:
    from bench.known_issues import Issue
    from canary.config import Config
    from records.store.benchmarks import IssueCheck

app = typer.Typer(help="List, add and recheck known issues of models.", no_args_is_help=True)

Judge = Annotated[
    str | None, typer.Option("--judge", help="The model that marks answers, if an example needs a judge.")
]


@app.command("list", epilog=example("issues list"))
def list_(config: ConfigFile = CONFIG, data: DataFolder = DATA, output: Form = "text") -> None:
    """List the known issues, oldest first, each with the models that were asked, the newest last."""
    found, checks = known(config), _history(read_config(config, data), data)
    models = {
        each.example.hash: None
        if checks is None
        else [_model(check) for check in checks.get(each.example.hash, ())]
        for each in found
    }
    if output == "json":
        return print_json(
            {"issues": [_shown(each) | {"models": models[each.example.hash]} for each in found]}
        )
    for each in found:
        print_text(f"{each.example.id}  {each.what}  (since {each.since}, {each.at}, {each.by})")
        for model in models[each.example.hash] or ():
            print_text(f"  {model['at'][:10]}  {model['state'].replace('_', ' '):<11}  {model['model']}")
    return say(f"{len(found)} known issue(s)")


@app.command(
    epilog=example('issues add r-17 --dataset support --what "invents a date" --since gpt-5.6-terra')
)
def add(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The id of the example that shows the issue.")],
    dataset: Annotated[
        str, typer.Option("--dataset", help="The example's dataset: a name in the config, or a file.")
    ],
    what: Annotated[str, typer.Option("--what", help="What went wrong.")],
    since: Annotated[str, typer.Option("--since", help="The first model with the issue.")],
    config: ConfigFile = CONFIG,
    output: Form = "text",
) -> None:
    """Add a known issue: an example, what went wrong, and the first model with the issue."""
    from bench.errors import BadDataset
    from bench.known_issues import file_of, parse_issues

    line = _line_of(config, dataset, id_)
    issue = {
        "example": line,
        "what": what,
        "since": since,
        "at": datetime.fromtimestamp(time.time(), UTC).date().isoformat(),
        "by": user(),
    }
    file = file_of(config)
    before = read_file(file) if file.exists() else ""
    text = f"{before.rstrip()}\n{json.dumps(issue, ensure_ascii=False)}\n".lstrip()
    with ended_by(BadDataset, about=file):
        count = len(parse_issues(text))
    with writing(file):
        file.write_text(text, encoding="utf-8")
    if output == "json":
        return print_json({"file": str(file), "issues": count})
    return say(f"{count} known issue(s) in {file}")


@app.command(epilog=example("issues recheck gpt-6.1-terra"))
def recheck(
    model: Annotated[str, typer.Argument(help="The model to test: MODEL or PROVIDER/MODEL.")],
    judge: Judge = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Test a model for all known issues. Exits 0 if all are gone, 3 if one remains, 4 if one is unknown."""
    without_log_lines()
    found = rechecked(read_config(config, data), config, model, data, judge=judge)
    if found is None:
        fail("there are no known issues; add one with `canary issues add`")
    if output == "json":
        print_json(found)
    else:
        from pages.reports.bench_text import issue_lines

        print_text("\n".join(issue_lines(found)))
    raise typer.Exit(3 if found["still_there"] else 4 if found["unknown"] else 0)


def rechecked(
    config: "Config", file: Path, model: str, data: Path, *, judge: str | None
) -> dict[str, Any] | None:
    """Test a model for the known issues, and store what became of each; None if there are none. Exits 1 if it
    cannot run."""
    from bench.errors import BenchError
    from bench.known_issues import document
    from bench.known_issues import recheck as ask_again
    from bench.models.asker import NoKey
    from bench.models.pair import AmbiguousModel, named

    listed = known(file)
    if not listed:
        return None
    with ended_by(BenchError, NoKey, OSError), ended_by(AmbiguousModel, code=2):
        asked = named(config.bench, model)
        by = named(config.bench, judge) if judge is not None else None
        found = asyncio.run(ask_again(config.bench, asked, listed, os.environ, judge=by))
    told = document(asked.name, found)
    _keep(config, data, told)
    return told


def known(config: Path) -> "list[Issue]":
    """The known issues in the file beside this config. Exits 1 if a line is invalid."""
    from bench.errors import BadDataset
    from bench.known_issues import file_of, parse_issues

    file = file_of(config)
    if not file.exists():
        return []
    with ended_by(BadDataset, about=file):
        return parse_issues(read_file(file))


def _line_of(config: Path, dataset: str, id_: str) -> dict[str, Any]:
    from bench.benchmark.run import path_of, sources
    from bench.benchmark.run import read as check
    from bench.errors import BadDataset

    (source,) = sources(read_config(config).bench, [dataset])
    path = path_of(source, config.parent)
    text = read_file(path)
    with ended_by(BadDataset):
        check(source, config.parent)
    examples: list[dict[str, Any]] = [json.loads(line) for line in text.split("\n") if line.strip()]
    found = [example for example in examples if example["id"] == id_]
    if len(found) != 1:
        fail(f"{path} has {len(found)} examples with the id {id_!r}; it must have exactly one")
    return found[0]


def _model(check: "IssueCheck") -> dict[str, str]:
    at = rfc3339(check.at)
    return {"model": check.model, "state": check.state, "at": at}


def _shown(issue: "Issue") -> dict[str, Any]:
    return {
        "id": issue.example.id,
        "task": issue.example.task,
        "what": issue.what,
        "since": issue.since,
        "at": issue.at,
        "by": issue.by,
    }


def _keep(config: "Config", data: Path, found: Mapping[str, Any]) -> None:
    """Store the document of a recheck. Where that fails, a line on stderr says so."""
    from records.errors import StoreDown
    from records.store.benchmarks import IssueCheck, IssueHistory

    at = time.time()
    checks = [
        IssueCheck(at=at, model=found["model"], issue=each["issue"], state=each["state"])
        for each in found["issues"]
    ]
    try:
        data.mkdir(mode=0o700, exist_ok=True)
        with closing(config.open_store(data)) as store:
            IssueHistory(store).add(checks)
    except (StoreDown, OSError) as problem:
        say(f"the recheck was not stored: {problem}")


def _history(config: "Config", data: Path) -> "Mapping[str, list[IssueCheck]] | None":
    """Each issue's models by its hash, the newest last. None if the store does not answer, which a line on
    stderr says."""
    from records.errors import StoreDown
    from records.store.benchmarks import IssueHistory, newest_of_each_model

    if not has_store(config, data):
        return {}
    try:
        with closing(config.open_store(data)) as store:
            return newest_of_each_model(IssueHistory(store).all())
    except StoreDown as problem:
        say(f"the history of the issues could not be read: {problem}")
        return None
