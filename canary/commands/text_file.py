"""Reads a text file that the command line names."""

from pathlib import Path

from canary.commands.shell import fail


def read(file: Path) -> str:
    """The file's text. Exits 1 if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        fail(unreadable(file, problem))


def unreadable(file: Path, problem: OSError | UnicodeDecodeError) -> str:
    """The message for a file that cannot be read."""
    why = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8"
    return f"{file} cannot be read: {why}"
