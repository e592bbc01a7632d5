"""The signed exchange id: the facts that feedback needs about an exchange, and proof that canary issued them.

    text = base64url( version | flags | at | run | phase | serial | [unit] | canary | mac )

`at` is UTC microseconds (u64), run and phase are u32, serial is 8 random bytes, unit the 16 bytes of the unit
hash (only when flagged), canary the UTF-8 rest, mac 16 bytes of keyed BLAKE2b (RFC 7693) under the ids key.
Big-endian, no padding, exactly one encoding per value. The id contains no secret: the unit is hashed.
"""

import hashlib
import hmac
import struct
from binascii import Error as BadBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from records.errors import BadExchangeId
from routing.canary import ArmName

VALID_FOR_S = 90 * 86400.0

_HEAD = struct.Struct(">BBQII8s")
_VERSION = 1
_CANDIDATE, _HAS_UNIT = 1, 2
_MAC_BYTES = 16
_UNIT_BYTES = 16
_PURPOSE = b"exchange\0"  # the ids key also hashes units; this prefix separates the two uses
_TIME_AND_SERIAL = struct.Struct(">B1xQ8xQ")
_THEIR_CHARACTERS = 36
"""The characters of an id, in groups of four, that have its time and its serial."""

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRef:
    """A decoded exchange id. `at` is UTC seconds; `unit` is the unit's hash, "" when the caller gave none."""

    exchange_id: str
    canary: str
    run: int
    phase: int
    arm: ArmName
    unit: str
    at: float


def mint(
    key: bytes, *, canary: str, run: int, phase: int, arm: ArmName, unit_hash: str, at: float, serial: bytes
) -> str:
    """Create and sign an exchange id.

    `key` is the ids key, `unit_hash` 32 hex digits or empty, `at` UTC seconds, `serial` 8 random bytes that
    make the id unique. Raises ValueError or struct.error when a value does not fit its field.
    """
    flags = (_CANDIDATE if arm == "candidate" else 0) | (_HAS_UNIT if unit_hash else 0)
    unit = bytes.fromhex(unit_hash)
    if unit and len(unit) != _UNIT_BYTES:
        raise ValueError(f"a unit hash has {2 * _UNIT_BYTES} hex digits, not {len(unit_hash)}")
    body = _HEAD.pack(_VERSION, flags, int(at * 1e6), run, phase, serial) + unit + canary.encode()
    return _to_text(body + _mac(key, body))


def verify(keys: Sequence[bytes], text: str, *, now: float) -> ExchangeRef:
    """Verify and decode an exchange id signed with any of `keys`, the current key first.

    `now` is UTC seconds. Raises BadExchangeId: malformed, forged, or expired after 90 days.
    """
    raw = _from_text(text)
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if not any(hmac.compare_digest(_mac(key, body), mac) for key in keys):
        raise BadExchangeId(
            "forged", "this exchange id was not signed here: send the value of x-canary-exchange unchanged"
        )
    reference = _read(text, body)
    if now - reference.at > VALID_FOR_S:
        raise BadExchangeId("expired", "this exchange id is older than 90 days: too late for feedback")
    return reference


def day_of(text: str) -> int | None:
    """Return the UTC day number in an exchange id, unverified; None when `text` is not an exchange id."""
    try:
        return int(_read(text, _from_text(text)[:-_MAC_BYTES]).at // 86400)
    except (BadExchangeId, UnicodeDecodeError):
        return None


def time_and_serial(text: str) -> tuple[int, int] | None:
    """Return the UTC microseconds and the serial in an exchange id, unverified; None when `text` is not an
    exchange id. No two ids have both in common."""
    try:
        raw = a2b_base64(text[:_THEIR_CHARACTERS].encode("ascii").translate(_FROM_URL))
        version, micros, serial = _TIME_AND_SERIAL.unpack_from(raw)
    except (UnicodeEncodeError, BadBase64, struct.error):
        return None
    return (micros, serial) if version == _VERSION else None


def _mac(key: bytes, body: bytes) -> bytes:
    mac = _keyed(key).copy()
    mac.update(body)
    return mac.digest()


@lru_cache(64)
def _keyed(key: bytes) -> "hashlib.blake2b":
    """A keyed hash to copy from: a copy costs a quarter of a new keyed hash."""
    return hashlib.blake2b(_PURPOSE, key=key, digest_size=_MAC_BYTES)


def _to_text(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def _from_text(text: str) -> bytes:
    try:
        encoded = text.encode("ascii").translate(_FROM_URL)
        raw = a2b_base64(encoded + b"=" * (-len(encoded) % 4), strict_mode=True)
    except (UnicodeEncodeError, BadBase64) as exc:
        raise _malformed() from exc
    # Base64 can encode one value in several ways (unused last bits), and each would be its own feedback key.
    if len(raw) < _HEAD.size + _MAC_BYTES or _to_text(raw) != text:
        raise _malformed()
    return raw


def _malformed() -> BadExchangeId:
    return BadExchangeId("malformed", "this is not an exchange id: send the value of x-canary-exchange")


def _read(text: str, body: bytes) -> ExchangeRef:
    version, flags, micros, run, phase, _ = _HEAD.unpack_from(body)
    if version != _VERSION:
        raise _malformed()
    rest = body[_HEAD.size :]
    unit = rest[:_UNIT_BYTES] if flags & _HAS_UNIT else b""
    return ExchangeRef(
        exchange_id=text,
        canary=rest[len(unit) :].decode(),
        run=run,
        phase=phase,
        arm="candidate" if flags & _CANDIDATE else "baseline",
        unit=unit.hex(),
        at=micros / 1e6,
    )
