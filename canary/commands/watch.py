"""`canary watch`: notices new models of the providers, notifies the receivers, and may benchmark them."""

import json
import os
import subprocess
import time
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from canary.commands import shell
from canary.commands.client import AdminClient, ServerNotReached
from canary.config import Config, ConfigError, load
from canary.python_path import environment, program
from control.jobs.model_news import BenchmarkResult, CanaryUptake
from records.facts.prices import unpriced_model
from records.facts.retirement import LastDay

if TYPE_CHECKING:
    from control.jobs.watcher import WatchResult

LONGEST_S = 6 * 3600.0
_SAYS = {0: "ship", 3: "don't ship", 4: "not enough data to decide"}


def watch(
    at: shell.Server,
    once: Annotated[bool, typer.Option("--once", help="Look once and exit, for example from cron.")] = False,
    every: Annotated[str, typer.Option(help="How often to look, for example 1h.")] = "1h",
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
            help="Only check each new model's sanity; --begin then begins a trial that a person must start.",
        ),
    ] = False,
    match: Annotated[
        str, typer.Option(help="Only models whose name matches this pattern, such as 'gpt-6*'.")
    ] = "*",
    begin: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Begin a trial of the standing canary NAME with a model that passes."
        ),
    ] = None,
    again: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Look once, and benchmark this model in any case.")
    ] = None,
) -> None:
    """Watch the providers' lists of models, and notify the receivers in `notify` of each new model."""
    from canary.config.quantity import parse_duration
    from control.jobs.watcher import ReleaseWatcher, WatchError

    with shell.ended_by(ValueError, code=2):
        every_s = parse_duration(every)
    if begin is not None and not (bench or again):
        shell.fail("--begin needs --bench: only a model that passes its benchmark begins", code=2)
    if quick and not (bench or again):
        shell.fail("--quick needs --bench", code=2)
    read = shell.read_config(at.config, at.data)
    if begin is not None and begin not in read.standing:
        shell.fail(f"the config has no standing canary {begin!r} to begin a trial of", code=2)
    trial = CommandTrial(
        config=read, file=at.config, data=at.data, standing=begin, admin=at.admin, quick=quick
    )
    watcher = ReleaseWatcher(
        settings=read.watch,
        data=at.data,
        environment=os.environ,
        match=match,
        trial=trial if bench or again else None,
        again=again,
        notice=lambda models: _notice(trial.config, at.data, models),
        store_listed=lambda models: _store_listed(trial.config, at.data, models),
        rolled_back=lambda: _rolled_back(trial.config, at.data),
        tried=lambda: _tried(trial.config, at.data),
    )
    while True:
        with shell.ended_by(WatchError, OSError):
            found = watcher.look()
        _tell(found, read, at.output)
        if once or again:
            if at.output == "text" and not found.new:
                _tell_of_nothing(found)
            raise typer.Exit(1 if all(count is None for count in found.listed.values()) else 0)
        time.sleep(max(every_s, 1.0))
        read = _newest(at.config, at.data, read)
        trial.configure(read)
        watcher.configure(read.watch)


def _notice(config: Config, data: Path, models: Mapping[str, float]) -> None:
    """Make a release of each model, found at a UTC second. Raises StoreDown."""
    from records.store.releases import Releases

    with closing(config.open_store(data)) as store:
        for model, at in models.items():
            Releases(store).notice(model, at=at)


def _store_listed(config: Config, data: Path, models: Mapping[str, LastDay]) -> None:
    """Store when models retire, for status and page. Raises StoreDown."""
    from records.store.releases import ListedRetirements

    with closing(config.open_store(data)) as store:
        ListedRetirements(store).replace(models)


def _rolled_back(config: Config, data: Path) -> Collection[str]:
    """The models (`provider/model`) whose last canary was rolled back. Raises StoreDown."""
    from records.store.releases import past_canaries

    with closing(config.open_store(data)) as store:
        states = {name: each.state for name, each in store.states().items() if each.state.started_at}
        in_order = sorted(states, key=lambda name: states[name].changed_at or 0.0)
        past = past_canaries(store, {name: states[name] for name in in_order})
    last = {each.release.candidate: each.ending for each in past if each.release is not None}
    return [model for model, ending in last.items() if ending == "rolled_back"]


