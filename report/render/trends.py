"""The archive's trends in sentences and figures, the same in a terminal and on a page."""

from collections.abc import Callable

from report.archive_trends import Change, Family, Validity

SAVINGS = "Savings are for all users at the traffic measured, and take for granted that it stays so."


def family(family: Family) -> str:
    """What a vendor family's models changed, on average."""
    parts = [
        _way(family.cost, 100, " %", "cheaper", "dearer"),
        _way(family.accuracy, 100, " points", "less accurate", "more accurate"),
        _way(family.latency, 100, " %", "faster", "slower"),
    ]
    known = ", ".join(part for part in parts if part) or "nothing measured on both arms"
    runs = "1 evaluation" if family.evaluations == 1 else f"{family.evaluations} evaluations, on average"
    return f"{family.vendor}: {runs}: {known}; {family.shipped} to ship."


def _way(value: float | None, scale: float, unit: str, below: str, above: str) -> str | None:
    if value is None:
        return None
    return f"{abs(value) * scale:.1f}{unit} {below if value < 0 else above}"


def validity(validity: Validity) -> str:
    """What synthetic scores say of real ones."""
    start = f"Synthetic against real scores: {validity.pairs} evaluation(s) with both"
    if validity.pairs < validity.needed:
        return f"{start}; nothing is said below {validity.needed}."
    if validity.pearson is None or validity.spearman is None:
        return f"{start}; one of the scores never changed, so there is nothing to correlate."
    values = (
        f"{name} {found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"
        for name, found in (("Pearson", validity.pearson), ("Spearman", validity.spearman))
    )
    return f"{start}: {', '.join(values)}."


def points(change: Change | None) -> str:
    """A share's change, with its interval."""
    return _change(change, 100, " points")


def percent(change: Change | None) -> str:
    """A part's change, with its interval."""
    return _change(change, 100, " %")


def dollars(change: Change | None) -> str:
    """A saving a month, with its interval."""
    return _told(change, lambda value: f"−${-value:,.0f}" if value < 0 else f"${value:,.0f}")


def _change(change: Change | None, scale: float, unit: str) -> str:
    return _told(change, lambda value: f"{value * scale:+.1f}".replace("-", "−"), unit)


def _told(change: Change | None, words: Callable[[float], str], unit: str = "") -> str:
    """The estimate, and in brackets what it may be; an end that is not known is not told."""
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
