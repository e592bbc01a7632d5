"""The cost of an exchange from its tokens at list prices. No discounts, tools or time-based prices.

genai-prices has the prices, but takes 0.5 s to import and 120-170 µs per calculation in decimals. Each model
is therefore looked up once and compiled to a few floats; a test compares the two.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from records.outcome import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

_VENDORS: dict[str, tuple[str, ...]] = {
    # Anthropic's and Google's models are also served by endpoints that speak OpenAI's API.
    "openai": ("openai", "anthropic", "google"),
    "anthropic": ("anthropic",),
    "gemini": ("google",),
}
_PER_MILLION = 1e-6
MOST_KNOWN = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Dollars per million tokens.

    Where None, cached and cache-written tokens cost as much as plain input, and tokens cached for an hour as
    much as other cache-written tokens.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None


_PerToken = tuple[float, float, float, float, float]
"""Dollars per token: input, cached, cache-written, cache-written for an hour, output."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A model's base prices, and its tiers by input size, largest first. Without `bills_output` (embeddings)
    the number of output tokens may be unknown."""

    base: _PerToken
    tiers: tuple[tuple[int, _PerToken], ...] = ()
    bills_output: bool = True


class Prices:
    """Prices by wire API and model. `overrides`, by model name, come from the config and take precedence."""

    def __init__(self, overrides: Mapping[str, Rates]) -> None:
        self._own = {model: _Compiled(_per_token(rates)) for model, rates in overrides.items()}
        self._known: dict[tuple[str, str], _Compiled | None] = {}

    def cost(self, provider_api: str, model: str, usage: Usage) -> float | None:
        """Return dollars, or None when the price or the input or output tokens are unknown or inconsistent.

        Cached and cache-written tokens that were not reported count as plain input.
        """
        price = self._price(provider_api, model)
        tokens, output = usage.input_tokens, usage.output_tokens
        if price is None or tokens is None:
            return None
        if output is None:
            if price.bills_output:
                return None
            output = 0
        cached, written = usage.cached_input_tokens or 0, usage.cache_write_tokens or 0
        plain, hour = tokens - cached - written, usage.cache_write_1h_tokens or 0
        if plain < 0 or hour > written:
            return None
        rates = price.base
        for start, above in price.tiers:
            if tokens > start:  # a larger tier prices all tokens, not only those above its start
                rates = above
                break
        into_cache = (written - hour) * rates[2] + hour * rates[3]
        return plain * rates[0] + cached * rates[1] + into_cache + output * rates[4]

    def load(self, models: Iterable[tuple[str, str]]) -> None:
        """Look up (provider_api, model) pairs now.

        Imports genai-prices even without pairs, so that the first request does not stall the worker.
        """
        _look_up("openai", "")
        for provider_api, model in models:
            self._price(provider_api, model)

    def refresh(self) -> None:
        """Drop the looked-up prices, since list prices change. Call once a day."""
        self._known.clear()

    def _price(self, provider_api: str, model: str) -> _Compiled | None:
        override = self._own.get(model)
        if override is not None:
            return override
        key = (provider_api, model)
        if key not in self._known:
            if len(self._known) >= MOST_KNOWN:  # bounded, because callers choose the names
                self._known.clear()
            self._known[key] = _look_up(provider_api, model)
        return self._known[key]


def _per_token(rates: Rates) -> _PerToken:
    cached = rates.input if rates.cached_input is None else rates.cached_input
    written = rates.input if rates.cache_write is None else rates.cache_write
    hour = written if rates.cache_write_1h is None else rates.cache_write_1h
    return (
        rates.input * _PER_MILLION,
        cached * _PER_MILLION,
        written * _PER_MILLION,
        hour * _PER_MILLION,
        rates.output * _PER_MILLION,
    )


def _look_up(provider_api: str, model: str) -> _Compiled | None:
    from genai_prices.data_snapshot import get_snapshot

    for vendor in _VENDORS.get(provider_api, ()):
        try:
            _, found = get_snapshot().find_provider_model(model, None, vendor, None)
        except LookupError:
            continue
        return _compile(found.get_prices(datetime.now(UTC)))
    return None


def _compile(price: "ModelPrice") -> _Compiled | None:
    """Compile prices; None for a model not priced per text token (speech per hour, images per piece)."""
    from genai_prices.types import TieredPrices

    if price.input_mtok is None:
        return None
    parts = (
        price.input_mtok,
        price.cache_read_mtok,
        price.cache_write_mtok,
        price.cache_write_1h_mtok,
        price.output_mtok,
    )
    starts = {tier.start for part in parts if isinstance(part, TieredPrices) for tier in part.tiers}

    def rates_above(start: int) -> _PerToken:
        rates = []
        for part in parts:
            if isinstance(part, TieredPrices):
                passed = [tier.price for tier in part.tiers if tier.start <= start]
                part = passed[-1] if passed else part.base
            rates.append(None if part is None else float(part))
        plain, cached, written, hour, output = rates
        return _per_token(
            Rates(
                input=plain or 0.0,
                cached_input=cached,
                cache_write=written,
                cache_write_1h=hour,
                output=output or 0.0,
            )
        )

    tiers = tuple((start, rates_above(start)) for start in sorted(starts, reverse=True))
    return _Compiled(rates_above(-1), tiers, bills_output=price.output_mtok is not None)