def _tried(config: Config, data: Path) -> Collection[str]:
    """The models (`provider/model`) that a canary has tried. Raises StoreDown."""
    from records.store.releases import Releases

    with closing(config.open_store(data)) as store:
        releases = Releases(store)
        ran = {each.release for each in releases.runs()}
        return [each.candidate for each in releases.all() if each.id in ran]


def _newest(file: Path, data: Path, old: Config) -> Config:
    """Reload the config; keep the old one if the new one is invalid."""
    try:
        return load(file, os.environ, data.absolute())
    except ConfigError as problem:
        shell.say(f"{problem}\nstill using the old config")
        return old


def _tell(found: "WatchResult", config: Config, output: str) -> None:
    for each in found.troubles:
        shell.say(each)
    today = datetime.now(UTC).date()
    if output == "json":
        measured = {model: asdict(each) for model, each in found.measured.items()}
        about = {"new": list(found.new), "listed": dict(found.listed)}
        about |= {"measured": measured, "pending": dict(found.pending)}
        return shell.print_json({**about, "retiring": [each.document(today) for each in found.retiring]})
    for each in found.new:
        shell.print_text(f"{each} is a new model{_without_price(each, config)}")
    for retired in found.retiring:
        shell.print_text(retired.sentence(today))
    for model, ended in found.measured.items():
        shell.print_text(f"{model}: {ended.says}")
    return None


def _tell_of_nothing(found: "WatchResult") -> None:
    """That a look found nothing new, and what still waits."""
    known = ", ".join(f"{name} lists {count}" for name, count in found.listed.items() if count is not None)
    if known:
        shell.say(f"no new model; {known}")
    for model, why in found.pending.items():
        shell.say(f"{model} waits: {why}")


@dataclass(slots=True, kw_only=True)
class CommandTrial:
    """A ModelTrial by `canary bench` in a process of its own, and by an order to the server. A model that
    passes is begun as a trial of `standing`, if any. `quick`: only a sanity check, and the trial waits for a
    person to start it."""

    config: Config
    file: Path
    data: Path
    standing: str | None
    admin: str | None = None
    quick: bool = False

    def configure(self, config: Config) -> None:
        """Use a changed config."""
        self.config = config

    def basis(self, model: str) -> Mapping[str, str]:
        """What the benchmark depends on, by part."""
        from bench.benchmark.run import basis_of
        from canary.commands.bench_archive import settings_now, stored_issues

        settings, issues = settings_now(self.config, self.data), stored_issues(self.config, self.data)
        return basis_of(settings, self.file, model, self._current(), issues)

    def benchmark(self, model: str) -> BenchmarkResult:
        """Run `canary bench` in its own process, so that a crash does not end the watch."""
        command = [*program("canary", "bench", model, "-o", "json"), "--config", str(self.file)]
        command += ["--data", str(self.data)]
        current = self._current()
        command += ["--against", current] if current is not None else []
        command += ["--quick"] if self.quick else []
        if missing := _without_price(model, self.config):
            shell.say(f"{model}{missing}")
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LONGEST_S, check=False, env=environment()
            )
        except subprocess.TimeoutExpired:
            return _not_run(f"its benchmark was stopped after {LONGEST_S / 3600:g} hours")
        if done.returncode not in _SAYS:
            why = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return _not_run(f"its benchmark failed: {why}")
        document = json.loads(done.stdout)
        found = _result(document, _SAYS[done.returncode], follows=self.standing is not None)
        return replace(found, owners=self._owners(document["baseline"]))

    def take_up(self, model: str) -> CanaryUptake | None:
        """Begin a trial with the model."""
        if self.standing is None:
            return None
        config = _newest(self.file, self.data, self.config)
        if problem := _cannot_begin(config, self.standing, model, by_hand=self.quick):
            return CanaryUptake(says=f"no trial was begun: {problem}", waits=False)
        order = {
            "arm": {"model": model.partition("/")[2]},
            "who": "canary watch",
            "reason": "passed its benchmark",
        }
        order |= {"start": "manual"} if self.quick else {}
        try:
            client = AdminClient(admin=self.admin, data=self.data, environment=os.environ)
            if problem := self._other_baseline(client):
                return CanaryUptake(says=f"no trial was begun: {problem}; it waits for that", waits=True)
            done = client.post(f"/api/standing/{quote(self.standing, safe='')}/begin", order)
        except ServerNotReached as problem:
            rest = "" if self.quick else "; it waits for that to change"
            return CanaryUptake(says=f"no trial was begun: {problem}{rest}", waits=not self.quick)
        name = done["canary"]
        begins = f"waits for `canary start {name}`" if done["start"] == "manual" else "starts automatically"
        owner = config.standing[self.standing].terms.owner
        owners = (owner,) if owner else ()
        return CanaryUptake(says=f"{name} is begun and {begins}", waits=False, owners=owners)

    def _owners(self, baseline: str) -> tuple[str, ...]:
        """Who decides about the canaries with this baseline, as `provider/model`."""
        uses = self.config.uses.get(baseline, ())
        return tuple(dict.fromkeys(each.owner for each in uses if each.part == "baseline" and each.owner))

    def _other_baseline(self, client: AdminClient) -> str:
        """What is wrong if the server's baseline is another one than our store says; "" if nothing is."""
        known = client.get("/api/status")["standing"]
        found = [each["baseline"] for each in known if each["name"] == self.standing]
        given = [f"{each['provider']}/{each['model']}" for each in found]
        if not given or given == [self._current()]:
            return ""
        return (
            f"users have {given[0]}, and by our store {self._current()}, which it was compared with; give "
            "the server's store, or its data folder with --data"
        )

    def _current(self) -> str | None:
        """The model that users have now; None to let the benchmark choose."""
        known = self.config.standing.get(self.standing or "")
        if known is None:
            return None
        found = known.terms.canary.baseline
        return f"{found.provider}/{found.model}"


