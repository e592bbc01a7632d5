"""The part of the config that benchmarks need: datasets, the rubric's rows, providers, canaries, prices."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from proxy.providers.provider import Provider
from records.captures.capture import CaptureRule, strictest
from records.facts.metric import Bound, is_offline
from records.facts.price_list import PriceList
from records.facts.prices import Prices, TokenPrices
from routing.canary import Arm, Canary

Layer = Literal["synthetic", "real"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSource:
    """The model whose embeddings score `similar`, at a provider entry."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSource:
    """One dataset's file (relative to the config), and its layer of evidence.

    `floor` is the lowest acceptable share of right answers; None: only compared with the current model.
    `judge` is the judging model, as `provider/model`. `confidence`: how the models are
    asked how sure they are.
    """

    name: str
    file: str
    layer: Layer
    floor: float | None = None
    judge: str | None = None
    confidence: Literal["logprobs"] | None = None


ISSUES_FILE = "known-issues.jsonl"
"""The file of known issues, in the config's folder."""

CRITERIA = "Correct, complete and helpful."
"""What counts for a judge where a canary says nothing of it."""

MARGIN = 0.05
"""Without a row that says more, the share by which a candidate may fall behind the current model."""

COMPLETION = "task_completed"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
COSTS = ("cost_per_request", "cost_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricRow:
    """One row of a rubric, without its weight, which counts in a canary's score only."""

    metric: str
    acceptable: Bound
    ideal: Bound
    question: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRubric:
    """The rows and the critical categories by which a candidate is judged, and what counts for a judge of its
    answers."""

    rows: tuple[RubricRow, ...] = ()
    critical: frozenset[str] = frozenset()
    criteria: str = CRITERIA

    @property
    def decides(self) -> bool:
        """True with a row or a category that may decide."""
        return bool(self.rows or self.critical)

    def margin(self, baseline: float) -> float:
        """The share by which the candidate may fall behind a current model of this completion."""
        bounds = [row.acceptable for row in self.rows if row.metric == COMPLETION]
        return min((baseline - each.at(baseline) for each in bounds if each.relative), default=MARGIN)


NO_TERMS = BenchRubric()


def measurable(metric: str) -> bool:
    """True for a metric that a benchmark measures."""
    return metric in (COMPLETION, "tokens", *COSTS) or latency_level(metric) is not None or is_offline(metric)


def latency_level(metric: str) -> float | None:
    """.95 for latency_p95; None for another metric."""
    stem, _, level = metric.rpartition("_")
    return QUANTILES.get(level) if stem == "latency" else None


def joined(terms: Iterable[BenchRubric]) -> BenchRubric:
    """Several canaries' terms together. Rows with the same metric and bounds are one. The criteria are the
    last that a canary states."""
    listed = list(terms)
    rows = {(row.metric, row.acceptable.text, row.ideal.text): row for each in listed for row in each.rows}
    critical = frozenset(name for each in listed for name in each.critical)
    criteria = [each.criteria for each in listed if each.criteria != CRITERIA] or [CRITERIA]
    return BenchRubric(rows=tuple(rows.values()), critical=critical, criteria=criteria[-1])


_DATED = re.compile(r"[-@](?:20\d{2}-?\d{2}-?\d{2}|latest)$")
"""The end of a model's name that says which version it is."""


def same_model(one: str, other: str) -> bool:
    """True for names of one model, whatever its place and its version."""
    return _bare(one) == _bare(other)


def _bare(name: str) -> str:
    return _DATED.sub("", name.lower().rpartition("/")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSource:
    """The judging model at a provider entry, the dollars that it may cost in a UTC day, and how many pairs or
    answers it has before it at once."""

    provider: str
    model: str
    daily_budget_usd: float
    at_once: int = 4

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbesSource:
    """The models to probe for drift, as MODEL or PROVIDER/MODEL, and the dollars that all their probes may
    cost in a UTC day."""

    models: tuple[str, ...]
    daily_budget_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedCanary:
    """A promoted canary: the arm that users have since, and the terms by which it was judged."""

    arm: Arm
    terms: BenchRubric


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """Providers by name, canaries in the file's order with their terms by name, prices by model, models that
    cost what another does, the list that is kept up to date, and datasets.

    `embeddings` is the model that scores `similar` (None: shared words do), `judge` the one that judges real
    answers, `probes` what is probed for drift. `promoted` are the promoted canaries by name, also those that
    have left the file. `texts`: those of all arms, by digest. `wrong_kept`: how wrong answers are. `file` is
    the config's.
    """

    providers: Mapping[str, Provider]
    canaries: Sequence[Canary]
    terms: Mapping[str, BenchRubric] = field(default_factory=dict)
    prices: Mapping[str, TokenPrices] = field(default_factory=dict)
    price_as: Mapping[str, str] = field(default_factory=dict)
    price_list: PriceList | None = None
    datasets: Sequence[DatasetSource] = ()
    embeddings: EmbeddingSource | None = None
    judge: JudgeSource | None = None
    probes: ProbesSource | None = None
    promoted: Mapping[str, PromotedCanary] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    wrong_kept: CaptureRule = field(default_factory=lambda: strictest(()))
    file: Path = field(default=Path("canary.yaml"), compare=False)

    def judge_of(self, source: DatasetSource | None) -> str | None:
        """Who judges a dataset's answers, as `provider/model`: its own judge, else the config's."""
        own = None if source is None else source.judge
        return own or (None if self.judge is None else self.judge.name)

    def known_prices(self) -> Prices:
        """Prices by entry and model, by the list of now."""
        return Prices(self.prices, self.price_as, self.price_list)
