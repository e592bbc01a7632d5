"""Numbers as text in a guardrail's sentence. None reads as "unknown"."""

from decimal import Decimal

_UNKNOWN = "unknown"


def percent(share: float | None) -> str:
    """A share in [0, 1] as `12.5 %`."""
    return _UNKNOWN if share is None else f"{100.0 * share:.1f} %"


def seconds(value: float | None) -> str:
    """Seconds as `1.24 s`."""
    return _UNKNOWN if value is None else f"{value:.2f} s"


def dollars(value: float | None) -> str:
    """Dollars with four significant digits, never as 5.25e-05."""
    return _UNKNOWN if value is None else f"${Decimal(f'{value:.4g}'):f}"


def times(value: float | None) -> str:
    """A factor as `2.1×`."""
    return _UNKNOWN if value is None else f"{value:.1f}×"


def as_often(ratio: float | None, limit: float) -> str:
    """A risk ratio and its limit. Without a baseline event the ratio is None and left out."""
    shown = "" if ratio is None else f", {times(ratio)} as often"
    return f"{shown} (limit {times(limit)})"


def points(value: float | None) -> str:
    """A rating with two decimals."""
    return _UNKNOWN if value is None else f"{value:.2f}"
