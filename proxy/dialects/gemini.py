"""Gemini's wire API: model and method in the path (`/v1beta/models/MODEL:METHOD`), and the interactions."""

import re
from dataclasses import replace
from typing import Any

import msgspec

from common.text import UNREADABLE, readable
from proxy.dialects import interactions
from proxy.dialects.operation import (
    PASS_THROUGH,
    AnswerChoice,
    AnswerChoices,
    AnswerSummary,
    CollectedOutput,
    Count,
    ExpectedOutput,
    Operation,
    OutputForm,
    OutputRequest,
    Schema,
    Texts,
    finish_word,
    given,
    is_given,
    is_json_object,
    named,
    schema_of,
    total,
    usage_in,
)
from records.outcome import Fault, Finish, Usage

MODEL_PATH = re.compile(r"^(?P<before>.*/models/)(?P<model>[^/:]+):(?P<method>[A-Za-z]+)$")


class _Usage(msgspec.Struct, rename="camel", gc=False):
    """Prompt tokens include cached tokens but no tool results. Candidate tokens exclude thoughts."""

    prompt_token_count: Count | None = None
    tool_use_prompt_token_count: Count | None = None
    cached_content_token_count: Count | None = None
    candidates_token_count: Count | None = None
    thoughts_token_count: Count | None = None

    def usage(self) -> Usage:
        return Usage(
            input_tokens=total(self.prompt_token_count, self.tool_use_prompt_token_count),
            cached_input_tokens=self.cached_content_token_count,
            output_tokens=total(self.candidates_token_count, self.thoughts_token_count),
            reasoning_tokens=self.thoughts_token_count,
        )


class _Call(msgspec.Struct, rename="camel", gc=False):
    """A call. Pieces of arguments (`partialArgs`) come where a request asks for them."""

    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = msgspec.Raw()
    partial_args: Any = None
    will_continue: bool | None = None


class _Part(msgspec.Struct, rename="camel", gc=False):
    """A part with a text, or with another member (a call, code, its result, an image), or neither."""

    text: str | None = None
    thought: bool | None = None
    function_call: _Call | None = None
    inline_data: msgspec.Raw = msgspec.Raw()
    file_data: msgspec.Raw = msgspec.Raw()
    executable_code: msgspec.Raw = msgspec.Raw()


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel", gc=False):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, rename="camel", gc=False):
    block_reason: str | None = None


class _Answer(msgspec.Struct, rename="camel", gc=False):
    candidates: list[_Candidate] | None = None
    usage_metadata: msgspec.Raw = msgspec.Raw()
    prompt_feedback: msgspec.Raw = msgspec.Raw()
    model_version: Any = None
    error: Any = None


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode = msgspec.json.Decoder(_Answer).decode
_decode_feedback = msgspec.json.Decoder(_Feedback).decode
_decode_list = msgspec.json.Decoder(list[_Answer]).decode


