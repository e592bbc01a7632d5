"""Prints the figures: a table per section, with a column per contender."""

from collections.abc import Sequence
from typing import Any

from benchmarks.rounds import SectionResult, Spread, ratio, spread
from benchmarks.sections import COMPILED, PLAIN

NONE = "–"


def lines(taken: SectionResult) -> list[str]:
    """A section as a table. Rows and contenders without figures are omitted; notes say why."""
    names = [way.name for way in taken.section.ways if any(figures.get(way.name) for figures in taken.rounds)]
    header = ["", *names]
    rows = [
        [label, *(_cell(spread(taken, key, name)) for name in names)]
        for key, label in taken.section.rows.items()
    ]
    shown = [row for row in rows if any(cell != NONE for cell in row[1:])]
    remarks = {way.name: way.remark for way in taken.section.ways if way.remark} | taken.notes
    return [_heading(taken), *_aligned([header, *shown]), *map(": ".join, remarks.items()), ""]


def _heading(taken: SectionResult) -> str:
    section = taken.section
    rounds = f"median (low–high) of {section.rounds} rounds" if section.rounds > 1 else "one round"
    return f"{section.title}: {rounds}" + (f", ×ratio to {section.base} in it" if section.base else "")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]


def _cell(found: Spread | None) -> str:
    if found is None:
        return NONE
    text = number(found.median)
    if found.low != found.high:
        text += f" ({number(found.low)}–{number(found.high)})"
    return text + (f" ×{number(found.ratio)}" if found.ratio is not None else "")


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def per_core(taken: SectionResult) -> list[str]:
    """canary's requests per core relative to each other contender's, in words."""
    found = [_per_core(taken, way.name) for way in taken.section.ways if way.name in (PLAIN, COMPILED)]
    lines = [line for line in found if line]
    return [*lines, ""] if lines else []


def _per_core(taken: SectionResult, name: str) -> str:
    found = []
    for way in taken.section.ways:
        whole = ratio(taken, "per_core_whole", name, way.name)
        worker = ratio(taken, "per_core", name, way.name)
        if whole is not None and worker is not None and way.name not in (PLAIN, COMPILED):
            found.append(f"×{number(whole)} {way.name}'s (worker alone ×{number(worker)})")
    return f"Requests per core of all processes, {name}: {', '.join(found)}." if found else ""


def document(taken: SectionResult) -> dict[str, Any]:
    """The section as JSON, with every figure of every round."""
    summary: dict[str, Any] = {}
    keys = {key for figures in taken.rounds for found in figures.values() for key in found}
    for key in sorted(keys):
        for way in taken.section.ways:
            found = spread(taken, key, way.name)
            if found is not None:
                summary.setdefault(key, {})[way.name] = {
                    "median": found.median,
                    "low": found.low,
                    "high": found.high,
                    "ratio": found.ratio,
                }
    return {"figures": summary, "rounds": taken.rounds, "notes": taken.notes}
