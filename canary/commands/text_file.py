"""A file that a person named: its text, or what is wrong with it."""

from pathlib import Path

from canary.commands.shell import fail


def read(file: Path) -> str:
    """The file's text; ends the command with 1 where there is none."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        fail(unreadable(file, problem))


def unreadable(file: Path, problem: OSError | UnicodeDecodeError) -> str:
    """What to tell of a file that cannot be read."""
    why = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8"
    return f"{file} cannot be read: {why}"
