"""Arms whose requests have no known price, and the lines of the config that would help."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from records.prices import Prices, Seller
from routing.canary import Arm, Canary

_PLAIN_YAML = re.compile(r"[A-Za-z][\w./-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpricedArm:
    """`canary` is "" for a model outside a canary. `says` and `do` are sentences for a person."""

    canary: str
    arm: str
    provider: str
    model: str
    says: str
    do: str

    @property
    def sentence(self) -> str:
        """What is missing and what would help, in one line."""
        return f"{self.says}; {self.do}"


def unpriced_arms(
    canaries: Iterable[Canary], providers: Mapping[str, Seller], prices: Prices
) -> Iterator[UnpricedArm]:
    """The canaries' arms without a known price. The first look-up imports the price list (half a second)."""
    for canary in canaries:
        arms: tuple[tuple[str, Arm], ...] = (("baseline", canary.baseline), ("candidate", canary.candidate))
        for name, arm in arms:
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
    yield UnpricedArm(canary=canary, arm=arm, provider=seller.name, model=model, says=says, do=_help(model))


def _help(model: str) -> str:
    key = model if _PLAIN_YAML.fullmatch(model) else json.dumps(model, ensure_ascii=False)
    return (
        f"add `prices: {{{key}: {{input: X, output: Y}}}}` in dollars per million tokens, or "
        f"`price_as: {{{key}: MODEL}}` with a model whose price is known"
    )
