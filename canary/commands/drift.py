"""`canary drift`: what becomes of models under their names; and asks the probes at once."""

import asyncio
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from canary.commands import shell

if TYPE_CHECKING:
    from bench.settings import BenchSettings
    from records.store import Store


def drift(
    at: shell.Local,
    model: Annotated[str | None, typer.Argument(help="MODEL or PROVIDER/MODEL; by default all.")] = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="Ask the model the probes at once, again if they raise a suspicion."),
    ] = False,
) -> None:
    """Show what models call themselves, and whether they answer as they did. Exits 3 if one does not."""
    from control.jobs.drift import histories
    from pages.words.drift import history_document, history_lines
    from records.errors import StoreDown

    read = at.read()
    if now and model is None:
        shell.fail("name the model to probe", code=2)
    with shell.opened(read, at.data) as store, shell.ended_by(StoreDown):
        if now and model is not None:
            asyncio.run(_probe(store, read.bench, model))
        found = [each for each in histories(store) if model in (None, each.model, _short(each.model))]
    if model is not None and not found:
        shell.fail(f"nothing is known of {model}: no answer named its model, and it was not probed")
    if at.output == "json":
        shell.print_json({"models": [history_document(each) for each in found]})
    else:
        for each in found:
            shell.print_text("\n".join(history_lines(each)))
        shell.say(f"{len(found)} model(s)")
    if any(each.probed is not None and each.probed.state == "drifted" for each in found):
        raise typer.Exit(3)


async def _probe(store: "Store", settings: "BenchSettings", model: str) -> None:
    """Ask a round, and another while a change is suspected and not confirmed, at most four. Exits 1 if that
    cannot be done."""
    from bench.drift import assess
    from bench.errors import BenchError
    from bench.models.prober import ModelProber
    from control.jobs.drift import probe, since_drift
    from records.store.drift import DriftStore, ProbesSpent

    if settings.probes is None:
        shell.fail("probes need a budget: add `probes: {models: [MODEL], daily_budget: 0.10}`", code=2)
    stored, budget = DriftStore(store), settings.probes.daily_budget_usd
    with shell.ended_by(BenchError):
        prober = ModelProber.of(settings, model, os.environ)
    try:
        for _ in range(4):
            rounds = since_drift(stored, prober.target.name)
            form = rounds[-1].form if rounds else 0
            if not await probe(stored, prober, form, time.time(), budget_usd=budget):
                shell.fail(f"{prober.target.name} answered no prompt")
            if assess(since_drift(stored, prober.target.name)).state != "suspect":
                return
    except ProbesSpent:
        shell.fail("the day's budget has no room for another round")
    finally:
        await prober.close()


def _short(name: str) -> str:
    return name.partition("/")[2]
