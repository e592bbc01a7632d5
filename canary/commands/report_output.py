"""Where a report goes and in which form, from what the command line says."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from canary.commands.shell import print_text, writing
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
    """A form that does not exist, or a file that tells none; the message says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A form of FORMS, and the file it goes to (None: standard output)."""

    form: str
    file: Path | None

    @classmethod
    def asked(cls, form: str | None, output: str | None) -> "Output":
        """From `-f` and `-o`. `-o` alone is a form, or a file whose ending tells it; beside `-f` a file.

        Raises BadOutput.
        """
        if form is not None and form not in FORMS:
            raise BadOutput(f"-f {form!r}: there is no such form; use {', '.join(FORMS)}")
        if output is None or (form is None and output in FORMS):
            return cls(form=form or output or "text", file=None)
        file = Path(output)
        if not file.parent.is_dir() or file.is_dir():
            raise BadOutput(f"-o {output!r}: not a file in a folder that is there")
        told = form or _ENDINGS.get(file.suffix.lower())
        if told is None:
            raise BadOutput(
                f"-o {output!r} is neither a form ({', '.join(FORMS)}) nor a file that ends in "
                ".html, .md, .json or .txt; say the form with -f"
            )
        return cls(form=told, file=file)

    @property
    def width(self) -> int:
        """How many columns a line of text may have: the terminal's, and never more than are easy to read."""
        return WIDTH if self.file is not None else min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)

    def write(self, text: str) -> None:
        """Print it, or put it in place of the file, whole. Ends the command with 1 where that cannot be."""
        if self.file is None:
            return print_text(text)
        with writing(self.file):
            return write_whole(self.file, (text.rstrip("\n") + "\n").encode())
