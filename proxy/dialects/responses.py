"""OpenAI's responses API: named events, and a document with a list of output items."""

from typing import Any

import msgspec

from proxy.answer import AnswerFacts
from proxy.dialects.openai_usage import usage_in
from proxy.dialects.operation import UNREADABLE, JsonReading, Texts, is_json_object, named
from records.outcome import Finish, Usage


class _Reason(msgspec.Struct, gc=False):
    reason: str | None = None


class _Part(msgspec.Struct, gc=False):
    """A message's part: `output_text` or `refusal`."""

    type: str = ""
    text: str | None = None


class _Item(msgspec.Struct, gc=False):
    """An output item: a message, reasoning, a call of some tool, an image."""

    type: str = ""
    content: list[_Part] | None = None


class _Response(msgspec.Struct, gc=False):
    status: str | None = None
    incomplete_details: _Reason | None = None
    output: list[_Item] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    model: Any = None


class _Counted(msgspec.Struct, gc=False):
    """A response of which only the counts can be read, and its model."""

    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    model: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None
    item: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()
    error: Any = None


_TOKENS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
    }
)
_ENDS = frozenset({"response.completed", "response.incomplete"})
_NOT_ENDED = ("queued", "in_progress")
"""Statuses of a response that is made in the background: its answer is fetched later."""
_INCOMPLETE: dict[str, Finish] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_CALLS = frozenset({"function_call", "custom_tool_call"})


class ResponsesEvents:
    """Reads the named events of the responses API; the last event has the usage and, mostly, the output."""

    texts: Texts = None  # each event has its own sequence number

    __slots__ = ("answer", "done", "failed", "finished", "model", "token", "usage")

    def __init__(self) -> None:
        self.token = self.done = self.failed = self.finished = False
        self.usage: Usage | None = None
        self.model = ""
        self.answer = AnswerFacts()

    def take(self, name: bytes, data: bytes) -> bool:
        if name == b"error":
            self.failed = True
        try:
            event = _decode_event(data)
        except UNREADABLE:
            return False
        kind = event.type or name.decode("latin-1")
        if kind in _TOKENS:
            self._look_at_token(kind, event.delta)
        elif kind == "response.output_item.done":
            _note_raw_item(self.answer, event.item)
        elif kind in _ENDS:
            self.done = True
            response = _response(event.response)
            if response is not None:
                _note_end(self.answer, response)
        elif kind in ("response.failed", "error"):
            self.failed = True
        if event.error:
            self.failed = True
        if event.response:
            counted = _counted(event.response)
            if counted is not None:
                self.usage = usage_in(counted.usage) or self.usage
                self.model = named(counted.model) or self.model
        return False

    def _look_at_token(self, kind: str, delta: Any) -> None:
        self.token = self.token or bool(delta)
        if kind == "response.refusal.delta":
            self.answer.choice(0).refused = True
        elif kind == "response.output_text.delta" and isinstance(delta, str) and delta.strip():
            self.answer.choice(0).content = True


def _note_end(answer: AnswerFacts, response: _Response) -> None:
    """Note why a response ended, and what it holds."""
    choice = answer.choice(0)
    if response.status == "incomplete":
        reason = response.incomplete_details.reason if response.incomplete_details is not None else None
        choice.reason = _INCOMPLETE.get(reason or "", "other")
    elif response.status is not None:
        choice.reason = "stop" if response.status == "completed" else "other"
    for item in response.output or ():
        _note_item(answer, item)


def _note_item(answer: AnswerFacts, item: _Item) -> None:
    """Note one item. Reasoning is no content; every other item but a message is a call or a picture."""
    choice = answer.choice(0)
    if item.type == "message":
        for part in item.content or ():
            choice.refused = choice.refused or part.type == "refusal"
            choice.content = choice.content or (part.type != "refusal" and bool((part.text or "").strip()))
    elif item.type and item.type != "reasoning":
        choice.content = True
        choice.called = choice.called or item.type in _CALLS


def _note_raw_item(answer: AnswerFacts, raw: msgspec.Raw) -> None:
    try:
        _note_item(answer, _decode_item(raw))
    except UNREADABLE:
        return


def _response(raw: msgspec.Raw) -> _Response | None:
    try:
        return _decode(raw)
    except UNREADABLE:
        return None


def _counted(raw: bytes) -> _Counted | None:
    try:
        return _decode_counted(raw)
    except UNREADABLE:
        return None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_item = msgspec.json.Decoder(_Item).decode
_decode = msgspec.json.Decoder(_Response).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode


def read_json(body: bytes) -> JsonReading:
    """Read a whole response: valid if a JSON object, failed if it carries an error despite its status."""
    answer = AnswerFacts()
    response: _Response | _Counted | None
    try:
        response = _decode(body)
        _note_end(answer, response)
    except UNREADABLE:
        response, answer = _counted(body), AnswerFacts()
        if response is None:
            return JsonReading(valid=is_json_object(body))
        return JsonReading(
            valid=True,
            failed=bool(response.error),
            usage=usage_in(response.usage),
            model=named(response.model),
        )
    return JsonReading(
        valid=True,
        failed=bool(response.error),
        usage=usage_in(response.usage),
        answer=None if response.status in _NOT_ENDED else answer,
        model=named(response.model),
    )
