"""Who may call the proxy, and what for: a caller as the config has it. No key, only digests; no request."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

TAG = "caller"
"""The tag under which an outcome has its caller's name. With callers in the config no app can send it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One caller. `key_sha256`: the SHA-256 of each of its keys' UTF-8 text, 64 hex digits in lower case.

    `providers` are names of entries and `models` patterns (`gpt-4o*`); None for any.
    `requests_per_minute` is what each worker lets through; None for no limit.
    """

    name: str
    key_sha256: tuple[str, ...] = field(repr=False)
    providers: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None

    def may_call(self, provider: str) -> bool:
        """True for an entry that the caller may use."""
        return self.providers is None or provider in self.providers

    def may_ask(self, model: str) -> bool:
        """True for a model that the caller may ask for; "" is a model that could not be read."""
        return self.models is None or (
            model != "" and any(fnmatchcase(model, pattern) for pattern in self.models)
        )
