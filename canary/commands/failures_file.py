"""Writes a benchmark's wrong answers to a file, for a spreadsheet."""

from collections.abc import Sequence
from pathlib import Path

from bench.benchmark.failures import to_csv
from canary.commands.shell import fail, say
from records.bench_failures import FailureRow


def write_failures(file: Path, wrong: Sequence[FailureRow]) -> None:
    """Write the rows as CSV. Exits 1 if the file cannot be written."""
    try:
        file.write_text(to_csv(wrong), encoding="utf-8", newline="")
    except OSError as problem:
        fail(f"{file} cannot be written: {problem.strerror}")
    say(f"wrote {len(wrong)} wrong answers to {file}")
