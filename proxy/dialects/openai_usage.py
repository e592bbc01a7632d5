"""OpenAI's token counts, with the additions of compatible providers."""

from typing import Any

import msgspec

from proxy.dialects.operation import UNREADABLE, Count, given
from records.outcome import Usage


class _Details(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class OpenAIUsage(msgspec.Struct, gc=False):
    """The counts under the names of chat completions and of responses.

    Prompt tokens include tokens read from and written to the cache. Moonshot and Together add
    `cached_tokens`, DeepSeek `prompt_cache_hit_tokens`. OpenRouter states what it charged as `cost` in
    dollars, xAI as `cost_in_usd_ticks`.
    """

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    cached_tokens: Count | None = None
    prompt_cache_hit_tokens: Count | None = None
    cost: Any = None
    cost_in_usd_ticks: Any = None

    def usage(self) -> Usage | None:
        read, written = self.prompt_tokens, self.completion_tokens
        read = self.input_tokens if read is None else read
        written = self.output_tokens if written is None else written
        if read is None and written is None:
            return None
        if written is not None and read and self.total_tokens is not None:
            # xAI and Google's compatible endpoint count reasoning only in the total and bill it as output.
            written = max(written, self.total_tokens - read)
        into = self.prompt_tokens_details or self.input_tokens_details or _NO_DETAILS
        out = self.completion_tokens_details or self.output_tokens_details or _NO_DETAILS
        cached = self.prompt_cache_hit_tokens if self.cached_tokens is None else self.cached_tokens
        states_cost = self.cost is not None or self.cost_in_usd_ticks is not None
        return Usage(
            input_tokens=read,
            cached_input_tokens=cached if into.cached_tokens is None else into.cached_tokens,
            cache_write_tokens=into.cache_write_tokens,
            output_tokens=written,
            reasoning_tokens=out.reasoning_tokens,
            stated_usd=self._stated() if states_cost else None,
        )

    def _stated(self) -> float | None:
        """The dollars that the provider says it charged; None when it says no finite number of at least 0."""
        for value, dollars in ((self.cost, 1.0), (self.cost_in_usd_ticks, _TICK)):
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _BEYOND:
                return value * dollars
        return None


_TICK = 1e-10
"""Dollars; docs.x.ai/developers/cost-tracking."""
_BEYOND = 1e15
_NO_DETAILS = _Details()


def usage_of(counts: Any) -> Usage | None:
    """The usage in decoded JSON; None when missing or of another shape, which is not an answer's error."""
    try:
        return msgspec.convert(counts, OpenAIUsage).usage() if counts else None
    except msgspec.ValidationError:
        return None


def usage_in(raw: msgspec.Raw) -> Usage | None:
    """The usage in raw JSON; None when missing or of another shape."""
    try:
        return _decode(raw).usage() if given(raw) else None
    except UNREADABLE:
        return None


_decode = msgspec.json.Decoder(OpenAIUsage).decode
