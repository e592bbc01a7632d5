"""`canary dataset import`: makes a dataset of promptfoo's tests, or of an OpenAI Evals file."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.dataset.imports.openai_evals import Ideal
from canary.commands.shell import Form, fail, print_json, say
from canary.commands.text_file import read, unreadable

if TYPE_CHECKING:
    from bench.dataset.imports.found import ImportedExamples


def import_(
    source: Annotated[
        Path,
        typer.Argument(help="promptfoo's config or tests (YAML, JSON, JSONL, CSV), or OpenAI Evals' JSONL."),
    ],
    file: Annotated[Path, typer.Argument(help="The dataset to create.")],
    ideal: Annotated[
        Ideal, typer.Option("--ideal", help="How right answers relate to `ideal` of OpenAI Evals.")
    ] = "starts",
    output: Form = "text",
) -> None:
    """Make a dataset of another tool's tests. Runs nothing; says what it left out, and why."""
    from bench.errors import BenchError
    from records.whole_file import write_whole

    if file.exists():
        fail(f"{file} exists; name a new file, or delete it first", code=2)
    try:
        found = _found(source, ideal)
        text = _checked(source, found)
    except BenchError as problem:
        fail(str(problem))
    except OSError as problem:
        failed = source if problem.filename is None else Path(problem.filename)
        fail(unreadable(failed, problem))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file.resolve(), text.encode())
    except OSError as problem:
        fail(f"{file} cannot be written: {problem.strerror}")
    _tell(file, found, output)


def _found(source: Path, ideal: Ideal) -> "ImportedExamples":
    """The examples of either tool's file. Raises BadImport, OSError."""
    from bench.dataset.imports.openai_evals import openai_evals
    from bench.dataset.imports.promptfoo import promptfoo

    if source.suffix.lower() == ".jsonl":
        text = read(source)
        if _is_evals(text):
            return openai_evals(text, str(source), source.stem, ideal)
    return promptfoo(source)


def _is_evals(text: str) -> bool:
    """True unless the first line is one of promptfoo's tests."""
    first = next((line for line in text.removeprefix("\ufeff").split("\n") if line.strip()), "")
    try:
        sample = json.loads(first)
    except ValueError:
        return True
    return not (isinstance(sample, dict) and ("vars" in sample or "assert" in sample))


def _checked(source: Path, found: "ImportedExamples") -> str:
    """The dataset's text. Raises BadImport where a line is not an example, with its place in the source."""
    from bench.dataset.file import parse
    from bench.dataset.imports.found import BadImport
    from bench.errors import BadDataset

    if not found.lines:
        raise BadImport([f"{source}: nothing can be imported{_because(found.left_out)}"])
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in found.lines)
    try:
        parse(text)
    except BadDataset as problem:
        bad = [found.places[each.line - 1].problem(each.message) for each in problem.problems]
        raise BadImport([str(each) for each in bad]) from problem
    return text


def _because(left_out: Counter[tuple[str, str]]) -> str:
    return "".join(f"; left out: {count} × {what} ({why})" for (what, why), count in left_out.items())


def _tell(file: Path, found: "ImportedExamples", output: str) -> None:
    from bench.dataset.file import parse

    dataset = parse(file.read_text(encoding="utf-8"))
    tasks = dict(sorted(Counter(each.task for each in dataset.examples).items()))
    left_out = sorted(found.left_out.items())
    if output == "json":
        shown = [{"what": what, "why": why, "count": count} for (what, why), count in left_out]
        about = {"file": str(file), "sha256": dataset.sha256, "examples": len(dataset.examples)}
        return print_json({**about, "tasks": tasks, "left_out": shown})
    words = ", ".join(f"{name} {count}" for name, count in tasks.items())
    say(f"{file}: {len(dataset.examples)} examples ({words}), version {dataset.sha256[:12]}")
    for (what, why), count in left_out:
        say(f"left out: {count} × {what}: {why}")
    return None
