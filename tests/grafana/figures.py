"""Numbers as Grafana's units show them, and round places for an axis."""

import math
from collections.abc import Mapping


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """A value in its unit, short."""
    if not math.isfinite(value):
        return "no data"
    if unit == "percentunit":
        return f"{value * 100:.{1 if decimals is None else decimals}f} %"
    if unit == "s":
        return _seconds(value)
    if unit == "currencyUSD":
        return f"{'-' if value < 0 else ''}${_significant(abs(value), decimals)}"
    ending = {"reqps": " req/s", "wps": " wr/s"}.get(unit, "")
    return _significant(value, decimals) + ending


def _seconds(value: float) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if abs(value) * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return "0 s"


def _significant(value: float, decimals: int | None) -> str:
    """So many places after the point, else three figures, never with an exponent."""
    if decimals is None:
        decimals = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
        return f"{value:,.{decimals}f}".rstrip("0").rstrip(".") if decimals else f"{value:,.0f}"
    return f"{value:,.{decimals}f}"


def ticks(largest: float) -> list[float]:
    """Round places from 0 to at least `largest`: three to six of them."""
    if largest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(largest))
    step = next(power * each for each in (0.2, 0.5, 1.0, 2.0, 5.0) if largest / (power * each) <= 5)
    return [step * place for place in range(math.ceil(largest / step) + 1)]


def name_of(legend: str, labels: Mapping[str, str]) -> str:
    """A series's name by its legend, `{{arm}}` being the label arm."""
    if legend == "__auto":
        return (
            ", ".join(f"{label}={value}" for label, value in labels.items() if label != "__name__") or "value"
        )
    for label, value in labels.items():
        legend = legend.replace("{{" + label + "}}", value)
    return legend
