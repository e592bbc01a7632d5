"""How numbers read in a sentence for a person; what is unknown reads as such."""

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
    """A risk ratio beside its limit; without any event of the baseline there is no ratio to tell."""
    told = "" if ratio is None else f", {times(ratio)} as often"
    return f"{told} (limit {times(limit)} as often)"


def points(value: float | None) -> str:
    """A rating with two decimals."""
    return _UNKNOWN if value is None else f"{value:.2f}"