_REASONS: dict[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
_NAMED: dict[str, tuple[Fault, ...]] = {
    "MALFORMED_FUNCTION_CALL": ("tool_args_invalid",),
    "UNEXPECTED_TOOL_CALL": ("tool_unknown",),
}


def _note(answer: AnswerChoices, candidates: list[_Candidate]) -> None:
    """Note what the candidates of one answer, or of one event of a stream, hold."""
    for candidate in candidates:
        choice = answer.choice(candidate.index or 0)
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                _note_part(choice, part)
        reason = candidate.finish_reason
        if reason and reason != "FINISH_REASON_UNSPECIFIED":
            choice.reason = finish_word(_REASONS, reason)
            choice.named = _NAMED.get(reason, ())


def _note_part(choice: AnswerChoice, part: _Part) -> None:
    """Note one part. A thought is no content, and neither is a text of white space."""
    if part.function_call is not None:
        choice.called = choice.content = True
    elif not choice.content and not part.thought:
        others = (part.inline_data, part.file_data, part.executable_code)
        choice.content = bool(part.text and part.text.strip()) or any(given(raw) for raw in others)


def _note_blocked(answer: AnswerChoices, feedback: msgspec.Raw) -> None:
    """Note a prompt that was blocked, which has no candidates."""
    blocked = readable(_decode_feedback, feedback)
    if blocked is not None and blocked.block_reason and not answer.choices:
        answer.choice(0).reason = "content_filter"


class GenerateEvents:
    """Reads a stream of whole answers. The last `usageMetadata` counts; a finishReason ends the stream."""

    texts: Texts = None  # each event has its own counts

    __slots__ = ("_answer", "seen")

    def __init__(self) -> None:
        self._answer = AnswerChoices()
        self.seen = AnswerSummary(answer=self._answer)

    def take(self, name: bytes, data: bytes) -> bool:
        if name == b"error":
            self.seen.failed = True
        try:
            answer = _decode(data)
        except UNREADABLE:
            return False
        if answer.error:
            self.seen.failed = True
        self.seen.model = self.seen.model or named(answer.model_version)
        if given(answer.usage_metadata):
            self.seen.usage = usage_in(_decode_usage, answer.usage_metadata)
        if answer.candidates:
            self._look_at(answer.candidates)
        elif is_given(answer.prompt_feedback):
            self.seen.done = True  # a blocked prompt is a complete answer without a candidate
            _note_blocked(self._answer, answer.prompt_feedback)
        return False

    def _look_at(self, candidates: list[_Candidate]) -> None:
        _note(self._answer, candidates)
        for candidate in candidates:
            if not self.seen.token and candidate.content is not None:
                self.seen.token = any(part.text for part in candidate.content.parts or ())
            if candidate.finish_reason is not None:
                self.seen.done = True


def _answers(body: bytes) -> list[_Answer]:
    """An answer, or an array of them. Raises one of UNREADABLE."""
    return _decode_list(body) if body.lstrip()[:1] == b"[" else [_decode(body)]


def read_json(body: bytes) -> AnswerSummary:
    """Read a whole answer: an object, or an array of objects (a stream not requested as SSE)."""
    try:
        answers = _answers(body)
    except UNREADABLE:
        return AnswerSummary(valid=is_json_object(body))
    answer = AnswerChoices()
    for part in answers:
        if part.candidates:
            _note(answer, part.candidates)
        elif is_given(part.prompt_feedback):
            _note_blocked(answer, part.prompt_feedback)
    counts = [part.usage_metadata for part in answers if given(part.usage_metadata)]
    return AnswerSummary(
        valid=bool(answers),
        failed=any(part.error for part in answers),
        usage=usage_in(_decode_usage, counts[-1]) if counts else None,
        answer=answer,
        model=named(answers[0].model_version) if answers else "",
    )


def take_output(output: CollectedOutput, data: bytes) -> None:
    """Collect the parts of one event, of a whole answer, or of an array of answers."""
    for answer in _answers(data):
        for candidate in answer.candidates or ():
            parts = candidate.content.parts if candidate.content is not None else None
            for part in parts or ():
                _take_part(output, candidate.index or 0, part)


def _take_part(output: CollectedOutput, index: int, part: _Part) -> None:
    call = part.function_call
    if call is None:
        output.add_text(index, part.text or "" if not part.thought else "")
    elif call.partial_args is not None or call.will_continue:
        output.lose()
    else:
        choice = output.choices.get(index)
        arguments = bytes(call.args).decode() or "{}"
        place = len(choice.calls) if choice is not None else 0
        output.add_whole_call(index, place, id=call.id, name=call.name, arguments=arguments)


class _Declared(msgspec.Struct, gc=False):
    """A declared function. Protobuf's JSON mapping accepts both spellings."""

    name: str = ""
    parameters: msgspec.Raw = msgspec.Raw()
    parametersJsonSchema: msgspec.Raw = msgspec.Raw()  # noqa: N815
    parameters_json_schema: msgspec.Raw = msgspec.Raw()


class _Config(msgspec.Struct, gc=False):
    responseMimeType: str = ""  # noqa: N815
    response_mime_type: str = ""
    responseSchema: msgspec.Raw = msgspec.Raw()  # noqa: N815
    response_schema: msgspec.Raw = msgspec.Raw()
    responseJsonSchema: msgspec.Raw = msgspec.Raw()  # noqa: N815
    response_json_schema: msgspec.Raw = msgspec.Raw()


_decode_tools = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


_decode_functions = msgspec.json.Decoder(list[_Declared]).decode


_decode_config = msgspec.json.Decoder(_Config).decode


_FUNCTIONS = ("functionDeclarations", "function_declarations")


_OWN_PARTS = frozenset(
    {
        "googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval", "codeExecution",
        "code_execution", "urlContext", "url_context", "fileSearch", "file_search", "googleMaps",
        "google_maps", "retrieval", "enterpriseWebSearch", "enterprise_web_search",
    }
)  # fmt: skip
"""Tools that Google runs and that are never a function call. Others may bring functions of their own."""


def expected_output(request: OutputRequest) -> ExpectedOutput:
    groups = _decode_tools(request.tools) if is_given(request.tools) else []
    declared = [
        function
        for group in groups
        for name in _FUNCTIONS
        for function in _decode_functions(group.get(name) or b"[]")
    ]
    config = _decode_config(request.form) if is_given(request.form) else _Config()
    schema = config.responseSchema or config.response_schema
    json_schema = config.responseJsonSchema or config.response_json_schema
    return ExpectedOutput(
        tools={each.name: _arguments(each) for each in declared},
        others=any(name not in _OWN_PARTS and name not in _FUNCTIONS for group in groups for name in group),
        wants_json="application/json" in (config.responseMimeType, config.response_mime_type),
        schema=schema_of(json_schema) or schema_of(schema, openapi=True),
    )


def _arguments(declared: _Declared) -> Schema | None:
    json_schema = declared.parametersJsonSchema or declared.parameters_json_schema
    return schema_of(json_schema) or schema_of(declared.parameters, openapi=True)


_USAGE_KEY = b'"usageMetadata"'
_OUTPUT = OutputForm(take=take_output, read=take_output, expected=expected_output)
_GENERATE = Operation(
    name="generate_content",
    model_in="path",
    streams=False,
    read_json=read_json,
    usage_key=_USAGE_KEY,
    output=_OUTPUT,
)
_EMBED = Operation(
    name="embeddings",
    model_in="path",
    repeats_model=True,
    streams=False,
    read_json=read_json,
    usage_key=_USAGE_KEY,
)
_METHODS = {
    "generateContent": _GENERATE,
    "streamGenerateContent": replace(_GENERATE, streams=True, events=GenerateEvents),
    "countTokens": replace(_EMBED, name="count_tokens", free=True),
    "embedContent": _EMBED,
    "batchEmbedContents": _EMBED,
}
_INTERACTIONS = Operation(
    name="generate_content",
    needs_model=True,
    events=interactions.InteractionEvents,
    read_json=interactions.read_json,
    output=OutputForm(
        take=interactions.take_output,
        read=interactions.read_output,
        expected=interactions.expected_output,
        results_name=(b"call_id",),
    ),
    creates_state=True,
)


def operation(path: str) -> Operation:
    """Return the operation at a path below the base URL (`/v1beta/models/gemini-2.5-pro:generateContent`)."""
    if path.endswith("/interactions"):
        return _INTERACTIONS
    place = MODEL_PATH.match(path)
    return _METHODS.get(place["method"], PASS_THROUGH) if place else PASS_THROUGH
