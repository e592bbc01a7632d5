"""Interleaved rounds of turns, and their medians, spreads, and ratios within a round."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contender import Way
from benchmarks.prober import BrokenAnswersError, Prober
from benchmarks.turn import Figures, Lengths, Load, LoopTurn

ADDED = ("p50_ms", "p99_ms", "ttft_p50_ms", "ttft_p99_ms", "delay_p50_ms", "delay_p99_ms")
SUMMED = ("exchange", "paced", "fast")
ROLES = ("worker", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSection:
    """Contenders measured together.

    rows: the figures shown, by key. base: the contender for ratios; None: no ratios.
    """

    title: str
    ways: Sequence[Way]
    loads: Sequence[Load]
    rows: dict[str, str]
    base: str | None = "nginx"
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class SectionResult:
    """A section's rounds, per contender, with notes on missing contenders and figures."""

    section: BenchSection
    rounds: list[dict[str, Figures]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds, and the median of its ratios to the base contender in the same round."""

    median: float
    low: float
    high: float
    ratio: float | None


def take(section: BenchSection, prober: Prober, lengths: Lengths, folder: Path) -> SectionResult:
    """Run a section's rounds. The order rotates, so that a slow minute affects all contenders."""
    taken = SectionResult(section)
    for number in range(section.rounds):
        shift = number % len(section.ways)
        figures: dict[str, Figures] = {}
        for way in [*section.ways[shift:], *section.ways[:shift]]:
            if way.name not in taken.notes:
                figures[way.name] = _turn(way, section.loads, prober, lengths, folder, taken.notes)
        taken.rounds.append(figures)
        sys.stderr.write(f"{section.title}: round {number + 1} of {section.rounds}\n")
    return complete(taken)


def _turn(
    way: Way, loads: Sequence[Load], prober: Prober, lengths: Lengths, folder: Path, notes: dict[str, str]
) -> Figures:
    """A turn's figures; for a peer, those that it could measure."""
    figures: Figures = {}
    try:
        with way.start() as contender:
            turn = LoopTurn(prober, contender, lengths, folder)
            for load in (LoopTurn.warm_up, *loads):
                try:
                    figures |= load(turn)
                except BrokenAnswersError as exc:
                    if not way.optional:
                        raise
                    notes[f"{way.name}, {load.__name__}"] = str(exc)
    except (RuntimeError, OSError) as exc:
        if not way.optional:
            raise RuntimeError(f"{way.name}: {exc}") from exc
        notes[way.name] = f"not run: {exc}"
    return figures


def complete(taken: SectionResult) -> SectionResult:
    """Add the figures that follow from the others of the same round."""
    _add_latencies(taken.rounds)
    for figures in taken.rounds:
        for found in figures.values():
            _add_sums(found)
    return taken


def _add_sums(found: Figures) -> None:
    """CPU µs of all processes of a contender together; the direct way has none."""
    for kind in SUMMED:
        costs = [found[f"{kind}_{role}_us"] for role in ROLES if f"{kind}_{role}_us" in found]
        if costs:
            found[f"{kind}_all_us"] = sum(costs)


def _add_latencies(rounds: list[dict[str, Figures]]) -> None:
    """Latency in excess of the direct way, within each round."""
    for figures in rounds:
        direct = figures.get("direct", {})
        for name, found in figures.items():
            for key in ADDED:
                if name != "direct" and key in found and key in direct:
                    found[f"added_{key}"] = found[key] - direct[key]


def spread(taken: SectionResult, key: str, name: str) -> Spread | None:
    """One figure of one contender over the rounds; None if a round lacks it."""
    values = [figures.get(name, {}).get(key) for figures in taken.rounds]
    found = [value for value in values if value is not None]
    if not found or len(found) < len(values):
        return None
    return Spread(
        statistics.median(found), min(found), max(found), ratio(taken, key, name, taken.section.base)
    )


def ratio(taken: SectionResult, key: str, name: str, base: str | None) -> float | None:
    """The median over the rounds of the ratio of two contenders' figures.

    A base without an admin process is compared by all of its processes.
    """
    if base is None or name in (base, "direct"):
        return None
    pairs = [
        (figures.get(name, {}).get(key), _base_figure(figures.get(base, {}), key)) for figures in taken.rounds
    ]
    ratios = [
        mine / theirs for mine, theirs in pairs if mine is not None and theirs is not None and theirs > 0
    ]
    return statistics.median(ratios) if len(ratios) == len(pairs) else None


def _base_figure(found: Figures, key: str) -> float | None:
    return found.get(key, found.get(key.replace("_admin_us", "_all_us")))
