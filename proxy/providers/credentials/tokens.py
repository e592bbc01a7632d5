"""Tokens that a cloud gives for some time. A thread fetches them and renews each one before it expires.

| state    | on                                        | becomes                                        |
|----------|-------------------------------------------|------------------------------------------------|
| none yet | a token / a failure                       | valid / missing                                |
| valid    | `RENEWED_AT` of its life has passed       | valid, with a new token                        |
| valid    | the renewal fails                         | valid, asked again after a pause, until it expires |
| valid    | it expires                                | missing                                        |
| missing  | a token                                   | valid                                          |
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from records.captures.redaction import redacted


class UnsignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that needs a credential, as it will be sent. `target`: raw path and query below the host.
    `headers`: without Host and framing. `body`: None when it is streamed."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes | None


class NoCredential(Exception):
    """No credential can be had; the message says why and what would help. It holds no secret."""


class Credential(Protocol):
    """One entry's credential."""

    def headers(self, request: UnsignedRequest) -> list[tuple[bytes, bytes]]:
        """The headers that carry it. Never waits. Raises NoCredential."""
        ...


log = structlog.get_logger()

T = TypeVar("T")

RENEWED_AT = 0.8
"""The part of its life after which a token is renewed at the latest; workers spread over the tenth before."""

_SPREAD = 0.1
_SOONEST_S = 0.25
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LONGEST_PAUSE_WITHOUT_S = 5.0
"""The longest pause between two tries while requests fail for want of a token."""

_QUOTED = 300


@dataclass(frozen=True, slots=True)
class CloudToken(Generic[T]):
    """What a cloud gave. `until`: when it expires, in CLOCK_MONOTONIC seconds; None without an end."""

    value: T = field(repr=False)
    until: float | None = None


class TokenSource(Generic[T]):
    """The tokens of one cloud in this process. `name` is the cloud's, as `auth:` has it.

    `fetch` may block, and raises NoCredential or whatever the cloud's library raises.
    """

    def __init__(
        self, name: str, fetch: Callable[[], CloudToken[T]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._clock = clock
        self._fetch = fetch
        self._token: CloudToken[T] | None = None
        self._problem = ""
        self._tried, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name} tokens", daemon=True)
        self._thread.start()

    def value(self) -> T:
        """The newest token. Never waits. Raises NoCredential when there is no valid one."""
        token = self._token
        if token is None or self._is_over(token):
            raise NoCredential(self._problem or f"the {'next' if token else 'first'} token has not come yet")
        return token.value

    @property
    def tried(self) -> bool:
        """True once the first token has come or could not be had."""
        return self._tried.is_set()

    def wait(self, within_s: float) -> None:
        """Wait until the first token has come or could not be had."""
        self._tried.wait(within_s)

    def close(self) -> None:
        """Fetch no more. Does not wait for a fetch under way."""
        self._closed.set()

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            try:
                token = self._fetch()
            except Exception as problem:  # the libraries raise errors of many kinds
                failures += 1
                self._fail(problem)
                pause_s = pause(
                    failures, has_token=self._token is not None and not self._is_over(self._token)
                )
            else:
                failures = 0
                pause_s = self._keep(token)
            self._tried.set()
            self._closed.wait(pause_s)

    def _keep(self, token: CloudToken[T]) -> float:
        """Use the token from now on; return the seconds until it should be renewed."""
        life_s = None if token.until is None else token.until - self._clock()
        if self._problem:
            log.info("credential.fetched", auth=self.name)
        self._token = token
        self._problem = "" if life_s is None or life_s > 0 else "the token had expired when it came"
        return renewal(life_s, random.random())  # noqa: S311 - spreads the workers, is no secret

    def _fail(self, problem: Exception) -> None:
        reason = reason_of(problem)
        if reason != self._problem:
            log.warning("credential.not_fetched", auth=self.name, problem=reason)
        self._problem = reason

    def _is_over(self, token: CloudToken[T]) -> bool:
        return token.until is not None and self._clock() >= token.until


def renewal(life_s: float | None, draw: float) -> float:
    """Seconds until a token with this life left is renewed; `draw` in [0, 1)."""
    if life_s is None:
        return threading.TIMEOUT_MAX
    return max(_SOONEST_S, life_s * (RENEWED_AT - _SPREAD * draw))


def pause(failures: int, *, has_token: bool) -> float:
    """Seconds until the next try after so many failures in a row."""
    longest = LONGEST_PAUSE_S if has_token else LONGEST_PAUSE_WITHOUT_S
    return min(longest, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))


def reason_of(problem: Exception) -> str:
    """Why no token came: one line without secrets, and without `; `, which divides what `/readyz` says."""
    said = " ".join(str(problem).split()).replace("; ", ", ") or type(problem).__name__
    return redacted(said)[:_QUOTED].rstrip(".")


def until(expires_at: float) -> float:
    """An end in Unix seconds as CLOCK_MONOTONIC seconds, which steps of the clock do not move."""
    return time.monotonic() + expires_at - time.time()
