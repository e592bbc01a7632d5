"""`canary dataset sample`: turns captured exchanges into examples with proposed labels."""

import asyncio
import json
import os
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.dataset.example import AnswerTask
from canary.commands.records import moment
from canary.commands.shell import (
    CONFIG,
    DATA,
    ConfigFile,
    DataFolder,
    Form,
    fail,
    needs_store,
    print_json,
    read_config,
    read_file,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.dataset.file import Dataset
    from canary.config import Config
    from records.captures.capture import Capture


def sample(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|NAME",
            help="The canary to sample from (NAME also covers every canary NAME-…), or a model.",
        ),
    ],
    file: Annotated[Path, typer.Argument(help="The dataset to create or extend.")],
    size: Annotated[int, typer.Option("--size", min=1, help="The most examples to add.")] = 200,
    task: Annotated[
        AnswerTask, typer.Option("--task", help="The task, which says how to score answers.")
    ] = "judge",
    since: Annotated[
        str | None, typer.Option("--since", help="Only from this time, date or age on, for example 30d.")
    ] = None,
    propose: Annotated[
        bool, typer.Option("--propose", help="Let the dataset's judge propose the labels instead.")
    ] = False,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Sample captured exchanges, rare categories first. Their answers become proposed labels."""
    from bench.dataset.sample import canaries_of, captured, lines_of
    from canary.config.store import open_store
    from records.store.captures import CaptureStore

    begin = moment(since, 0.0, time.time())
    before = _existing(file)
    read = read_config(config)
    with needs_store(read, data), closing(open_store(read, data)) as store:
        found = list(captured(store, name, since=begin))
        if name in _models(read) and canaries_of(name, store.states()):
            say(f"{name} is a canary and a model: sampled from the canary")
        others = [each.removeprefix("model:") for each in CaptureStore(store).sources()]
    if not found:
        fail(_nothing(name, since, others))
    examples = before.examples if before is not None else ()
    lines = lines_of(found, size, task, examples, at=time.time())
    if propose:
        lines = _proposed(read, config, file, lines)
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    dataset = _written(file, text, task)
    _write_weights(file, [each.capture for each in found])
    categories = dict(sorted(Counter(each.category for each in dataset.examples).items()))
    count, added = len(dataset.examples), len(lines)
    if output == "json":
        document = {"file": str(file), "sha256": dataset.sha256, "examples": count, "added": added}
        return print_json({**document, "categories": categories})
    kinds, version = f"{count} examples in {len(categories)} categories", f"version {dataset.sha256[:12]}"
    return say(f"{kinds}, {added} of them new, {version}")


def _nothing(name: str, since: str | None, others: list[str]) -> str:
    """What is wrong where no exchange can be sampled."""
    said = f"no exchange of {name} was captured" + (f" since {since}" if since is not None else "")
    if others:
        return f"{said}; there are captures of {', '.join(others)}"
    return f"{said}, nor of anything else; set `capture` in the config, and let requests come"


def _proposed(read: "Config", config: Path, file: Path, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The new lines with the judge's proposals. Exits 1 without a judge or its key."""
    from bench.dataset.labels import is_open
    from bench.dataset.proposals import judge_of, propose
    from bench.errors import BenchError
    from bench.models.asker import NoKey
    from bench.models.pair import named

    waiting = [line for line in lines if is_open(line)]
    judge = judge_of(read.bench, config.parent, file)
    if judge is None:
        fail(f"no judge: set `judge: PROVIDER/MODEL` for the dataset {file} in the config")
    try:
        made = asyncio.run(propose(read.bench, named(read.bench, judge), waiting, os.environ, at=time.time()))
    except (BenchError, NoKey, OSError) as problem:
        fail(str(problem))
    cost = "unknown" if made.cost_usd is None else f"${made.cost_usd:.2f}"
    say(f"{judge} proposed {made.count} of {len(waiting)} labels; cost {cost}")
    new = {line["id"]: line for line in made.lines}
    return [new.get(line["id"], line) for line in lines]


def _write_weights(file: Path, captures: "Sequence[Capture]") -> None:
    """Write each category's share of the captured exchanges beside the dataset."""
    from bench.dataset.file import are_capped, document, shares, weights_file
    from common.whole_file import write_whole

    beside = weights_file(file.resolve())
    try:
        write_whole(beside, document(shares(captures), time.time()))
    except OSError as problem:
        fail(f"{beside} cannot be written: {problem.strerror}")
    if are_capped(captures):
        say(
            f"{beside.name}: a category reached `per_category`, so common ones weigh too little; set a `rate`"
        )


def _models(config: "Config") -> set[str]:
    """The models that the config names."""
    arms = (
        arm.model
        for each in config.canaries.values()
        for arm in (each.canary.baseline, each.canary.candidate)
    )
    return {*config.captures, *arms}


def _existing(file: Path) -> "Dataset | None":
    """The dataset in the file; None if there is no file. Exits 1 if it is invalid."""
    from bench.dataset.file import parse
    from bench.errors import BadDataset

    try:
        return parse(read_file(file)) if file.exists() else None
    except BadDataset as problem:
        fail(f"{file}: {problem}")


def _written(file: Path, added: str, task: AnswerTask) -> "Dataset":
    """Append lines to the dataset, and return it. Existing lines do not change."""
    from bench.dataset.file import parse
    from bench.errors import BadDataset
    from canary.config.rewriting import put

    before = read_file(file) if file.exists() else ""
    text = f"{before.rstrip()}\n{added}".lstrip()
    try:
        dataset = parse(text)
    except BadDataset as problem:
        fail(f"an answer is not a valid label for the task {task}: {problem}")
    try:
        file.touch(mode=0o600)
        put(file.resolve(), text)
    except OSError as problem:
        fail(f"{file} cannot be written: {problem.strerror}")
    return dataset
