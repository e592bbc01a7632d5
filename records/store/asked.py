"""What a session has asked lately: fingerprints with a space between two, the newest last, 16 at most.

On SQLite these two are the SQL functions that PostgreSQL has of its own (migrations/versions/0002).
"""

MOST = 16


def canary_seen(asked: str, again: str) -> int:
    """How many of the fingerprints in `again` are in `asked`."""
    known = set(asked.split())
    return sum(fingerprint in known for fingerprint in again.split())


def canary_asked(asked: str, again: str) -> str:
    """Both, each fingerprint once at its last place, and only the newest 16."""
    newest = dict.fromkeys(reversed([*asked.split(), *again.split()]))
    return " ".join(reversed(list(newest)[:MOST]))
