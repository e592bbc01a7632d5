"""Bedrock's own wire API, with model and method in the path (`/model/MODEL/METHOD`).

`converse` has Converse's. The bodies of InvokeModel are each model's own: those in the form of Anthropic,
OpenAI or Converse are read as there. Of all others only the first token and Bedrock's own counts are known:
in the answer's headers, or in a stream's last chunk.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import msgspec

from common.text import UNREADABLE, readable
from proxy.dialects import anthropic, converse, openai
from proxy.dialects.converse import ConverseEvents, usage_with_cache
from proxy.dialects.openai import ChatEvents
from proxy.dialects.operation import (
    PASS_THROUGH,
    AnswerSummary,
    CollectedOutput,
    Count,
    EventReader,
    ExpectedOutput,
    Operation,
    OutputForm,
    OutputRequest,
    Texts,
    given,
    is_given,
    is_json_object,
)
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


def _usage_in_head(named: Mapping[bytes, bytes]) -> Usage | None:
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


def _payload_of(data: bytes) -> bytes:
    """The model's own JSON in a frame's payload. Raises one of UNREADABLE."""
    return _decode_chunk(data).body


def _shape_of(body: bytes) -> _Shape:
    """The members that tell whose form a body has; none when it is not a JSON object."""
    return readable(_decode_shape, body) or _Shape()


def _converse_event(shape: _Shape) -> tuple[bytes, bytes] | None:
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
            return name, bytes(raw)
    return None


class _NovaEvents(ConverseEvents):
    """Converse's events, each inside a member that names it."""

    def take(self, name: bytes, data: bytes) -> bool:
        event = _converse_event(_shape_of(data))
        return super().take(*event) if event is not None else False


class _TextEvents:
    """Reads events of a form that is not read: only whether there was a token."""

    texts: Texts = None

    def __init__(self, seen: AnswerSummary) -> None:
        self.seen = seen

    def take(self, name: bytes, data: bytes) -> bool:
        if not self.seen.token:
            texts = readable(_decode_texts, data)
            self.seen.token = texts is not None and texts.has_text
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


def _take_nova(output: CollectedOutput, data: bytes) -> None:
    if (event := _converse_event(_shape_of(data))) is not None:
        converse.take_output(output, event[1])


class _Form(NamedTuple):
    """How the body of InvokeModel is read in one of the forms."""

    events: Callable[[AnswerSummary], EventReader]
    read_json: Callable[[bytes], AnswerSummary]
    take: Callable[[CollectedOutput, bytes], None]
    read: Callable[[CollectedOutput, bytes], None]


_ANTHROPIC = _Form(anthropic.MessageEvents, anthropic.read_json, anthropic.take_output, anthropic.read_output)
_OPENAI = _Form(ChatEvents, openai.read_json, openai.take_output, openai.take_output)
_NOVA = _Form(_NovaEvents, converse.read_json, _take_nova, converse.read_output)
_OTHER = _Form(
    _TextEvents,
    lambda body: AnswerSummary(valid=is_json_object(body)),
    lambda output, _: output.lose(),
    lambda output, _: output.lose(),
)


def _form_of(body: bytes, *, whole: bool) -> _Form:
    """The form of a whole answer, or of a stream's chunk."""
    shape = _shape_of(body)
    if shape.type != "":
        return _ANTHROPIC
    if given(shape.choices):
        return _OPENAI
    is_nova = given(shape.output) if whole else _converse_event(shape) is not None
    return _NOVA if is_nova else _OTHER


class InvokedEvents:
    """Reads the chunks of InvokeModelWithResponseStream; the first one tells whose form they have.

    The chunk with Bedrock's metrics is the last.
    """

    texts: Texts = None

    def __init__(self) -> None:
        self.seen = AnswerSummary()
        self._events: EventReader = _TextEvents(self.seen)
        self._begun = False

    def take(self, name: bytes, data: bytes) -> bool:
        try:
            payload = _payload_of(data)
        except UNREADABLE:
            return False
        if not self._begun:
            self._begun, self._events = True, _form_of(payload, whole=False).events(self.seen)
        self._events.take(b"", payload)
        if _METRICS in payload:
            self._end(payload)
        return False

    def _end(self, payload: bytes) -> None:
        """Note the end. Bedrock's counts know less than the model's own."""
        self.seen.done = True
        ending = readable(_decode_ending, payload)
        if self.seen.usage is None and ending is not None and ending.metrics is not None:
            self.seen.usage = ending.metrics.usage()


_decode_list = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def _take_chunk(output: CollectedOutput, data: bytes) -> None:
    payload = _payload_of(data)
    _form_of(payload, whole=False).take(output, payload)


def _expected(request: OutputRequest) -> ExpectedOutput:
    if bytes(request.tools).startswith(b"{") or b'"textFormat"' in bytes(request.form):
        return converse.expected_output(request)
    tools = _decode_list(request.tools) if is_given(request.tools) else []
    if any("function" in tool for tool in tools) or b'"json_object"' in bytes(request.form):
        return openai.expected_output(request)
    return anthropic.expected_output(request)


MODEL_PATH = re.compile(r"^(?P<before>/model/)(?P<model>.+)/(?P<method>[a-z-]+)$")
"""The model is quoted, but an ARN's slashes need not be."""

_CONVERSE = Operation(
    name="chat",
    model_in="path",
    streams=False,
    read_json=converse.read_json,
    amazon_errors=True,
    output=OutputForm(
        take=converse.take_output,
        read=converse.read_output,
        expected=converse.expected_output,
        results_name=(b"toolUseId",),
    ),
)
_INVOKE = Operation(
    name="invoke_model",
    model_in="path",
    streams=False,
    read_json=lambda body: _form_of(body, whole=True).read_json(body),
    amazon_errors=True,
    usage_in_head=_usage_in_head,
    output=OutputForm(
        take=_take_chunk,
        read=lambda output, body: _form_of(body, whole=True).read(output, body),
        expected=_expected,
        results_name=(b"tool_use_id", b"tool_call_id", b"toolUseId"),
    ),
)


class _Tokens(msgspec.Struct, rename="camel", gc=False):
    input_tokens: Count | None = None


_decode_tokens = msgspec.json.Decoder(_Tokens).decode


def _read_tokens(body: bytes) -> AnswerSummary:
    counts = readable(_decode_tokens, body)
    if counts is None:
        return AnswerSummary(valid=is_json_object(body))
    return AnswerSummary(usage=Usage(input_tokens=counts.input_tokens))


_METHODS = {
    "converse": _CONVERSE,
    "converse-stream": replace(_CONVERSE, streams=True, events=converse.ConverseEvents),
    "invoke": _INVOKE,
    "invoke-with-response-stream": replace(_INVOKE, streams=True, events=InvokedEvents),
    "count-tokens": Operation(
        name="count_tokens",
        model_in="path",
        streams=False,
        read_json=_read_tokens,
        free=True,
        amazon_errors=True,
    ),
}


def operation(path: str) -> Operation:
    """Return the operation at a path below the host (`/model/amazon.nova-lite-v1%3A0/converse`)."""
    place = MODEL_PATH.match(path)
    return _METHODS.get(place["method"], PASS_THROUGH) if place else PASS_THROUGH
