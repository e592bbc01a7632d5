"""Tells a rate or a quota that is used up for the moment from a candidate that is broken.

A 429 (or an error as a stream's first event) is *throttled*

| its code or type names a rate: `rate_limit_error`, `ThrottlingException`              | yes |
| its code or type names money: `insufficient_quota`, `billing_hard_limit_reached`      | no  |
| its message says "rate limit reached", or "exceeded"                                  | yes |
| its message names money: billing, credits, a balance, a spending limit                | no  |
| it has `retry-after`, or `0` as what remains among its rate-limit headers             | yes |
| its code, type or message names a rate or a quota                                     | yes |

in this order; nothing of all that is no throttling. Gemini's words for a rate, "check your plan and billing
details", name no money beside RESOURCE_EXHAUSTED.
"""

import re
from collections.abc import Mapping

from proxy.answers.provider_error import said
from proxy.providers.headers import Headers
from records.outcome import ProviderError

_MOST_TEXT = 1000
"""Characters of a body that is no JSON."""

_RATE_KIND = re.compile(r"rate[_ -]?limit|throttl|too[_ ]?many[_ ]?(request|token)", re.IGNORECASE)
_RATE_SAID = re.compile(r"rate[_ -]?limit (was |has been )?(reached|exceeded|hit)", re.IGNORECASE)
_MONEY = re.compile(
    r"insufficient|billing|credit|balance|payment|prepa|spend|overdue|unpaid|hard[_ ]limit", re.IGNORECASE
)
_RATE = re.compile(
    r"\brates?\b|rate[_ -]?limit|quota|throttl|too many (request|token)|resource[_ ]?(has been )?exhausted"
    r"|(per|/) ?(second|minute|min|hour|day)\b",
    re.IGNORECASE,
)
_GEMINIS = re.compile(r"check your plan and billing details", re.IGNORECASE)
_RETRY = frozenset({b"retry-after", b"retry-after-ms", b"x-ms-retry-after-ms"})


def is_throttled(body: bytes, headers: Headers) -> bool:
    """True when an error's body and headers say that a rate or a quota is used up for the moment."""
    named = dict(headers)
    told = said(body, type_in_head=named.get(b"x-amzn-errortype", b""))
    if told is None:
        told = ProviderError(message=body[:_MOST_TEXT].decode("utf-8", "replace"))
    kind, message = f"{told.code} {told.type}", told.message
    if _RATE_KIND.search(kind):
        return True
    if _MONEY.search(kind):
        return False
    if "RESOURCE_EXHAUSTED" in kind:
        message = _GEMINIS.sub("", message)
    if _RATE_SAID.search(message):
        return True
    if _MONEY.search(message):
        return False
    if not _RETRY.isdisjoint(named) or 0.0 in _remaining(named).values():
        return True
    return bool(_RATE.search(f"{kind} {message}"))


def used_part(headers: Headers) -> float | None:
    """The largest part, in [0, 1], of a limit that is used up, by the rate-limit headers of an answer; None
    where they do not say. Whoever used it: limits are an account's."""
    named = dict(headers)
    limits = {name: _number(named.get(name.replace(b"remaining", b"limit"))) for name in _remaining(named)}
    parts = [
        min(1.0, max(0.0, 1.0 - left / limit))
        for name, left in _remaining(named).items()
        if left is not None and (limit := limits[name])
    ]
    return max(parts, default=None)


def _remaining(named: Mapping[bytes, bytes]) -> dict[bytes, float | None]:
    """What remains of each limit: `x-ratelimit-remaining-tokens`, `anthropic-ratelimit-tokens-remaining`."""
    return {
        name: _number(value)
        for name, value in named.items()
        if b"remaining" in name and b"ratelimit" in name.replace(b"rate-limit", b"ratelimit")
    }


def _number(value: bytes | None) -> float | None:
    try:
        return float(value) if value is not None else None
    except ValueError:
        return None


HEARD_S = 60.0
"""How long what an answer's headers said of a limit is true."""


class QuotaMeter:
    """What the candidate's answers say of its quota, in one worker. `watching`: it has been throttled, and
    its answers' headers are read from now on."""

    def __init__(self) -> None:
        self.watching = False
        self._used: float | None = None
        self._at = 0.0

    def throttled(self, now: float) -> None:
        """Note that all was used up at monotonic `now`."""
        self.watching, self._used, self._at = True, 1.0, now

    def answered(self, headers: Headers, now: float) -> None:
        """Read the headers of a good answer."""
        self._used, self._at = used_part(headers), now

    def used(self, now: float) -> float | None:
        """The part of its limit that was used up a moment ago; None if not known."""
        return self._used if now - self._at < HEARD_S else None
