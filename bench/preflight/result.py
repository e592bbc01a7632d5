"""What came to a preflight's requests. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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
    None when it was not asked again. `request_ids`: the provider's, of the first few.
    """

    operation: str
    status: int
    message: str
    count: int
    error: ProviderError = NOTHING_SAID
    request: RequestChanges = NO_CHANGES
    then: tuple[str, ...] = ()
    cured: bool | None = None
    request_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredRequests:
    """Requests that were neither taken nor refused: a limit, a fault of the provider, no answer. `unsent`: no
    credential could be had, so no user's request would be sent either. `request_ids`: as of a refusal."""

    operation: str
    message: str
    count: int
    error: ProviderError = NOTHING_SAID
    unsent: bool = False
    request_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightNote:
    """Requests that do not count, and why.

    foreign_state  `count` of them carry state that only the baseline's account can read
    both_refuse    the baseline refuses this operation, too, with this message
    others_work    the candidate refuses this operation with this message, and takes others
    """

    kind: Literal["foreign_state", "both_refuse", "others_work", "not_compared"]
    operation: str = ""
    message: str = ""
    count: int = 0


LEAST_WITH_PROMPT = 0.95
"""The part of the requests that must have the text of a prompt before a canary starts by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLook:
    """How many of the captured requests, or those of a file, have the text in whose place an arm has its own
    prompt. None was looked at where there was none."""

    have: int
    looked_at: int

    @property
    def too_few(self) -> bool:
        """True if the canary must not start by itself."""
        return self.looked_at > 0 and self.have < LEAST_WITH_PROMPT * self.looked_at


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightResult:
    """What came to `asked` requests, and what else a reader should know (`notes`).

    `captured` counts the captured requests among them by canary, or by model without one; empty: there was
    none, so one minimal request of each operation was asked. None: a person's own file. `prompt`: what a look
    for the arms' prompts found; None where no arm has its own. `refusals` and `unanswered` begin with those
    of the main operation, which most requests have, or the API's own chat. `main_unanswered`: the candidate
    answered none of that one.
    """

    canary: str
    asked: int
    taken: int
    captured: Mapping[str, int] | None = None
    refusals: tuple[RefusalKind, ...] = ()
    unanswered: tuple[UnansweredRequests, ...] = ()
    notes: tuple[PreflightNote, ...] = ()
    prompt: PromptLook | None = None
    main_unanswered: bool = False

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


def named(error: ProviderError) -> Mapping[str, str]:
    """What a provider says beside its message."""
    return {"code": error.code, "type": error.type, "param": error.param}
