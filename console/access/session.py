"""Sessions of the page: signed cookies and form tokens. Knows no HTTP."""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from common.whole_file import write_whole

LASTS_S = 12 * 3600

Role = Literal["viewer", "operator"]
Ground = Literal["admin", "viewer", "oidc"]
"""What a session began with: the admin token, the viewer token, or a sign-in by OpenID Connect."""

Secrets = Callable[[Ground], str | None]
"""The secret on which sessions of a ground rest now; None if no such session may begin or last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who asks. `name` is "" if a token was given, because a token does not say whose it is."""

    role: Role
    name: str = ""

    @property
    def reads_texts(self) -> bool:
        """True if captured texts, and a judge's sentences about them, may be shown."""
        return self.role == "operator"


class Signer:
    """Signs what a browser keeps, without shared state: any admin process with the same secrets can verify
    it. The key comes from the admin token, so a new admin token ends everything."""

    def __init__(self, grounds: Secrets) -> None:
        self._secret_of = grounds

    def signed(self, purpose: str, ground: Ground, *fields: str) -> str:
        """`GROUND.FIELD.….SIGNATURE`; every field is base64url, so that it may be any text."""
        named = ".".join([ground, *map(_packed, fields)])
        return f"{named}.{self.signature(purpose, ground, named)}"

    def fields(self, purpose: str, cookie: str | None) -> tuple[Ground, list[str]] | None:
        """The ground and the fields that were signed for this purpose; None for anything else."""
        named, _, signature = (cookie or "").rpartition(".")
        begins, *rest = named.split(".")
        for ground in _GROUNDS:
            if (
                ground == begins
                and self._secret_of("admin") is not None
                and self._secret_of(ground) is not None
                and same(signature, self.signature(purpose, ground, named))
            ):
                return ground, [*map(_unpacked, rest)]
        return None

    def signature(self, purpose: str, ground: Ground, text: str) -> str:
        """The signature of a text; it changes with the admin token and the ground's secret."""
        key = hmac.digest((self._secret_of("admin") or "").encode(), b"canary console", sha256)
        of_ground = hmac.digest(key, (self._secret_of(ground) or "").encode(), sha256)
        return hmac.new(of_ground, f"{purpose} {text}".encode(), sha256).hexdigest()


class Sessions:
    """The sessions. A new admin token ends all of them, a new viewer token those that began with it, and a
    change of `oidc` in the config those that began by it.

    A cookie has the signed fields (expires, nonce, role, name).
    """

    def __init__(self, grounds: Secrets, now: Callable[[], float]) -> None:
        """`now` gives UTC seconds."""
        self.signer = Signer(grounds)
        self.now = now
        self._ended: dict[str, float] = {}

    def begin(self, ground: Ground, person: Person) -> str:
        """The cookie of a new session, after this person's token or sign-in was checked."""
        expires, nonce = f"{self.now() + LASTS_S:.0f}", secrets.token_urlsafe(16)
        return self.signer.signed("session", ground, expires, nonce, person.role, person.name)

    def person(self, cookie: str | None) -> Person | None:
        """Whose session this is; None if it has expired, was ended here, or never was one."""
        found = self.signer.fields("session", cookie)
        if found is None or cookie in self._ended:
            return None
        expires, _, role, name = found[1]
        if float(expires) <= self.now():
            return None
        return Person(role="operator" if role == "operator" else "viewer", name=name)

    def end(self, cookie: str) -> None:
        """End a session in this process."""
        now = self.now()
        self._ended = {ended: expires for ended, expires in self._ended.items() if expires > now}
        if self.person(cookie) is not None:
            self._ended[cookie] = now + LASTS_S

    def form_token(self, cookie: str) -> str:
        """The CSRF token for the session's forms."""
        return self.signer.signature("form", "admin", cookie)


LINK, LINK_LASTS_S = "login.link", 600
"""The file of the one-time link in the data folder, and how long it may be used."""


LinkEnd = Literal["used", "old", "unknown"]
"""Why a link begins no session: `unknown` is one of an earlier start, of another replica, or of nobody."""


class OneTimeLink:
    """A token that begins one session of an operator, within ten minutes.

    Its file has its digest and when it ends. Who renames the file has used it, so that no other process and
    no restart takes it again.
    """

    def __init__(self, file: Path, now: Callable[[], float]) -> None:
        """`now` gives UTC seconds."""
        self._file, self._used = file, file.with_suffix(".used")
        self._now = now

    def make(self) -> str:
        """A new token, in place of an earlier one. Raises OSError."""
        token = secrets.token_urlsafe(32)
        write_whole(self._file, f"{_digest(token)} {self._now() + LINK_LASTS_S:.0f}".encode(), durable=False)
        return token

    def redeem(self, token: str) -> LinkEnd | None:
        """Use the token; None if this used it."""
        ends = _ends(self._file, token)
        if ends is None:
            return "unknown" if _ends(self._used, token) is None else "used"
        if ends <= self._now():
            return "old"
        try:
            self._file.rename(self._used)
        except OSError:
            return "used"
        return None


def _ends(file: Path, token: str) -> float | None:
    """When this token of the file ends, UTC seconds; None if the file has another or none."""
    try:
        digest, ends = file.read_text().split()
        return float(ends) if same(_digest(token), digest) else None
    except (OSError, ValueError):
        return None


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


_GROUNDS: tuple[Ground, ...] = ("admin", "viewer", "oidc")


def _packed(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")  # a cookie with = would be quoted


def _unpacked(field: str) -> str:
    return urlsafe_b64decode(field + "=" * (-len(field) % 4)).decode()


def same(given: str | None, wanted: str | None) -> bool:
    """True if both are given and equal. Takes constant time."""
    return wanted is not None and given is not None and hmac.compare_digest(given.encode(), wanted.encode())
