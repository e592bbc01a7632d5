"""The release watcher's memory: what to announce, what to benchmark, what waits. Pure: a memory in, a memory
out.

a provider seen for the first time      → all its models are known, without announcements
a model that was never listed before    → to announce to every receiver, to enter as a release, and to
                                          benchmark, if wanted
a receiver that got an announcement     → does not get it again
a model that disappears and returns     → is known
a model that could not be judged        → waits until a part of its basis changes
a benchmark that could not run          → runs again then, or after 1, 2, 4 … hours, at most a day
a model that passed, without a canary   → waits for its canary; its benchmark stands while its basis does
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from common.clock import rfc3339
from control.jobs.retirements import TimelyNotice
from records.facts.retirement import LastDay

FIRST_RETRY_S = 3600.0
LONGEST_RETRY_S = 86_400.0


class PendingModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model that waits. `why` is for a person. `basis` is what its benchmark depended on, by part.

    `passed`: the benchmark says ship, and the canary is missing. `failures` counts the benchmarks in a row
    that could not run; `again_at` is when the next may, UTC seconds, None: only when the basis changes.
    """

    why: str
    basis: dict[str, str]
    passed: bool = False
    failures: int = 0
    again_at: float | None = None


class WatchMemory(msgspec.Struct, frozen=True, kw_only=True):
    """The watcher's memory: models by provider with the time first seen (RFC 3339); the receivers that still
    lack each new model's (`provider/model`) announcement; the models to benchmark; the models that wait; what
    was told of retirements; what providers listed of retirements when it was last stored; the new models that
    are not in the store yet, with the UTC second."""

    known: dict[str, dict[str, str]] = {}
    untold: dict[str, tuple[str, ...]] = {}
    unmeasured: tuple[str, ...] = ()
    pending: dict[str, PendingModel] = {}
    retiring: dict[str, TimelyNotice] = {}
    listed: dict[str, LastDay] = {}
    unnoticed: dict[str, float] = {}


def after_listing(
    memory: WatchMemory,
    provider: str,
    models: Sequence[str],
    *,
    at: float,
    receivers: Sequence[str],
    measure: bool,
    wanted: Callable[[str], bool] = lambda model: True,
) -> tuple[WatchMemory, list[str]]:
    """The memory after reading a provider's list at UTC second `at`, and the wanted new models as
    `provider/model`."""
    before = memory.known.get(provider)
    first_seen = rfc3339(at)
    now = {**dict.fromkeys(models, first_seen), **(before or {})}
    new = [] if before is None else sorted(set(models) - set(before))
    names = [f"{provider}/{model}" for model in new if wanted(model)]
    changed = msgspec.structs.replace(
        memory,
        known={**memory.known, provider: now},
        untold={**memory.untold, **{name: tuple(receivers) for name in names if receivers}},
        unmeasured=(*memory.unmeasured, *(names if measure else ())),
        unnoticed={**dict.fromkeys(names, at), **memory.unnoticed},
    )
    return changed, names


def after_announcing(memory: WatchMemory, left: Mapping[str, Sequence[str]]) -> WatchMemory:
    """The memory after announcing: only the receivers in `left` still lack it."""
    return msgspec.structs.replace(
        memory, untold={name: tuple(receivers) for name, receivers in left.items() if receivers}
    )


def to_benchmark_again(memory: WatchMemory, name: str) -> WatchMemory:
    """The memory in which `name` is to be benchmarked, whatever it waits for."""
    others = (each for each in memory.unmeasured if each != name)
    return msgspec.structs.replace(memory, unmeasured=(name, *others))


def to_look_at(memory: WatchMemory) -> list[str]:
    """The models that wait, the longest first, then those without a benchmark."""
    return list(dict.fromkeys((*memory.pending, *memory.unmeasured)))


def is_due(memory: WatchMemory, name: str, basis: Mapping[str, str], now: float) -> bool:
    """True if a benchmark of `name` is to run: it never did, or what it depended on is now `basis`."""
    waiting = memory.pending.get(name)
    if waiting is None or name in memory.unmeasured or waiting.basis != basis:
        return True
    return waiting.again_at is not None and now >= waiting.again_at


def after_benchmark(memory: WatchMemory, name: str, waiting: PendingModel | None = None) -> WatchMemory:
    """The memory after a benchmark of `name`. It waits, or (None) is done with."""
    others = {each: kept for each, kept in memory.pending.items() if each != name}
    kept = {**memory.pending, name: waiting} if waiting is not None else others
    unmeasured = tuple(each for each in memory.unmeasured if each != name)
    return msgspec.structs.replace(memory, unmeasured=unmeasured, pending=kept)


def after_failure(
    memory: WatchMemory, name: str, why: str, basis: Mapping[str, str], now: float
) -> WatchMemory:
    """The memory after a benchmark of `name` that could not run."""
    before = memory.pending.get(name)
    failures = 1 + (before.failures if before is not None else 0)
    again_at = now + min(FIRST_RETRY_S * 2.0 ** min(failures - 1, 16), LONGEST_RETRY_S)
    waiting = PendingModel(why=why, basis=dict(basis), failures=failures, again_at=again_at)
    return after_benchmark(memory, name, waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """How a new model's benchmark ended, in one line, and its verdict (None: it could not be run).

    `waits`: a person or a later look may still change it. `sane`: it was only a sanity check, which never
    says ship, but is enough for a canary that a person starts. `owners` decide about the model that it was
    compared with.
    """

    says: str
    verdict: str | None
    waits: bool = False
    sane: bool = False
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryUptake:
    """What became of a model that passed, in words. `waits`: its canary could not be prepared yet. `owners`
    decide about that canary."""

    says: str
    waits: bool
    owners: tuple[str, ...] = ()


class ModelTrial(Protocol):
    """How models are tried. A model is `provider/model`."""

    def basis(self, model: str) -> Mapping[str, str]:
        """What the model's benchmark depends on, by part: its datasets, the current model, prices …"""
        ...

    def benchmark(self, model: str) -> BenchmarkResult:
        """Measure the model."""
        ...

    def take_up(self, model: str) -> CanaryUptake | None:
        """Prepare the canary of a model that passed. None: canaries are prepared by people."""
        ...


def look_at(
    memory: WatchMemory,
    trial: ModelTrial,
    *,
    wanted: Callable[[str], bool],
    now: Callable[[], float],
) -> Iterator[tuple[WatchMemory, str, BenchmarkResult | None]]:
    """Benchmark each model that is due, and take up each that passed, one after the other: the memory after
    each, its name, and what to tell of it, if anything."""
    for name in filter(wanted, to_look_at(memory)):
        basis = trial.basis(name)
        if is_due(memory, name, basis, now()):
            memory, told = _benchmarked(memory, trial, name, basis, now)
        elif memory.pending[name].passed:
            memory, told = _taken_up(memory, trial, name)
        else:
            continue
        yield memory, name, told


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
    told = replace(found, says=says, waits=uptake.waits, sane=False)
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
    says = f"its benchmark said ship; {uptake.says}"
    told = BenchmarkResult(says=says, verdict="ship", owners=uptake.owners)
    return after_benchmark(memory, name), told
