"""Arms whose requests have no known price, and the lines of the config that would help."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

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


def said_once(arms: Iterable[UnpricedArm]) -> list[UnpricedArm]:
    """The same arms for people: those that lack no more than a price are one."""
    found = list(arms)
    plain = [each for each in found if "`price_as` names" not in each.says]
    if len(plain) < 2:
        return found
    whose: dict[str, list[str]] = {}
    for each in plain:
        whose.setdefault(f"{each.provider}/{each.model}", []).append(f"{each.arm} of {each.canary}")
    named = "; ".join(f"{model} ({', '.join(uses)})" for model, uses in whose.items())
    models = {each.model: None for each in plain}
    together = replace(
        plain[0],
        canary="",
        arm="",
        says=f"no known price, so costs are unknown: {named}",
        do=_help(*models),
    )
    return [together, *(each for each in found if each not in plain)]


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


def _help(*models: str) -> str:
    keys = [each if _PLAIN_YAML.fullmatch(each) else json.dumps(each, ensure_ascii=False) for each in models]
    prices = ", ".join(f"{key}: {{input: X, output: Y}}" for key in keys)
    others = ", ".join(f"{key}: MODEL" for key in keys)
    return (
        f"add `prices: {{{prices}}}` in dollars per million tokens, or "
        f"`price_as: {{{others}}}` with a model whose price is known"
    )
