"""`canary prices`: what is priced how, and since when; and fetches the newest list by hand."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from canary.commands import shell
from common.clock import rfc3339
from records.facts.price_list import LATE_AFTER_S, ListRefused, fetch, in_force, kept_list

if TYPE_CHECKING:
    from canary.config import Config
    from records.facts.prices import FoundPrice, TokenPrices

RATES = {
    "input": "input",
    "cached_input": "cached",
    "cache_write": "cache write",
    "cache_write_1h": "for an hour",
    "output": "output",
}
"""A price's parts, as the text calls them."""
USUALLY = {"cached_input": "input", "cache_write": "input", "cache_write_1h": "cache_write"}
"""The part that each of these costs as much as, where nothing else is said."""


def prices(
    at: shell.Local,
    update: Annotated[
        bool, typer.Option("--update", help="Fetch the newest list now, as `prices: {update: daily}` does.")
    ] = False,
) -> None:
    """Show how each model of the config is priced, by which list, and since when."""
    read = at.read()
    if update:
        _update(read)
    about, models = _list(read), list(_models(read))
    text = "\n".join([*_list_lines(about), *map(_line, models)])
    shell.answer(at.output, {"list": about, "models": models}, text)


def _update(read: "Config") -> None:
    if read.price_list is None:
        shell.fail("the config has no `prices: {update: daily}`, so no list is fetched", code=2)
    with shell.ended_by(ListRefused):
        if not read.price_list.kept.parent.is_dir():
            raise ListRefused(f"there is no data folder {read.price_list.kept.parent}; name it with --data")
        fetch(read.price_list, time.time())
    shell.say(f"fetched {read.price_list.source}")


def _list(read: "Config") -> dict[str, Any]:
    """The list in force, and the one that is to be kept."""
    from importlib.metadata import version

    wanted, counts = read.price_list, in_force(read.price_list, datetime.now(UTC).date())
    kept = None if wanted is None else kept_list(wanted)
    return {
        "in_force": "built-in" if counts.kept is None else "fetched",
        "built_in": f"genai-prices {version('genai-prices')}",
        "newest": None if counts.newest is None else counts.newest.isoformat(),
        "update": None if wanted is None else "daily",
        "from": None if wanted is None else wanted.source,
        "fetched_at": None if kept is None else rfc3339(kept.fetched_at),
        "late": wanted is not None and (kept is None or time.time() - kept.fetched_at > LATE_AFTER_S),
    }


def _models(read: "Config") -> Iterator[dict[str, Any]]:
    known = read.known_prices()
    for (provider, model), uses in read.asked_models.items():
        found = known.found(read.providers[provider], model)
        yield {
            "provider": provider,
            "model": model,
            "uses": uses,
            "by": found.by,
            "price_as": found.same_as or None,
            "listed": found.listed or None,
            "since": None if found.since is None else found.since.isoformat(),
            **_rates(found.rates),
            "tiers": _tiers(found),
        }


def _rates(rates: "TokenPrices | None") -> dict[str, float | None]:
    return {name: None if rates is None else getattr(rates, name) for name in RATES}


def _tiers(found: "FoundPrice") -> Sequence[dict[str, Any]]:
    return [{"above_input_tokens": start, **_rates(rates)} for start, rates in found.tiers]


def _list_lines(about: dict[str, Any]) -> Iterator[str]:
    newest = f", its newest price of {about['newest']}" if about["newest"] else ""
    if about["in_force"] == "fetched":
        yield f"List: {about['from']}, fetched {about['fetched_at']}{newest}"
    else:
        yield f"List: the built-in one of {about['built_in']}{newest}"
    if about["fetched_at"] and about["in_force"] == "built-in":
        yield f"{about['from']}, fetched {about['fetched_at']}, is older than the built-in one or unreadable"
    if about["late"]:
        last = (
            f"the last good one is of {about['fetched_at']}" if about["fetched_at"] else "there is none yet"
        )
        yield f"{about['from']} is not up to date: {last}; `canary prices --update` says why"


def _line(each: dict[str, Any]) -> str:
    name = f"{each['provider']}/{each['model']}"
    where = {
        "config": "`prices` in the config",
        "list": f"{each['listed']} in the list",
        "provider": "the provider states it for each request",
        "unknown": "no known price",
    }[each["by"]]
    same = f", as {each['price_as']} (`price_as`)" if each["price_as"] else ""
    since = f", since {each['since']}" if each["since"] else ""
    return f"{name} ({', '.join(each['uses'])}): {_dollars(each)}{where}{same}{since}"


def _dollars(each: dict[str, Any]) -> str:
    """The rates in dollars per million tokens, and those of larger requests."""
    if each["input"] is None:
        return ""
    above = "".join(
        f"above {tier['above_input_tokens']:,} input tokens {_said(tier)}; " for tier in each["tiers"]
    )
    return f"{_said(each)}; {above}"


def _said(rates: dict[str, Any]) -> str:
    """The rates that do not go without saying."""
    plain = {name: rates[usual] for name, usual in USUALLY.items()}
    return ", ".join(
        f"{label} ${rates[name]:.10g}" for name, label in RATES.items() if rates[name] != plain.get(name)
    )
