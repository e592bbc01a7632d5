"""Removes secrets and personal data from a text before it is stored. Pure.

Redaction prefers false positives to leaks. It matches formats, not meanings: names and postal addresses stay
unless one of the canary's own patterns matches them.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from records.capture_numbers import without_numbers

SECRET, EMAIL, OTHER = "[secret]", "[email]", "[redacted]"

_SECRETS = re.compile(
    r"""
      -----BEGIN[ ][A-Z ]{0,40}PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]{0,40}-----|\Z)
    | \beyJ(?:[\w-]{16,}(?:\.[\w-]*){0,4} | [\w-]{8,15}\.[\w-]{8,}(?:\.[\w-]*)?)  # a JWT
    | \b(?:sk|pk|rk)[-_][\w-]{16,}                           # OpenAI, Anthropic, Stripe, LiteLLM
    | \b(?:gsk|hf|r8|glpat|dapi|pplx|xai|shpat|npm|dop_v1|figd|ya29)[-_.][\w-]{16,}
    | \bgh[pousr]_\w{20,} | \bgithub_pat_\w{20,}
    | \bAIza[\w-]{20,} | \b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}
    | \bxox[a-z]-[\w-]{10,} | \bxapp-[\w-]{10,}
    | \bSG\.[\w-]{16,}\.[\w-]{16,}
    """,
    re.VERBOSE | re.DOTALL,
)
_BEARER = re.compile(r"\b(bearer|authorization:\s*\w+)(\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_NAMED = re.compile(
    r"""((?:api|access|secret|private|auth|client|session|refresh)?[-_ ]?
         (?:key|token|secret|passwor[dt]|passwd|passphrase|pwd|credential)s?\b["']?\s*(?:[:=]|\bis\b)\s*["']?)
        (?!\[(?:secret|redacted)\])[^\s"',;}\]]{6,}""",
    re.IGNORECASE | re.VERBOSE,
)
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@:]{0,256}:[^\s/@]{1,256}(?=@)", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[\w-]{2,63}")


def redacted(text: str, patterns: Sequence[str] = ()) -> str:
    """Replace keys, tokens, passwords, e-mail and IP addresses, account, card and telephone numbers, and
    matches of `patterns` by a placeholder for their kind, for example `[email]`."""
    for custom in patterns:
        text = _compiled(custom).sub(OTHER, text)
    text = _SECRETS.sub(SECRET, text)
    text = _BEARER.sub(rf"\1\2{SECRET}", text)
    text = _NAMED.sub(rf"\1{SECRET}", text)
    text = _IN_URL.sub(rf"\1{SECRET}", text)
    return without_numbers(_EMAIL.sub(EMAIL, text))


def storable(text: str) -> str:
    """The text without characters that a database refuses."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


@lru_cache(256)
def _compiled(text: str) -> re.Pattern[str]:
    return re.compile(text)  # the config was checked
