"""Models of the demo provider as the runner asks them."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from bench.answers.results import ExampleResult, SavedAnswers, run
from bench.dataset.file import Dataset
from bench.models.asker import Asker, client_for, direct
from proxy.dialects.operation import Api
from proxy.providers.provider import Provider, Timeout
from records.facts.prices import Prices, TokenPrices

T = TypeVar("T")

PRICES = Prices({"new": TokenPrices(input=1, output=2), "old": TokenPrices(input=10, output=20)})


def entry(url: str, api: Api = "openai", *, total_s: float = 10.0) -> Provider:
    """The demo provider as an entry of the config."""
    return Provider(
        name=api,
        api=api,
        base_url=f"{url}/v1" if api == "openai" else url,
        api_key="k",
        timeout=Timeout(total_s=total_s),
    )


def results_of(
    provider: Provider,
    dataset: Dataset,
    file: Path,
    *,
    models: tuple[str, ...] = ("old", "new"),
    judge: str | None = None,
    now: float = 0.0,
) -> list[list[ExampleResult]]:
    """What the runner finds, asked straight at the provider."""

    async def asked() -> list[list[ExampleResult]]:
        async with AsyncExitStack() as open_:
            client = await open_.enter_async_context(client_for(provider, at_once=4))
            by = Asker(client, direct(provider, judge, PRICES, {})) if judge else None
            asked = [Asker(client, direct(provider, each, PRICES, {})) for each in models]
            return await run(asked, dataset.scored, judge=by, saved=SavedAnswers(file, now=now))

    return waited(asked())


def waited(story: Coroutine[Any, Any, T]) -> T:
    """Run a story to its end, within half a minute."""

    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await story

    return asyncio.run(bounded())
