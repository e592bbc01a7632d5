"""What the proxy needs to know of one LLM operation, whoever's API it is."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

import msgspec

from records.outcome import Usage

ModelPlace = Literal["body", "path", "query"]

Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
"""Tokens. A provider's -1 for "unknown", or what no column could hold, is no count."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises at bytes that are no JSON of the wanted shape, no UTF-8, or nested too deep."""


Texts = re.Pattern[bytes] | None
"""Finds strings in an event that matter for nothing but the first token (`proxy.event_template`)."""


class Events(Protocol):
    """Reads one streamed answer, event by event. Its attributes say what was seen so far."""

    token: bool
    """A text or reasoning token has come."""
    done: bool
    """The event that ends a whole answer has come."""
    failed: bool
    """The provider reported an error inside the stream."""
    finished: bool
    """The model has finished; only bookkeeping follows (OpenAI's non-null finish_reason)."""

    texts: ClassVar[Texts]

    @property
    def usage(self) -> Usage | None:
        """The last counts that were given; None where there were none, or only of another shape."""
        ...

    def take(self, name: bytes, data: bytes) -> bool:
        """One event: its `event:` name (may be empty) and its data. Data that is no JSON is ignored.

        True when it is JSON that changed nothing, and would not whatever its `texts` were.
        """
        ...


class JsonReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a whole JSON answer says: `valid` is False for what is not the API's JSON at all."""

    valid: bool
    failed: bool = False
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `name` is OpenTelemetry's; a canary may take it only when `canary` is True."""

    name: str
    canary: bool = True
    model_in: ModelPlace = "body"
    repeats_model: bool = False
    """The body names the model that stands in the path once more (Gemini's embeddings)."""
    streams: bool | None = None
    """True or False where the path decides; None: the body's `stream` does."""
    events: Callable[[], Events] | None = None
    read_json: Callable[[bytes], JsonReading] | None = None
    usage_key: bytes = b'"usage"'
    """The member of an answer that has its counts; `read_json` also reads an object of that member alone."""
    injects_usage: bool = False
    """A stream carries usage only when asked to (`stream_options.include_usage`)."""
    creates_state: bool = False
    """The provider keeps the answer unless `store` is false."""


PASS_THROUGH = Operation(name="other", canary=False)


def given(value: msgspec.Raw) -> bool:
    """True when a member stood there and may hold counts: null, {} and [] are too short to."""
    return len(value) > _NULL


_NULL = len(b"null")


def is_json_object(body: bytes) -> bool:
    """True for a JSON object of any shape."""
    try:
        _decode_any_object(body)
    except UNREADABLE:
        return False
    return True


class _AnyObject(msgspec.Struct):
    """Looks at no member."""


_decode_any_object = msgspec.json.Decoder(_AnyObject).decode
