"""The part of the config that benchmarks need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.judge_settings import JudgeSource
from bench.source import DatasetSource, EmbeddingSource
from bench.terms import BenchTerms
from proxy.provider import Provider
from records.prices import Rates
from routing.canary import Arm, Canary


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """A promoted canary: the arm that users have since, and the terms by which it was judged."""

    arm: Arm
    terms: BenchTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """Providers by name, canaries in the file's order with their terms by name, prices by model, models that
    cost what another does, and datasets.

    `embeddings` is the model that scores `similar` (None: shared words do), `judge` the one that judges real
    answers. `promoted` are the promoted canaries by name, also those that have left the file.
    """

    providers: Mapping[str, Provider]
    canaries: Sequence[Canary]
    terms: Mapping[str, BenchTerms] = field(default_factory=dict)
    prices: Mapping[str, Rates] = field(default_factory=dict)
    price_as: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[DatasetSource] = ()
    embeddings: EmbeddingSource | None = None
    judge: JudgeSource | None = None
    promoted: Mapping[str, Promoted] = field(default_factory=dict)
