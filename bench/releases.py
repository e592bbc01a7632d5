"""Tracks new models: what to announce and what to benchmark. Pure: a memory in, a memory out.

a provider seen for the first time      → all its models are known, without announcements
a model that was never listed before    → to announce to every receiver, and to benchmark, if wanted
a receiver that got an announcement     → does not get it again
a model that disappears and returns     → is known
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec


class WatchMemory(msgspec.Struct, frozen=True, kw_only=True):
    """The watcher's memory: models by provider with the time first seen (RFC 3339); the receivers that still
    lack each new model's (`provider/model`) announcement; the models still to benchmark."""

    known: dict[str, dict[str, str]] = {}
    untold: dict[str, tuple[str, ...]] = {}
    unmeasured: tuple[str, ...] = ()


def after_listing(
    memory: WatchMemory,
    provider: str,
    models: Sequence[str],
    *,
    at: str,
    receivers: Sequence[str],
    measure: bool,
    wanted: Callable[[str], bool] = lambda model: True,
) -> tuple[WatchMemory, list[str]]:
    """The memory after reading a provider's list, and the wanted new models as `provider/model`."""
    before = memory.known.get(provider)
    now = {**dict.fromkeys(models, at), **(before or {})}
    new = [] if before is None else sorted(set(models) - set(before))
    names = [f"{provider}/{model}" for model in new if wanted(model)]
    return (
        WatchMemory(
            known={**memory.known, provider: now},
            untold={**memory.untold, **{name: tuple(receivers) for name in names if receivers}},
            unmeasured=(*memory.unmeasured, *(names if measure else ())),
        ),
        names,
    )


def after_announcing(memory: WatchMemory, left: Mapping[str, Sequence[str]]) -> WatchMemory:
    """The memory after announcing: only the receivers in `left` still lack it."""
    return msgspec.structs.replace(
        memory, untold={name: tuple(receivers) for name, receivers in left.items() if receivers}
    )


def after_benchmark(memory: WatchMemory, name: str) -> WatchMemory:
    """The memory after a benchmark of `name`, however it ended."""
    return msgspec.structs.replace(
        memory, unmeasured=tuple(each for each in memory.unmeasured if each != name)
    )
