"""`canary report`: judges a canary by its rubric, from the store or from a CSV log.

`ReportOutput` is the form and the file of any report.
"""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from canary.commands import shell
from canary.config import ConfigError
from common.text import visible
from common.whole_file import write_whole

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOutput:
    """One of FORMS, and the file to write (None: standard output)."""

    form: str
    file: Path | None

    @classmethod
    def asked(cls, form: str | None, output: str | None, option: str = "-o") -> "ReportOutput":
        """Parse `-f` and the option of the output. Without `-f`, that is a format or a file whose ending
        gives the format. Exits 2 for what is neither."""
        if form is not None and form not in FORMS:
            shell.fail(f"-f {form!r} is not a format; use {', '.join(FORMS)}", code=2)
        if output is None or (form is None and output in FORMS):
            return cls(form=form or output or "text", file=None)
        file = Path(output)
        if not file.parent.is_dir() or file.is_dir():
            shell.fail(f"{option} {output!r} is a folder, or its folder does not exist", code=2)
        wanted = form or _ENDINGS.get(file.suffix.lower())
        if wanted is None:
            wrong = f"{option} {output!r} is neither a format ({', '.join(FORMS)}) nor a file that ends in "
            shell.fail(f"{wrong}.html, .md, .json or .txt", code=2)
        return cls(form=wanted, file=file)

    @property
    def width(self) -> int:
        """The text's width in columns: the terminal's, at most WIDTH."""
        return WIDTH if self.file is not None else min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)

    def write(self, text: str) -> None:
        """Print the text, or replace the file atomically. Exits 1 if the file cannot be written."""
        if self.file is None:
            return shell.print_text(text)
        shown = text if self.form == "html" else visible(text)
        with shell.writing(self.file):
            return write_whole(self.file, (shown.rstrip("\n") + "\n").encode())


def report(
    at: shell.Local,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="The canary's name; several with --compare."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Set the candidates of two canaries or more side by side.")
    ] = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="Judge this CSV log instead of the server's records.")
    ] = None,
    rubric: Annotated[Path | None, typer.Option(help="Judge by the rubric in this file instead.")] = None,
    form: Annotated[
        str | None, typer.Option("-f", "--form", help="The format: text, json, markdown or html.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="A file to write, or a format to print.")
    ] = None,
) -> None:
    """Judge a present or past canary by its rubric. Works without a server.

    Exits 0 for ship, 3 for don't ship, 4 for extend. With --compare it exits 0: it sets reports side by side.
    """
    if compare and (source is not None or rubric is not None):
        shell.fail("--compare reads the canaries' own reports: leave --from and --rubric out", code=2)
    if compare:
        return _compare(names or [], at.config, at.data, form, output)
    if names is not None and len(names) > 1:
        shell.fail("name one canary, or compare several: canary report --compare A B", code=2)
    name = names[0] if names else None
    from canary.config.load import read_rubric
    from pages.reports.report import rendered
    from verdict.decision.reports import NoSuchCanary, report_from_csv, report_from_store

    read = at.read()
    shell.must_not_stand(read, *names or ())
    wanted = ReportOutput.asked(form, output)
    with shell.ended_by(ConfigError, code=2):
        retro = read_rubric(rubric, os.environ, read.metrics) if rubric is not None else None
    try:
        with shell.ended_by(NoSuchCanary, ValueError):
            if source is not None:
                result = report_from_csv(read.control.reports, name, source, now=time.time(), retro=retro)
            else:
                with shell.opened(read, at.data) as store:
                    result = report_from_store(
                        read.control.reports, name, store, now=time.time(), retro=retro
                    )
    except OSError as problem:
        shell.fail(str(problem) if source is None else shell.unreadable(source, problem))
    wanted.write(rendered(result, wanted.form, width=wanted.width))
    raise typer.Exit(shell.VERDICT_EXITS[result.verdict])


def _compare(names: list[str], config: Path, data: Path, form: str | None, output: str | None) -> None:
    """Set the candidates of these canaries side by side."""
    from pages.reports.compare import rendered
    from verdict.decision.reports import NoSuchCanary, compare_from_store

    if len(set(names)) < 2:
        shell.fail("--compare needs the names of two canaries or more", code=2)
    read = shell.read_config(config, data)
    shell.must_not_stand(read, *names)
    wanted = ReportOutput.asked(form, output)
    with shell.ended_by(NoSuchCanary, ValueError), shell.opened(read, data) as store:
        found = compare_from_store(read.control.reports, names, store, now=time.time())
    wanted.write(rendered(found, wanted.form, width=wanted.width))
