"""A model's answer to one example, or its failure."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from records.outcome import ErrorType

Failure = ErrorType | Literal["not_pinned"]
"""`not_pinned`: another arm answered through the proxy, so the answer is not this model's."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`text` is None if `failure` is set, with the HTTP `status` and the beginning of the provider's message.

    `confidence`: how sure the model was, 0 to 1; None where it was not asked or did not say.
    `latency_s` covers the whole answer; None for an answer saved by an interrupted run. `cost_usd` is None
    without a known price.
    """

    text: str | None = None
    failure: Failure | None = None
    status: int | None = None
    said: str = ""
    latency_s: float | None = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    confidence: float | None = None


def total_cost(costs: Sequence[float | None]) -> float | None:
    """The sum of the known costs; None without any."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None
