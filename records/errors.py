"""Errors of this room, as one small tree.

RecordError
├── BadExchangeId   an exchange id that is malformed, forged or expired      (`reason`)
├── BadFeedback     a feedback document that is refused                      (`status`, `message`)
├── SharedDown      Redis does not answer; the store is slower but authoritative
├── SpoolFull       the disk failed to store the appended record
├── StoreDown       the database does not answer; try again
│   ├── StoreTooNew     a newer version created the database; try again after upgrading this one
│   └── StoreTooOld     a canary from before the first release created the database; name another one
└── Unstorable      a value cannot be stored; set the record aside
"""

from typing import Literal

BadIdReason = Literal["malformed", "forged", "expired"]


class RecordError(Exception):
    """Base class of all errors in this room."""


class BadExchangeId(RecordError):
    """An exchange id that cannot be trusted: `reason` is malformed, forged or expired."""

    def __init__(self, reason: BadIdReason, message: str) -> None:
        super().__init__(message)
        self.reason: BadIdReason = reason


class BadFeedback(RecordError):
    """A refused feedback document, with an HTTP status (4xx) and a message that says how to correct it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class SharedDown(RecordError):
    """Redis cannot be reached or does not answer in time. Nothing is lost: the store has every record."""


class SpoolFull(RecordError):
    """The disk failed to store an appended record, so the record must not be acknowledged."""


class StoreDown(RecordError):
    """The database cannot be reached or refuses the connection. Unstored records stay in the spool."""


class StoreTooNew(StoreDown):
    """A newer version created the database. Records stay in the spool until that version runs here."""


class StoreTooOld(StoreDown):
    """A canary from before the first release created the database. Records stay in the spool."""


class Unstorable(RecordError):
    """A value of a record cannot be stored, so the record must be set aside."""
