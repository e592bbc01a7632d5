"""Answers of Bedrock's InvokeModel, whose bodies are each model's own.

Those in the form of Anthropic, OpenAI or Converse are read as there. Of all others only the first token and
Bedrock's own counts are known: in the answer's headers, or in a stream's last chunk.
"""

from collections.abc import Mapping

import msgspec

from proxy.answer import AnswerFacts
from proxy.dialects import anthropic, bedrock_converse, openai_json
from proxy.dialects.bedrock_converse import ConverseEvents, usage_with_cache
from proxy.dialects.openai import ChatEvents
from proxy.dialects.operation import UNREADABLE, Count, Events, JsonReading, Texts, given, is_json_object
from records.outcome import Usage


class _Metrics(msgspec.Struct, rename="camel", gc=False):
    """Bedrock's own counts. `input_token_count` excludes what was read from and written to the cache."""

    input_token_count: Count | None = None
    output_token_count: Count | None = None
    cache_read_input_token_count: Count | None = None
    cache_write_input_token_count: Count | None = None

    def usage(self) -> Usage:
        return usage_with_cache(
            self.input_token_count,
            self.output_token_count,
            read=self.cache_read_input_token_count,
            written=self.cache_write_input_token_count,
        )


_HEADERS = tuple(
    b"x-amzn-bedrock-%s-token-count" % name
    for name in (b"input", b"output", b"cache-read-input", b"cache-write-input")
)


def usage_in_head(named: Mapping[bytes, bytes]) -> Usage | None:
    """The counts in an answer's headers; None without them."""
    counts = [_number(named.get(name, b"")) for name in _HEADERS]
    if counts[0] is None and counts[1] is None:
        return None
    return _Metrics(*counts).usage()


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) < 10 else None


class _Chunk(msgspec.Struct, gc=False):
    """A frame's payload, whose `bytes` are the model's own JSON in base64."""

    body: bytes = msgspec.field(name="bytes", default=b"")


class _Shape(msgspec.Struct, rename="camel", gc=False):
    """The members that tell whose form a body has."""

    type: str = ""
    choices: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    message_start: msgspec.Raw = msgspec.Raw()
    content_block_start: msgspec.Raw = msgspec.Raw()
    content_block_delta: msgspec.Raw = msgspec.Raw()
    content_block_stop: msgspec.Raw = msgspec.Raw()
    message_stop: msgspec.Raw = msgspec.Raw()
    metadata: msgspec.Raw = msgspec.Raw()


class _Ending(msgspec.Struct, gc=False):
    metrics: _Metrics | None = msgspec.field(name="amazon-bedrock-invocationMetrics", default=None)


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_shape = msgspec.json.Decoder(_Shape).decode
_decode_ending = msgspec.json.Decoder(_Ending).decode
_METRICS = b'"amazon-bedrock-invocationMetrics"'


def payload_of(data: bytes) -> bytes:
    """The model's own JSON in a frame's payload. Raises one of UNREADABLE."""
    return _decode_chunk(data).body


def shape_of(body: bytes) -> _Shape:
    """The members that tell whose form a body has; none when it is not a JSON object."""
    try:
        return _decode_shape(body)
    except UNREADABLE:
        return _Shape()


def converse_event(shape: _Shape) -> tuple[bytes, msgspec.Raw] | None:
    """The Converse event that a chunk of Amazon Nova's holds, and its name."""
    for name, raw in (
        (b"contentBlockDelta", shape.content_block_delta),
        (b"contentBlockStart", shape.content_block_start),
        (b"contentBlockStop", shape.content_block_stop),
        (b"messageStart", shape.message_start),
        (b"messageStop", shape.message_stop),
        (b"metadata", shape.metadata),
    ):
        if given(raw):
            return name, raw
    return None


def is_anthropic(shape: _Shape) -> bool:
    """True for a message of Anthropic's or an event of its streams."""
    return shape.type != ""


class _NovaEvents(ConverseEvents):
    """Converse's events, each inside a member that names it."""

    __slots__ = ()

    def take(self, name: bytes, data: bytes) -> bool:
        event = converse_event(shape_of(data))
        return super().take(event[0], bytes(event[1])) if event is not None else False


class _TextEvents:
    """Events of a form that is not read: only whether there was a token."""

    texts: Texts = None
    model = ""

    __slots__ = ("answer", "done", "failed", "finished", "token", "usage")

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self.usage: Usage | None = None
        self.answer: AnswerFacts | None = None

    def take(self, name: bytes, data: bytes) -> bool:
        if not self.token:
            try:
                self.token = _decode_texts(data).has_text
            except UNREADABLE:
                self.token = False
        return False


class _Text(msgspec.Struct, gc=False):
    text: str | None = None


class _Texts(msgspec.Struct, gc=False):
    """Llama's `generation`, Mistral's `outputs`, Titan's `outputText`, older Claude's `completion`."""

    generation: str | None = None
    outputs: list[_Text] | None = None
    outputText: str | None = None  # noqa: N815 - Amazon's name
    completion: str | None = None

    @property
    def has_text(self) -> bool:
        own = self.generation or self.outputText or self.completion
        return bool(own) or any(output.text for output in self.outputs or ())


_decode_texts = msgspec.json.Decoder(_Texts).decode


class InvokedEvents:
    """Reads the chunks of InvokeModelWithResponseStream; the first one tells whose form they have.

    The chunk with Bedrock's metrics is the last.
    """

    texts: Texts = None

    __slots__ = ("_counted", "_ended", "_events")

    def __init__(self) -> None:
        self._events: Events | None = None
        self._counted: Usage | None = None
        self._ended = False

    @property
    def token(self) -> bool:
        return self._events is not None and self._events.token

    @property
    def done(self) -> bool:
        return self._ended or (self._events is not None and self._events.done)

    @property
    def failed(self) -> bool:
        return self._events is not None and self._events.failed

    @property
    def finished(self) -> bool:
        return False

    @property
    def model(self) -> str:
        return self._events.model if self._events is not None else ""

    @property
    def answer(self) -> AnswerFacts | None:
        return self._events.answer if self._events is not None else None

    @property
    def usage(self) -> Usage | None:
        """The model's own counts, or else Bedrock's, which know less."""
        own = self._events.usage if self._events is not None else None
        return own or self._counted

    def take(self, name: bytes, data: bytes) -> bool:
        try:
            payload = payload_of(data)
        except UNREADABLE:
            return False
        if self._events is None:
            self._events = _events_of(payload)
        self._events.take(b"", payload)
        if _METRICS in payload:
            self._end(payload)
        return False

    def _end(self, payload: bytes) -> None:
        self._ended = True
        try:
            metrics = _decode_ending(payload).metrics
        except UNREADABLE:
            return
        self._counted = metrics.usage() if metrics is not None else None


def _events_of(payload: bytes) -> Events:
    """The reader for the form that a stream's first chunk has."""
    shape = shape_of(payload)
    if is_anthropic(shape):
        return anthropic.MessageEvents()
    if given(shape.choices):
        return ChatEvents()
    return _NovaEvents() if converse_event(shape) is not None else _TextEvents()


def read_json(body: bytes) -> JsonReading:
    """Read a whole answer in the form it has; of an unknown form nothing is known."""
    shape = shape_of(body)
    if is_anthropic(shape):
        return anthropic.read_json(body)
    if given(shape.choices):
        return openai_json.read_json(body)
    if given(shape.output):
        return bedrock_converse.read_json(body)
    return JsonReading(valid=is_json_object(body))
