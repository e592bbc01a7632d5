"""What a model answered to one example, or why it did not."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from records.outcome import ErrorType

Failure = ErrorType | Literal["not_pinned"]
"""`not_pinned`: the proxy let another arm answer, so it is no answer of this model."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`text` is None where `failure` says why, with the HTTP `status` and the provider's own words.

    `latency_s` is the whole answer's; None for an answer that was kept from an interrupted run. `cost_usd` is
    None where no price is known.
    """

    text: str | None = None
    failure: Failure | None = None
    status: int | None = None
    said: str = ""
    latency_s: float | None = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


def total_cost(costs: Sequence[float | None]) -> float | None:
    """The sum, None where nothing has a known price."""
    known = [each for each in costs if each is not None]
    return sum(known) if known else None
