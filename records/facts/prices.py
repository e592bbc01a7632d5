"""The cost of an exchange from its tokens at list prices, and the arms without a known price. No discounts,
tools or time-based prices.

genai-prices has the prices, but takes 0.5 s to import and 120-170 µs per calculation in decimals. Each model
is therefore looked up once and compiled to a few floats; a test compares the two.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Literal, Protocol

from records.facts.price_list import PriceList, in_force
from records.outcome import Usage
from routing.canary import Arm, Canary

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

_BY_API: Mapping[str, tuple[str, ...]] = {
    # Anthropic's and Google's models are also served by endpoints that speak OpenAI's API.
    "openai": ("openai", "anthropic", "google"),
    "anthropic": ("anthropic",),
    "gemini": ("google",),
}
_BY_KIND: Mapping[str, tuple[str, ...]] = {"azure": ("azure",), "bedrock": ("aws",), "vertex": ("google",)}
_BY_HOST = ((re.compile(r"https://api\.together\.ai(/|$)"), "together"),)
"""Hosts that genai-prices does not know. Together's documents name this one since 2026."""
_STATE_COST = frozenset({"openrouter", "x-ai"})
"""Vendors whose answers say what they cost."""
_PER_MILLION = 1e-6
MOST_KNOWN = 4096


_NUMBERS = re.compile(r"\d+")
_NEARLY = 0.85
"""The similarity of two names of which one is probably misspelt."""


