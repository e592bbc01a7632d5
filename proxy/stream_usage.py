"""Which provider entries are asked for the usage of their streams. An entry that refuses is not asked again.

OpenAI's API takes `stream_options` and says the usage of a stream only on request. Some compatible providers
refuse the member with 400 or 422. The request is then sent once more without it.
"""

import structlog

from proxy.attempt import Attempt
from proxy.provider import Provider

log = structlog.get_logger()

_REFUSED = frozenset({400, 422})
_MEMBER = b"stream_options"


class StreamUsage:
    """One worker's memory of the entries that refuse `stream_options`. A changed entry is asked again."""

    def __init__(self) -> None:
        self._refusing: dict[str, Provider] = {}

    def asks(self, provider: Provider) -> bool:
        """True when streams of this entry are to be asked for their usage."""
        if not self._refusing:
            return provider.asks_stream_usage
        return provider.asks_stream_usage and self._refusing.get(provider.name) != provider

    async def refused(self, attempt: Attempt) -> bool:
        """True when the provider refuses the `stream_options` that the proxy added. The attempt is then ready
        to be opened again; otherwise it holds what was read of the refusal for the caller."""
        if attempt.status not in _REFUSED or _MEMBER not in await attempt.refusal():
            return False
        attempt.start_again()
        return True

    def sent_without(self, attempt: Attempt) -> None:
        """Remember the entry, unless the request is refused without `stream_options` as well: some servers
        repeat the whole request in each refusal, and so name the member whatever is wrong."""
        provider = attempt.target.provider
        if attempt.status in _REFUSED or not self.asks(provider):
            return
        self._refusing[provider.name] = provider
        log.warning(
            "provider.refuses_stream_options",
            provider=provider.name,
            effect="its streams are no longer asked for usage; `stream_usage: leave` spares the refusal",
        )
