"""OpenAI's wire API (chat, completions, embeddings, responses), with additions of compatible providers."""

from typing import Any

import msgspec

from proxy.answer import AnswerFacts
from proxy.dialects import openai_output, responses, responses_output
from proxy.dialects.openai_choice import fills, note_reason
from proxy.dialects.openai_json import read_json
from proxy.dialects.openai_usage import usage_of
from proxy.dialects.operation import PASS_THROUGH, UNREADABLE, Operation, OutputForm, Texts
from proxy.dialects.responses import ResponsesEvents
from proxy.event_template import text_members
from records.outcome import Usage


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

    __slots__ = (
        "_begun",
        "_closed",
        "_ended",
        "_settled",
        "answer",
        "done",
        "failed",
        "finished",
        "model",
        "token",
        "usage",
    )

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self.usage: Usage | None = None
        self.model = ""
        self.answer = AnswerFacts()
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
        only_text = self.token
        if name == b"error":
            self.failed = True
        try:
            chunk = _decode_chunk(data)
        except UNREADABLE:
            if data == b"[DONE]":
                self.done = self._closed = True
            return False
        if chunk.error or chunk.usage is not None or chunk.x_groq is not None:
            self._note(chunk)
            only_text = False
        if not self.model and isinstance(chunk.model, str):
            self.model = chunk.model
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
        self.failed = self.failed or bool(chunk.error)
        self.usage = usage_of(chunk.usage) or self.usage
        if isinstance(chunk.x_groq, dict):
            self.failed = self.failed or bool(chunk.x_groq.get("error"))
            self.usage = usage_of(chunk.x_groq.get("usage")) or self.usage

    def _look_at(self, index: int, choice: _Choice) -> bool:
        """Note what a choice's text changes; True when it changes something."""
        facts, delta = self.answer.choice(index), choice.delta
        before = (self.token, facts.content, facts.called, facts.refused)
        if isinstance(delta, dict):
            self.token = self.token or any(delta.get(name) for name in _TEXT_MEMBERS)
            facts.called = facts.called or any(delta.get(name) for name in _CALLS)
            facts.refused = facts.refused or bool(delta.get("refusal"))
            facts.content = facts.content or facts.called or any(fills(delta.get(name)) for name in _CONTENT)
        if choice.text:
            self.token = True
            facts.content = facts.content or fills(choice.text)
        if before == (self.token, facts.content, facts.called, facts.refused):
            return False
        self._settled = self.token and not self.answer.silent
        return True

    def _update_choice(self, index: int, finish_reason: str | None) -> None:
        """Record that a choice begins or ends. Some providers send "" as the reason instead of null."""
        self._begun.add(index)
        self._settled = self.token and not self.answer.silent
        if finish_reason:
            self._ended.add(index)
            self.finished = True
            self.failed = self.failed or finish_reason == "error"
            note_reason(self.answer.choice(index), finish_reason)
        self.done = self._closed or self._begun == self._ended


_TEXT_MEMBERS = ("content", "reasoning_content", "reasoning", "refusal")
"""Members with text; some providers send a list of parts instead of a string."""
_CALLS = ("tool_calls", "function_call")
_CONTENT = ("content", "audio", "images")


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_rest = msgspec.json.Decoder(_Rest).decode
_OUTPUT = OutputForm(take=openai_output.take, read=openai_output.take, expected=openai_output.expected)
_RESPONSES = OutputForm(
    take=responses_output.take, read=responses_output.read, expected=responses_output.expected
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
    "/embeddings": Operation(name="embeddings", streams=False, read_json=read_json),
}


def operation(path: str) -> Operation:
    """Return the operation at a path below the base URL's root (`/chat/completions`, …)."""
    return _OPERATIONS.get(path, PASS_THROUGH)
