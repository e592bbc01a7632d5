"""`canary watch`: notices a provider's new model, tells the receivers, and may start its benchmark."""

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
)
from canary.config import Config, ConfigError, load
from canary.interpreter import environment, program

if TYPE_CHECKING:
    from control.release_watcher import BenchmarkResult, WatchResult

LONGEST_S = 6 * 3600.0
_SAYS = {0: "ship", 3: "don't ship", 4: "not enough data to decide"}


def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once and end, as for cron.")] = False,
    every: Annotated[str, typer.Option("--every", help="How often to look, as 1h.")] = "1h",
    bench: Annotated[bool, typer.Option("--bench", help="Start the benchmark of each new model.")] = False,
    match: Annotated[str, typer.Option("--match", help="Only models with such a name, as 'gpt-4o*'.")] = "*",
    next_: Annotated[
        str | None,
        typer.Option(
            "--next", metavar="LINE", help="Put a model that passes into the canary LINE-… of the config."
        ),
    ] = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Watch the providers' lists of models, and tell whom `notify` names of a new one."""
    from canary.config.quantity import parse_duration
    from control.release_watcher import BadMemory, ReleaseWatcher

    try:
        every_s = parse_duration(every)
    except ValueError as problem:
        fail(str(problem), code=2)
    if next_ is not None and not bench:
        fail("--next needs --bench: what has not passed its benchmark follows nobody", code=2)
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
    """The config as it is now; where that is bad, the old one."""
    try:
        return load(file, os.environ)
    except ConfigError as problem:
        say(f"{problem}\nthe old config stays in force")
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
    """A new model's benchmark, and what comes of it in a line of canaries, if one is to go on."""
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
    begins = f"waits for `canary start {canary.name}`" if canary.start_by_hand else "starts by itself"
    return BenchmarkResult(
        says=f"{found.says}; {canary.name} stands in {config} and {begins}", verdict=found.verdict
    )


def _current(line: str | None, config: Path, data: Path) -> str | None:
    """The model that the line's users have; None leaves it to the benchmark."""
    from canary.config.succession import NotNext, line_of

    try:
        found = line_of(line, config, data, os.environ).current if line is not None else None
    except NotNext:
        return None
    return f"{found.provider}/{found.model}" if found is not None else None


def _benchmark(model: str, config: Path, data: Path, against: str | None) -> "tuple[BenchmarkResult, int]":
    """How `canary bench` ended, and how many known issues are still there. It runs in a process of its own:
    whatever it does, watching goes on."""
    from control.release_watcher import BenchmarkResult

    command = program("canary", "bench", model, "-o", "json")
    command += ["--config", str(config), "--data", str(data)]
    command += ["--against", against] if against is not None else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LONGEST_S, check=False, env=environment()
        )
    except subprocess.TimeoutExpired:
        says = f"its benchmark took longer than {LONGEST_S / 3600:g} hours and was ended"
        return BenchmarkResult(says=says, verdict=None), 0
    if done.returncode not in _SAYS:
        why = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return BenchmarkResult(says=f"its benchmark could not be run: {why}", verdict=None), 0
    document = json.loads(done.stdout)
    issues = document["issues"]["still_there"] if document["issues"] is not None else 0
    because = [*document["reasons"], *([f"{issues} known issue(s) still there"] if issues else [])]
    reasons = f" ({'; '.join(because)})" if because else ""
    says = f"its benchmark against {document['baseline']} says {_SAYS[done.returncode]}{reasons}"
    return BenchmarkResult(says=says, verdict=document["verdict"]), issues
