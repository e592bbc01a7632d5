"""Numbers as people read them, one form of each. An unknown one is a dash, never a zero."""

import math
from collections.abc import Callable

UNKNOWN = "–"
_MS_BELOW = 0.1


def percent(share: float | None) -> str:
    """A measured share: 85.2 %, 5.0 %, 0.04 %."""
    return _told(share, lambda size: f"{_digits(100 * size, 1)} %")


def rough_percent(share: float | None) -> str:
    """A share or a change whose decimals are noise: 41 %."""
    return _told(share, lambda size: f"{_digits(100 * size, 0)} %")


def set_percent(share: float | None) -> str:
    """A share that somebody set, as it was written: 5 %, 0.5 %."""
    return _told(share, lambda size: f"{100 * size:.3g} %")


def seconds(value: float | None) -> str:
    """A time: 80 ms, 1.24 s."""
    return _told(
        value,
        lambda size: f"{_digits(1000 * size, 0)} ms" if size < _MS_BELOW else f"{_digits(size, 2)} s",
    )


def seconds_between(low: float, high: float) -> str:
    """A difference's two ends, in the unit of the one further from 0: −24 to +77 ms."""
    small = max(abs(low), abs(high)) < _MS_BELOW
    scale, places, unit = (1000, 0, "ms") if small else (1, 2, "s")
    ends = (f"{'−' if end < 0 else '+'}{_digits(scale * abs(end), places)}" for end in (low, high))
    return f"{' to '.join(ends)} {unit}"


def dollars(value: float | None) -> str:
    """An amount with three significant digits, whole from $100 on: $0.00123, $12.30, $4,900."""
    return _told(value, lambda size: f"${_money(size)}")


def set_dollars(value: float | None) -> str:
    """A budget, and what is spent of it, in cents; below a dollar in three digits where it has them: $5.00,
    $0.50, $0.125, $0.005."""

    def form(size: float) -> str:
        whole, _, part = _money(size).partition(".")
        return f"${whole}.{part.rstrip('0'):0<2}"

    return _told(value, form)


def times(value: float | None) -> str:
    """A factor: 1.2×, 1,240×; two digits of one that rounds to 0: 0.04×. 0× is none at all."""
    return _told(value, lambda size: f"{_digits(size, 1 if 0 < size < 10 else 0)}×")


def decimal(value: float | None) -> str:
    """A number without a unit, as a rating: 4.31."""
    return _told(value, lambda size: _digits(size, 2))


def count(number: float | None, noun: str = "") -> str:
    """1,234; 1 user; 12,000 users."""
    if number is None:
        return UNKNOWN
    return f"{number:,.0f}{f' {noun}' if noun else ''}{'s' if noun and number != 1 else ''}"


def _told(value: float | None, form: Callable[[float], str]) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{'−' if value < 0 else ''}{form(abs(value))}"


def _digits(size: float, places: int) -> str:
    if size >= 1000:
        return f"{size:,.0f}"
    # A value that would round to 0 keeps two significant digits.
    if 1e-4 <= size < 0.5 * 10**-places:
        return f"{size:.2g}"
    return f"{size:.{places}f}"


def _money(size: float) -> str:
    if size >= 100:
        return f"{size:,.0f}"
    if size >= 1 or size == 0:
        return f"{size:.2f}"
    return f"{size:.{max(2, 2 - math.floor(math.log10(size)))}f}"
