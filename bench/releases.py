"""Which models are new, and what is still to be done about them. Pure: a memory in, a memory out.

a provider seen for the first time      → all its models are known, and nobody is told
a model that was never listed before    → to be told to every receiver, and to be measured, if wanted
a receiver that was told                → is not told again
a model that is gone, and comes again   → is known
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec


class WatchMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What the watcher knows: models by provider, with when they were first seen (RFC 3339); whom each new
    one (`provider/model`) is still to be told to; and which are still to be measured."""

    known: dict[str, dict[str, str]] = {}
    untold: dict[str, tuple[str, ...]] = {}
    unmeasured: tuple[str, ...] = ()


def looked(
    memory: WatchMemory,
    provider: str,
    models: Sequence[str],
    *,
    at: str,
    receivers: Sequence[str],
    measure: bool,
    wanted: Callable[[str], bool] = lambda model: True,
) -> tuple[WatchMemory, list[str]]:
    """After a look at a provider's list: the memory, and the new models that are wanted, with provider."""
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


def told(memory: WatchMemory, left: Mapping[str, Sequence[str]]) -> WatchMemory:
    """After telling: only `left` are still to be told."""
    return msgspec.structs.replace(
        memory, untold={name: tuple(receivers) for name, receivers in left.items() if receivers}
    )


def measured(memory: WatchMemory, name: str) -> WatchMemory:
    """After a benchmark, however it ended."""
    return msgspec.structs.replace(
        memory, unmeasured=tuple(each for each in memory.unmeasured if each != name)
    )
