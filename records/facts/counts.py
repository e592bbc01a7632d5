"""Counts over batches of outcomes: alike ones together, those of callers, those that no canary took.

Counters, gauges and histograms are plain dicts: cheap to update, easy to snapshot.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, get_args

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from records.outcome import ErrorType, Outcome, OutcomeName
from routing.caller import TAG

Labels = tuple[str, ...]


class Tally:
    """A counter with labels."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str]) -> None:
        self.name, self.help_text, self.labels = name, help_text, tuple(labels)
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        """Add `amount`."""
        self.values[labels] = self.values.get(labels, 0.0) + amount

    def family(self) -> CounterMetricFamily:
        """As Prometheus shows it."""
        family = CounterMetricFamily(self.name.removesuffix("_total"), self.help_text, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family

    def snapshot(self) -> list[Any]:
        return [[*labels, value] for labels, value in self.values.items()]

    def restore(self, rows: Sequence[Sequence[Any]]) -> None:
        self.values = {tuple(row[:-1]): float(row[-1]) for row in rows if len(row) == len(self.labels) + 1}


class Gauge:
    """A gauge with labels. Its values are replaced together and do not survive the process."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str]) -> None:
        self.name, self.help_text, self.labels = name, help_text, tuple(labels)
        self.values: dict[Labels, float] = {}

    def family(self) -> GaugeMetricFamily:
        """As Prometheus shows it."""
        family = GaugeMetricFamily(self.name, self.help_text, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


class Histogram:
    """A histogram with labels. `bounds` are the upper bounds of the buckets, ascending, without +Inf."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.name, self.help_text, self.labels = name, help_text, tuple(labels)
        self.bounds = tuple(bounds)
        self._texts = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self.values: dict[Labels, list[float]] = {}  # one count per bucket, then the sum

    def observe(self, labels: Labels, values: Sequence[float]) -> None:
        """Count these values."""
        if not values:
            return
        cells, bounds = self.values.get(labels), self.bounds
        if cells is None:
            cells = self.values[labels] = [0.0] * (len(bounds) + 2)
        for value in values:
            cells[bisect_left(bounds, value)] += 1.0
        cells[-1] += sum(values)

    def family(self) -> HistogramMetricFamily:
        """Return the Prometheus family, with cumulative buckets."""
        family = HistogramMetricFamily(self.name, self.help_text, labels=self.labels)
        for labels, cells in self.values.items():
            total, buckets = 0.0, []
            for text, count in zip(self._texts, cells[:-1], strict=True):
                total += count
                buckets.append((text, total))
            family.add_metric(labels, buckets, sum_value=cells[-1])
        return family

    def snapshot(self) -> list[Any]:
        return [[*labels, cells] for labels, cells in self.values.items()]

    def restore(self, rows: Sequence[Sequence[Any]]) -> None:
        width = len(self.bounds) + 2
        fitting = (row for row in rows if len(row) == len(self.labels) + 1 and len(row[-1]) == width)
        self.values = {tuple(row[:-1]): [float(cell) for cell in row[-1]] for row in fitting}


# Counts of each caller's requests, by how they ended. The proxy sets a caller's name, from the config.


MOST_LEFT = 1000
"""Names that left the config whose counts are kept; then the first of them are forgotten."""

_LABELS = ("caller", "outcome")


class CallerCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`requests` of one caller in one batch that ended alike. `refused`: by the proxy itself. `at`: UTC
    seconds of the newest."""

    caller: str
    outcome: OutcomeName
    refused: bool
    requests: int
    at: float


class CallerTally(Tally):
    """Requests by caller and outcome, of names that are or were in the config. Those that left are not
    shown, and are kept, so that a counter does not fall when they come back."""

    def __init__(self) -> None:
        super().__init__("canary_caller_requests_total", "Requests by caller and outcome", _LABELS)
        self._shown: frozenset[str] = frozenset()

    def show(self, callers: frozenset[str]) -> None:
        """Show these callers, from 0 those that are new."""
        self._shown = callers
        gone = list(dict.fromkeys(caller for caller, _ in self.values if caller not in callers))
        for key in product(gone[: max(0, len(gone) - MOST_LEFT)], get_args(OutcomeName)):
            self.values.pop(key, None)
        for key in product(callers, get_args(OutcomeName)):
            self.add(key, 0.0)

    def count(self, counts: Iterable[CallerCount]) -> None:
        """Count requests; those of unknown names are left out."""
        for each in counts:
            if (key := (each.caller, each.outcome)) in self.values:
                self.add(key, each.requests)

    def family(self) -> CounterMetricFamily:
        """As Prometheus shows it."""
        shown = Tally(self.name, self.help_text, self.labels)
        shown.values = {key: value for key, value in self.values.items() if key[0] in self._shown}
        return shown.family()


def callers_in(outcomes: Iterable[Outcome]) -> list[CallerCount]:
    """The counts in one batch, without mirror copies, which nobody sent."""
    found: dict[tuple[str, OutcomeName, bool], list[float]] = {}
    for each in outcomes:
        caller = each.tags.get(TAG) if each.tags else None
        if caller and not each.mirror:
            refused = each.outcome == "caller_error" and not each.attempts
            found.setdefault((caller, each.outcome, refused), []).append(each.at)
    return [CallerCount(*key, len(times), max(times)) for key, times in found.items()]


# Counts of the LLM requests that no canary took, by minute and model. Callers choose the model names.


MOST_MODELS, LONGEST_NAME = 50, 128
REST = "other models"
"""Stands for the models beyond the most frequent ones."""


NO_UNIT = "no_unit"
REFUSALS: tuple[ErrorType, ...] = ("caller_not_found", "caller_unauthorized", "caller_rejected")
"""A provider's refusals of what a caller sent: no arm is to blame, so no guardrail sees them."""


class UnmatchedCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`minute` is UTC seconds divided by 60. `model` is as requested, "" if the request named none.

    With `no_lane`, canaries match these requests, and no lane has their units; the model is "". `refused`:
    how many requests of the minute the provider refused, by error type; the first count of a minute has it.
    """

    minute: int
    model: str
    requests: int
    no_lane: bool = False
    refused: Mapping[str, int] = {}


def troubles_in(outcome: Outcome) -> Iterator[str]:
    """Why the request does its canary no good: `no_unit`, and the error type of its provider's refusal."""
    if outcome.reason == NO_UNIT:
        yield NO_UNIT
    if outcome.error_type in REFUSALS and outcome.status is not None:  # the provider's own status
        yield str(outcome.error_type)


def is_llm_request(outcome: Outcome) -> bool:
    """True for a request to an LLM operation; mirror copies are nobody's request."""
    return outcome.operation not in ("", "other") and not outcome.mirror


def unmatched_in(outcomes: Iterable[Outcome]) -> list[UnmatchedCount]:
    """The counts in one batch, with at most MOST_MODELS names a minute."""
    taken_by_none = [each for each in outcomes if not each.canary and is_llm_request(each)]
    counts = Counter(
        [(int(each.at // 60), each.model_requested) for each in taken_by_none if _unmatched(each)]
    )
    rest = Counter([int(each.at // 60) for each in taken_by_none if not _unmatched(each)])
    minutes: dict[int, Counter[str]] = {}
    for (minute, model), requests in counts.items():
        minutes.setdefault(minute, Counter())[_shown(model)] += requests
    refused = _refused(taken_by_none)
    return [
        UnmatchedCount(minute, model, requests, refused=refused.pop(minute, {}))
        for minute, models in minutes.items()
        for model, requests in _most_frequent(models).items()
    ] + [UnmatchedCount(minute, "", requests, no_lane=True) for minute, requests in rest.items()]


def _refused(outcomes: Iterable[Outcome]) -> dict[int, Counter[str]]:
    """By minute, how many requests that matched no canary the provider refused, by error type."""
    found: dict[int, Counter[str]] = {}
    for each in outcomes:
        if each.error_type in REFUSALS and each.status is not None and _unmatched(each):
            found.setdefault(int(each.at // 60), Counter())[str(each.error_type)] += 1
    return found


def _unmatched(outcome: Outcome) -> bool:
    return outcome.reason != "no_lane"


def _most_frequent(models: Counter[str]) -> Counter[str]:
    kept = Counter(dict(models.most_common(MOST_MODELS)))
    return kept + Counter({REST: models.total() - kept.total()})


def _shown(model: str) -> str:
    """A name that a terminal can print."""
    return "".join(each if each.isprintable() else "�" for each in model[:LONGEST_NAME])


# Groups the outcomes of a batch, so that counters are updated once for each group.


Alike = Sequence[Outcome]
"""Outcomes, at least one, that differ only in ids, times, amounts, models, and what a caller named."""


def alike(outcomes: Iterable[Outcome]) -> list[Alike]:
    """Group outcomes, in order of each group's first."""
    groups: dict[tuple[object, ...], list[Outcome]] = {}
    for each in outcomes:
        key = (
            each.canary,
            each.run,
            each.arm,
            each.mirror,
            each.reason,
            each.outcome,
            each.error_type,
            each.finish,
            each.faults,
            each.output_check,
            each.operation,
            each.stream,
        )
        group = groups.get(key)
        if group is None:
            groups[key] = [each]
        else:
            group.append(each)
    return list(groups.values())
