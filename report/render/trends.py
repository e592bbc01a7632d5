"""The archive's trends in sentences and figures, for terminal and page."""

from collections.abc import Callable

from report.archive_trends import Change, Family, TrendStep, Validity

_UNPRICED = "no price"

SAVINGS = "Savings are for all users, and assume that traffic stays as measured."


def family(family: Family) -> str:
    """The mean changes of a vendor family's models."""
    parts = [
        _direction(family.cost, 100, " %", "cheaper", "more expensive"),
        _direction(family.accuracy, 100, " points", "less accurate", "more accurate"),
        _direction(family.latency, 100, " %", "faster", "slower"),
    ]
    known = ", ".join(part for part in parts if part) or "nothing measured in both arms"
    runs = "1 evaluation" if family.evaluations == 1 else f"{family.evaluations} evaluations, on average"
    return f"{family.vendor}: {runs}: {known}; {family.shipped} to ship."


def _direction(value: float | None, scale: float, unit: str, below: str, above: str) -> str | None:
    if value is None:
        return None
    return f"{abs(value) * scale:.1f}{unit} {below if value < 0 else above}"


def validity(validity: Validity) -> str:
    """The correlation of synthetic and real scores."""
    evaluations = "1 evaluation" if validity.pairs == 1 else f"{validity.pairs} evaluations"
    start = f"Synthetic against real scores: {evaluations} with both"
    if validity.pairs < validity.needed:
        return f"{start}; a correlation needs {validity.needed}."
    if validity.pearson is None or validity.spearman is None:
        return f"{start}; one of the scores is constant, so there is no correlation."
    values = (
        f"{name} {found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"
        for name, found in (("Pearson", validity.pearson), ("Spearman", validity.spearman))
    )
    return f"{start}: {', '.join(values)}."


def points(change: Change | None) -> str:
    """A share's change, with its interval."""
    return _change(change, 100, " points")


def percent(change: Change | None) -> str:
    """A relative change, with its interval."""
    return _change(change, 100, " %")


def cost(step: TrendStep) -> str:
    """The relative change of the cost, with its interval."""
    return _UNPRICED if step.unpriced else percent(step.cost)


def saving(step: TrendStep) -> str:
    """The monthly saving, with its interval."""
    return _UNPRICED if step.unpriced else dollars(step.saving_usd_month)


def dollars(change: Change | None) -> str:
    """Dollars, with their interval."""
    return _with_interval(change, lambda value: f"−${-value:,.0f}" if value < 0 else f"${value:,.0f}")


def _change(change: Change | None, scale: float, unit: str) -> str:
    return _with_interval(change, lambda value: f"{value * scale:+.1f}".replace("-", "−"), unit)


def _with_interval(change: Change | None, words: Callable[[float], str], unit: str = "") -> str:
    """The estimate with its interval in brackets, without unknown ends."""
    if change is None:
        return "–"
    low, high = change.low, change.high
    if low is not None and high is not None:
        ends = f"{words(low)} to {words(high)}"
    elif low is not None:
        ends = f"at least {words(low)}"
    else:
        ends = f"at most {words(high)}" if high is not None else "no interval"
    return f"{words(change.estimate)}{unit} ({ends})"
