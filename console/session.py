"""Operators' sessions: signed cookies and form tokens. Knows no HTTP."""

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256

LASTS_S = 12 * 3600


class Sessions:
    """Sessions without shared state: any admin process with the same admin token can verify a cookie. A new
    admin token ends all sessions.

    A cookie is `EXPIRES.NONCE.SIGNATURE`, signed with a key derived from the admin token.
    """

    def __init__(self, admin_token: Callable[[], str | None], now: Callable[[], float]) -> None:
        """`now` gives UTC seconds."""
        self._admin_token = admin_token
        self._now = now
        self._ended: dict[str, float] = {}

    def begin(self) -> str:
        """The cookie of a new session, after the admin token was checked."""
        named = f"{self._now() + LASTS_S:.0f}.{secrets.token_urlsafe(16)}"
        return f"{named}.{self._signature('session', named)}"

    def admits(self, cookie: str | None) -> bool:
        """True for the cookie of a session that has not expired and was not ended here."""
        named, _, signature = (cookie or "").rpartition(".")
        expires = named.partition(".")[0]
        return (
            self._admin_token() is not None
            and same(signature, self._signature("session", named))
            and float(expires) > self._now()
            and named not in self._ended
        )

    def end(self, cookie: str) -> None:
        """End a session in this process."""
        now = self._now()
        self._ended = {named: expires for named, expires in self._ended.items() if expires > now}
        if self.admits(cookie):
            self._ended[cookie.rpartition(".")[0]] = now + LASTS_S

    def form_token(self, cookie: str) -> str:
        """The CSRF token for the session's forms."""
        return self._signature("form", cookie)

    def _signature(self, purpose: str, text: str) -> str:
        key = hmac.digest((self._admin_token() or "").encode(), b"canary console", sha256)
        return hmac.new(key, f"{purpose} {text}".encode(), sha256).hexdigest()


def same(given: str | None, wanted: str | None) -> bool:
    """True if both are given and equal. Takes constant time."""
    return wanted is not None and given is not None and hmac.compare_digest(given.encode(), wanted.encode())
