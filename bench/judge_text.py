"""What a judge says in a benchmark's document, for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

Node = Mapping[str, Any]


def head(found: Node) -> str:
    """Which judge, in which words, at which cost."""
    cost = "an unknown cost" if found["cost_usd"] is None else f"${found['cost_usd']:.4g}"
    words = f"words {found['words_sha256'][:8]}"
    return (
        f"What {found['provider']}/{found['model']} says of both answers ({words}, {cost}; decides nothing)"
    )


def table(found: Node) -> Table:
    """A line for each dataset, and for each of its categories."""
    lines = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "pairs", "won", "tie", "lost", "no mark", "preference", "by order", "agrees", "kappa"):
        lines.add_column(name)
    for name, node in _nodes(found):
        lines.add_row(
            name,
            *(str(node[each]) for each in ("pairs", "won", "tie", "lost", "no_mark")),
            _share(node["judged_preference"]),
            "–" if node["order_decided"] is None else f"{100 * node['order_decided']:.0f} %",
            _share(node["agreement"]["share"]),
            _kappa(node["agreement"]["kappa"]),
        )
    return lines


def _nodes(found: Node) -> Iterator[tuple[str, Node]]:
    for dataset in found["datasets"]:
        yield dataset["dataset"], dataset
        if len(dataset["categories"]) > 1:
            for part in dataset["categories"]:
                yield f"  {part['value'] or '(no category)'}", part


def _share(found: Node | None) -> str:
    return "–" if found is None else _interval(found, 100, 0, " %")


def _kappa(found: Node | None) -> str:
    return "–" if found is None else _interval(found, 1, 2, "")


def _interval(found: Node, scale: float, places: int, unit: str) -> str:
    low, estimate, high = (f"{scale * found[name]:.{places}f}" for name in ("low", "estimate", "high"))
    return f"{estimate}{unit} ({low} to {high})"
