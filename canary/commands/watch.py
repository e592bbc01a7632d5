"""`canary watch`: notices new models of the providers, notifies the receivers, and may benchmark them."""

import os
import time
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from canary.commands.shell import (
    CONFIG,
    DATA,
    ConfigFile,
    DataFolder,
    Form,
    fail,
    print_json,
    print_text,
    read_config,
    say,
    without_log_lines,
)
from canary.config import Config, ConfigError, load

if TYPE_CHECKING:
    from control.jobs.watcher import WatchResult


def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once and exit, for example from cron.")] = False,
    every: Annotated[str, typer.Option("--every", help="How often to look, for example 1h.")] = "1h",
    bench: Annotated[
        bool,
        typer.Option(
            "--bench", help="Benchmark each new model, and again when what it waits for has changed."
        ),
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Only check each new model's sanity; --next then writes a canary that a person must start.",
        ),
    ] = False,
    match: Annotated[
        str, typer.Option("--match", help="Only models whose name matches this pattern, such as 'gpt-6*'.")
    ] = "*",
    next_: Annotated[
        str | None,
        typer.Option(
            "--next",
            metavar="NAME",
            help="Write a model that passes into the config's canary NAME or NAME-….",
        ),
    ] = None,
    again: Annotated[
        str | None,
        typer.Option("--again", metavar="MODEL", help="Look once, and benchmark this model in any case."),
    ] = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Watch the providers' lists of models, and notify the receivers in `notify` of each new model."""
    from canary.commands.model_trial import CommandTrial
    from canary.config.quantity import parse_duration
    from control.jobs.watcher import ReleaseWatcher, WatchError

    try:
        every_s = parse_duration(every)
    except ValueError as problem:
        fail(str(problem), code=2)
    if next_ is not None and not (bench or again):
        fail("--next needs --bench: only a model that passes its benchmark can be next", code=2)
    if quick and not (bench or again):
        fail("--quick needs --bench", code=2)
    without_log_lines()
    read = read_config(config)
    trial = CommandTrial(config=read, file=config, data=data, line=next_, quick=quick)
    watcher = ReleaseWatcher(
        settings=read.watch,
        data=data,
        environment=os.environ,
        match=match,
        trial=trial if bench or again else None,
        again=again,
        notice=lambda models: _notice(trial.config, data, models),
        rolled_back=lambda: _rolled_back(trial.config, data),
    )
    while True:
        try:
            found = watcher.look()
        except (WatchError, OSError) as problem:
            fail(str(problem))
        _tell(found, read, output)
        if once or again:
            raise typer.Exit(1 if all(count is None for count in found.listed.values()) else 0)
        time.sleep(max(every_s, 1.0))
        read = _newest(config, read)
        trial.configure(read)
        watcher.configure(read.watch)


def _notice(config: Config, data: Path, models: Mapping[str, float]) -> None:
    """Make a release of each model, found at a UTC second. Raises StoreDown."""
    from canary.config.store import open_store
    from records.store.releases import Releases

    with closing(open_store(config, data)) as store:
        for model, at in models.items():
            Releases(store).notice(model, at=at)


def _rolled_back(config: Config, data: Path) -> Collection[str]:
    """The models (`provider/model`) whose last canary was rolled back. Raises StoreDown."""
    from canary.config.store import open_store
    from records.store.releases import past_canaries

    with closing(open_store(config, data)) as store:
        states = {name: each.state for name, each in store.states().items() if each.state.started_at}
        in_order = sorted(states, key=lambda name: states[name].changed_at or 0.0)
        past = past_canaries(store, {name: states[name] for name in in_order})
    last = {each.release.candidate: each.ending for each in past if each.release is not None}
    return [model for model, ending in last.items() if ending == "rolled_back"]


def _newest(file: Path, old: Config) -> Config:
    """Reload the config; keep the old one if the new one is invalid."""
    try:
        return load(file, os.environ)
    except ConfigError as problem:
        say(f"{problem}\nstill using the old config")
        return old


def _tell(found: "WatchResult", config: Config, output: str) -> None:
    from canary.commands.model_trial import without_price

    for each in found.troubles:
        say(each)
    if output == "json":
        measured = {model: asdict(each) for model, each in found.measured.items()}
        about = {"new": list(found.new), "listed": dict(found.listed)}
        return print_json({**about, "measured": measured, "pending": dict(found.pending)})
    for each in found.new:
        print_text(f"{each} is a new model{without_price(each, config)}")
    for model, ended in found.measured.items():
        print_text(f"{model}: {ended.says}")
    return None
