"""Listens to an answer that is to be captured: keeps its text, bounded, while its reader does what it does.

Only answers that were drawn are listened to; nothing that happens here reaches the answer.
"""

from typing import Any, cast

import msgspec

from proxy.dialects.operation import UNREADABLE
from proxy.reading import Reader
from records.outcome import ErrorType, Usage

MOST_BYTES = 256 << 10
"""Of an answer's text, or of the body it comes in; of what is longer the rest is not kept."""


class AnswerRecorder:
    """A reader around a reader. After the answer's end, `kept` is its text as UTF-8 (`streamed`), or its
    whole body; `truncated` says that it was longer."""

    __slots__ = ("_inner", "_line", "_size", "_taken", "lost", "streamed", "truncated")

    def __init__(self) -> None:
        self.streamed = self.truncated = self.lost = False
        self._inner: Reader | None = None
        self._line = b""
        self._taken: list[bytes] = []
        self._size = 0

    def around(self, reader: Reader, streamed: bool) -> Reader:
        """Listen to what this reader is fed."""
        self._inner, self.streamed = reader, streamed
        return self

    @property
    def kept(self) -> bytes:
        """What was heard. Empty where nothing could be."""
        if self.lost or (self.truncated and not self.streamed):
            return b""
        return b"".join(self._taken)

    @property
    def usage(self) -> Usage | None:
        return self._reader.usage

    @property
    def first_token_at(self) -> float | None:
        return self._reader.first_token_at

    @property
    def done(self) -> bool:
        return self._reader.done

    @property
    def has_event(self) -> bool:
        return self._reader.has_event

    @property
    def failed(self) -> bool:
        return self._reader.failed

    def feed(self, data: bytes, now: float) -> bytes:
        if not (self.truncated or self.lost):
            try:
                self._listen(data)
            except Exception:
                self.lost = True
                self._taken.clear()
        return self._reader.feed(data, now)

    def finish(self) -> tuple[bytes, ErrorType | None]:
        return self._reader.finish()

    @property
    def _reader(self) -> Reader:
        return cast(Reader, self._inner)

    def _listen(self, data: bytes) -> None:
        if not self.streamed:
            return self._keep(data)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._keep(text_in(line[5:].strip()).encode("utf-8", "replace"))
        self.truncated = self.truncated or len(self._line) > MOST_BYTES
        return None

    def _keep(self, text: bytes) -> None:
        room = MOST_BYTES - self._size
        self._taken.append(text[:room])
        self._size += len(text)
        self.truncated = self._size > MOST_BYTES


class _Message(msgspec.Struct, gc=False):
    content: Any = None
    text: Any = None
    parts: Any = None


class _Choice(msgspec.Struct, gc=False):
    """Chat completions' `message` or `delta`, completions' `text`; Gemini's `content`."""

    index: int | None = None
    message: _Message | None = None
    delta: _Message | None = None
    content: _Message | None = None
    text: Any = None


class _Answer(msgspec.Struct, gc=False):
    """An answer or an event of one, of any API: each leaves out the others' members."""

    type: str | None = None
    choices: list[_Choice] | None = None
    candidates: list[_Choice] | None = None
    content: Any = None
    output: Any = None
    delta: Any = None


_decode = msgspec.json.Decoder(_Answer).decode
_decode_list = msgspec.json.Decoder(list[_Answer]).decode


def text_in(payload: bytes) -> str:
    """What a whole JSON answer, or one event's data, lets the model say to the user: no reasoning, no tool
    calls, of several choices the first. Empty where it is nothing, or no JSON."""
    try:
        answers = _decode_list(payload) if payload.lstrip()[:1] == b"[" else [_decode(payload)]
    except UNREADABLE:
        return ""
    return "".join(map(_text, answers))


def _text(answer: _Answer) -> str:
    for choice in (*(answer.choices or ()), *(answer.candidates or ())):
        if not choice.index:
            said = choice.message or choice.delta or choice.content
            return _plain(choice.text if said is None else said.parts if said.parts else said.content)
    if answer.type in ("response.output_text.delta", "content_block_delta"):
        return _plain(answer.delta)
    if isinstance(answer.output, list):
        items = (item.get("content") for item in answer.output if isinstance(item, dict))
        return "".join(map(_plain, items))
    return _plain(answer.content)


def _plain(said: Any) -> str:
    """Text, or the text of a part, or of a list of parts."""
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return "".join(map(_plain, said))
    if not isinstance(said, dict) or said.get("thought"):
        return ""
    text = said.get("text")
    return text if isinstance(text, str) else ""
