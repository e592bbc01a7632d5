"""The datasets as configured, without their contents, and the embedding model."""

from dataclasses import dataclass
from typing import Literal

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
