"""What the config says of benchmarks. Only `canary/config` knows the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.source import DatasetSource
from proxy.provider import Provider
from records.prices import Rates
from routing.canary import Canary


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """The providers by name, the canaries in the file's order, prices by model, the datasets."""

    providers: Mapping[str, Provider]
    canaries: Sequence[Canary]
    prices: Mapping[str, Rates] = field(default_factory=dict)
    datasets: Sequence[DatasetSource] = ()
