"""`canary watch`: notices a provider's new model, tells the receivers, and may start its benchmark."""

import json
import os
import subprocess
import sys
import time
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

if TYPE_CHECKING:
    from canary.benching.watching import Found

LONGEST_S = 6 * 3600.0
_VERDICTS = {0: "ship", 3: "don't ship", 4: "too little to tell"}


def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once and end, as for cron.")] = False,
    every: Annotated[str, typer.Option("--every", help="How often to look, as 1h.")] = "1h",
    bench: Annotated[bool, typer.Option("--bench", help="Start the benchmark of each new model.")] = False,
    match: Annotated[str, typer.Option("--match", help="Only models with such a name, as 'gpt-4o*'.")] = "*",
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Watch the providers' lists of models, and tell whom `notify` names of a new one."""
    from canary.benching.watching import BadMemory, Watcher
    from canary.config.quantity import parse_duration

    try:
        every_s = parse_duration(every)
    except ValueError as problem:
        fail(str(problem), code=2)
    watcher = Watcher(
        config=read_config(config),
        data=data,
        environment=os.environ,
        match=match,
        benchmark=(lambda model: _benchmark(model, config, data)) if bench else None,
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


def _tell(found: "Found", output: str) -> None:
    for each in found.troubles:
        say(each)
    if output == "json":
        return print_json({"new": list(found.new), "listed": dict(found.listed)})
    for each in found.new:
        print_text(f"{each} is a new model")
    return None


def _benchmark(model: str, config: Path, data: Path) -> str:
    """How `canary bench` ended, in a process of its own: whatever it does, watching goes on."""
    command = [sys.executable, "-m", "canary", "bench", model, "-o", "json"]
    command += ["--config", str(config), "--data", str(data)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    except subprocess.TimeoutExpired:
        return f"its benchmark took longer than {LONGEST_S / 3600:g} hours and was ended"
    if done.returncode not in _VERDICTS:
        return f"its benchmark could not be run: {(done.stderr.strip().splitlines() or ['no word'])[-1]}"
    document = json.loads(done.stdout)
    reasons = f" ({'; '.join(document['reasons'])})" if document["reasons"] else ""
    return f"its benchmark against {document['baseline']} says {_VERDICTS[done.returncode]}{reasons}"
