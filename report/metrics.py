"""A rubric's metric name, and the values of a sample that it stands for."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from records.metric import Metric
from report.sample import Sample
from report.statistics.types import Bools, Floats, Ints

_LEVELS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class UnknownMetric(ValueError):
    """A rubric's metric that is neither measured nor declared; the message lists what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """One metric's values, (m,) each; `row` is the exchange in the sample.

    `level` is set where the metric is a quantile; `logarithmic` where arms compare as a ratio; `bounds` where
    no value can lie outside. `feedback` marks values that not every unit gives, `exposed` (units,) the units
    that could.
    """

    row: Ints
    value: Floats
    exposed: Bools
    level: float | None = None
    logarithmic: bool = False
    bounds: tuple[float, float] | None = None
    feedback: bool = False

    def only(self, rows: Bools) -> "Observations":
        """Those whose exchange is marked in `rows`, (n,)."""
        return self.where(rows[self.row])

    def where(self, kept: Bools) -> "Observations":
        """Those marked in `kept`, (m,)."""
        return Observations(
            row=self.row[kept],
            value=self.value[kept],
            exposed=self.exposed,
            level=self.level,
            logarithmic=self.logarithmic,
            bounds=self.bounds,
            feedback=self.feedback,
        )


def quantile_level(name: str) -> float | None:
    """.95 for latency_p95 and ttft_p95; None where the metric is no quantile."""
    stem, _, level = name.rpartition("_")
    return _LEVELS.get(level) if stem in ("latency", "ttft") else None


def known(name: str, metrics: Mapping[str, Metric]) -> bool:
    """True for a measured metric and for one declared in `metrics`."""
    measured = name in ("error_rate", "cost_per_request") or quantile_level(name) is not None
    return measured or name in metrics


def observe(sample: Sample, name: str, metrics: Mapping[str, Metric], *, now: float) -> Observations:
    """The metric's values in the sample as of `now`, UTC seconds; raises UnknownMetric."""
    if not known(name, metrics):
        raise UnknownMetric(
            f"{name!r} is no metric: use error_rate, cost_per_request, latency_p95 (or p50, p90, p99), "
            f"ttft_p95, or one declared under `metrics:` ({', '.join(sorted(metrics))})"
        )
    if name in metrics:
        return _feedback(sample, metrics[name], now)
    everyone = np.ones(len(sample.units), dtype=np.bool_)
    if name == "error_rate":
        row = np.flatnonzero(sample.counts)
        failed = sample.failed[row].astype(np.float64)
        return Observations(row=row, value=failed, exposed=everyone, bounds=(0.0, 1.0))
    if name == "cost_per_request":
        row = _present(sample, sample.cost_usd)
        return Observations(row=row, value=sample.cost_usd[row], exposed=everyone, logarithmic=True)
    column = sample.latency_s if name.startswith("latency_") else sample.ttft_s
    row = _present(sample, column)
    level = quantile_level(name)
    return Observations(row=row, value=column[row], exposed=everyone, level=level, logarithmic=True)


def _present(sample: Sample, column: Floats) -> Ints:
    return np.flatnonzero(sample.counts & ~np.isnan(column))


def _feedback(sample: Sample, metric: Metric, now: float) -> Observations:
    """Only units first exposed at least `matures_after_s` ago, and only what they said within that time."""
    first = sample.first_at()
    matured = first + metric.matures_after_s <= now
    ratings = sample.feedback.get(metric.name)
    if ratings is None:
        none = np.zeros(0, dtype=np.int64)
        return Observations(row=none, value=np.zeros(0), exposed=matured, feedback=True)
    unit = sample.unit[ratings.row]
    kept = matured[unit] & (ratings.at <= now)
    if metric.matures_after_s > 0:
        kept &= ratings.at <= first[unit] + metric.matures_after_s
    return Observations(
        row=ratings.row[kept],
        value=_points(metric, ratings.value[kept]),
        exposed=matured,
        bounds=_bounds(metric),
        feedback=True,
    )


def _bounds(metric: Metric) -> tuple[float, float] | None:
    if metric.kind == "nps":
        return -100.0, 100.0
    return None if metric.low is None or metric.high is None else (metric.low, metric.high)


def _points(metric: Metric, values: Floats) -> Floats:
    """NPS is the share of promoters (9, 10) less that of detractors (0 to 6), times 100."""
    if metric.kind != "nps":
        return values
    return np.where(values >= 9, 100.0, np.where(values <= 6, -100.0, 0.0))
