"""How the watcher tries a model: `canary bench` in a process of its own, and the next canary in the file."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.benchmark.run import basis_of
from canary.commands.shell import say
from canary.config import Config
from canary.config.succession import NeverNext, NotNext, follow, line_of
from canary.interpreter import environment, program
from control.jobs.model_news import BenchmarkResult, Uptake
from records.facts.prices import Prices, unpriced_model

LONGEST_S = 6 * 3600.0
_SAYS = {0: "ship", 3: "don't ship", 4: "not enough data to decide"}


@dataclass(slots=True, kw_only=True)
class CommandTrial:
    """A ModelTrial by the config of `file`. `line` is the canary that a model that passes follows, if any.
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
        from canary.commands.bench_archive import settings_now

        return basis_of(settings_now(self.config, self.data), self.file, model, self._current())

    def benchmark(self, model: str) -> BenchmarkResult:
        """Run `canary bench` in its own process, so that a crash does not end the watch."""
        command = [*program("canary", "bench", model, "-o", "json"), "--config", str(self.file)]
        command += ["--data", str(self.data)]
        current = self._current()
        command += ["--against", current] if current is not None else []
        command += ["--quick"] if self.quick else []
        if missing := without_price(model, self.config):
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

    def take_up(self, model: str) -> Uptake | None:
        """Write the model into the file as the next canary of the line."""
        if self.line is None:
            return None
        try:
            canary = follow(
                self.line, self.file, self.data, os.environ, model=model, by_hand=self.quick
            ).canary
        except NotNext as problem:
            waits = not (self.quick or isinstance(problem, NeverNext))
            rest = "; it waits for that to change" if waits else ""
            return Uptake(says=f"no canary was prepared: {problem}{rest}", waits=waits)
        begins = f"waits for `canary start {canary.name}`" if canary.start_by_hand else "starts automatically"
        return Uptake(says=f"{canary.name} is in {self.file} and {begins}", waits=False)

    def _current(self) -> str | None:
        """The model that users have now; None to let the benchmark choose."""
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


def without_price(model: str, config: Config) -> str:
    """What is missing to tell a new model's cost; "" with a price."""
    provider, _, name = model.partition("/")
    prices = Prices(config.prices, config.price_as)
    found = unpriced_model(config.providers[provider], name, prices, arm="new model")
    return next((f"; it has no known price: {each.do}" for each in found), "")
