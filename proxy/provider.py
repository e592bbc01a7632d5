"""Where an upstream attempt goes and how long it may take. From the config only, never from a request."""

from dataclasses import dataclass, field
from typing import Literal

Api = Literal["openai", "anthropic", "gemini"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """Seconds. `first_byte` binds streams only; JSON is bound by `total`. `write` is progress, not length."""

    connect_s: float = 5.0
    write_s: float = 60.0
    first_byte_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider entry. `base_url` has no trailing slash; without `api_key` the caller's own passes."""

    name: str
    api: Api
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    timeout: Timeout = Timeout()
    ca_file: str | None = None
