"""`canary dataset sample`: captured exchanges become examples with proposed labels."""

import json
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from bench.example import Task
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
    say,
)
from records.capture import About


def sample(
    canary: Annotated[str, typer.Argument(help="The canary whose captured exchanges are sampled.")],
    file: Annotated[Path, typer.Argument(help="The dataset to write; it must not be there yet.")],
    size: Annotated[int, typer.Option("--size", min=1, help="How many examples at most.")] = 200,
    task: Annotated[Task, typer.Option("--task", help="How answers will be judged.")] = "judge",
    since: Annotated[
        str | None, typer.Option("--since", help="From this time or date on, or so long ago, as 30d.")
    ] = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Sample captured exchanges, rare categories first, the current model's answers as proposed labels."""
    from bench import sampling
    from bench.dataset import parse
    from bench.errors import BadDataset
    from records.capture_store import CaptureStore
    from records.labels import Labels
    from records.store import Store

    now = time.time()
    read = read_config(config)
    with needs_store(read, data), closing(Store.open(read.store, data)) as store:
        captures, begin = CaptureStore(store), moment(since, 0.0, now)
        found = captures.read(canary, since=begin)
        chosen = sampling.sample((each for each in found if _is_current(each.about)), size)
        labels = Labels(store).of(canary)
        pairs = captures.pairs(canary, since=begin) if labels else iter(())
        others = {real.about.exchange_id: copy.answer for real, copy in pairs}
    if not chosen:
        fail(f"no exchange of {canary} is captured; `capture` in the config keeps some")
    lines = [
        sampling.line(each, task, labels.get(id_ := each.about.exchange_id), others.get(id_))
        for each in chosen
    ]
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    try:
        version = parse(text).sha256
    except BadDataset as problem:
        fail(f"an answer is no label for {task}: {problem}")
    try:
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(text, encoding="utf-8")
    except OSError as problem:
        fail(f"{file} cannot be written: {problem.strerror}")
    categories = dict(sorted(Counter(each.about.category for each in chosen).items()))
    if output == "json":
        return print_json(
            {"file": str(file), "sha256": version, "examples": len(chosen), "categories": categories}
        )
    return say(f"{len(chosen)} examples of {len(categories)} categories, version {version[:12]}")


def _is_current(about: About) -> bool:
    """Answered by the current model."""
    return (about.served_by or about.arm) == "baseline"
