"""`canary watch`: notices new models of the providers, notifies the receivers, and may benchmark them."""

import json
import os
import subprocess
import time
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
from canary.interpreter import environment, program

if TYPE_CHECKING:
    from control.release_watcher import BenchmarkResult, WatchResult

LONGEST_S = 6 * 3600.0
_SAYS = {0: "ship", 3: "don't ship", 4: "not enough data to decide"}


def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once and exit, for example from cron.")] = False,
    every: Annotated[str, typer.Option("--every", help="How often to look, for example 1h.")] = "1h",
    bench: Annotated[bool, typer.Option("--bench", help="Benchmark each new model.")] = False,
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
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Watch the providers' lists of models, and notify the receivers in `notify` of each new model."""
    from canary.config.quantity import parse_duration
    from control.release_watcher import BadMemory, ReleaseWatcher

    try:
        every_s = parse_duration(every)
    except ValueError as problem:
        fail(str(problem), code=2)
    if next_ is not None and not bench:
        fail("--next needs --bench: only a model that passes its benchmark can be next", code=2)
    without_log_lines()
    read = read_config(config)
    watcher = ReleaseWatcher(
        providers=list(read.providers.values()),
        notify=read.notify,
        data=data,
        environment=os.environ,
        match=match,
        benchmark=(lambda model: _measured(model, config, data, next_)) if bench else None,
    )
    while True:
        try:
            found = watcher.look()
        except (BadMemory, OSError) as problem:
            fail(str(problem))
        _tell(found, output)
        if once:
            raise typer.Exit(1 if all(count is None for count in found.listed.values()) else 0)
        time.sleep(max(every_s, 1.0))
        read = _newest(config, read)
        watcher.providers, watcher.notify = list(read.providers.values()), read.notify


def _newest(file: Path, old: Config) -> Config:
    """Reload the config; keep the old one if the new one is invalid."""
    try:
        return load(file, os.environ)
    except ConfigError as problem:
        say(f"{problem}\nstill using the old config")
        return old


def _tell(found: "WatchResult", output: str) -> None:
    for each in found.troubles:
        say(each)
    if output == "json":
        measured = {model: asdict(each) for model, each in found.measured.items()}
        return print_json({"new": list(found.new), "listed": dict(found.listed), "measured": measured})
    for each in found.new:
        print_text(f"{each} is a new model")
    for model, ended in found.measured.items():
        print_text(f"{model}: {ended.says}")
    return None


def _measured(model: str, config: Path, data: Path, line: str | None) -> "BenchmarkResult":
    """Benchmark a new model. If it passes and `--next` was given, write it into the config."""
    from canary.config.succession import NotNext, follow
    from control.release_watcher import BenchmarkResult

    found, issues = _benchmark(model, config, data, _current(line, config, data))
    if line is None or found.verdict != "ship":
        return found
    try:
        if issues:
            raise NotNext("known issues are still there")
        canary = follow(line, config, data, os.environ, model=model).canary
    except NotNext as problem:
        return BenchmarkResult(says=f"{found.says}; no canary was prepared: {problem}", verdict=found.verdict)
    begins = f"waits for `canary start {canary.name}`" if canary.start_by_hand else "starts automatically"
    return BenchmarkResult(
        says=f"{found.says}; {canary.name} is in {config} and {begins}", verdict=found.verdict
    )


def _current(line: str | None, config: Path, data: Path) -> str | None:
    """The model that users have now; None to let the benchmark choose."""
    from canary.config.succession import NotNext, line_of

    try:
        found = line_of(line, config, data, os.environ).current if line is not None else None
    except NotNext:
        return None
    return f"{found.provider}/{found.model}" if found is not None else None


def _benchmark(model: str, config: Path, data: Path, against: str | None) -> "tuple[BenchmarkResult, int]":
    """Run `canary bench` in its own process, so that a crash does not end the watch. Returns its result and
    the number of known issues that remain."""
    from control.release_watcher import BenchmarkResult

    command = program("canary", "bench", model, "-o", "json")
    command += ["--config", str(config), "--data", str(data)]
    command += ["--against", against] if against is not None else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LONGEST_S, check=False, env=environment()
        )
    except subprocess.TimeoutExpired:
        says = f"its benchmark was stopped after {LONGEST_S / 3600:g} hours"
        return BenchmarkResult(says=says, verdict=None), 0
    if done.returncode not in _SAYS:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return BenchmarkResult(says=f"its benchmark failed: {why}", verdict=None), 0
    document = json.loads(done.stdout)
    issues = document["issues"]["still_there"] if document["issues"] is not None else 0
    because = [*document["reasons"], *([f"{issues} known issue(s) still there"] if issues else [])]
    reasons = f" ({'; '.join(because)})" if because else ""
    says = f"its benchmark against {document['baseline']} says {_SAYS[done.returncode]}{reasons}"
    if unpriced := [f"{each['arm']} {each['provider']}/{each['model']}" for each in document["unpriced"]]:
        says += f"; cost unknown: no price of {', '.join(unpriced)} (add `prices` or `price_as`)"
    return BenchmarkResult(says=says, verdict=document["verdict"]), issues
