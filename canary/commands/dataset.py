"""`canary dataset …`: makes, checks and renews datasets for benchmarks."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from bench.dataset.example import ActionTask, SampledTask, messages_of
from bench.dataset.imports.openai_evals import Ideal
from canary.commands import shell
from canary.commands.records import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.dataset.file import Dataset
    from bench.dataset.imports.imported import ImportedExamples
    from canary.config import Config
    from records.captures.capture import Capture


ENDING = ".retired.jsonl"
_CHOICES = "[a]ccept, [e]dit, am[b]iguous, [s]kip, [q]uit"

app = typer.Typer(help="Make, label and check datasets for benchmarks.", no_args_is_help=True)


@shell.command(app, "dataset sample support-nov support.jsonl --size 200 --since 30d")
def sample(
    at: shell.Local,
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|NAME",
            help="The canary to sample from (NAME also covers every canary NAME-…), or a model.",
        ),
    ],
    file: Annotated[Path, typer.Argument(help="The dataset to create or extend.")],
    size: Annotated[int, typer.Option(min=1, help="The most examples to add.")] = 200,
    task: Annotated[SampledTask, typer.Option(help="The task, which says how to score answers.")] = "judge",
    since: Annotated[
        str | None, typer.Option(help="Only from this time, date or age on, for example 30d.")
    ] = None,
    propose: Annotated[
        bool, typer.Option("--propose", help="Let the dataset's judge propose the labels instead.")
    ] = False,
) -> None:
    """Sample captured exchanges, rare categories first. Their answers become proposed labels."""
    from bench.dataset.file import extend
    from bench.dataset.sample import canaries_of, captured, lines_of
    from bench.errors import BadDataset
    from records.store.captures import CaptureStore

    if propose and task in get_args(ActionTask):
        shell.fail(f"--propose asks for answers; the label of the task {task} is what the model did", code=2)
    begin = moment(since, 0.0, time.time())
    before = _existing(file)
    read = at.read()
    with shell.opened(read, at.data) as store:
        found = list(captured(store, name, since=begin))
        if name in _models(read) and canaries_of(name, store.states()):
            shell.say(f"{name} is a canary and a model: sampled from the canary")
        others = [each.removeprefix("model:") for each in CaptureStore(store).sources()]
    if not found:
        shell.fail(_nothing(name, since, others))
    examples = before.examples if before is not None else ()
    lines = lines_of(found, size, task, examples, at=time.time())
    if propose:
        lines = _proposed(read, at.config, file, lines)
    with (
        shell.ended_by(BadDataset, about=f"an answer is not a valid label for the task {task}"),
        shell.writing(file),
    ):
        dataset = extend(file, lines)
    _write_weights(file, [each.capture for each in found])
    categories = dict(sorted(Counter(each.category for each in dataset.examples).items()))
    count, added = len(dataset.examples), len(lines)
    document = {"file": str(file), "sha256": dataset.sha256, "examples": count, "added": added}
    kinds, version = f"{count} examples in {len(categories)} categories", f"version {dataset.sha256[:12]}"
    text = f"{kinds}, {added} of them new, {version}"
    shell.answer(at.output, {**document, "categories": categories}, text, by=shell.say)


@shell.command(app, "dataset import promptfooconfig.yaml datasets/support.jsonl")
def import_(
    source: Annotated[
        Path,
        typer.Argument(help="promptfoo's config or tests (YAML, JSON, JSONL, CSV), or OpenAI Evals' JSONL."),
    ],
    file: Annotated[Path, typer.Argument(help="The dataset to create.")],
    ideal: Annotated[
        Ideal, typer.Option(help="How right answers relate to `ideal` of OpenAI Evals.")
    ] = "starts",
    output: shell.Form = "text",
) -> None:
    """Make a dataset of another tool's tests. Runs nothing; says what it left out, and why."""
    from bench.dataset.file import text_of
    from bench.errors import BenchError
    from common.whole_file import write_whole

    if file.exists():
        shell.fail(f"{file} exists; name a new file, or delete it first", code=2)
    try:
        with shell.ended_by(BenchError):
            found = _found(source, ideal)
            dataset = _checked(source, found)
    except OSError as problem:
        failed = source if problem.filename is None else Path(problem.filename)
        shell.fail(shell.unreadable(failed, problem))
    with shell.writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file.resolve(), text_of(found.lines).encode())
    _tell_import(file, dataset, found, output)


