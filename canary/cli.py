"""The command line: registers every command with an example of its use, in the order of the help text."""

import errno
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer

from canary import __version__
from canary.commands import archive, callers, dataset, feedback, issues, records, release, shell
from canary.commands.bench import bench
from canary.commands.check import check, schema
from canary.commands.doctor import doctor
from canary.commands.drift import drift
from canary.commands.guardrails import rules, simulate
from canary.commands.init import init
from canary.commands.judge import judge
from canary.commands.orders import decide, pause, promote, ramp, resume, rollback, start
from canary.commands.plan import plan
from canary.commands.preflight import preflight
from canary.commands.prices import prices
from canary.commands.report import report
from canary.commands.serve import demo, mcp, serve
from canary.commands.standing import begin, end, revert, show
from canary.commands.status import explain, status, wait
from canary.commands.watch import watch

COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (init, "init --api openai --model gpt-5.6-terra --users 20000 --critical refund=5%"),
    (serve, "serve --config canary.yaml --workers 4 --data /var/lib/canary"),
    (check, "check --config canary.yaml --users 50000"),
    (schema, "schema > canary.schema.json"),
    (doctor, "doctor --config canary.yaml --data /var/lib/canary"),
    (demo, "demo --keep"),
    (plan, "plan support-nov --users 20000 --assume csat.sd=1.1,escalated=4%"),
    (preflight, "preflight support-nov --from requests.jsonl"),
    (judge, "judge support-nov --pairs 200"),
    (prices, "prices --update"),
    (drift, "drift gpt-5.6-terra --now"),
    (explain, "explain user-17"),
    (report, "report support-nov -o report.html"),
    (begin, "begin support --model gpt-6.1-terra"),
    (start, 'start support-nov --reason "release approved"'),
    (ramp, 'ramp support-nov 10% --reason "three quiet days"'),
    (pause, 'pause support-nov --reason "marketing campaign until Friday"'),
    (resume, 'resume support-nov --reason "campaign over"'),
    (rollback, 'rollback support-nov --reason "complaints from the German desk"'),
    (promote, 'promote support-nov --reason "report of 8 December"'),
    (end, "end support-gpt-6.1-terra"),
    (revert, 'revert support --reason "invents discounts"'),
    (show, "show support -o yaml"),
    (mcp, "mcp --admin https://canary.internal:8081"),
    (status, "status support-nov --watch --until promoted"),
    (wait, "wait support-nov --timeout 2h --report report.md"),
    (decide, 'decide support-nov --decision ship --by jane --reason "good enough for billing"'),
    (simulate, "simulate --canary support-nov --rate 5 --share 5% --error 20% --weeks 10"),
    (rules, "rules -o /etc/prometheus/canary.rules.yml"),
    (watch, "watch --once --bench --match 'gpt-6*'"),
    (bench, "bench gpt-6.1-terra --failures wrong.csv"),
)

app = typer.Typer(
    help="Try a candidate LLM on a small share of your users, and learn whether to ship it.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command, usage in COMMANDS:
    shell.command(app, usage)(command)
for group in (feedback, records, archive, dataset, issues, release, callers):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])


def _version(asked: bool) -> None:
    if asked:
        shell.print_text(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Try a candidate LLM on a small share of your users, and learn whether to ship it."""
    shell.without_log_lines()


def main() -> None:
    """Entry point of the `canary` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals without UTF-8
    try:
        app()
    except OSError as problem:
        if problem.errno != errno.ENOSPC:
            raise
        sys.exit("stdout cannot be written: No space left on device")
