"""Bounds of metrics, as rubrics have them: absolute, or relative to the baseline."""

import re
from dataclasses import dataclass
from typing import Literal

Comparison = Literal["<", "<=", ">", ">="]

_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_UNIT = r"\s*(%|pp|ms|s)?"
_ABSOLUTE = re.compile(rf"(<=|>=|<|>)\s*(?:\$\s*)?(-?){_NUMBER}{_UNIT}")
_RANGE = re.compile(rf"(<=|>=|<|>)?\s*(?:\$\s*)?{_NUMBER}\s*(?:%\s*)?[-–]\s*{_NUMBER}{_UNIT}")
_OFFSET = re.compile(rf"(<=|>=|<|>)\s*baseline(?:\s*([+-])\s*{_NUMBER}{_UNIT})?")
_FACTOR = re.compile(rf"(<=|>=|<|>)\s*{_NUMBER}\s*(?:x|×|\*)\s*baseline")

_COMPARISONS: dict[str, Comparison] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
_SCALE = {"": 1.0, "%": 0.01, "pp": 0.01, "ms": 0.001, "s": 1.0}

FORMS = (
    'write ">= 85%", "< 2s", "< 0.12" or "> 4.1", '
    'or against the baseline ">= baseline - 2%", ">= baseline - 2pp", "<= 1.2x baseline"'
)


class BadBound(ValueError):
    """A bound that cannot be parsed, or a pair that cannot be judged; the message says what is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """`metric comparison value`, or with `relative`, `metric comparison factor·baseline + offset`.

    Values are in the metric's unit: shares in [0, 1], seconds, dollars, rating points. `text` is the bound as
    written.
    """

    comparison: Comparison
    text: str
    value: float = 0.0
    relative: bool = False
    factor: float = 1.0
    offset: float = 0.0

    @property
    def higher_is_better(self) -> bool:
        return self.comparison in (">", ">=")

    def at(self, baseline: float) -> float:
        """The bound's value for this value of the baseline, in the metric's unit."""
        return self.factor * baseline + self.offset if self.relative else self.value


def parse_bound(text: str) -> Bound:
    """Parse a bound.

    Absolute: a number, optionally in `%` (`85%` is .85), `ms` or `s`. A range such as `85–92%` means its more
    lenient end, at least 85 %. Relative: `baseline - 2%` is .98 times the baseline, `- 2pp` two percentage
    points, `- 0.1` the metric's unit, `1.2x baseline` a factor. Raises BadBound for anything else.
    """
    trimmed = text.strip()
    for pattern, read in _FORMS:
        if found := pattern.fullmatch(trimmed):
            return read(text, found)
    raise BadBound(f"{text!r} is not a bound: {FORMS}{_reason(trimmed)}")


def _reason(text: str) -> str:
    return "" if text.startswith(("<", ">")) else "; it must start with <, <=, > or >="


def _absolute(text: str, found: re.Match[str]) -> Bound:
    comparison, sign, number, unit = found.groups()
    if unit == "pp":
        raise BadBound(f"{text!r}: pp is a distance from the baseline; write an absolute share in %")
    value = float(sign + number) * _SCALE[unit or ""]
    return Bound(comparison=_COMPARISONS[comparison], text=text, value=value)


def _range(text: str, found: re.Match[str]) -> Bound:
    comparison, first, second, unit = found.groups()
    ends = sorted(float(end) * _SCALE[unit or ""] for end in (first, second))
    floor = comparison is None or comparison.startswith(">")
    return Bound(comparison=_COMPARISONS[comparison or ">="], text=text, value=ends[0] if floor else ends[1])


def _offset(text: str, found: re.Match[str]) -> Bound:
    comparison, sign, number, unit = found.groups()
    step = (float(number) * _SCALE[unit or ""] if number else 0.0) * (-1 if sign == "-" else 1)
    if unit == "%":
        return _relative(comparison, text, factor=1 + step, offset=0.0)
    return _relative(comparison, text, factor=1.0, offset=step)


def _factor(text: str, found: re.Match[str]) -> Bound:
    comparison, number = found.groups()
    return _relative(comparison, text, factor=float(number), offset=0.0)


def _relative(comparison: str, text: str, *, factor: float, offset: float) -> Bound:
    if factor <= 0:
        raise BadBound(f"{text!r}: the factor of the baseline must be above 0")
    return Bound(comparison=_COMPARISONS[comparison], text=text, relative=True, factor=factor, offset=offset)


_FORMS = ((_ABSOLUTE, _absolute), (_RANGE, _range), (_OFFSET, _offset), (_FACTOR, _factor))
