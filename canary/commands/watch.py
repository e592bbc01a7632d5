"""`canary watch`: notices new models of the providers, notifies the receivers, and may benchmark them."""

import json
import os
import subprocess
import time
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from canary.commands.shell import (
    CONFIG,
    DATA,
    ConfigFile,
    DataFolder,
    Form,
    ended_by,
    fail,
    loaded,
    print_json,
    print_text,
    read_config,
    say,
    without_log_lines,
)
from canary.config import Config, ConfigError
from canary.python_path import environment, program
from control.jobs.model_news import BenchmarkResult, CanaryUptake
from records.facts.prices import Prices, unpriced_model

if TYPE_CHECKING:
    from control.jobs.watcher import WatchResult

LONGEST_S = 6 * 3600.0
_SAYS = {0: "ship", 3: "don't ship", 4: "not enough data to decide"}


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
    from canary.config.quantity import parse_duration
    from control.jobs.watcher import ReleaseWatcher, WatchError

    with ended_by(ValueError, code=2):
        every_s = parse_duration(every)
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
        with ended_by(WatchError, OSError):
            found = watcher.look()
        _tell(found, read, output)
        if once or again:
            raise typer.Exit(1 if all(count is None for count in found.listed.values()) else 0)
        time.sleep(max(every_s, 1.0))
        read = _newest(config, read)
        trial.configure(read)
        watcher.configure(read.watch)


def _notice(config: Config, data: Path, models: Mapping[str, float]) -> None:
    """Make a release of each model, found at a UTC second. Raises StoreDown."""
    from records.store.releases import Releases

    with closing(config.open_store(data)) as store:
        for model, at in models.items():
            Releases(store).notice(model, at=at)


def _rolled_back(config: Config, data: Path) -> Collection[str]:
    """The models (`provider/model`) whose last canary was rolled back. Raises StoreDown."""
    from records.store.releases import past_canaries

    with closing(config.open_store(data)) as store:
        states = {name: each.state for name, each in store.states().items() if each.state.started_at}
        in_order = sorted(states, key=lambda name: states[name].changed_at or 0.0)
        past = past_canaries(store, {name: states[name] for name in in_order})
    last = {each.release.candidate: each.ending for each in past if each.release is not None}
    return [model for model, ending in last.items() if ending == "rolled_back"]


def _newest(file: Path, old: Config) -> Config:
    """Reload the config; keep the old one if the new one is invalid."""
    try:
        return loaded(file)
    except ConfigError as problem:
        say(f"{problem}\nstill using the old config")
        return old


def _tell(found: "WatchResult", config: Config, output: str) -> None:
    for each in found.troubles:
        say(each)
    if output == "json":
        measured = {model: asdict(each) for model, each in found.measured.items()}
        about = {"new": list(found.new), "listed": dict(found.listed)}
        return print_json({**about, "measured": measured, "pending": dict(found.pending)})
    for each in found.new:
        print_text(f"{each} is a new model{_without_price(each, config)}")
    for model, ended in found.measured.items():
        print_text(f"{model}: {ended.says}")
    return None


