"""What came to a preflight's requests. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from records.outcome import ProviderError
from routing.canary import NO_CHANGES, RequestChanges

NOTHING_SAID = ProviderError()


class NothingToAsk(Exception):
    """No request can be sent; the message says why and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalKind:
    """One kind of refusal: `count` requests with the provider's own words, those of the first; `error` has
    its code, type and param.

    `request`: the lines that would cure it, none where no member is named. `then`: what the provider said to
    the requests that were asked again with the lines before. `cured`: whether it took them with all lines,
    None when it was not asked again.
    """

    operation: str
    status: int
    message: str
    count: int
    error: ProviderError = NOTHING_SAID
    request: RequestChanges = NO_CHANGES
    then: tuple[str, ...] = ()
    cured: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredRequests:
    """Requests that were neither taken nor refused: a limit, a fault of the provider, no answer. `unsent`: no
    credential could be had, so no user's request would be sent either."""

    operation: str
    message: str
    count: int
    error: ProviderError = NOTHING_SAID
    unsent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightResult:
    """What came to `asked` requests, which ones these were in words (`source`, "" for a person's own file),
    and what else a reader should know (`notes`)."""

    canary: str
    asked: int
    taken: int
    source: str = ""
    refusals: tuple[RefusalKind, ...] = ()
    unanswered: tuple[UnansweredRequests, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> int:
        """How many requests the candidate refused."""
        return sum(each.count for each in self.refusals)

    @property
    def refused_share(self) -> float | None:
        """The refused part of the answered requests, in [0, 1]; None when none was answered."""
        answered = self.taken + self.refused
        return self.refused / answered if answered else None

    @property
    def unsent(self) -> str:
        """Why requests could not even be sent; "" if they could."""
        return next((each.message for each in self.unanswered if each.unsent), "")

    def document(self) -> dict[str, Any]:
        """The contract's JSON. `source`, `failed` and `notes` only stand there when there is something to
        say."""
        document: dict[str, Any] = {
            "canary": self.canary,
            "asked": self.asked,
            "taken": self.taken,
            "refused": self.refused,
            "refusals": [_refusal(each) for each in self.refusals],
        }
        if self.unanswered:
            document["failed"] = [
                {
                    "operation": each.operation,
                    **named(each.error),
                    "message": each.message,
                    "count": each.count,
                }
                for each in self.unanswered
            ]
        if self.source:
            document["source"] = self.source
        return document | ({"notes": list(self.notes)} if self.notes else {})


def _refusal(refusal: RefusalKind) -> dict[str, Any]:
    document = {
        "operation": refusal.operation,
        "status": refusal.status,
        **named(refusal.error),
        "message": refusal.message,
        "count": refusal.count,
        "request": _request(refusal.request),
    }
    if refusal.cured is not None:
        document["asked_again"] = {"taken": refusal.cured, "refused": list(refusal.then)}
    return document


def named(error: ProviderError) -> Mapping[str, str]:
    """What a provider says beside its message."""
    return {"code": error.code, "type": error.type, "param": error.param}


def _request(changes: RequestChanges) -> Mapping[str, Any]:
    """The lines as an arm's `request:` takes them."""
    return {"rename": dict(changes.rename), "remove": list(changes.remove)}
