"""The part of the config that benchmarks need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.judge_settings import JudgeSource
from bench.source import DatasetSource, EmbeddingSource
from bench.terms import BenchTerms
from proxy.provider import Provider
from records.prices import Rates
from routing.canary import Canary


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """Providers by name, canaries in the file's order with their terms by name, prices by model, models that
    cost what another does, and datasets.

    `embeddings` is the model that scores `similar` (None: shared words do), `judge` the one that judges real
    answers.
    """

    providers: Mapping[str, Provider]
    canaries: Sequence[Canary]
    terms: Mapping[str, BenchTerms] = field(default_factory=dict)
    prices: Mapping[str, Rates] = field(default_factory=dict)
    price_as: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[DatasetSource] = ()
    embeddings: EmbeddingSource | None = None
    judge: JudgeSource | None = None
