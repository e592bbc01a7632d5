import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from tests.proxy import raw_provider


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine under uvloop, as the workers do."""

    def runner(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as uv:
            return uv.run(asyncio.wait_for(coroutine, 30))

    return runner


@pytest.fixture
def raw() -> type[raw_provider.RawProvider]:
    """The raw-socket provider."""
    return raw_provider.RawProvider
