"""Removes secrets and personal data from a text before it is stored, and from a request that is to be sent
again: the same members, in the same order. Pure.

Numbers that name a person or a machine are bank accounts, IP addresses, cards and telephones. Check digits
and address syntax decide where there are any. Of dates, prices, version numbers and UUIDs nothing is taken
out.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from string import ascii_letters
from typing import Any

import msgspec

from records.captures.capture import WireRequest

Clean = Callable[[str], str]
"""Redacts a text."""

IBAN, IP, CARD, PHONE = "[iban]", "[ip]", "[card]", "[phone]"

_UUID = re.compile(r"(\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b)")

_IBAN_BEGIN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ \xa0\u202f-]?\d{2}(?=[ \xa0\u202f.-]?[A-Za-z0-9])")
_IBAN = re.compile(r"[A-Za-z]{2}(?:[ \xa0\u202f.-]?[A-Za-z0-9]){13,32}(?![A-Za-z0-9])")
_IBAN_END = re.compile(r"[A-Za-z0-9](?![A-Za-z0-9])")
_UNGROUPED = dict.fromkeys(map(ord, " \xa0\u202f.-"))
_VALUES = {ord(letter): str(int(letter, 36)) for letter in ascii_letters}
"""Two digits for each letter: 10 for A to 35 for Z."""
_SHORTEST_IBAN = 15
"""Norway's, by the IBAN registry of ISO 13616; the longest has 34 characters."""

_IPV4 = re.compile(r"(?<!\w)(?<!\d\.)(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IPV6 = re.compile(
    r"(?<!\w)(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4})(?:%[\w-]+)?(?!\w)"
)
_FULL_IPV6, _TELLING_GROUP = 7, re.compile(r"\w{3}")
_HIGHEST_OCTET = 255

_DIGITS = re.compile(r"(?<![\w.])\d(?:[ .-]?\d){12,18}(?![\w])")
_PHONE = re.compile(
    r"""(?<![\w.])(?:
      (?P<date>
          (?:19|20)\d\d[-./](?:0?[1-9]|1[0-2])[-./](?:0?[1-9]|[12]\d|3[01])(?!\d)
        | [0-3]?\d(?P<between>[-./][ ]?)[0-3]?\d(?P=between)(?:19|20)\d\d(?!\d)
      )
    | (?:\+|00)?\(?\d(?:[ ./()-]{0,3}\d){6,14}(?![\w]))""",
    re.VERBOSE,
)
_DECIMAL = re.compile(r"\d{1,2}\.\d{6,}")
_VERSION = re.compile(r"(?=.*\.\d(?:\.|\Z))[1-9]\d{0,3}(?:\.\d{1,5})+")
"""Telephone numbers have no group of one digit behind a dot."""
_NATIONAL = re.compile(r"\d{3}[ .-]\d{3}[ .-]\d{4}|\d{3}-\d{4}")

_FEWEST_DIGITS = 9
"""Shortest number to redact if it has neither the prefix nor the grouping of a telephone number."""


def without_numbers(text: str) -> str:
    """Replace account numbers (IBAN), IP addresses, card and telephone numbers by `[iban]`, `[ip]`, `[card]`
    and `[phone]`."""
    parts = _UUID.split(text)
    parts[::2] = map(_without_numbers, parts[::2])
    return "".join(parts)


def _without_numbers(text: str) -> str:
    text = _without_ibans(text)
    text = _IPV6.sub(_ipv6, text)
    text = _IPV4.sub(_ipv4, text)
    text = _DIGITS.sub(_card, text)
    return _PHONE.sub(_phone, text)


def _without_ibans(text: str) -> str:
    parts, done = list[str](), 0
    for begin in _IBAN_BEGIN.finditer(text):
        end = _iban_end(text, begin.start()) if begin.start() >= done else None
        if end is not None:
            parts += text[done : begin.start()], IBAN
            done = end
    return "".join([*parts, text[done:]])


def _iban_end(text: str, begin: int) -> int | None:
    """Where the longest account number from here ends, always at the end of a word."""
    found = _IBAN.match(text, begin)
    ends = [each.end() for each in _IBAN_END.finditer(text, begin, found.end())] if found is not None else []
    return next((end for end in reversed(ends) if is_iban(text[begin:end])), None)


def is_iban(text: str) -> bool:
    """True when characters 3 and 4 are the check digits of ISO 7064 (MOD 97-10), and half of it is digits."""
    number = text.translate(_UNGROUPED)
    values = (number[4:] + number[:4]).translate(_VALUES)
    letters = len(values) - len(number)
    return len(number) >= _SHORTEST_IBAN and 2 * letters <= len(number) and int(values) % 97 == 1


