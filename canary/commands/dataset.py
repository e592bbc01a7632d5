"""`canary dataset …`: makes, checks and renews datasets for benchmarks."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from canary.commands.dataset_import import import_
from canary.commands.dataset_label import label
from canary.commands.dataset_retire import retire
from canary.commands.dataset_sample import sample
from canary.commands.shell import Form, example, print_json, print_text, say
from canary.commands.text_file import read

if TYPE_CHECKING:
    from bench.dataset.file import Dataset

app = typer.Typer(help="Make, label and check datasets for benchmarks.", no_args_is_help=True)


app.command(epilog=example("dataset sample support-nov support.jsonl --size 200 --since 30d"))(sample)
app.command("import", epilog=example("dataset import promptfooconfig.yaml datasets/support.jsonl"))(import_)
app.command(epilog=example("dataset label support.jsonl"))(label)
app.command(epilog=example("dataset retire support.jsonl --older 180d"))(retire)


@app.callback()
def dataset() -> None:
    """Make, label and check datasets for benchmarks."""


@app.command(epilog=example("dataset check support.jsonl"))
def check(
    file: Annotated[Path, typer.Argument(help="The dataset: JSON lines, one example per line.")],
    output: Form = "text",
) -> None:
    """Check a dataset: summarize it, or list every invalid line."""
    from bench.dataset.file import described, parse
    from bench.dataset.labels import document
    from bench.errors import BadDataset

    text = read(file)
    try:
        found = parse(text)
    except BadDataset as problem:
        if output == "json":
            print_json({"file": str(file), "problems": _lines(problem)})
        for each in problem.problems:
            say(f"{file}:{each.line}: {each.message}")
        raise typer.Exit(1) from None
    lines = [json.loads(line) for line in text.removeprefix("\ufeff").split("\n") if line.strip()]
    if output == "json":
        return print_json(
            {"file": str(file), **described(found), "agreement": document(lines), "problems": []}
        )
    return _tell(file, found, lines)


def _lines(problem: Any) -> list[dict[str, object]]:
    return [{"line": each.line, "message": each.message} for each in problem.problems]


def _tell(file: Path, found: "Dataset", lines: list[dict[str, Any]]) -> None:
    from bench.dataset.file import described
    from pages.words.labels import worth

    about: Any = described(found)
    ambiguous = f", {about['ambiguous']} ambiguous" if about["ambiguous"] else ""
    print_text(f"{file}: {about['examples']} examples{ambiguous}, version {found.sha256[:12]}")
    print_text("tasks       " + ", ".join(f"{name} {count}" for name, count in about["tasks"].items()))
    print_text(
        "categories  "
        + ", ".join(
            f"{name or '(none)'} {count}{', critical' if name in about['critical'] else ''}"
            for name, count in about["categories"].items()
        )
    )
    for each in worth(lines):
        print_text(f"labels      {each}")
    for each in about["warnings"]:
        say(each)
