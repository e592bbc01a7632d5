"""The description of one LLM operation, independent of the API."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec

from proxy.dialects.answer import AnswerFacts, CollectedOutput, ExpectedOutput, OutputRequest
from records.outcome import Usage

Api = Literal["openai", "anthropic", "gemini"]
ModelPlace = Literal["body", "path", "query"]

Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
"""A number of tokens. A provider's -1 for "unknown", and numbers too large for a column, are rejected."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""msgspec's errors for bytes that are not UTF-8, not JSON of the expected shape, or nested too deeply."""


Texts = re.Pattern[bytes] | None
"""Matches strings in an event that matter only for the first token (`proxy.answers.sse`)."""


def text_members(*names: str) -> re.Pattern[bytes]:
    """Match members with these names whose value is a string without escapes; group 1 is the text."""
    return re.compile(b'"(?:%s)": ?"([^"\\\\\n]*)"' % "|".join(names).encode())


class AnswerSummary(msgspec.Struct, kw_only=True, gc=False):
    """What is known of an answer, or of the events of it that have come. Its readers write it.

    `model`: as the answer names it, empty when it does not. `usage`: the last one reported, None when there
    was none of the expected shape. `answer`: why the answer ended, and what it holds; None when it is not a
    model's answer, or of a form that is not read. `error`: what the provider said when it refused or failed,
    bounded. `failed`: the provider reported an error inside its answer. `valid` is False when a whole answer
    is not JSON of its API.

    `token`: a text or reasoning token has arrived, the first at `first_token_at`. `finished`: the model has
    finished; only bookkeeping follows (OpenAI's non-null finish_reason). `done`: the answer is complete,
    whatever the connection does next. `has_event`: a stream's first complete event has arrived, or the reader
    will never see one.
    """

    valid: bool = True
    failed: bool = False
    usage: Usage | None = None
    answer: AnswerFacts | None = None
    model: str = ""
    error: bytes = b""
    token: bool = False
    finished: bool = False
    done: bool = False
    has_event: bool = False
    first_token_at: float | None = None


class Events(Protocol):
    """Reads one streamed answer, event by event."""

    @property
    def seen(self) -> AnswerSummary:
        """What the events so far say."""
        ...

    @property
    def texts(self) -> Texts:
        """The strings that could change nothing in an event of the kind just read."""
        ...

    def take(self, name: bytes, data: bytes) -> bool:
        """Read one event: its `event:` name, which may be empty, and its data, ignored if it is not JSON.

        True when the event is JSON that changed nothing, and would change nothing with any other `texts`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputForm:
    """How a model's output, and what its request wants of it, are written in one operation.

    `take` collects from one event of a stream, `read` from a whole answer; `collect` calls
    them. All three raise one of UNREADABLE where they cannot read it.
    """

    take: Callable[[CollectedOutput, bytes], None]
    read: Callable[[CollectedOutput, bytes], None]
    expected: Callable[[OutputRequest], ExpectedOutput]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `name` is OpenTelemetry's. Canaries take only operations with `canary=True`."""

    name: str
    canary: bool = True
    model_in: ModelPlace = "body"
    over_socket: bool = False
    """A WebSocket to the operation's path takes its requests as messages (OpenAI's responses)."""
    needs_model: bool = False
    """A body without a model is not for a canary: it names an agent instead (Gemini's interactions)."""
    repeats_model: bool = False
    """The body repeats the model of the path (Gemini's embeddings)."""
    streams: bool | None = None
    """True or False when the path decides; None when the body's `stream` does."""
    events: Callable[[], Events] | None = None
    read_json: Callable[[bytes], AnswerSummary] | None = None
    usage_key: bytes = b'"usage"'
    """The answer's member with the counts; `read_json` also reads an object with only that member."""
    usage_in_head: Callable[[Mapping[bytes, bytes]], Usage | None] | None = None
    """Reads counts in the answer's headers, for bodies without."""
    injects_usage: bool = False
    """A stream has usage only on request (`stream_options.include_usage`)."""
    output: OutputForm | None = None
    """For operations whose answers are a model's output; the others have no `finish`."""
    amazon_errors: bool = False
    """Its SDK reads errors in Amazon's form, whatever the entry's API."""
    creates_state: bool = False
    """The provider stores the answer unless `store` is false."""


PASS_THROUGH = Operation(name="other", canary=False)


def named(model: Any) -> str:
    """The model's name in decoded JSON; empty for anything but a string."""
    return model if isinstance(model, str) else ""


def given(value: msgspec.Raw) -> bool:
    """True when a raw member is present and long enough for counts, unlike null, {} and []."""
    return len(value) > _NULL


_NULL = len(b"null")


T = TypeVar("T")


def readable(decode: Callable[[bytes], T], data: bytes) -> T | None:
    """What a decoder makes of these bytes; None where they are of another shape."""
    try:
        return decode(data)
    except UNREADABLE:
        return None


def total(*counts: int | None) -> int | None:
    """The sum of the known counts; None when all are unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def collect(take: Callable[[CollectedOutput, bytes], None], output: CollectedOutput, data: bytes) -> None:
    """Have a dialect add these bytes to the output, which is lost where they are of another shape."""
    try:
        take(output, data)
    except UNREADABLE:
        output.lose()


class Counted(msgspec.Struct, gc=False):
    """An answer of another shape, of which the error, the counts and the model may still be read."""

    type: Any = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    model: Any = None


decode_counted = msgspec.json.Decoder(Counted).decode


def read_counted(body: bytes, usage: Callable[[msgspec.Raw], Usage | None]) -> AnswerSummary:
    """Read a whole answer of another shape: its error, its counts and its model."""
    answer = readable(decode_counted, body)
    if answer is None:
        return AnswerSummary(valid=is_json_object(body))
    failed = bool(answer.error) or answer.type == "error"
    return AnswerSummary(valid=True, failed=failed, usage=usage(answer.usage), model=named(answer.model))


class _AnyObject(msgspec.Struct):
    """Accepts any members."""


_decode_any_object = msgspec.json.Decoder(_AnyObject).decode


def is_json_object(body: bytes) -> bool:
    """True for a JSON object of any shape."""
    return readable(_decode_any_object, body) is not None
