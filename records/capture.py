"""A captured exchange: what was asked and answered, redacted, for making datasets. Off unless a canary asks.

A worker records the answer as it passes (`proxy.answer_recorder`) and pipes it, with the request, to a
process of its own (`capture_pipe`). That process redacts both (`capture_redact`) and writes them to a file
(`capture_files`): no text touches a disk before it is redacted. The admin process moves the files into the
database (`capture_store`) and deletes expired captures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from routing.canary import ArmName

CapturedExchange = Literal["rate", "category"]
"""Why it was kept: the rate's draw, or one of the day's first of its category."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRule:
    """What a canary captures: the first `per_category` of each category and day, and of the others the part
    `rate` in [0, 1]. `redact` are patterns of its own."""

    rate: float
    per_category: int = 0
    expires_after_s: float = 30 * 86400.0
    redact: tuple[str, ...] = ()


class Said(msgspec.Struct, frozen=True, gc=False):
    """One message of a request, as a dataset has it."""

    role: str
    content: str


class About(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a captured exchange without its texts. `at` and `expires_at` are UTC seconds, `unit`
    and `session` hashes, `copy_of` the exchange that a mirror copy repeats ("": it is no copy)."""

    exchange_id: str
    at: float
    expires_at: float
    canary: str
    run: int
    phase: int
    arm: ArmName
    kept: CapturedExchange
    per_category: int = 0
    copy_of: str = ""
    served_by: ArmName | None = None
    unit: str = ""
    session: str = ""
    category: str = ""
    tags: Mapping[str, str] = {}
    provider: str = ""
    model: str = ""


class CaptureSample(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange that was drawn, before it is answered. `exchange_id` is the real one's, for its mirror copy
    too."""

    exchange_id: str
    kept: CapturedExchange
    rule: CaptureRule


class Capture(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One captured exchange, redacted. `truncated`: the answer was longer than what is kept."""

    about: About
    messages: tuple[Said, ...]
    answer: str
    truncated: bool = False


class Taken(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A captured exchange on its way through the pipe, not redacted yet: the request's body, and the answer
    as text (`streamed`) or as the body it came in. Never written anywhere."""

    about: About
    request: bytes
    answer: bytes
    streamed: bool
    truncated: bool = False
    redact: tuple[str, ...] = ()
