"""How a session ended, from the side that ended it and its events. Pure.

| ended by                              | with                                    | the session             |
|---------------------------------------|-----------------------------------------|-------------------------|
| any side                              | an error as the provider's only event   | the error's type        |
| provider, close frame                 | after an error (not `session_expired`)  | `provider_stream_error` |
|                                       | 1000, 1001, no code                     | ended well              |
|                                       | 1002, 1003, 1007, 1008                  | `caller_rejected`       |
|                                       | 1009                                    | `caller_too_large`      |
|                                       | any other code                          | `provider_stream_error` |
| provider, no close frame              | FIN or RST                              | `provider_truncated`    |
|                                       | bytes that are not WebSocket frames     | `provider_malformed`    |
|                                       | no byte accepted for `write`            | `provider_timeout`      |
| caller, close frame or not            | a completed response                    | ended well              |
|                                       | close frame, no response in progress    | ended well              |
|                                       | else                                    | `aborted`               |
| neither: no byte for `idle`           | a response in progress                  | `provider_timeout`      |
|                                       | else                                    | as if the caller left   |

"Ended well" becomes `provider_stream_error` when responses failed and none completed. Errors after which a
session continues do not count; OpenAI's reference says that most errors are recoverable.
"""

from dataclasses import dataclass
from typing import Literal

from proxy.realtime.events import EXPIRED, SessionEvents
from proxy.realtime.frames import NO_CODE
from records.outcome import ErrorType

Side = Literal["provider", "caller", "neither"]

_REGULAR = frozenset([1000, 1001, NO_CODE])
_CALLERS_FAULT = frozenset([1002, 1003, 1007, 1008])
_TOO_LARGE = 1009


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of a session. `side`: which side ended it. `code`: the code of that side's first close frame,
    None without one. `broke`: the error of the provider's connection, None for a FIN. `malformed`: the
    provider's bytes were not WebSocket frames."""

    side: Side
    code: int | None = None
    broke: ErrorType | None = None
    malformed: bool = False


def failure(end: End, events: SessionEvents) -> ErrorType | None:
    """Return the session's error type; None when it ended well."""
    if events.refused is not None and events.received == 1:
        return events.refused
    if end.side == "provider":
        wrong = _by_provider(end, events)
    elif end.side == "neither" and events.under_way:
        wrong = "provider_timeout"
    else:
        wrong = _by_caller(end, events)
    if wrong is None and events.failed and not events.completed:
        return "provider_stream_error"
    return wrong


def _by_provider(end: End, events: SessionEvents) -> ErrorType | None:
    if end.code is None:
        if end.malformed:
            return "provider_malformed"
        return "provider_timeout" if end.broke == "provider_timeout" else "provider_truncated"
    if events.last_error not in ("", EXPIRED):
        return "provider_stream_error"
    if end.code in _REGULAR:
        return None
    if end.code == _TOO_LARGE:
        return "caller_too_large"
    return "caller_rejected" if end.code in _CALLERS_FAULT else "provider_stream_error"


def _by_caller(end: End, events: SessionEvents) -> ErrorType | None:
    if events.completed or (end.code is not None and not events.under_way):
        return None
    return "aborted"
