"""`canary dataset label`: a person reviews the proposed labels one by one."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from canary.commands.shell import Form, fail, print_json, say, user

_CHOICES = "[a]ccept, [e]dit, am[b]iguous, [s]kip, [q]uit"


def label(
    file: Annotated[Path, typer.Argument(help="A dataset from `canary dataset sample`.")],
    output: Form = "text",
) -> None:
    """Review the proposed labels: accept, edit, or mark as ambiguous. Saves after each one."""
    from bench.dataset.labels import is_open, standing, tier
    from pages.words.labels import worth

    waiting = [line for line in _read(file) if is_open(line)]
    for number, line in enumerate(waiting, start=1):
        done = _look(line, f"{number} of {len(waiting)}")
        if done is None:
            break
        if done is not line:
            _put(file, line, done)
    lines = _read(file)
    counts = standing(lines)
    labelled = counts["accepted"] + counts["edited"]
    if output == "json":
        return print_json({"file": str(file), "labels": counts, "tier": tier(labelled)})
    for each in worth(lines):
        say(each)
    say(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    return say(f"{labelled} labels: {tier(labelled)}")


def _read(file: Path) -> list[dict[str, Any]]:
    from bench.dataset.file import read_lines
    from bench.errors import BadDataset

    try:
        return read_lines(file)
    except BadDataset as problem:
        fail(f"{file}: {problem}")
    except (OSError, UnicodeDecodeError) as problem:
        fail(f"{file} cannot be read: {problem}")


def _put(file: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Write one label. Exits 1 if the file cannot be written; a line that was labelled meanwhile stays."""
    from bench.dataset.file import LineGone, change, stamp
    from bench.errors import BenchError

    try:
        change(file, stamp(before), lambda _: after)
    except LineGone as problem:
        say(f"not saved: {problem}")
    except (BenchError, OSError) as problem:
        fail(f"{file} cannot be written: {problem}")


def _look(line: dict[str, Any], where: str) -> dict[str, Any] | None:
    """Show a line and ask what to do. Returns the changed line, the same object if skipped, None to quit."""
    from bench.dataset.labels import accepted, ambiguous, history

    text = line["input"]
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    say(f"\n── {where} · {line['id']} · {line.get('category') or 'no category'}")
    for message in messages:
        say(f"{message['role']}: {message['content']}")
    by = history(line)[-1]["by"]
    say(f"proposed{f' by {by}' if by else ''}: {_shown(line['expected'])}")
    while True:
        match typer.prompt(_CHOICES, default="a", err=True).strip().lower()[:1]:
            case "a":
                return accepted(line, by=user(), at=time.time())
            case "b":
                return ambiguous(line, by=user(), at=time.time())
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
        changed = edited(line, wanted, by=user(), at=time.time())
        parse(json.dumps(changed))
    except ValueError:
        say("this label must be JSON")
        return None
    except BadDataset as problem:
        say(str(problem))
        return None
    return changed


def _shown(expected: Any) -> str:
    return expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False)
