"""A session's recent questions: up to 16 fingerprints separated by spaces, newest last.

SQLite calls these as SQL functions; PostgreSQL has its own (migrations/versions/0002).
"""

MOST = 16


def canary_seen(asked: str, again: str) -> int:
    """Count the fingerprints in `again` that are also in `asked`."""
    known = set(asked.split())
    return sum(fingerprint in known for fingerprint in again.split())


def canary_asked(asked: str, again: str) -> str:
    """Merge both lists: each fingerprint once, at its last position, and only the newest 16."""
    newest = dict.fromkeys(reversed([*asked.split(), *again.split()]))
    return " ".join(reversed(list(newest)[:MOST]))
