"""`canary dataset label`: a person looks at every proposed label, one after the other."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from canary.commands.shell import Form, fail, print_json, say
from canary.commands.text_file import read

_CHOICES = "[a]ccept, [e]dit, am[b]iguous, [s]kip, [q]uit"


def label(
    file: Annotated[Path, typer.Argument(help="A dataset of `canary dataset sample`.")],
    output: Form = "text",
) -> None:
    """Look at proposed labels: accept, edit, or call them ambiguous. Each is saved at once."""
    from bench.labelling import is_open, standing, tier
    from records.whole_file import write_whole

    lines = _read(file)
    waiting = [place for place, line in enumerate(lines) if is_open(line)]
    for number, place in enumerate(waiting, start=1):
        done = _look(lines[place], f"{number} of {len(waiting)}")
        if done is None:
            break
        if done is not lines[place]:
            lines[place] = done
            text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
            write_whole(file, text.encode())
    counts = standing(lines)
    labelled = counts["accepted"] + counts["edited"]
    if output == "json":
        return print_json({"file": str(file), "labels": counts, "tier": tier(labelled)})
    say(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    return say(f"{labelled} labels: {tier(labelled)}")


def _read(file: Path) -> list[dict[str, Any]]:
    from bench.dataset import parse
    from bench.errors import BadDataset

    text = read(file)
    try:
        parse(text)
    except BadDataset as problem:
        fail(f"{file}: {problem}")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _look(line: dict[str, Any], where: str) -> dict[str, Any] | None:
    """The line as it was left; the very same if it was skipped, None to stop."""
    from bench.labelling import accepted, ambiguous

    said = line["input"] if isinstance(line["input"], list) else [{"role": "user", "content": line["input"]}]
    say(f"\n── {where} · {line['id']} · {line.get('category') or 'no category'}")
    for each in said:
        say(f"{each['role']}: {each['content']}")
    say(f"proposed: {_shown(line['expected'])}")
    while True:
        match typer.prompt(_CHOICES, default="a", err=True).strip().lower()[:1]:
            case "a":
                return accepted(line)
            case "b":
                return ambiguous(line)
            case "s":
                return line
            case "q":
                return None
            case "e":
                changed = _edit(line)
                if changed is not None:
                    return changed


def _edit(line: dict[str, Any]) -> dict[str, Any] | None:
    """The line with what the person writes; None where that is no label for its task."""
    from bench.dataset import parse
    from bench.errors import BadDataset
    from bench.labelling import edited

    text = typer.prompt("expected", err=True)
    try:
        wanted = text if isinstance(line["expected"], str) else json.loads(text)
        changed = edited(line, wanted)
        parse(json.dumps(changed))
    except ValueError:
        say("that is no JSON, as this label must be")
        return None
    except BadDataset as problem:
        say(str(problem))
        return None
    return changed


def _shown(expected: Any) -> str:
    return expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False)