def _cannot_begin(config: Config, standing: str, model: str, *, by_hand: bool) -> str:
    """Why no trial with the model may begin by itself, whatever becomes of the others; "" if one may."""
    known = config.standing.get(standing)
    if known is None:
        return f"the config has no standing canary {standing!r}"
    provider, _, name = model.partition("/")
    tried = [trial for trial, each in known.begun.trials.items() if each.candidate["model"] == name]
    if provider != known.terms.canary.candidate.provider:
        return f"{model} is not at {known.terms.canary.candidate.provider}"
    if tried:
        return f"{tried[-1]} has tried it"
    terms = known.terms
    rolls_back = any(rule.action == "rollback" for rule in terms.guardrails)
    if by_hand or terms.canary.start_by_hand or (terms.judged.criteria and rolls_back and config.notify):
        return ""
    return f"{standing} has start: auto, which needs a rubric, a guardrail that rolls back, and notify"


def _not_run(says: str) -> BenchmarkResult:
    return BenchmarkResult(says=f"{says}; it is tried again", verdict=None, waits=True)


def _result(document: Mapping[str, Any], says: str, *, follows: bool) -> BenchmarkResult:
    """The result in words. `follows`: a model that passes is to be begun."""
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
        text += "; no trial was begun: known issues are still there"
    text += f"; it waits for {' and '.join(waits_for)}" if waits_for else ""
    return BenchmarkResult(says=text, verdict=verdict, waits=bool(waits_for))


def _checked(document: Mapping[str, Any], text: str, *, follows: bool) -> BenchmarkResult:
    """The result of a sanity check. `follows`: a model that passes is to be begun."""
    if not follows:
        return BenchmarkResult(says=text, verdict=document["verdict"])
    why = _not_enough(document)
    says = f"{text}; no trial was begun: {why}" if why is not None else text
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
    prices = config.known_prices()
    found = unpriced_model(config.providers[provider], name, prices, arm="new model")
    return next((f"; it has no known price: {each.do}" for each in found), "")