def _found(source: Path, ideal: Ideal) -> "ImportedExamples":
    """The examples of either tool's file. Raises BadImport, OSError."""
    from bench.dataset.imports.openai_evals import openai_evals
    from bench.dataset.imports.promptfoo import promptfoo

    if source.suffix.lower() == ".jsonl":
        text = shell.read_file(source)
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


def _checked(source: Path, found: "ImportedExamples") -> "Dataset":
    """The dataset. Raises BadImport where a line is not an example, with its place in the source."""
    from bench.dataset.file import parse, text_of
    from bench.dataset.imports.imported import BadImport
    from bench.errors import BadDataset

    if not found.lines:
        left_out = (f"; left out: {count} × {what} ({why})" for (what, why), count in found.left_out.items())
        raise BadImport([f"{source}: nothing can be imported{''.join(left_out)}"])
    try:
        return parse(text_of(found.lines))
    except BadDataset as problem:
        bad = [found.places[each.line - 1].problem(each.message) for each in problem.problems]
        raise BadImport([str(each) for each in bad]) from problem


def _tell_import(file: Path, dataset: "Dataset", found: "ImportedExamples", output: str) -> None:
    tasks = dict(sorted(Counter(each.task for each in dataset.examples).items()))
    left_out = sorted(found.left_out.items())
    if output == "json":
        shown = [{"what": what, "why": why, "count": count} for (what, why), count in left_out]
        about = {"file": str(file), "sha256": dataset.sha256, "examples": len(dataset.examples)}
        return shell.print_json({**about, "tasks": tasks, "left_out": shown})
    words = ", ".join(f"{name} {count}" for name, count in tasks.items())
    shell.say(f"{file}: {len(dataset.examples)} examples ({words}), version {dataset.sha256[:12]}")
    for (what, why), count in left_out:
        shell.say(f"left out: {count} × {what}: {why}")
    return None


