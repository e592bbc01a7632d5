"""What can go wrong with records, as one small tree.

RecordError
├── BadExchangeId   an exchange id that we did not mint, or too long ago     (`reason`)
├── BadFeedback     a feedback document that cannot be taken                 (`status`, `message`)
├── SharedDown      Redis does not answer; the store is the truth, and slower
├── SpoolFull       the disk did not keep what was appended
├── StoreDown       the database does not answer; worth trying again
│   └── StoreTooNew     a newer version made the database; worth trying again once this one is replaced
└── Unstorable      the database refuses a value; the record is to be set aside
"""

from typing import Literal

BadIdReason = Literal["malformed", "forged", "expired"]


class RecordError(Exception):
    """Anything that went wrong with a record."""


class BadExchangeId(RecordError):
    """An exchange id that cannot be trusted; `reason` says whether it is malformed, forged or expired."""

    def __init__(self, reason: BadIdReason, message: str) -> None:
        super().__init__(message)
        self.reason: BadIdReason = reason


class BadFeedback(RecordError):
    """A feedback document that cannot be taken: an HTTP status (4xx) and what would be right."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class SharedDown(RecordError):
    """Redis cannot be reached, or does not answer in time. Nothing is lost by it: the store knows all."""


class SpoolFull(RecordError):
    """The spool's disk did not keep what was appended, so nothing may be acknowledged."""


class StoreDown(RecordError):
    """The database cannot be reached or refuses; what was to be stored stays in the spool."""


class StoreTooNew(StoreDown):
    """A newer version has made the database. Records stay in the spool until that version runs here."""


class Unstorable(RecordError):
    """The database refuses a value of a record; the record is to be set aside."""
