"""The candidates of the config, as the admin process asks them: with their entries' credentials only."""

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from bench.preflight.result import Preflight
from canary.config import Config
from control.states.preflights import PreflightWords
from pages.words import preflight
from records.store import Store

if TYPE_CHECKING:
    from bench.preflight.requests import CapturedRequest

SAMPLE = 20
WITHIN_S = 15.0
"""How long one request may take: the canary waits meanwhile, and refusals come at once."""


class ConfiguredCandidates:
    """Asks with the entries' own credentials only."""

    def __init__(self, config: Callable[[], Config], store: Store) -> None:
        self._config = config
        self._store = store
        self.words: PreflightWords = preflight

    def unaskable(self, name: str) -> str:
        """Why no request can be sent to this canary's candidate; "" when one can."""
        config = self._config()
        wanted = config.canaries.get(name)
        if wanted is None:
            return f"the config has no canary {name!r}"
        provider = config.providers[wanted.canary.candidate.provider]
        if provider.has_credential:
            return ""
        return (
            f"{provider.name} has no credential of its own, so the callers' is sent; "
            f"`canary preflight {name}` asks with yours"
        )

    async def ask(self, name: str) -> Preflight:
        """Ask it the newest captured requests, or one of each operation. Raises NothingToAsk, StoreDown."""
        # The proxy's code takes a while to import, and most admin processes never ask: not on the event loop.
        await asyncio.to_thread(import_module, "bench.preflight.run")
        await asyncio.to_thread(import_module, "canary.programs.wiring")
        from bench.preflight.client import ArmClient
        from bench.preflight.result import NothingToAsk
        from bench.preflight.run import preflight_of_captured
        from canary.programs.wiring import routes
        from proxy.providers.credentials import Credentials

        if problem := self.unaskable(name):
            raise NothingToAsk(problem)
        known = routes(self._config(), {})
        captured = await asyncio.to_thread(self._captured, name)
        arms = (known.trials[name].baseline.provider, known.trials[name].candidate.provider)
        credentials = await asyncio.to_thread(Credentials.ready, arms)
        try:
            async with ArmClient(known, known.trials[name], credentials, {}) as client:
                return await preflight_of_captured(client, captured, within_s=WITHIN_S)
        finally:
            credentials.close()

    def _captured(self, name: str) -> "list[CapturedRequest]":
        """The newest captured requests. May raise StoreDown."""
        from bench.preflight.requests import newest_requests

        return newest_requests(self._store, self._config().canaries[name].canary, limit=SAMPLE)
