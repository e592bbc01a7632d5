"""What spans and metrics say alike of the operation that an exchange is."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from records.outcome import Outcome
from records.tracing import attributes as names

Value = str | bool | int | float | Sequence[str]

BaseUrls = Callable[[], Mapping[str, str]]
"""The `base_url` of each provider entry of the newest config."""

FAILED = ("error", "caller_error", "shed")

_PORTS = {"http": 80, "https": 443}


def operation_of(outcome: Outcome, base_urls: Mapping[str, str]) -> dict[str, Value | None]:
    """The operation, its model and server, and why it failed; None for what is unknown.

    A fallback is a success for the caller, and an aborted exchange is not an error.
    """
    return {
        names.OPERATION: outcome.operation,
        names.PROVIDER: names.WELL_KNOWN_PROVIDERS.get(outcome.api, outcome.api),
        names.REQUEST_MODEL: outcome.model,
        names.RESPONSE_MODEL: outcome.response_model,
        names.ERROR: outcome.error_type if outcome.outcome in FAILED else None,
        **server_of(base_urls.get(outcome.provider, "")),
    }


@lru_cache(256)
def server_of(base_url: str) -> Mapping[str, Value | None]:
    """Host and port of a `base_url`; none of "", which stands for an entry that has left the config."""
    url = urlsplit(base_url)
    if url.hostname is None:
        return {}
    return {names.SERVER: url.hostname, names.PORT: url.port or _PORTS.get(url.scheme)}


def known(values: Mapping[str, Value | None]) -> dict[str, Value]:
    """Leave out unknown values."""
    return {key: value for key, value in values.items() if value is not None and value != ""}
