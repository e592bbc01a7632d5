"""A report's format and destination, from the command line."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from canary.commands.shell import print_text, writing
from records.foreign_text import visible
from records.whole_file import write_whole

WIDTH = 110
FORMS = ("text", "json", "markdown", "html")
_ENDINGS = {
    ".txt": "text",
    ".json": "json",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
}


class BadOutput(ValueError):
    """An unknown format, or a file without a known ending. The message says how to fix it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One of FORMS, and the file to write (None: standard output)."""

    form: str
    file: Path | None

    @classmethod
    def asked(cls, form: str | None, output: str | None) -> "Output":
        """Parse `-f` and `-o`. Without `-f`, `-o` is a format or a file whose ending gives the format.

        Raises BadOutput.
        """
        if form is not None and form not in FORMS:
            raise BadOutput(f"-f {form!r} is not a format; use {', '.join(FORMS)}")
        if output is None or (form is None and output in FORMS):
            return cls(form=form or output or "text", file=None)
        file = Path(output)
        if not file.parent.is_dir() or file.is_dir():
            raise BadOutput(f"-o {output!r} is a folder, or its folder does not exist")
        wanted = form or _ENDINGS.get(file.suffix.lower())
        if wanted is None:
            raise BadOutput(
                f"-o {output!r} is neither a format ({', '.join(FORMS)}) nor a file that ends in "
                ".html, .md, .json or .txt; give the format with -f"
            )
        return cls(form=wanted, file=file)

    @property
    def width(self) -> int:
        """The text's width in columns: the terminal's, at most WIDTH."""
        return WIDTH if self.file is not None else min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)

    def write(self, text: str) -> None:
        """Print the text, or replace the file atomically. Exits 1 if the file cannot be written."""
        if self.file is None:
            return print_text(text)
        shown = text if self.form == "html" else visible(text)
        with writing(self.file):
            return write_whole(self.file, (shown.rstrip("\n") + "\n").encode())
