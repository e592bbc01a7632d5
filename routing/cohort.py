"""Sticky cohorts by keyed hash: stateless, equal in every process, monotone in the share.

A unit belongs to the candidate when the first 4 bytes, big-endian, of
HMAC-SHA-256(assignment key, name \\x00 unit) are below share · 2³². Raising the share only adds units.
"""

import hmac

SPACE = 2**32


def derive_key(secret: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose ("assignment", "ids"), so that neither can stand in for the other."""
    return hmac.digest(secret, b"canary/" + purpose.encode(), "sha256")


def bucket(assignment_key: bytes, canary: str, unit: str) -> int:
    """The unit's place in [0, 2³²) for this canary."""
    digest = hmac.digest(assignment_key, f"{canary}\0{unit}".encode(), "sha256")
    return int.from_bytes(digest[:4], "big")


def in_cohort(assignment_key: bytes, canary: str, unit: str, share: float) -> bool:
    """True when the unit is the candidate's at this share in [0, 1]."""
    return bucket(assignment_key, canary, unit) < share * SPACE


def unit_hash(ids_key: bytes, unit: str) -> str:
    """What is stored instead of the unit: 32 hex digits, not reversible without the key."""
    return hmac.digest(ids_key, b"unit\0" + unit.encode(), "sha256")[:16].hex()
