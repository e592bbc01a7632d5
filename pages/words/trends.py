"""The archive's trends in sentences and figures, for terminal and page."""

from collections.abc import Callable

from pages.words.figures import label
from pages.words.judge import with_ends
from verdict.archive.trends import Change, Family, TrendStep, Validity
from verdict.statistics.types import Interval
from verdict.terms.measures import Unit

_UNPRICED = "no price"

SAVINGS = "Savings are for all users, and assume that traffic stays as measured."


def family(family: Family) -> str:
    """A vendor family's mean changes; below five releases, only their number."""
    releases = "1 release" if len(family.releases) == 1 else f"{len(family.releases)} releases"
    if len(family.releases) < family.needed:
        return f"{family.vendor}: {releases}; more is said from {_NEEDED} on."
    parts = [
        f"{name} {words}"
        for name, words in (
            ("cost", _mean(family.cost, percent)),
            (
                label(family.accuracy_metric or "accuracy"),
                _mean(family.accuracy, _in_unit(family.accuracy_unit)),
            ),
            ("latency p95", _mean(family.latency, percent)),
        )
        if words
    ]
    known = ", ".join(parts) or f"no change is known of {_NEEDED}"
    last = f"; the last {_NEEDED} all shipped" if family.last_shipped else ""
    return f"{family.vendor}: {releases}, on average: {known}; {family.shipped} shipped{last}."


_NEEDED = "five"


def _mean(found: Interval | None, words: Callable[[Change], str]) -> str:
    if found is None:
        return ""
    return words(Change(low=found.low, estimate=found.estimate, high=found.high))


def accuracy(step: TrendStep) -> str:
    """The change of the metric that stands for accuracy, named, with its interval."""
    if step.accuracy is None or step.accuracy_metric is None:
        return "–"
    return f"{label(step.accuracy_metric)} {_in_unit(step.accuracy_unit)(step.accuracy)}"


def _in_unit(unit: Unit) -> Callable[[Change | None], str]:
    return points if unit == "share" else _number


def validity(validity: Validity) -> str:
    """The correlation of the accuracy on synthetic examples and with users."""
    evaluations = "1 evaluation" if validity.pairs == 1 else f"{validity.pairs} evaluations"
    users = f" (users: {label(validity.metric)})" if validity.metric is not None else ""
    start = f"Do synthetic tasks predict real ones? {evaluations} with the accuracy of both{users}"
    if validity.pairs < validity.needed:
        return f"{start}; their correlation is shown from {validity.needed} on."
    if validity.pearson is None or validity.spearman is None:
        return f"{start}; one of them is constant, so there is no correlation."
    values = (
        f"{name} {found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"
        for name, found in (("Pearson", validity.pearson), ("Spearman", validity.spearman))
    )
    return f"{start}: {', '.join(values)}."


def points(change: Change | None) -> str:
    """A share's change, with its interval."""
    return _change(change, 100, " points")


def _number(change: Change | None) -> str:
    """A change in the metric's own unit, with its interval."""
    return _with_interval(change, lambda value: f"{value:+.2f}".replace("-", "−"))


def percent(change: Change | None) -> str:
    """A relative change, with its interval."""
    return _change(change, 100, " %")


def cost(step: TrendStep) -> str:
    """The relative change of the cost, with its interval."""
    return _UNPRICED if step.unpriced else percent(step.cost)


def judged(step: TrendStep) -> str:
    """The share of pairs in which a judge preferred the candidate's answer, with its interval."""
    return "–" if step.judged is None else with_ends(step.judged)


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
