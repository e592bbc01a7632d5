"""`canary simulate`: what a canary's guardrails would do on made-up traffic. Asks no server."""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from canary.commands.shell import CONFIG, ConfigFile, Form, fail, print_json, read_config, say
from canary.config.quantity import parse_duration, parse_share

if TYPE_CHECKING:
    from control.settings import CanarySettings

ERRORS, COSTS, LATENCIES = ("50%", "25%"), ("3x",), ("4s",)
"""The bad candidates that are tried where none is named."""

Name = Annotated[str | None, typer.Option("--canary", help="Whose guardrails, where there are several.")]
Weeks = Annotated[int, typer.Option("--weeks", min=0, help="Weeks of equal arms, for the false alarms.")]
Runs = Annotated[int, typer.Option("--runs", min=1, help="Runs of each bad candidate.")]
Rate = Annotated[float, typer.Option("--rate", min=0.001, help="Requests a second, of both arms.")]
Users = Annotated[int, typer.Option("--users", min=2, help="How many send them; a few send most.")]
Share = Annotated[str | None, typer.Option("--share", help="The candidate's; by default the first step's.")]
BaseError = Annotated[str, typer.Option("--base-error", help="What fails in a healthy arm.")]
BaseLatency = Annotated[str, typer.Option("--base-latency", help="The p95 of a healthy arm.")]
Errors = Annotated[list[str] | None, typer.Option("--error", help="A candidate that fails so often.")]
Costs = Annotated[list[str] | None, typer.Option("--cost", help="One that costs so many times as much.")]
Latencies = Annotated[list[str] | None, typer.Option("--latency", help="One with such a p95.")]
Within = Annotated[str, typer.Option("--within", help="When a run with a bad candidate is given up.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same figures.")]
Jobs = Annotated[int | None, typer.Option("--jobs", min=1, help="Processes; by default one a core.")]


def simulate(
    canary: Name = None,
    weeks: Weeks = 20,
    runs: Runs = 100,
    rate: Rate = 1.0,
    users: Users = 2000,
    share: Share = None,
    base_error: BaseError = "1%",
    base_latency: BaseLatency = "1800ms",
    error: Errors = None,
    cost: Costs = None,
    latency: Latencies = None,
    within: Within = "6h",
    seed: Seed = 1,
    jobs: Jobs = None,
    config: ConfigFile = CONFIG,
    output: Form = "text",
) -> None:
    """Say how often a canary's guardrails act wrongly, and how soon rightly, on made-up traffic."""
    from alerts.simulation import Killed, Question, answer
    from canary.commands.progress import Progress
    from canary.commands.simulated_table import show

    named = error or cost or latency
    try:
        wanted = _chosen(read_config(config).canaries, canary)
        question = Question(
            weeks=weeks,
            runs=runs,
            rate=rate,
            users=users,
            share=wanted.canary.steps[0].share if share is None else parse_share(share),
            base_error=parse_share(base_error),
            base_latency_s=parse_duration(base_latency),
            errors=tuple(parse_share(each) for each in error or (() if named else ERRORS)),
            costs=tuple(_factor(each) for each in cost or (() if named else COSTS)),
            latencies_s=tuple(parse_duration(each) for each in latency or (() if named else LATENCIES)),
            within_s=parse_duration(within),
            seed=seed,
        )
    except ValueError as problem:
        fail(str(problem), code=2)
    jobs = jobs or os.cpu_count() or 1
    try:
        if output == "json":
            print_json(
                answer(
                    wanted.canary.name,
                    wanted.guardrails,
                    question,
                    jobs=jobs,
                    on_estimate=lambda _: None,
                    on_progress=lambda *_: None,
                )
            )
            return
        with Progress(sys.stderr) as progress:
            document = answer(
                wanted.canary.name,
                wanted.guardrails,
                question,
                jobs=jobs,
                on_estimate=say,
                on_progress=progress.show,
            )
    except Killed as problem:
        fail(str(problem))
    show(document)


def _factor(text: str) -> float:
    try:
        return float(text.strip().removesuffix("x"))
    except ValueError:
        raise ValueError(f'"{text}" is no factor of the baseline\'s cost; write 3x or 3') from None


def _chosen(canaries: Mapping[str, "CanarySettings"], name: str | None) -> "CanarySettings":
    """The canary of that name, or the only one. Raises ValueError with the names there are."""
    if name is None and len(canaries) == 1:
        return next(iter(canaries.values()))
    if name is None or name not in canaries:
        raise ValueError(f"say which with --canary; the config has: {', '.join(canaries) or 'none'}")
    return canaries[name]