@dataclass(slots=True, kw_only=True)
class CommandTrial:
    """A ModelTrial by `canary bench` in a process of its own, and by the next canary in the config's `file`.
    `line` is the canary that a model that passes follows, if any.
    `quick`: only a sanity check, and the canary waits for a person to start it."""

    config: Config
    file: Path
    data: Path
    line: str | None
    quick: bool = False

    def configure(self, config: Config) -> None:
        """Use a changed config."""
        self.config = config

    def basis(self, model: str) -> Mapping[str, str]:
        """What the benchmark depends on, by part."""
        from bench.benchmark.run import basis_of
        from canary.commands.bench_archive import settings_now

        return basis_of(settings_now(self.config, self.data), self.file, model, self._current())

    def benchmark(self, model: str) -> BenchmarkResult:
        """Run `canary bench` in its own process, so that a crash does not end the watch."""
        command = [*program("canary", "bench", model, "-o", "json"), "--config", str(self.file)]
        command += ["--data", str(self.data)]
        current = self._current()
        command += ["--against", current] if current is not None else []
        command += ["--quick"] if self.quick else []
        if missing := _without_price(model, self.config):
            say(f"{model}{missing}")
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LONGEST_S, check=False, env=environment()
            )
        except subprocess.TimeoutExpired:
            return _not_run(f"its benchmark was stopped after {LONGEST_S / 3600:g} hours")
        if done.returncode not in _SAYS:
            why = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return _not_run(f"its benchmark failed: {why}")
        return _result(json.loads(done.stdout), _SAYS[done.returncode], follows=self.line is not None)

    def take_up(self, model: str) -> CanaryUptake | None:
        """Write the model into the file as the next canary of the line."""
        from canary.config.next_canary import NeverNext, NotNext, follow

        if self.line is None:
            return None
        try:
            canary = follow(
                self.line, self.file, self.data, os.environ, model=model, by_hand=self.quick
            ).canary
        except NotNext as problem:
            waits = not (self.quick or isinstance(problem, NeverNext))
            rest = "; it waits for that to change" if waits else ""
            return CanaryUptake(says=f"no canary was prepared: {problem}{rest}", waits=waits)
        begins = f"waits for `canary start {canary.name}`" if canary.start_by_hand else "starts automatically"
        return CanaryUptake(says=f"{canary.name} is in {self.file} and {begins}", waits=False)

    def _current(self) -> str | None:
        """The model that users have now; None to let the benchmark choose."""
        from canary.config.next_canary import NotNext, line_of

        if self.line is None:
            return None
        try:
            found = line_of(self.line, self.file, self.data, os.environ).current
        except NotNext:
            return None
        return f"{found.provider}/{found.model}"


def _not_run(says: str) -> BenchmarkResult:
    return BenchmarkResult(says=f"{says}; it is tried again", verdict=None, waits=True)


def _result(document: Mapping[str, Any], says: str, *, follows: bool) -> BenchmarkResult:
    """The result in words. `follows`: a model that passes is to be the next canary."""
    issues = document["issues"]["still_there"] if document["issues"] is not None else 0
    own = document.get("examples", document)
    decides = own if own["verdict"] == document["verdict"] else document
    because = [each.rstrip(".") for each in decides["reasons"]]
    because += [f"{issues} known issue(s) still there"] if issues else []
    reasons = f" ({'; '.join(because)})" if because else ""
    kind = "benchmark" if document["sanity"] is None else "sanity check"
    text = f"its {kind} against {document['baseline']} says {says}{reasons}"
    unpriced = [f"{each['arm']} {each['provider']}/{each['model']}" for each in document["unpriced"]]
    if unpriced:
        text += f"; cost unknown: no price of {', '.join(unpriced)} (add `prices` or `price_as`)"
    verdict = document["verdict"]
    if document["sanity"] is not None:
        return _checked(document, text, follows=follows)
    waits_for = [
        *(["its datasets, the rubric or prices to change"] if verdict == "extend" else []),
        *(["a price"] if unpriced and verdict == "ship" and not follows else []),
        *(["the list of known issues to change"] if issues and verdict == "ship" and follows else []),
    ]
    if issues and verdict == "ship" and follows:
        text += "; no canary was prepared: known issues are still there"
    text += f"; it waits for {' and '.join(waits_for)}" if waits_for else ""
    return BenchmarkResult(says=text, verdict=verdict, waits=bool(waits_for))


def _checked(document: Mapping[str, Any], text: str, *, follows: bool) -> BenchmarkResult:
    """The result of a sanity check. `follows`: a model that passes is to be the next canary."""
    if not follows:
        return BenchmarkResult(says=text, verdict=document["verdict"])
    why = _not_enough(document)
    says = f"{text}; no canary was prepared: {why}" if why is not None else text
    return BenchmarkResult(says=says, verdict=document["verdict"], sane=why is None)


def _not_enough(document: Mapping[str, Any]) -> str | None:
    """Why a sanity check is not enough for a canary; None if it is."""
    check, family = document["sanity"], document["family"]
    if not check["passes"]:
        return f"its sanity check did not pass ({'; '.join(check['against'])})"
    if family is None or not family["last_shipped"]:
        return "a sanity check is enough only after five releases of its vendor that all shipped"
    return None


def _without_price(model: str, config: Config) -> str:
    """What is missing to tell a new model's cost; "" with a price."""
    provider, _, name = model.partition("/")
    prices = Prices(config.prices, config.price_as)
    found = unpriced_model(config.providers[provider], name, prices, arm="new model")
    return next((f"; it has no known price: {each.do}" for each in found), "")
