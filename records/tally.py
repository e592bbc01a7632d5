"""Counters, gauges and histograms as plain dicts: cheap to update, easy to snapshot. Used by `meters`."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

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


class Level:
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
