"""How a session ended, from who ended it and what had been said. Pure.

| who                                   | with                                    | the session             |
|---------------------------------------|-----------------------------------------|-------------------------|
| whoever                               | an error was the provider's only event  | what the error refuses  |
| provider, close frame                 | after an error (not `session_expired`)  | `provider_stream_error` |
|                                       | 1000, 1001, no code                     | well                    |
|                                       | 1002, 1003, 1007, 1008                  | `caller_rejected`       |
|                                       | 1009                                    | `caller_too_large`      |
|                                       | any other code                          | `provider_stream_error` |
| provider, no close frame              | FIN or RST                              | `provider_truncated`    |
|                                       | what it sent was no WebSocket           | `provider_malformed`    |
|                                       | took nothing for `write`                | `provider_timeout`      |
| caller, close frame or not            | a response had been completed           | well                    |
|                                       | close frame, and no response under way  | well                    |
|                                       | else                                    | `aborted`               |
| nobody: no byte either way for `idle` | a response under way                    | `provider_timeout`      |
|                                       | else                                    | as if the caller left   |

"Well" turns into `provider_stream_error` where responses failed and none was completed. Errors that a session
lives on after (most are recoverable, says OpenAI's reference) count for nothing.
"""

from dataclasses import dataclass
from typing import Literal

from proxy.realtime.events import EXPIRED, SessionEvents
from proxy.realtime.frames import NO_CODE
from records.outcome import ErrorType

Who = Literal["provider", "caller", "nobody"]

_REGULAR = frozenset([1000, 1001, NO_CODE])
_CALLERS_FAULT = frozenset([1002, 1003, 1007, 1008])
_TOO_LARGE = 1009


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """`who` ended it; `code`: of the first close frame that it sent, None without one; `broke`: what ended
    the provider's connection, where that was no FIN."""

    who: Who
    code: int | None = None
    broke: ErrorType | None = None
    malformed: bool = False


def failure(end: End, events: SessionEvents) -> ErrorType | None:
    """What was wrong with the session; None: it went well."""
    if events.refused is not None and events.heard == 1:
        return events.refused
    if end.who == "provider":
        wrong = _by_provider(end, events)
    elif end.who == "nobody" and events.under_way:
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