def _ipv4(found: re.Match[str]) -> str:
    return IP if all(int(octet) <= _HIGHEST_OCTET for octet in found[0].split(".")) else found[0]


def _ipv6(found: re.Match[str]) -> str:
    """An address with a group of three characters, as every public, private and link-local one has, or with
    all eight groups: `1::2` may be program text."""
    text, end = found[0], ""
    if text.endswith(":") and not text.endswith("::"):
        text, end = text[:-1], ":"
    telling = text.count(":") == _FULL_IPV6 or _TELLING_GROUP.search(text)
    return IP + end if telling and any(map(str.isdecimal, text)) and _is_ipv6(text) else found[0]


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _card(found: re.Match[str]) -> str:
    return CARD if passes_luhn([int(char) for char in found[0] if char.isdecimal()]) else found[0]


def passes_luhn(digits: Sequence[int]) -> bool:
    """True when the last digit is the check digit of ISO/IEC 7812-1."""
    doubled = [
        digit if place % 2 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits), 1)
    ]
    return sum(doubled) % 10 == 0


def _phone(found: re.Match[str]) -> str:
    text = found[0]
    if found["date"] or _DECIMAL.fullmatch(text) or _VERSION.fullmatch(text):
        return text
    digits = sum(char.isdecimal() for char in text)
    has_prefix = text.startswith(("+", "0", "("))
    return PHONE if has_prefix or digits >= _FEWEST_DIGITS or _NATIONAL.fullmatch(text) else text


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


_JSON = re.compile(r"\s*(?:\{.*\}|\[.*\])\s*", re.DOTALL)
_NAMES_SECRET = re.compile(
    r"(?:key|token|secret|passwor[dt]|passwd|passphrase|pwd|credential)s?\Z", re.IGNORECASE
)


def json_redacted(text: str, clean: Clean) -> str:
    """The text redacted by `clean`. JSON stays JSON: its strings, names and numbers are redacted one by one,
    and texts in it that are JSON in turn. One where something remains that spans them is `"[redacted]"`."""
    if _JSON.fullmatch(text) is None:
        return clean(text)
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return clean(text)
    found = _redacted(value, clean)
    written = text if found == value else msgspec.json.encode(found).decode()
    once_more = clean(written)
    if once_more == written:
        return written
    try:
        msgspec.json.decode(once_more)
    except msgspec.DecodeError:
        return msgspec.json.encode(OTHER).decode()
    return once_more


def storable(text: str) -> str:
    """The text without characters that a database refuses."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


@lru_cache(256)
def _compiled(text: str) -> re.Pattern[str]:
    return re.compile(text)  # the config was checked


REMOVED = "[unit]"
_IDENTITIES = frozenset({"user", "safety_identifier", "prompt_cache_key", "user_id", "session_id"})
"""Members that name a person or a session where they stand at the top or in `metadata`."""


def redacted_request(path: str, headers: Mapping[str, str], body: bytes, clean: Clean) -> WireRequest | None:
    """The request with every text and every name redacted by `clean`; None if its body is not an object.

    A number is 0 where its digits would be redacted in a text. The units' identities are replaced whole.
    """
    try:
        members = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(members, dict):
        return None
    without = {name: _without_identity(name, value) for name, value in members.items()}
    return WireRequest(
        path=clean(path),
        headers={name: clean(value) for name, value in headers.items()},
        body=msgspec.json.encode(_redacted(without, clean)).decode(),
    )


def _without_identity(name: str, value: Any) -> Any:
    if name == "client_metadata" and isinstance(value, dict):  # Codex's: its installation, session and turn
        return dict.fromkeys(value, REMOVED)
    if name == "metadata" and isinstance(value, dict):
        return {inner: REMOVED if inner in _IDENTITIES else each for inner, each in value.items()}
    named = isinstance(value, str | int) and not isinstance(value, bool)
    return REMOVED if name in _IDENTITIES and named else value


def _redacted(value: Any, clean: Clean) -> Any:
    if isinstance(value, str):
        return json_redacted(value, clean)
    if isinstance(value, list):
        return [_redacted(each, clean) for each in value]
    if isinstance(value, dict):
        return {clean(name): _member(name, each, clean) for name, each in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if clean(str(value)) == str(value) else 0
    return value


def _member(name: str, value: Any, clean: Clean) -> Any:
    """A member's value. What its name makes a secret is one here as it is in a text."""
    found = _redacted(value, clean)
    if not isinstance(found, str | int | float) or isinstance(found, bool) or not _NAMES_SECRET.search(name):
        return found
    said = f"{name}: {found}"
    cleaned = clean(said)
    if cleaned == said:
        return found
    return cleaned.partition(": ")[2] or OTHER if isinstance(found, str) else 0
