"""`canary dataset retire`: moves examples that were sampled long ago to a file beside the dataset."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from canary.commands.records import moment
from canary.commands.shell import Form, fail, print_json, say

ENDING = ".retired.jsonl"


def retire(
    file: Annotated[Path, typer.Argument(help="A dataset from `canary dataset sample`.")],
    older: Annotated[
        str, typer.Option("--older", help="Retire what was sampled longer ago, or before this date.")
    ] = "180d",
    output: Form = "text",
) -> None:
    """Move old examples to FILE.retired.jsonl. Examples without a day of sampling stay."""
    from bench.dataset.file import read_lines, split
    from bench.errors import BenchError

    now = time.time()
    before = moment(older, now, now)
    beside = file.with_name(file.name + ENDING)
    try:
        count = split(file, lambda line: _is_older(line, before), beside)
        left = read_lines(file)
    except BenchError as problem:
        fail(f"{file}: {problem}")
    except (OSError, UnicodeDecodeError) as problem:
        fail(f"{file} cannot be read or written: {problem}")
    undated = sum(not line.get("sampled") for line in left)
    if output == "json":
        found = {"file": str(file), "retired": count, "examples": len(left), "undated": undated}
        return print_json({**found, "retired_file": str(beside)})
    undated_words = f", {undated} of them without a day of sampling" if undated else ""
    return say(f"{count} retired to {beside}; {len(left)} examples stay{undated_words}")


def _is_older(line: Mapping[str, Any], before: float) -> bool:
    return bool(line.get("sampled")) and moment(line["sampled"], before, before) < before
