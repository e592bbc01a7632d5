"""OpenAI's wire API (chat, completions, embeddings), with additions of compatible providers.

`responses` has the responses API, and the token counts of all.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from common.text import UNREADABLE
from proxy.dialects import responses
from proxy.dialects.operation import (
    GOOD_ANSWER,
    PASS_THROUGH,
    AnswerChoice,
    AnswerChoices,
    AnswerSummary,
    CollectedOutput,
    ExpectedOutput,
    Operation,
    OutputForm,
    OutputRequest,
    Texts,
    finish_word,
    given,
    is_given,
    read_counted,
    schema_of,
    text_members,
)
from proxy.dialects.responses import OpenAIUsage, ResponsesEvents, decode_usage, usage_of
from records.outcome import Fault, Finish

_REASONS: dict[str, Finish] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "model_length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "refusal",
}
"""OpenAI's reasons, and those of Mistral (`model_length`), Together (`eos`) and Anthropic (`refusal`)."""
_NAMED: tuple[tuple[str, Fault], ...] = (
    ("MALFORMED_FUNCTION_CALL", "tool_args_invalid"),
    ("UNEXPECTED_TOOL_CALL", "tool_unknown"),
)


def fills(value: Any) -> bool:
    """True when a decoded member holds text, audio or an image. A list's parts that think hold none."""
    if isinstance(value, str):
        return bool(value) and not value.isspace()
    if isinstance(value, list):
        return any(not isinstance(part, dict) or _fills_part(part) for part in value)
    return bool(value)


