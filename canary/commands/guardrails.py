"""`canary simulate` and `rules`: a config's guardrails on simulated traffic, and as a Prometheus rules file.
Needs no server."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import typer
import yaml

from canary.commands import shell
from canary.config.quantity import parse_duration, parse_share
from records.outcome import Fault

ERRORS, COSTS, LATENCIES = ("50%", "25%"), ("3x",), ("4s",)
"""The bad candidates to try if the command names none."""


def simulate(
    canary: Annotated[str | None, typer.Option(help="The canary, if the config has several.")] = None,
    weeks: Annotated[
        int, typer.Option(min=0, help="Weeks to simulate with equal arms, to count false alarms.")
    ] = 20,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each bad candidate.")] = 100,
    rate: Annotated[float, typer.Option(min=0.001, help="Requests per second, both arms together.")] = 1.0,
    users: Annotated[int, typer.Option(min=2, help="Number of users; a few send most requests.")] = 2000,
    share: Annotated[
        str | None, typer.Option(help="The candidate's share. Default: the first step's.")
    ] = None,
    base_error: Annotated[str, typer.Option(help="Error rate of a healthy arm.")] = "1%",
    base_latency: Annotated[str, typer.Option(help="Latency p95 of a healthy arm.")] = "1800ms",
    steps: Annotated[
        float, typer.Option(min=0.0, help="Agents: requests come in sessions of so many on average.")
    ] = 0.0,
    error: Annotated[
        list[str] | None, typer.Option(help="Try a candidate with this error rate, for example 25%.")
    ] = None,
    cost: Annotated[
        list[str] | None, typer.Option(help="Try a candidate with this cost ratio, for example 3x.")
    ] = None,
    latency: Annotated[
        list[str] | None, typer.Option(help="Try a candidate with this latency p95, for example 4s.")
    ] = None,
    hang: Annotated[
        list[str] | None, typer.Option(help="Try a candidate that never answers, for example 100%.")
    ] = None,
    more_steps: Annotated[
        list[str] | None, typer.Option(help="Try a candidate that takes so many steps, say 3x.")
    ] = None,
    stuck: Annotated[
        list[str] | None, typer.Option(help="Try a candidate that repeats a call in so many sessions.")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="Try a candidate with an answer fault, say empty=25%.")
    ] = None,
    within: Annotated[str, typer.Option(help="Longest simulated time of a bad candidate's run.")] = "6h",
    seed: Annotated[int, typer.Option(help="The random seed; the same seed gives the same figures.")] = 1,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per core.")] = None,
    config: shell.ConfigFile = shell.CONFIG,
    output: shell.Form = "text",
) -> None:
    """Simulate a canary's guardrails: count false alarms, and time how fast they catch a bad candidate."""
    from alerts.simulation.trials import Killed, SimulationQuestion, answer
    from pages.reports.simulation import show
    from pages.status.terminal import Progress

    named = error or cost or latency or hang or more_steps or stuck or fault
    try:
        wanted = shell.canary_of(shell.read_config(config), canary, by=" with --canary")
        question = SimulationQuestion(
            weeks=weeks,
            runs=runs,
            rate=rate,
            users=users,
            share=wanted.canary.steps[0].share if share is None else parse_share(share),
            base_error=parse_share(base_error),
            base_latency_s=parse_duration(base_latency),
            steps=steps,
            errors=tuple(parse_share(each) for each in error or (() if named else ERRORS)),
            costs=tuple(_factor(each) for each in cost or (() if named else COSTS)),
            latencies_s=tuple(parse_duration(each) for each in latency or (() if named else LATENCIES)),
            hangs=tuple(parse_share(each) for each in hang or ()),
            more_steps=tuple(_factor(each) for each in more_steps or ()),
            stuck=tuple(parse_share(each) for each in stuck or ()),
            faults=tuple(_fault(each) for each in fault or ()),
            within_s=parse_duration(within),
            seed=seed,
        )
    except ValueError as problem:
        shell.fail(str(problem), code=2)
    simulated = partial(
        answer, wanted.canary.name, wanted.guardrails, question, jobs=jobs or os.cpu_count() or 1
    )
    with shell.ended_by(Killed):
        if output == "json":
            shell.print_json(simulated(on_estimate=lambda _: None, on_progress=lambda *_: None))
            return
        with Progress(sys.stderr) as progress:
            document = simulated(on_estimate=shell.say, on_progress=progress.show)
    show(document)


def _factor(text: str) -> float:
    try:
        return float(text.strip().removesuffix("x"))
    except ValueError:
        raise ValueError(f'"{text}" is not a cost ratio; write, for example, 3x') from None


def _fault(text: str) -> tuple[Fault, float]:
    name, _, share = text.partition("=")
    known = {each: each for each in get_args(Fault)}
    if name not in known or not share:
        raise ValueError(f'"{text}" is no answer fault; write one of {", ".join(known)}, as in empty=25%')
    return known[name], parse_share(share)


def rules(
    canary: Annotated[str | None, typer.Option(help="Write only this canary's guardrails.")] = None,
    config: shell.ConfigFile = shell.CONFIG,
    runbooks: Annotated[
        str, typer.Option(help="Folder or URL of the runbook pages (NAME.md).")
    ] = "docs/runbooks",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A file, or json to print JSON instead of YAML.")
    ] = None,
) -> None:
    """Write a Prometheus rules file: an alert per guardrail, and alerts about the server.

    Works with the server down."""
    from alerts.prometheus import rules_text

    read = shell.read_config(config)
    wanted = read.canaries
    if canary is not None:
        shell.must_not_stand(read, canary)
        wanted = {canary: shell.canary_of(read, canary)}
    text = rules_text({name: each.guardrails for name, each in wanted.items()}, runbooks=runbooks)
    if output is None:
        typer.echo(text, nl=False)
        return
    if str(output) == "json":
        shell.print_json(yaml.safe_load(text))
        return
    with shell.writing(output):
        output.write_text(text)
    shell.say(f"{output}: written; check it with `promtool check rules {output}`")
