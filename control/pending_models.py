"""Benchmarks the models that are new or wait, and takes up those that passed. How is passed in."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from control.watch_memory import (
    PendingModel,
    WatchMemory,
    after_benchmark,
    after_failure,
    is_due,
    to_look_at,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """How a new model's benchmark ended, in one line, and its verdict (None: it could not be run).

    `waits`: a person or a later look may still change it. `sane`: it was only a sanity check, which never
    says ship, but is enough for a canary that a person starts.
    """

    says: str
    verdict: str | None
    waits: bool = False
    sane: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Uptake:
    """What became of a model that passed, in words. `waits`: its canary could not be prepared yet."""

    says: str
    waits: bool


class ModelTrial(Protocol):
    """How models are tried. A model is `provider/model`."""

    def basis(self, model: str) -> Mapping[str, str]:
        """What the model's benchmark depends on, by part: its datasets, the current model, prices …"""
        ...

    def benchmark(self, model: str) -> BenchmarkResult:
        """Measure the model."""
        ...

    def take_up(self, model: str) -> Uptake | None:
        """Prepare the canary of a model that passed. None: canaries are prepared by people."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNews:
    """The memory after one model, and what to tell of it, if anything."""

    memory: WatchMemory
    model: str
    told: BenchmarkResult | None


def look_at(
    memory: WatchMemory,
    trial: ModelTrial,
    *,
    wanted: Callable[[str], bool],
    now: Callable[[], float],
) -> Iterator[ModelNews]:
    """Benchmark each model that is due, and take up each that passed, one after the other."""
    for name in filter(wanted, to_look_at(memory)):
        basis = trial.basis(name)
        if is_due(memory, name, basis, now()):
            memory, told = _benchmarked(memory, trial, name, basis, now)
        elif memory.pending[name].passed:
            memory, told = _taken_up(memory, trial, name)
        else:
            continue
        yield ModelNews(memory=memory, model=name, told=told)


def _benchmarked(
    memory: WatchMemory,
    trial: ModelTrial,
    name: str,
    basis: Mapping[str, str],
    now: Callable[[], float],
) -> tuple[WatchMemory, BenchmarkResult | None]:
    before, asked_for = memory.pending.get(name), name in memory.unmeasured
    found = trial.benchmark(name)
    if found.verdict is None:
        known = before is not None and before.why == found.says and not asked_for
        return after_failure(memory, name, found.says, basis, now()), None if known else found
    if not (found.verdict == "ship" or found.sane) or found.waits:
        waiting = PendingModel(why=found.says, basis=dict(basis)) if found.waits else None
        return after_benchmark(memory, name, waiting), found
    uptake = trial.take_up(name)
    if uptake is None:
        return after_benchmark(memory, name), found
    waiting = PendingModel(why=uptake.says, basis=dict(basis), passed=True) if uptake.waits else None
    says = f"{found.says}; {uptake.says}"
    told = BenchmarkResult(says=says, verdict=found.verdict, waits=uptake.waits)
    return after_benchmark(memory, name, waiting), told


def _taken_up(
    memory: WatchMemory, trial: ModelTrial, name: str
) -> tuple[WatchMemory, BenchmarkResult | None]:
    """Take up a model whose benchmark stands. While it still waits, there is nothing new to tell."""
    uptake = trial.take_up(name)
    if uptake is None:
        return memory, None
    if uptake.waits:
        waiting = memory.pending[name]
        changed = PendingModel(why=uptake.says, basis=waiting.basis, passed=True)
        return after_benchmark(memory, name, changed), None
    told = BenchmarkResult(says=f"its benchmark said ship; {uptake.says}", verdict="ship")
    return after_benchmark(memory, name), told
