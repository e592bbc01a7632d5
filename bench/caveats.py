"""What does not decide a benchmark, but belongs beside its verdict: higher prices, slower answers, gaps."""

from collections.abc import Iterable, Iterator, Mapping

from bench.figures import Figures
from bench.settings import Layer
from bench.statistics import ShareInterval

MUCH = 1.5
"""A ratio whose whole interval is above this is named beside the verdict."""

_WHERE: Mapping[Layer, str] = {"synthetic": " on synthetic tasks", "real": " on real-world tasks"}


def caveats(layers: Mapping[Layer, Figures], missing: Iterable[str]) -> Iterator[str]:
    """The sentences, from each layer's figures and the critical categories without an example."""
    for layer, found in layers.items():
        where = _WHERE[layer] if len(layers) > 1 else ""
        if much := _much(found.cost_ratio):
            yield f"costs {much} as much as the current model{where}"
        if much := _much(found.latency_ratio):
            yield f"takes {much} as long as the current model at p95{where}"
    for category in missing:
        yield f"no example is of the critical category {category}"


def _much(ratio: ShareInterval | None) -> str:
    """10 times (9.8 to 10.2); "" unless the whole interval is above `MUCH`."""
    if ratio is None or ratio.low <= MUCH:
        return ""
    return f"{ratio.estimate:.3g} times ({ratio.low:.3g} to {ratio.high:.3g})"
