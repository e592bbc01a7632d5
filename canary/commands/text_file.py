"""A text file that a person named."""

from pathlib import Path

from canary.commands.shell import fail


def read(file: Path) -> str:
    """The file's text; ends the command with 1 where there is none."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as problem:
        fail(f"{file} cannot be read: {problem.strerror}")
    except UnicodeDecodeError:
        fail(f"{file} cannot be read: it is not UTF-8")