class Seller(Protocol):
    """Who is paid for a model: a provider entry, by its wire API, its kind of cloud and its URL."""

    @property
    def name(self) -> str: ...
    @property
    def api(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def base_url(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrices:
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
    the number of output tokens may be unknown. `own`: from the config. `listed` and `since`: the model's
    name in the list, as VENDOR/MODEL, and the day on which these prices began, if the list says it."""

    base: _PerToken
    tiers: tuple[tuple[int, _PerToken], ...] = ()
    bills_output: bool = True
    own: bool = False
    listed: str = ""
    since: date | None = None


_UNSEEN = _Compiled((0.0, 0.0, 0.0, 0.0, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPrice:
    """How a model at an entry is priced.

    `by`: the config's `prices`, the list, what the provider states for each request, or nothing known.
    `same_as`: the other model whose price it has, by `price_as`; "" without.
    `listed`, `since`: the model's name in the list, as VENDOR/MODEL, and the day on which its prices began.
    `rates`: dollars per million tokens; `tiers`: those of requests with more input tokens, largest first.
    """

    by: Literal["config", "list", "provider", "unknown"]
    same_as: str = ""
    listed: str = ""
    since: date | None = None
    rates: TokenPrices | None = None
    tiers: Sequence[tuple[int, TokenPrices]] = ()


class Prices:
    """Prices by provider entry and model.

    `overrides`, by model name, come from the config and take precedence, also over a cost that the provider
    states. `same_as`: models that cost what another model costs, by that model's name or VENDOR/MODEL, where
    VENDOR is an id of genai-prices. `price_list`: a list that may be newer than the built-in one; it is read
    once, at the first look-up.
    """

    def __init__(
        self,
        overrides: Mapping[str, TokenPrices],
        same_as: Mapping[str, str] | None = None,
        price_list: PriceList | None = None,
    ) -> None:
        self._own = {model: _Compiled(_per_token(rates), own=True) for model, rates in overrides.items()}
        self._same_as = dict(same_as or {})
        self._price_list = price_list
        self._listed: list[Provider] | None = None
        self._known: dict[tuple[str, str, str, str], _Compiled | None] = {}

    def cost(self, seller: Seller, model: str, usage: Usage) -> float | None:
        """Return dollars, or None when the price or the input or output tokens are unknown or inconsistent.

        A cost that the provider states is taken as said. Cached and cache-written tokens that were not
        reported count as plain input.
        """
        price = self._known.get((seller.api, seller.kind, seller.base_url, model), _UNSEEN)
        if price is _UNSEEN:
            price = self._price(seller, model)
        if usage.stated_usd is not None and (price is None or not price.own):
            return usage.stated_usd
        return None if price is None else _cost(price, usage)

    def knows(self, seller: Seller, model: str) -> bool:
        """True when the model's requests at this entry have a cost, if their tokens are known."""
        return self._price(seller, model) is not None or bool(_STATE_COST & set(self._vendors(seller)))

    def found(self, seller: Seller, model: str) -> FoundPrice:
        """How the model is priced, for a person."""
        price, other = self._price(seller, model), self._same_as.get(model, "")
        if (price is None or not price.own) and _STATE_COST & set(self._vendors(seller)):
            return FoundPrice(by="provider")
        if price is None:
            return FoundPrice(by="unknown", same_as=other)
        return FoundPrice(
            by="config" if price.own else "list",
            same_as=other,
            listed=price.listed,
            since=price.since,
            rates=_per_million(price.base),
            tiers=[(start, _per_million(rates)) for start, rates in price.tiers],
        )

    @property
    def is_fetched(self) -> bool:
        """True if the list is kept up to date."""
        return self._price_list is not None

    def cached_saves(self, seller: Seller, model: str) -> float | None:
        """Dollars by which a cached input token is cheaper than a plain one, at base prices; None when the
        price is unknown."""
        price = self._price(seller, model)
        return None if price is None else price.base[0] - price.base[1]

    def same_as(self, model: str) -> str | None:
        """The model whose price this one has by the config; None if it has its own."""
        return self._same_as.get(model)

    def near(self, seller: Seller, model: str) -> str | None:
        """A model with a known price whose name is nearly this one, with the same numbers: probably meant.
        None for none: a number more is a newer model."""
        from difflib import get_close_matches

        vendors, number = self._vendors(seller), _NUMBERS.findall(model)
        listed = (each.id for vendor in self._providers() if vendor.id in vendors for each in vendor.models)
        names = {each.lower(): each for each in (*listed, *self._own) if _NUMBERS.findall(each) == number}
        found = get_close_matches(model.lower(), names, n=1, cutoff=_NEARLY)
        return names[found[0]] if found else None

    def load(self, models: Iterable[tuple[Seller, str]]) -> None:
        """Look up models of entries now.

        Imports genai-prices even without any, so that the first request does not stall the worker.
        """
        self._found(("openai",), "")
        for seller, model in models:
            self._price(seller, model)

    def _price(self, seller: Seller, model: str) -> _Compiled | None:
        key = (seller.api, seller.kind, seller.base_url, model)
        price = self._known.get(key, _UNSEEN)
        if price is _UNSEEN:
            if len(self._known) >= MOST_KNOWN:  # bounded, because callers choose the names
                self._known.clear()
            price = self._known[key] = self._look_up(seller, model)
        return price

    def _look_up(self, seller: Seller, model: str) -> _Compiled | None:
        name = self._same_as.get(model, model)
        if own := self._own.get(model) or self._own.get(name):
            return own
        if found := self._found(self._vendors(seller), name):
            return found
        vendor, _, rest = name.partition("/")
        return self._found((vendor,), rest) if model in self._same_as and rest else None

    def _vendors(self, seller: Seller) -> tuple[str, ...]:
        """Whose price list counts: the cloud's, the host's, or for a host that nobody knows (a gateway, an
        own server) that of the API's own models."""
        if by_kind := _BY_KIND.get(seller.kind):
            return by_kind
        return tuple(self._at(seller.base_url)) or _BY_API.get(seller.api, ())

    def _at(self, url: str) -> Iterator[str]:
        yield from (vendor for host, vendor in _BY_HOST if host.match(url))
        # A list of one's own may leave out vendors; their hosts must not pass for nobody's.
        known = (*self._providers(), *_list_of_now(None))
        yield from (each.id for each in known if re.match(each.api_pattern, url))

    def _found(self, vendors: Iterable[str], model: str) -> _Compiled | None:
        providers = self._providers()
        lists = {each.id: each for each in providers}
        for vendor in vendors:
            name = model.removeprefix(f"{vendor}/")  # Vertex's OpenAI endpoint wants `google/MODEL`
            found = lists[vendor].find_model(name, all_providers=providers) if vendor in lists else None
            if found is not None and found.prices:
                return _compile(found, vendor, datetime.now(UTC))
        return None

    def _providers(self) -> "list[Provider]":
        if self._listed is None:
            self._listed = _list_of_now(self._price_list)
        return self._listed


def _list_of_now(price_list: PriceList | None) -> "list[Provider]":
    return in_force(price_list, datetime.now(UTC).date()).providers


def _cost(price: _Compiled, usage: Usage) -> float | None:
    tokens, output = usage.input_tokens, usage.output_tokens
    if tokens is None:
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


def _per_token(rates: TokenPrices) -> _PerToken:
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


def _per_million(rates: _PerToken) -> TokenPrices:
    plain, cached, written, hour, output = (round(rate / _PER_MILLION, 9) for rate in rates)
    return TokenPrices(
        input=plain, output=output, cached_input=cached, cache_write=written, cache_write_1h=hour
    )


def _began(model: "ModelInfo", price: "ModelPrice") -> date | None:
    """The day on which these prices of the model began, if the list says it."""
    conditions = model.prices if isinstance(model.prices, list) else []
    days = [getattr(each.constraint, "start_date", None) for each in conditions if each.prices is price]
    return days[-1] if days else None


def _compile(model: "ModelInfo", vendor: str, now: datetime) -> _Compiled | None:
    """Compile a model's prices of now; None for one not priced per text token (speech per hour, images per
    piece)."""
    from genai_prices.types import TieredPrices

    price = model.get_prices(now)
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
            TokenPrices(
                input=plain or 0.0,
                cached_input=cached,
                cache_write=written,
                cache_write_1h=hour,
                output=output or 0.0,
            )
        )

    tiers = tuple((start, rates_above(start)) for start in sorted(starts, reverse=True))
    return _Compiled(
        rates_above(-1),
        tiers,
        bills_output=price.output_mtok is not None,
        listed=f"{vendor}/{model.id}",
        since=_began(model, price),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedModel:
    """A model at its entry, whose price is looked up when it is asked for: that takes half a second."""

    seller: Seller
    model: str
    overrides: Mapping[str, TokenPrices]
    same_as: Mapping[str, str]
    price_list: PriceList | None = None

    def cached_saves(self) -> float | None:
        """As `Prices.cached_saves`."""
        return Prices(self.overrides, self.same_as, self.price_list).cached_saves(self.seller, self.model)


# Arms whose requests have no known price, and the lines of the config that would help.


_FETCH = "; `prices: {update: daily}` fetches the newest price list"
_PLAIN_YAML = re.compile(r"[A-Za-z][\w./-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpricedArm:
    """`canary` is "" for a model outside a canary. `says` and `do` are sentences for a person. `near`: the
    model that was probably meant, "" for none."""

    canary: str
    arm: str
    provider: str
    model: str
    says: str
    do: str
    near: str = ""

    @property
    def meant(self) -> str:
        """A question about the name; "" where no other is near."""
        return f'; did you mean "{self.near}"?' if self.near else ""

    @property
    def sentence(self) -> str:
        """What is missing and what would help, in one line."""
        return f"{self.says}{self.meant or ';'} {self.do}"


def said_once(arms: Iterable[UnpricedArm]) -> list[UnpricedArm]:
    """The same arms for people: those that lack no more than a price are one."""
    found = list(arms)
    plain = [each for each in found if "`price_as` names" not in each.says]
    if len(plain) < 2:
        return found
    whose: dict[str, list[str]] = {}
    for each in plain:
        whose.setdefault(f"{each.provider}/{each.model}{each.meant.replace(';', ',')}", []).append(
            f"{each.arm} of {each.canary}" if each.canary else each.arm
        )
    named = "; ".join(f"{model} ({', '.join(uses)})" for model, uses in whose.items())
    models = {each.model: None for each in plain}
    together = replace(
        plain[0],
        canary="",
        arm="",
        near="",
        says=f"no known price, so costs are unknown: {named}",
        do=_help(*models) + (_FETCH if plain[0].do.endswith(_FETCH) else ""),
    )
    return [together, *(each for each in found if each not in plain)]


def unpriced_arms(
    canaries: Iterable[Canary], providers: Mapping[str, Seller], prices: Prices
) -> Iterator[UnpricedArm]:
    """The canaries' arms without a known price. The first look-up imports the price list (half a second)."""
    for canary in canaries:
        arms: tuple[tuple[str, Arm], ...] = (("baseline", canary.baseline), ("candidate", canary.candidate))
        for name, arm in arms:
            if not arm.model:  # the candidate of a standing canary has none yet
                continue
            seller = providers[arm.provider]
            yield from unpriced_model(seller, arm.model, prices, arm=name, canary=canary.name)


def unpriced_model(
    seller: Seller, model: str, prices: Prices, *, arm: str, canary: str = ""
) -> Iterator[UnpricedArm]:
    """One model of an entry, if it has no known price."""
    if prices.knows(seller, model):
        return
    whose = f"{canary}: " if canary else ""
    other = prices.same_as(model)
    why = f": `price_as` names {other}, which has no known price there" if other else ""
    says = f"{whose}the {arm} {seller.name}/{model} has no known price{why}, so its cost is unknown"
    yield UnpricedArm(
        canary=canary,
        arm=arm,
        provider=seller.name,
        model=model,
        says=says,
        do=_help(model) + ("" if prices.is_fetched else _FETCH),
        near=prices.near(seller, model) or "",
    )


def _help(*models: str) -> str:
    keys = [each if _PLAIN_YAML.fullmatch(each) else json.dumps(each, ensure_ascii=False) for each in models]
    prices = ", ".join(f"{key}: {{input: X, output: Y}}" for key in keys)
    others = ", ".join(f"{key}: MODEL" for key in keys)
    return (
        f"add `prices: {{{prices}}}` in dollars per million tokens, or "
        f"`price_as: {{{others}}}` with a model whose price is known"
    )