def _fills_part(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    return fills(part.get("text")) if kind == "text" else kind not in ("thinking", "reasoning")


def note_reason(choice: AnswerChoice, reason: str) -> None:
    """Note why a choice ended. Google's compatible endpoint writes `function_call_filter: MALFORMED_…`."""
    choice.reason = _REASONS.get(reason)
    if choice.reason is not None:
        return
    choice.reason = finish_word(_REASONS, reason.partition(":")[0].lower())
    choice.named = tuple([fault for word, fault in _NAMED if word in reason])


class _Message(msgspec.Struct, gc=False):
    """A whole message. Of its raw members all that matters is whether they are given."""

    content: Any = None
    refusal: Any = None
    tool_calls: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    audio: msgspec.Raw = msgspec.Raw()
    images: msgspec.Raw = msgspec.Raw()


class _Whole(msgspec.Struct, gc=False):
    index: int | None = None
    finish_reason: str | None = None
    message: _Message | None = None
    text: Any = None


class _Answer(msgspec.Struct, gc=False):
    choices: list[_Whole] | None = None
    usage: OpenAIUsage | None = None
    error: Any = None
    model: Any = None
    system_fingerprint: Any = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_json(body: bytes) -> AnswerSummary:
    """Read a whole answer: valid if a JSON object, failed if it carries an error despite its status."""
    try:
        answer = _decode_answer(body)
    except UNREADABLE:
        return read_counted(body, decode_usage)
    usage = answer.usage
    seen = AnswerSummary(
        failed=bool(answer.error),
        usage=usage.usage() if usage else None,
        answer=_facts(answer.choices or ()),
        model=answer.model if isinstance(answer.model, str) else "",
    )
    if isinstance(answer.system_fingerprint, str):
        seen.fingerprint = answer.system_fingerprint
    return seen


def _facts(choices: Sequence[_Whole]) -> AnswerChoices:
    if len(choices) == 1 and _is_good_text(choices[0]):
        return GOOD_ANSWER
    facts = AnswerChoices()
    for whole in choices:
        choice = facts.choice(whole.index or 0)
        message = whole.message
        if message is not None:
            choice.called = given(message.tool_calls) or given(message.function_call)
            choice.refused = bool(message.refusal)
            choice.content = fills(message.content) or given(message.audio) or given(message.images)
        else:
            choice.content = fills(whole.text)
        if whole.finish_reason:
            note_reason(choice, whole.finish_reason)
    return facts


def _is_good_text(whole: _Whole) -> bool:
    """True for a first choice that is nothing but text and stopped by itself, as most do."""
    message = whole.message
    if message is None or whole.finish_reason != "stop" or whole.index or message.refusal:
        return False
    content = message.content
    text = isinstance(content, str) and content and not content.isspace()
    return bool(text) and not (message.tool_calls or message.function_call)


class _Ending(msgspec.Struct, gc=False):
    index: int | None = None
    finish_reason: str | None = None


class _Choice(_Ending, gc=False):
    """A choice with its text: `delta` in chat completions, `text` in completions."""

    delta: Any = None
    text: Any = None


class _Later(msgspec.Struct, gc=False):
    """What of a delta matters once there is content."""

    refusal: Any = None
    tool_calls: Any = None


class _LaterChoice(_Ending, gc=False):
    delta: _Later | None = None


class _Chunk(msgspec.Struct, gc=False):
    """One chunk. `x_groq` is Groq's: usage that is always sent, and the error that stopped a stream."""

    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None
    model: Any = None
    system_fingerprint: Any = None


class _Rest(msgspec.Struct, gc=False):
    """A chunk without texts, which do not matter once every choice has content."""

    choices: list[_LaterChoice] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None


_REASONING = ("reasoning_content", "reasoning", "obfuscation", 'type": ?"reasoning.text", ?"text')
"""Members with text before a choice has content, and OpenRouter's details of its reasoning."""
_BEFORE_CONTENT = text_members(*_REASONING)
_AFTER_CONTENT = text_members(*_REASONING[:3], "content", "text", "arguments")


class ChatEvents:
    """Reads the chunks of chat completions and completions.

    `data: [DONE]` ends the stream, but not every provider sends it. The answer is also complete when every
    choice that began has a finish_reason.
    """

    __slots__ = ("_answer", "_begun", "_closed", "_ended", "_settled", "seen")

    def __init__(self, seen: AnswerSummary | None = None) -> None:
        self.seen = seen or AnswerSummary()
        self.seen.answer = self._answer = AnswerChoices()
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._closed = False
        self._settled = False  # there was a token, and every choice that began has content

    @property
    def texts(self) -> Texts:
        """While a choice has no content, content must be seen; after that only another kind of event."""
        return _AFTER_CONTENT if self._settled else _BEFORE_CONTENT

    def take(self, name: bytes, data: bytes) -> bool:
        if self._settled and name != b"error" and self._is_more_text(data):
            return True
        only_text = self.seen.token
        if name == b"error":
            self.seen.failed = True
        try:
            chunk = _decode_chunk(data)
        except UNREADABLE:
            if data == b"[DONE]":
                self.seen.done = self._closed = True
            return False
        if chunk.error or chunk.usage is not None or chunk.x_groq is not None:
            self._note(chunk)
            only_text = False
        if not self.seen.model and isinstance(chunk.model, str):
            self.seen.model = chunk.model
            if isinstance(chunk.system_fingerprint, str):
                self.seen.fingerprint = chunk.system_fingerprint
        for choice in chunk.choices or ():
            index = choice.index or 0
            if self._look_at(index, choice):
                only_text = False
            if choice.finish_reason or index not in self._begun:
                self._update_choice(index, choice.finish_reason)
                only_text = False
        return only_text

    def _is_more_text(self, data: bytes) -> bool:
        """True for a chunk with nothing but more text of choices that have content."""
        try:
            chunk = _decode_rest(data)
        except UNREADABLE:
            return False
        if chunk.error or chunk.usage is not None or chunk.x_groq is not None:
            return False
        for choice in chunk.choices or ():
            later = choice.delta
            if choice.finish_reason or (choice.index or 0) not in self._begun:
                return False
            if later is not None and (later.refusal or later.tool_calls):
                return False
        return True

    def _note(self, chunk: _Chunk) -> None:
        self.seen.failed = self.seen.failed or bool(chunk.error)
        self.seen.usage = usage_of(chunk.usage) or self.seen.usage
        if isinstance(chunk.x_groq, dict):
            self.seen.failed = self.seen.failed or bool(chunk.x_groq.get("error"))
            self.seen.usage = usage_of(chunk.x_groq.get("usage")) or self.seen.usage

    def _look_at(self, index: int, choice: _Choice) -> bool:
        """Note what a choice's text changes; True when it changes something."""
        facts, delta = self._answer.choice(index), choice.delta
        before = (self.seen.token, facts.content, facts.called, facts.refused)
        if isinstance(delta, dict):
            self.seen.token = self.seen.token or any(delta.get(name) for name in _TEXT_MEMBERS)
            facts.called = facts.called or any(delta.get(name) for name in _CALLS)
            facts.refused = facts.refused or bool(delta.get("refusal"))
            facts.content = facts.content or facts.called or any(fills(delta.get(name)) for name in _CONTENT)
        if choice.text:
            self.seen.token = True
            facts.content = facts.content or fills(choice.text)
        if before == (self.seen.token, facts.content, facts.called, facts.refused):
            return False
        self._settled = self.seen.token and not self._answer.silent
        return True

    def _update_choice(self, index: int, finish_reason: str | None) -> None:
        """Record that a choice begins or ends. Some providers send "" as the reason instead of null."""
        self._begun.add(index)
        self._settled = self.seen.token and not self._answer.silent
        if finish_reason:
            self._ended.add(index)
            self.seen.finished = True
            self.seen.failed = self.seen.failed or finish_reason == "error"
            note_reason(self._answer.choice(index), finish_reason)
        self.seen.done = self._closed or self._begun == self._ended


_TEXT_MEMBERS = ("content", "reasoning_content", "reasoning", "refusal")
"""Members with text; some providers send a list of parts instead of a string."""
_CALLS = ("tool_calls", "function_call")
_CONTENT = ("content", "audio", "images")


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_rest = msgspec.json.Decoder(_Rest).decode


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class _Call(msgspec.Struct, gc=False):
    """A call, or a piece of it. `custom` tools take text."""

    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    custom: _Function | None = None


class _OutputMessage(msgspec.Struct, gc=False):
    content: Any = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _OutputChoice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _OutputMessage | None = None
    message: _OutputMessage | None = None
    text: str | None = None


class _OutputAnswer(msgspec.Struct, gc=False):
    choices: list[_OutputChoice] | None = None


_decode_output = msgspec.json.Decoder(_OutputAnswer).decode


def take_output(output: CollectedOutput, data: bytes) -> None:
    """Collect the pieces of one chunk, or of a whole answer."""
    if data.startswith(b"[DONE]"):
        return
    answer = _decode_output(data)
    for choice in answer.choices or ():
        index = choice.index or 0
        if choice.text:
            output.add_text(index, choice.text)
        message = choice.delta or choice.message
        if message is not None:
            _take_message(output, index, message)


def _take_message(output: CollectedOutput, index: int, message: _OutputMessage) -> None:
    output.add_text(index, _text(message.content))
    for place, call in enumerate(message.tool_calls or ()):
        function = call.function or call.custom or _Function()
        added = output.add_call(
            index,
            place if call.index is None else call.index,
            id=call.id,
            name=function.name,
            arguments=function.arguments or function.input or "",
        )
        added.free = added.free or call.custom is not None
    function_call = message.function_call
    if function_call is not None:
        output.add_call(index, 0, name=function_call.name, arguments=function_call.arguments or "")


def _text(content: Any) -> str:
    """A content's text; a list of parts is joined, without the thoughts that some providers put there."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join([_text(part.get("text")) for part in parts if isinstance(part, dict)])


class _Declared(msgspec.Struct, gc=False):
    """A declared function: `parameters` is its schema."""

    name: str = ""
    parameters: msgspec.Raw = msgspec.Raw()


class _Tool(msgspec.Struct, gc=False):
    type: str = ""
    function: _Declared | None = None
    custom: _Declared | None = None


class _Schema(msgspec.Struct, gc=False):
    schema: msgspec.Raw = msgspec.Raw()


class _Format(msgspec.Struct, gc=False):
    type: str = ""
    json_schema: _Schema | None = None


_decode_tools = msgspec.json.Decoder(list[_Tool]).decode


_decode_functions = msgspec.json.Decoder(list[_Declared]).decode


_decode_format = msgspec.json.Decoder(_Format).decode


def expected_output(request: OutputRequest) -> ExpectedOutput:
    tools = _decode_tools(request.tools) if is_given(request.tools) else []
    functions = _decode_functions(request.functions) if is_given(request.functions) else []
    declared = [*functions, *[tool.function or tool.custom for tool in tools]]
    wanted = _decode_format(request.form) if is_given(request.form) else _Format()
    schema = wanted.json_schema.schema if wanted.json_schema is not None else msgspec.Raw()
    return ExpectedOutput(
        tools={each.name: schema_of(each.parameters) for each in declared if each is not None},
        others=None in declared,  # a tool of the provider's own
        wants_json=wanted.type in ("json_object", "json_schema"),
        schema=schema_of(schema) if wanted.type == "json_schema" else None,
    )


_OUTPUT = OutputForm(
    take=take_output, read=take_output, expected=expected_output, results_name=(b"tool_call_id",)
)
_RESPONSES = OutputForm(
    take=responses.take_output,
    read=responses.read_output,
    expected=responses.expected_output,
    results_name=(b"call_id",),
)
_OPERATIONS = {
    "/chat/completions": Operation(
        name="chat", events=ChatEvents, read_json=read_json, output=_OUTPUT, injects_usage=True
    ),
    "/completions": Operation(
        name="text_completion", events=ChatEvents, read_json=read_json, output=_OUTPUT, injects_usage=True
    ),
    "/responses": Operation(
        name="chat",
        events=ResponsesEvents,
        read_json=responses.read_json,
        output=_RESPONSES,
        creates_state=True,
        over_socket=True,
    ),
    # What agents ask of a conversation between its turns: its state is that of the arm that has it.
    "/responses/compact": Operation(name="compact", streams=False, read_json=responses.read_counts),
    "/responses/input_tokens": Operation(
        name="count_tokens", streams=False, read_json=responses.read_counts, free=True
    ),
    "/embeddings": Operation(name="embeddings", streams=False, read_json=read_json),
}


def operation(path: str) -> Operation:
    """Return the operation at a path below the base URL's root (`/chat/completions`, …)."""
    return _OPERATIONS.get(path, PASS_THROUGH)
