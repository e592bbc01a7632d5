"""The candidates of the config, as the admin process asks them: with their entries' credentials only."""

import asyncio
from collections.abc import Callable
from importlib import import_module

from bench.preflight_result import Preflight
from canary.config import Config

WITHIN_S = 60.0
"""How long one request may take: the canary waits meanwhile."""


class ConfiguredCandidates:
    """Asks with the entries' own credentials only."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config

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
        """Ask it. Raises NothingToAsk."""
        # The proxy's code takes a while to import, and most admin processes never ask: not on the event loop.
        await asyncio.to_thread(import_module, "bench.preflight")
        await asyncio.to_thread(import_module, "canary.programs.wiring")
        from bench.arm_client import ArmClient
        from bench.preflight import preflight_of_operations
        from bench.preflight_result import NothingToAsk
        from canary.programs.wiring import routes
        from proxy.credentials import Credentials

        if problem := self.unaskable(name):
            raise NothingToAsk(problem)
        known = routes(self._config(), {})
        arms = (known.trials[name].baseline.provider, known.trials[name].candidate.provider)
        credentials = await asyncio.to_thread(Credentials.ready, arms)
        try:
            async with ArmClient(known, known.trials[name], credentials, {}) as client:
                return await preflight_of_operations(client, within_s=WITHIN_S)
        finally:
            credentials.close()
