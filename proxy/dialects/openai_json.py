"""Reads whole answers of OpenAI's chat completions, completions and embeddings."""

from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.answer import GOOD_ANSWER, AnswerFacts
from proxy.dialects.openai_choice import fills, note_reason
from proxy.dialects.openai_usage import OpenAIUsage
from proxy.dialects.operation import UNREADABLE, JsonReading, given


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


class _Uncounted(msgspec.Struct, gc=False):
    error: Any = None


class _Counted(_Uncounted, gc=False):
    usage: OpenAIUsage | None = None


class _Answer(_Counted, gc=False):
    choices: list[_Whole] | None = None
    model: Any = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode
_decode_uncounted = msgspec.json.Decoder(_Uncounted).decode


def read_json(body: bytes) -> JsonReading:
    """Read a whole answer: valid if a JSON object, failed if it carries an error despite its status."""
    try:
        answer = _decode_answer(body)
    except UNREADABLE:
        return _read_counted(body)
    usage = answer.usage
    return JsonReading(
        valid=True,
        failed=bool(answer.error),
        usage=usage.usage() if usage else None,
        answer=_facts(answer.choices or ()),
        model=answer.model if isinstance(answer.model, str) else "",
    )


def _facts(choices: Sequence[_Whole]) -> AnswerFacts:
    if len(choices) == 1 and _is_good_text(choices[0]):
        return GOOD_ANSWER
    facts = AnswerFacts()
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


def _read_counted(body: bytes) -> JsonReading:
    """Read an answer of another shape: its error and its counts."""
    try:
        answer = _decode_counted(body)
    except UNREADABLE:
        return _read_uncounted(body)
    usage = answer.usage
    return JsonReading(valid=True, failed=bool(answer.error), usage=usage.usage() if usage else None)


def _read_uncounted(body: bytes) -> JsonReading:
    """Read an answer whose counts have another shape, which is not an error of the answer."""
    try:
        answer = _decode_uncounted(body)
    except UNREADABLE:
        return JsonReading(valid=False)
    return JsonReading(valid=True, failed=bool(answer.error))
