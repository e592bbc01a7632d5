"""The newest error that the candidate's provider sent, in the provider's own words."""

from dataclasses import dataclass
from typing import Any

import msgspec

from records.outcome import ErrorType, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateError:
    """One error of the candidate's provider: UTC seconds, HTTP status, canary's type, the provider's words.

    `code`, `type`, `param` and `message` are as in `ProviderError`; "" is not said.
    """

    status: int | None
    error_type: ErrorType | None
    code: str
    type: str
    param: str
    message: str
    at: float

    @property
    def sentence(self) -> str:
        """`candidate rejects: Unsupported parameter: 'max_tokens'`."""
        what = (self.error_type or "error").replace("_", " ")
        return f"{what}: {self.words}" if self.words else what

    @property
    def words(self) -> str:
        """What the provider said, alone: its message, else its code, type and parameter."""
        named = (f"{name} {value}" for name, value in self._named if value)
        return self.message or ", ".join(named)

    @property
    def _named(self) -> tuple[tuple[str, str], ...]:
        return ("code", self.code), ("type", self.type), ("param", self.param)


def candidate_error(outcome: Outcome) -> CandidateError | None:
    """What the provider said about this exchange; None if it did not fail or the provider said nothing."""
    said = outcome.provider_error
    if said is None or not outcome.failed:
        return None
    return CandidateError(
        status=_status_of(outcome),
        error_type=outcome.error_type,
        code=said.code,
        type=said.type,
        param=said.param,
        message=said.message,
        at=outcome.at,
    )


def to_document(error: CandidateError | None) -> dict[str, Any] | None:
    """The error as a JSON-able document, with its sentence; None for none."""
    if error is None:
        return None
    document: dict[str, Any] = msgspec.to_builtins(error)
    return document | {"sentence": error.sentence}


def _status_of(outcome: Outcome) -> int | None:
    """The status that the arm's own attempt got; the caller's may be the fallback's."""
    tried = [attempt.status for attempt in outcome.attempts if attempt.arm == outcome.arm]
    return tried[-1] if tried else outcome.status
