"""Which examples are of high and of low confidence."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.figures import Pair

TAG = "confidence"
"""The tag by which the app says how sure it was: `high` or `low`."""

Level = Literal["high", "low"]
_LEVELS: Mapping[str, Level] = {"high": "high", "low": "low"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceLevels:
    """The level of each pair, None if unknown; whose confidence it is, and where that was split."""

    levels: tuple[Level | None, ...]
    by: tuple[str, ...]
    threshold: float | None


def levels(pairs: Sequence[Pair]) -> ConfidenceLevels:
    """Each example's level: the app's word in its tag, else by the current model's confidence, or by the
    candidate's where the current model has none at all.

    Measured confidence is split at its median. The probabilities of different models are not on one scale,
    and training a model to chat costs it calibration (GPT-4 Technical Report, figure 8), so no fixed number
    means the same for two of them. What equals the median is high.
    """
    tagged: list[Level | None] = [_tagged(pair) for pair in pairs]
    whose, measured = _measured(pairs)
    rest = [value for tag, value in zip(tagged, measured, strict=True) if tag is None and value is not None]
    threshold = statistics.median(rest) if rest else None
    return ConfidenceLevels(
        levels=tuple(tag or _level(value, threshold) for tag, value in zip(tagged, measured, strict=True)),
        by=(*(["tags"] if any(tagged) else []), *([whose] if rest else [])),
        threshold=threshold,
    )


def _tagged(pair: Pair) -> Level | None:
    said = pair[0].example.tags.get(TAG)
    return _LEVELS.get(said) if said is not None else None


def _measured(pairs: Sequence[Pair]) -> tuple[str, list[float | None]]:
    current = [baseline.answer.confidence for baseline, _ in pairs]
    if any(value is not None for value in current):
        return "baseline", current
    return "candidate", [None if new is None else new.answer.confidence for _, new in pairs]


def _level(value: float | None, threshold: float | None) -> Level | None:
    if value is None or threshold is None:
        return None
    return "high" if value >= threshold else "low"
