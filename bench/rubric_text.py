"""The rubric's rows and the totals by traffic of a benchmark's document, for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from rich.table import Table

from bench.measurement import Unit
from bench.row_words import number

Node = Mapping[str, Any]

_UNITS: dict[str, Unit] = {name: name for name in get_args(Unit)}
_STATES = {"INCONCLUSIVE": "open", "NODATA": "no data"}


def rows(document: Node) -> Table | None:
    """The rubric's rows, None without any."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "acceptable", "current", "candidate", "", ""):
        table.add_column(name)
    for row in document.get("rubric", ()):
        unit, interval = _UNITS[row["unit"]], row["interval"]
        table.add_row(
            row["metric"],
            row["acceptable"],
            _number(row["baseline"], unit),
            _number(row["candidate"], unit),
            "" if interval is None else " to ".join(number(end, unit) for end in interval),
            _STATES.get(row["state"], row["state"].lower()),
        )
    return table if table.row_count else None


def by_traffic(document: Node) -> Iterator[str]:
    """A line for each dataset with weights."""
    for layer in document["layers"]:
        for dataset in layer["datasets"]:
            if (found := dataset.get("weighted")) is not None:
                yield f"{dataset['dataset']} {_totals(found)}"


def _totals(found: Node) -> str:
    parts = [f"{name} {_share(found[key])}" for name, key in _SIDES if found[key] is not None]
    if (lost := found["difference"]) is not None:
        low, middle, high = (f"{100 * lost[name]:+.1f}" for name in ("low", "estimate", "high"))
        parts.append(f"{middle} points ({low} to {high})")
    covered = f", {100 * found['covered']:.0f} % of it" if found["covered"] < 0.995 else ""
    return f"weighted by the traffic of {found['at'][:10]}{covered}: {', '.join(parts)}"


_SIDES = (("current", "baseline"), ("candidate", "candidate"))


def _share(found: Node) -> str:
    low, middle, high = (100 * found[name] for name in ("low", "estimate", "high"))
    return f"{middle:.1f} % ({low:.0f}–{high:.0f})"


def _number(value: float | None, unit: Unit) -> str:
    return "–" if value is None else number(value, unit)
