"""Provider entries and their timeouts, from the config only, never from a request."""

from dataclasses import dataclass, field
from typing import Literal

Api = Literal["openai", "anthropic", "gemini"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """Timeouts. `first_byte_s` applies to streams only, and `write_s` to a write without progress."""

    connect_s: float = 5.0
    write_s: float = 60.0
    first_byte_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider entry. `base_url` has no trailing slash. Without `api_key` the caller's key is sent."""

    name: str
    api: Api
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    timeout: Timeout = Timeout()
    ca_file: str | None = None