@shell.command(app, "dataset label support.jsonl")
def label(
    file: Annotated[Path, typer.Argument(help="A dataset from `canary dataset sample`.")],
    output: shell.Form = "text",
) -> None:
    """Review the proposed labels: accept, edit, or mark as ambiguous. Saves after each one."""
    from bench.dataset.labels import is_open, standing, tier
    from pages.words.judge import labels_worth

    waiting = [line for line in _lines_of(file) if is_open(line)]
    for number, line in enumerate(waiting, start=1):
        done = _look(line, f"{number} of {len(waiting)}")
        if done is None:
            break
        if done is not line:
            _put_label(file, line, done)
    lines = _lines_of(file)
    counts = standing(lines)
    labelled = counts["accepted"] + counts["edited"]
    if output == "json":
        return shell.print_json({"file": str(file), "labels": counts, "tier": tier(labelled)})
    for each in labels_worth(lines):
        shell.say(each)
    shell.say(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    return shell.say(f"{labelled} labels: {tier(labelled)}")


def _lines_of(file: Path) -> list[dict[str, Any]]:
    from bench.dataset.file import read_lines
    from bench.errors import BadDataset

    with (
        shell.ended_by(BadDataset, about=file),
        shell.ended_by(OSError, UnicodeDecodeError, about=f"{file} cannot be read"),
    ):
        return read_lines(file)


def _put_label(file: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Write one label. Exits 1 if the file cannot be written; a line that was labelled meanwhile stays."""
    from bench.dataset.file import LineGone, change, stamp
    from bench.errors import BenchError

    try:
        change(file, stamp(before), lambda _: after)
    except LineGone as problem:
        shell.say(f"not saved: {problem}")
    except (BenchError, OSError) as problem:
        shell.fail(f"{file} cannot be written: {problem}")


def _look(line: dict[str, Any], where: str) -> dict[str, Any] | None:
    """Show a line and ask what to do. Returns the changed line, the same object if skipped, None to quit."""
    from bench.dataset.labels import accepted, ambiguous, history

    shell.say(f"\n── {where} · {line['id']} · {line.get('category') or 'no category'}")
    for message in messages_of(line):
        shell.say(f"{message.role}: {message.said}")
    by = next((each["by"] for each in reversed(history(line))), "")  # a file may have the tag alone
    expected = line["expected"]
    shown = expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False)
    shell.say(f"proposed{f' by {by}' if by else ''}: {shown}")
    while True:
        match typer.prompt(_CHOICES, default="a", err=True).strip().lower()[:1]:
            case "a":
                return accepted(line, by=shell.user(), at=time.time())
            case "b":
                return ambiguous(line, by=shell.user(), at=time.time())
            case "s":
                return line
            case "q":
                return None
            case "e":
                changed = _edit(line)
                if changed is not None:
                    return changed


def _edit(line: dict[str, Any]) -> dict[str, Any] | None:
    """The line with the label that the person types; None if it is not a valid label for the task."""
    from bench.dataset.file import parse
    from bench.dataset.labels import edited
    from bench.errors import BadDataset

    text = typer.prompt("expected", err=True)
    try:
        wanted = text if isinstance(line["expected"], str) else json.loads(text)
        changed = edited(line, wanted, by=shell.user(), at=time.time())
        parse(json.dumps(changed))
    except ValueError:
        shell.say("this label must be JSON")
        return None
    except BadDataset as problem:
        shell.say(str(problem))
        return None
    return changed


@shell.command(app, "dataset retire support.jsonl --older 180d")
def retire(
    file: Annotated[Path, typer.Argument(help="A dataset from `canary dataset sample`.")],
    older: Annotated[
        str, typer.Option(help="Retire what was sampled longer ago, or before this date.")
    ] = "180d",
    output: shell.Form = "text",
) -> None:
    """Move old examples to FILE.retired.jsonl. Examples without a day of sampling stay."""
    from bench.dataset.file import read_lines, split
    from bench.errors import BenchError

    now = time.time()
    before = moment(older, now, now)
    beside = file.with_name(file.name + ENDING)
    unusable = shell.ended_by(OSError, UnicodeDecodeError, about=f"{file} cannot be read or written")
    with shell.ended_by(BenchError, about=file), unusable:
        count = split(file, lambda line: _is_older(line, before), beside)
        left = read_lines(file)
    undated = sum(not line.get("sampled") for line in left)
    found = {"file": str(file), "retired": count, "examples": len(left), "undated": undated}
    undated_words = f", {undated} of them without a day of sampling" if undated else ""
    text = f"{count} retired to {beside}; {len(left)} examples stay{undated_words}"
    shell.answer(output, {**found, "retired_file": str(beside)}, text, by=shell.say)


def _is_older(line: Mapping[str, Any], before: float) -> bool:
    return bool(line.get("sampled")) and moment(line["sampled"], before, before) < before


@shell.command(app, "dataset check support.jsonl")
def check(
    file: Annotated[Path, typer.Argument(help="The dataset: JSON lines, one example per line.")],
    output: shell.Form = "text",
) -> None:
    """Check a dataset: summarize it, or list every invalid line."""
    from bench.dataset.file import parse
    from bench.dataset.labels import document
    from bench.errors import BadDataset

    text = shell.read_file(file)
    try:
        found = parse(text)
    except BadDataset as problem:
        if output == "json":
            wrong = [{"line": each.line, "message": each.message} for each in problem.problems]
            shell.print_json({"file": str(file), "problems": wrong})
        for each in problem.problems:
            shell.say(f"{file}:{each.line}: {each.message}")
        raise typer.Exit(1) from None
    lines = [json.loads(line) for line in text.removeprefix("\ufeff").split("\n") if line.strip()]
    if output == "json":
        return shell.print_json(
            {"file": str(file), **described(found), "agreement": document(lines), "problems": []}
        )
    return _tell(file, found, lines)


def _tell(file: Path, found: "Dataset", lines: list[dict[str, Any]]) -> None:
    from pages.words.judge import labels_worth

    about: Any = described(found)
    ambiguous = f", {about['ambiguous']} ambiguous" if about["ambiguous"] else ""
    shell.print_text(f"{file}: {about['examples']} examples{ambiguous}, version {found.sha256[:12]}")
    shell.print_text("tasks       " + ", ".join(f"{name} {count}" for name, count in about["tasks"].items()))
    categories = (
        f"{name or '(none)'} {count}{', critical' if name in about['critical'] else ''}"
        for name, count in about["categories"].items()
    )
    shell.print_text("categories  " + ", ".join(categories))
    for each in labels_worth(lines):
        shell.print_text(f"labels      {each}")
    for each in about["warnings"]:
        shell.say(each)


def warnings(dataset: "Dataset") -> Iterator[str]:
    """Weaknesses of a valid dataset."""
    from bench.dataset.file import FEW, FEW_CRITICAL

    scored = dataset.scored
    if dataset.proposed:
        yield (
            f"{dataset.proposed} labels are unreviewed proposals: they favour the model that made them "
            "(review them with `canary dataset label`)"
        )
    if len(scored) < FEW:
        yield f"{len(scored)} examples are too few for a narrow interval; use at least {FEW}"
    for category, count in sorted(Counter(item.category for item in scored).items()):
        if category in dataset.critical and count < FEW_CRITICAL:
            yield (
                f"the critical category {category or '(none)'} has {count} examples: "
                f"below {FEW_CRITICAL} a loss may go undetected"
            )
    repeated = sum(count > 1 for count in Counter(item.cluster for item in scored).values())
    if repeated:
        yield f"{repeated} ids or documents have several lines: each counts as one piece of evidence"


def described(dataset: "Dataset") -> Mapping[str, object]:
    """A summary of the dataset as JSON types."""
    from bench.dataset.labels import tier

    scored = dataset.scored
    return {
        "sha256": dataset.sha256,
        "examples": len(scored),
        "ambiguous": len(dataset.examples) - len(scored),
        "proposed": dataset.proposed,
        "tier": tier(len(scored) - dataset.proposed),
        "tasks": dict(sorted(Counter(item.task for item in scored).items())),
        "categories": dict(sorted(Counter(item.category for item in scored).items())),
        "critical": sorted(dataset.critical),
        "warnings": list(warnings(dataset)),
    }


def _nothing(name: str, since: str | None, others: list[str]) -> str:
    """What is wrong where no exchange can be sampled."""
    said = f"no exchange of {name} was captured" + (f" since {since}" if since is not None else "")
    if others:
        return f"{said}; there are captures of {', '.join(others)}"
    return f"{said}, nor of anything else; set `capture` in the config, and let requests come"


def _proposed(read: "Config", config: Path, file: Path, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The new lines with the judge's proposals. Exits 1 without a judge or its key."""
    from bench.dataset.labels import is_open
    from bench.dataset.sample import judge_of, propose
    from bench.errors import BenchError
    from bench.models.pair import named

    waiting = [line for line in lines if is_open(line)]
    judge = judge_of(read.bench, config.parent, file)
    if judge is None:
        shell.fail(f"no judge: set `judge: PROVIDER/MODEL` for the dataset {file} in the config")
    with shell.ended_by(BenchError, OSError):
        asked = propose(read.bench, named(read.bench, judge), waiting, os.environ, at=time.time())
        new, cost_usd = asyncio.run(asked)
    cost = "unknown" if cost_usd is None else f"${cost_usd:.2f}"
    shell.say(f"{judge} proposed {len(new)} of {len(waiting)} labels; cost {cost}")
    return [new.get(line["id"], line) for line in lines]


def _write_weights(file: Path, captures: "Sequence[Capture]") -> None:
    """Write each category's share of the captured exchanges beside the dataset."""
    from bench.dataset.file import are_capped, document, shares, weights_file
    from common.whole_file import write_whole

    beside = weights_file(file.resolve())
    with shell.writing(beside):
        write_whole(beside, document(shares(captures), time.time()))
    if are_capped(captures):
        shell.say(
            f"{beside.name}: a category reached `per_category`, so common ones weigh too little; set a `rate`"
        )


def _models(config: "Config") -> set[str]:
    """The models that the config names."""
    canaries = [each.canary for each in config.canaries.values()]
    return {*config.captures, *(arm.model for each in canaries for arm in (each.baseline, each.candidate))}


def _existing(file: Path) -> "Dataset | None":
    """The dataset in the file; None if there is no file. Exits 1 if it is invalid."""
    from bench.dataset.file import parse
    from bench.errors import BadDataset

    with shell.ended_by(BadDataset, about=file):
        return parse(shell.read_file(file)) if file.exists() else None
