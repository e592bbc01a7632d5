"""The command line. Commands are thin: each says what it does and hands over to a room."""

import getpass
import os
import time
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from canary import __version__
from canary.commands import archive as archive_command
from canary.commands import dataset as dataset_command
from canary.commands import feedback as feedback_command
from canary.commands import issues as issues_command
from canary.commands import records as records_command
from canary.commands.bench import bench
from canary.commands.decide import decide
from canary.commands.rules import rules
from canary.commands.shell import (
    CONFIG,
    DATA,
    Admin,
    ConfigFile,
    DataFolder,
    Form,
    admin_client,
    ask,
    example,
    fail,
    needs_store,
    print_json,
    print_text,
    read_config,
    say,
)
from canary.commands.simulate import simulate
from canary.commands.status import status
from canary.commands.wait import wait
from canary.commands.watch import watch
from canary.config import ConfigError, load

app = typer.Typer(
    help="Try a candidate LLM on a few of your users, and learn whether to ship it.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

app.add_typer(feedback_command.app, name="feedback")
app.add_typer(records_command.app, name="records")
app.add_typer(archive_command.app, name="archive")
app.add_typer(dataset_command.app, name="dataset")
app.add_typer(issues_command.app, name="issues")

VERDICT_EXITS = {"ship_now": 0, "ship": 0, "ship_with_caveats": 0, "dont_ship": 3, "extend": 4}

Name = Annotated[str, typer.Argument(help="The canary's name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]


@app.command(epilog=example("serve --config canary.yaml --workers 4 --data /var/lib/canary"))
def serve(
    config: ConfigFile = CONFIG,
    traffic: Annotated[str | None, typer.Option(help="Where apps connect, HOST:PORT.")] = None,
    admin: Annotated[str | None, typer.Option(help="Where operators connect, HOST:PORT.")] = None,
    workers: Annotated[str | None, typer.Option(help="How many traffic processes.")] = None,
    data: Annotated[str | None, typer.Option(help="The data folder.")] = None,
    grace: Annotated[str | None, typer.Option(help="How long SIGTERM lets streams drain, as 600s.")] = None,
    role: Annotated[str | None, typer.Option(help="all, or traffic or admin of several replicas.")] = None,
) -> None:
    """Start the proxy: traffic workers, the admin process and all they need on this machine."""
    from canary.config.roles import check_role
    from canary.programs.serve import InUse, serve
    from canary.secrets import BadSecret

    flags = {
        "traffic": traffic,
        "admin": admin,
        "workers": workers,
        "data": data,
        "grace": grace,
        "role": role,
    }
    try:
        read = load(config, os.environ)
        for warning in read.warnings:
            say(warning)
        settings = read.server.overridden(os.environ, flags)
        check_role(read, settings.role)
        serve(config, settings)
    except ConfigError as problem:
        fail(str(problem), code=2)
    except (InUse, BadSecret, OSError) as problem:
        fail(str(problem))


@app.command(epilog=example("check --config canary.yaml --users 50000"))
def check(
    config: ConfigFile = CONFIG,
    users: Annotated[
        int, typer.Option("--users", min=1, help="How many users will come, for the expected power.")
    ] = 20_000,
    requests: Annotated[
        float | None, typer.Option("--requests", min=1, help="How many requests each makes; else 1, 3 and 8.")
    ] = None,
    output: Form = "text",
) -> None:
    """Check the configuration: what is wrong with it, or what it will do and how likely it ships."""
    from canary.judging import expecting

    try:
        read = load(config, os.environ)
    except ConfigError as problem:
        fail(str(problem), code=2)
    for warning in read.warnings:
        say(warning)
    given = expecting.REQUESTS if requests is None else (requests,)
    power = {
        name: expecting.expected(each, read.metrics, users=users, requests=given)
        for name, each in read.canaries.items()
    }
    document: dict[str, Any] = {
        "canaries": [
            {
                "name": each.canary.name,
                "baseline": f"{each.canary.baseline.provider}/{each.canary.baseline.model}",
                "candidate": f"{each.canary.candidate.provider}/{each.canary.candidate.model}",
                "shares": [step.share for step in each.canary.steps],
                "rubric": [criterion.metric for criterion in each.rubric],
                "power": expecting.document(found) if (found := power[each.canary.name]) else None,
            }
            for each in read.canaries.values()
        ],
        "warnings": list(read.warnings),
    }
    if output == "json":
        return print_json(document)
    for each in document["canaries"]:
        shares = " → ".join(f"{share * 100:.3g}%" for share in each["shares"])
        print_text(f"{each['name']}: {each['baseline']} → {each['candidate']}, share {shares}")
    for found in power.values():
        if found is not None:
            print_text(expecting.sentence(found))
    print_text(f"{config}: fine")
    return None


@app.command(epilog=example("schema > canary.schema.json"))
def schema(
    output: Annotated[Literal["json"], typer.Option("-o", "--output", help="It has no other form.")] = "json",
) -> None:
    """Print the JSON Schema of canary.yaml, for editors."""
    from canary.config.schema import json_schema

    print_json(json_schema())


@app.command(epilog=example("doctor --config canary.yaml --data /var/lib/canary"))
def doctor(
    config: ConfigFile = CONFIG,
    data: Annotated[
        str | None, typer.Option("--data", envvar="CANARY_DATA", help="The server's data folder.")
    ] = None,
    admin: Admin = None,
    output: Form = "text",
) -> None:
    """Look at everything a server needs and say what is wrong, and what to do. Exits 1 when something is."""
    from canary.commands.doctor import document, examine, lines

    findings = examine(config, os.environ, data=data, admin=admin)
    result = document(findings)
    if output == "json":
        print_json(result)
    else:
        print_text("\n".join(lines(findings)))
    raise typer.Exit(0 if result["ok"] else 1)


@app.command(epilog=example("demo --keep"))
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    store: Annotated[
        str | None, typer.Option(help="With --shared: on replicas over this PostgreSQL.")
    ] = None,
    shared: Annotated[str | None, typer.Option(help="With --store: and this Redis.")] = None,
) -> None:
    """See it work: no key, no network, about a minute."""
    from canary.demo.story import run

    if (store is None) != (shared is None):
        fail("replicas need both: --store postgresql://… and --shared redis://…", code=2)
    raise typer.Exit(run(keep=keep, store=store, shared=shared))


@app.command(epilog=example("explain user-17"))
def explain(
    unit: Annotated[str, typer.Argument(help="A user's, or other unit's, raw id.")],
    admin: Admin = None,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Say which arm a unit gets in each canary, and why. Nothing is sent or recorded."""
    document = ask(lambda: admin_client(admin, data).get("/api/explain", unit=unit))
    if output == "json":
        return print_json(document)
    for each in document["canaries"]:
        print_text(f"{each['canary']}: {each['arm']} ({each['sentence']})")
    return None


@app.command(epilog=example("report support-nov -o report.html"))
def report(
    name: Annotated[str | None, typer.Argument(help="The canary's name.")] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Judge this CSV log instead of the server's records.")
    ] = None,
    rubric: Annotated[
        Path | None, typer.Option("--rubric", help="Score after the fact under this file's rubric.")
    ] = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    form: Annotated[str | None, typer.Option("-f", "--form", help="text, json, markdown or html.")] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="The file it goes to; or a form, to print it.")
    ] = None,
) -> None:
    """Judge a canary by its rubric, a past one too. Works with the server down. Exits 0, 3 or 4."""
    from canary.commands.report_output import BadOutput, Output
    from canary.judging.reporting import NoSuchCanary, rendered, report_from_csv, report_from_store
    from canary.judging.retro import read_rubric

    read = read_config(config)
    try:
        wanted = Output.asked(form, output)
        retro = read_rubric(rubric, os.environ, read.metrics) if rubric is not None else None
        if source is not None:
            result = report_from_csv(read, name, source, now=time.time(), retro=retro)
        else:
            with needs_store(read, data):
                result = report_from_store(read, name, data, now=time.time(), retro=retro)
    except (BadOutput, ConfigError) as problem:
        fail(str(problem), code=2)
    except (NoSuchCanary, ValueError, OSError) as problem:
        fail(str(problem))
    wanted.write(rendered(result, wanted.form, width=wanted.width))
    raise typer.Exit(VERDICT_EXITS[result.verdict])


@app.command(epilog=example('start support-nov --reason "release approved"'))
def start(
    name: Name, reason: Reason = "", admin: Admin = None, data: DataFolder = DATA, output: Form = "text"
) -> None:
    """Start a canary that waits (`start: manual`)."""
    _order("start", name, reason, admin, data, output)


@app.command(epilog=example('ramp support-nov 10% --reason "three quiet days"'))
def ramp(
    name: Name,
    share: Annotated[str, typer.Argument(help="The new share, as 10%.")],
    reason: Reason = "",
    admin: Admin = None,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Set the candidate's share. Raising it keeps everybody who is already in the cohort."""
    from canary.config.quantity import parse_share

    try:
        _order("ramp", name, reason, admin, data, output, share=parse_share(share))
    except ValueError as problem:
        fail(str(problem), code=2)


@app.command(epilog=example('pause support-nov --reason "marketing campaign until Friday"'))
def pause(
    name: Name, reason: Reason = "", admin: Admin = None, data: DataFolder = DATA, output: Form = "text"
) -> None:
    """Stop the ramp's clock; the share stays."""
    _order("pause", name, reason, admin, data, output)


@app.command(epilog=example('resume support-nov --reason "campaign over"'))
def resume(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why it may run again (required).")],
    admin: Admin = None,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Run again: after a rollback from the first step, with fresh evidence."""
    _order("resume", name, reason, admin, data, output)


@app.command(epilog=example('rollback support-nov --reason "complaints from the German desk"'))
def rollback(
    name: Name, reason: Reason = "", admin: Admin = None, data: DataFolder = DATA, output: Form = "text"
) -> None:
    """Take the candidate out now: share 0, until somebody resumes it."""
    _order("rollback", name, reason, admin, data, output)


@app.command(epilog=example('promote support-nov --reason "report of 8 December"'))
def promote(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why (required).")],
    admin: Admin = None,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Send everybody to the candidate. A person's decision, never the machine's."""
    _order("promote", name, reason, admin, data, output)


app.command(epilog=example("status support-nov --watch --until promoted"))(status)
app.command(epilog=example("wait support-nov --timeout 2h --poll 1m"))(wait)
app.command(
    epilog=example('decide support-nov --decision ship --by jane --reason "good enough for billing"')
)(decide)
app.command(epilog=example("simulate --canary support-nov --rate 5 --share 5% --error 20% --weeks 10"))(
    simulate
)
app.command(epilog=example("rules -o /etc/prometheus/canary.rules.yml"))(rules)
app.command(epilog=example("watch --once --bench --match 'gpt-4o*'"))(watch)
app.command(epilog=example("bench gpt-4o-2024-11-20 --failures wrong.csv"))(bench)


def _order(
    order: str,
    name: str,
    reason: str,
    admin: str | None,
    data: Path,
    output: str,
    *,
    share: float | None = None,
) -> None:
    document: dict[str, Any] = {"who": getpass.getuser(), "reason": reason}
    if share is not None:
        document["share"] = share
    path = f"/api/canaries/{quote(name, safe='')}/{order}"
    done = ask(lambda: admin_client(admin, data).post(path, document))
    if output == "json":
        return print_json(done)
    return say(
        f"{name}: {done['state'].replace('_', ' ')}, share {done['share'] * 100:.3g}%, "
        f"confirmed by {done['confirmed']} of {done['workers']} workers"
    )


def _version(asked: bool) -> None:
    if asked:
        print_text(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Try a candidate LLM on a few of your users, and learn whether to ship it."""


def main() -> None:
    """Entry point of the `canary` command."""
    app()
