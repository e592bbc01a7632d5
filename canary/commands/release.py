"""`canary release …`: each release in one place. Reads the store; needs no server."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from canary.commands import shell
from canary.commands.report import ReportOutput

if TYPE_CHECKING:
    from records.store import Store
    from records.store.releases import Release

app = typer.Typer(
    help="Show releases from noticed to decided, write documents of them, and note what people did.",
    no_args_is_help=True,
)

Model = Annotated[str, typer.Argument(help="The candidate, MODEL or PROVIDER/MODEL, or a release's id.")]


@shell.command(app, "release list -o json")
def list_(at: shell.Local) -> None:
    """List the releases, newest first, each with its verdict, its days and people's minutes."""
    from pages.reports.release import line, listed
    from verdict.archive.releases import all_releases

    with at.store() as store:
        found = all_releases(store)
    text = listed(found) if found else "no release yet"
    shell.answer(at.output, {"releases": [line(each) for each in found]}, text)


@shell.command(app, "release show gpt-6.1-terra --for finance -o release.html")
def show(
    at: shell.Local,
    model: Model,
    failures: Annotated[
        Path | None, typer.Option(help="A CSV file to write the wrong answers of its benchmark to.")
    ] = None,
    reader: Annotated[
        Literal["vendor", "finance", "team"] | None,
        typer.Option(
            "--for",
            help="A document for the vendor (what failed; no costs, users or texts), finance (costs and "
            "savings) or the team (all of it, as a timeline).",
        ),
    ] = None,
    texts: Annotated[
        bool, typer.Option("--texts", help="With captured texts of some failed requests, redacted.")
    ] = False,
    output: Annotated[
        str,
        typer.Option("-o", "--output", help="text, json, markdown or html, or a file .html, .md or .json."),
    ] = "text",
) -> None:
    """Show one release: its four layers against the current model, one verdict, the clock, its canaries; or
    its document for one reader."""
    from pages.reports.release import rendered
    from verdict.archive.releases import NoSuchRelease, release_of, with_texts

    wanted = ReportOutput.asked(None, output)
    if texts and reader is None:
        shell.fail("--texts needs --for", code=2)
    read, now = at.read(), time.time()
    with shell.opened(read, at.data) as store, shell.ended_by(NoSuchRelease):
        found = release_of(read.control.reports, store, model, now=now)
        if reader is None or texts:
            found = with_texts(store, found, now=now)
        if failures is not None:
            _write_failures(failures, store, found.release)
        if reader is None:
            text = rendered(found, wanted.form)
        else:
            from pages.reports import release_documents
            from verdict.archive.release_facts import facts_of

            facts = facts_of(read.control.reports, store, found, reader, now=now, texts=texts)
            text = release_documents.rendered(facts, reader, wanted.form)
    if wanted.form == "json" and wanted.file is None:
        return shell.print_json(json.loads(text))
    wanted.write(text.rstrip("\n"))
    return shell.say(f"wrote {wanted.file}") if wanted.file is not None else None


@shell.command(app, 'release note gpt-6.1-terra "read 40 answers side by side" --minutes 25')
def note(
    at: shell.Local,
    model: Model,
    text: Annotated[str, typer.Argument(help="What to note.")],
    minutes: shell.Minutes = None,
    stage: shell.Stage = "",
) -> None:
    """Note something about a release, and the minutes that it took."""
    from records.store.releases import ReleaseNote, Releases
    from verdict.archive.releases import NoSuchRelease, history_of

    if not text.strip():
        shell.fail("the note is empty", code=2)
    worked = shell.spent(minutes, stage)
    with at.store() as store, shell.ended_by(NoSuchRelease):
        about = history_of(store, model).release
        added = ReleaseNote(at=time.time(), release=about.id, who=shell.user(), text=text.strip(), **worked)
        Releases(store).note(added)
    noted = {"release": about.id, "who": added.who, "text": added.text, **worked}
    shell.answer(
        at.output,
        noted,
        f"noted for {about.candidate} against {about.baseline or 'no model yet'}",
        by=shell.say,
    )


def _write_failures(file: Path, store: "Store", about: "Release") -> None:
    """Write the wrong answers of the release's newest benchmark. Exits 1 if they are not there any more."""
    from canary.commands.bench_archive import write_failures
    from records.store.benchmarks import BenchFailures

    wrong = BenchFailures(store).latest(about.candidate, about.baseline, now=time.time())
    if wrong is None:
        why = "it has no benchmark of all datasets, or they have expired with the captures"
        shell.fail(f"there are no wrong answers of {about.candidate}: {why}")
    write_failures(file, wrong)
