"""The config as the rooms take it: their own records, frozen, with nothing of the file left in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from alerts.receiver import Receiver
from alerts.rule import Rule
from bench.source import Source
from canary.config.server import ServerSettings
from proxy.provider import Provider, Timeout
from records.capture import CaptureRule
from records.metric import Metric
from records.prices import Rates
from report.rubric import DEFAULT_PLANNED_UNITS, Criterion
from routing.canary import Canary


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryConfig:
    """One canary with what each room needs of it. `mirror` is a share in [0, 1]; no text is kept
    without `capture`.

    `baseline_timeout` and `candidate_timeout` are complete (the provider's with the arm's own over it), None
    where the arm has none of its own. `minimum_days` bounds the verdict; at `planned_units` candidate
    units the report's intervals are narrowest.
    """

    canary: Canary
    rubric: tuple[Criterion, ...]
    guardrails: tuple[Rule, ...]
    segments: tuple[str, ...] = ()
    critical_categories: tuple[str, ...] = ()
    critical_segments: tuple[tuple[str, str], ...] = ()
    minimum_days: float = 7.0
    planned_units: int = DEFAULT_PLANNED_UNITS
    mirror: float = 0.0
    capture: CaptureRule | None = None
    baseline_timeout: Timeout | None = None
    candidate_timeout: Timeout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that a person wants. `providers` keeps the file's order, for the first of an api is its default.

    `metrics` has the built-in ones too, `tags` all that apps may send; `store` and `shared` are as written
    (and out of the repr, for they may hold a password); `warnings` are complete lines to show.
    """

    providers: Mapping[str, Provider]
    canaries: Mapping[str, CanaryConfig]
    metrics: Mapping[str, Metric]
    server: ServerSettings
    tags: tuple[str, ...] = ()
    prices: Mapping[str, Rates] = field(default_factory=dict)
    datasets: tuple[Source, ...] = ()
    store: str = field(default="sqlite:///canary.db", repr=False)
    shared: str = field(default="none", repr=False)
    notify: tuple[Receiver, ...] = ()
    admin_url: str | None = None
    retention_s: float = 90 * 86400.0
    warnings: tuple[str, ...] = ()
