"""What a request's messages say, in any of the wire APIs: the body's own shape tells which. Pure.

Read only where a canary asks for it: the request path needs no text.
"""

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from proxy.dialects.operation import UNREADABLE

Role = Literal["system", "user", "assistant", "tool"]

LONGEST_BODY = 8 << 20
"""Bytes; the question in a longer request is not looked for."""

LONGEST_QUESTION = 4096
"""Characters; of a longer message only so many tell it from another."""

_BETWEEN_WORDS = re.compile(r"[\W_]+")
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
_RESULTS = ("tool_result", "function_call_output", "custom_tool_call_output")


class Turn(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message. `whole` is False when it has parts that are no text: an image, a file, a sound."""

    role: Role
    text: str
    whole: bool = True


class _Body(msgspec.Struct):
    """Chat completions' and Anthropic's `messages`, the responses API's `input`, Gemini's `contents`,
    completions' `prompt`; and where each puts what is said before."""

    messages: list[msgspec.Raw] | None = None
    contents: list[msgspec.Raw] | None = None
    input: msgspec.Raw = msgspec.Raw()
    prompt: str | None = None
    system: msgspec.Raw = msgspec.Raw()
    instructions: str | None = None
    system_instruction: msgspec.Raw = msgspec.Raw()
    systemInstruction: msgspec.Raw = msgspec.Raw()  # noqa: N815 - Gemini's name


class _Message(msgspec.Struct):
    role: str | None = None
    type: str | None = None
    content: Any = None
    parts: Any = None
    output: Any = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_rows = msgspec.json.Decoder(str | list[msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder(Any).decode


def conversation(body: bytes) -> list[Turn]:
    """All messages that say something, in order; empty where the body is of no known shape."""
    try:
        said = _decode_body(body)
        before = "\n".join(part for part in (said.instructions or "", *_before(said)) if part)
        turns = [turn for turn in map(_turn, _rows(said)) if turn.text or not turn.whole]
    except UNREADABLE:
        return []
    return [Turn(role="system", text=before), *turns] if before else turns


def question(body: bytes) -> str:
    """What the user has just said: the text of the last message if a user says it, else "".

    A tool's answer that a program sends back is no question, and neither is what an app lets a model or its
    own instructions say after the user's words.
    """
    if len(body) > LONGEST_BODY:
        return ""
    try:
        for row in reversed(_rows(_decode_body(body))):
            turn = _turn(row)
            if turn.role in ("user", "tool"):
                return turn.text if turn.role == "user" else ""
    except UNREADABLE:
        pass
    return ""


def fingerprint(key: bytes, session: str, text: str) -> str:
    """16 hex digits that are equal for questions of one session that differ in case, blanks and punctuation
    only; "" where nothing is asked. The text cannot be found from them without `key`, 16 to 64 bytes."""
    words = _BETWEEN_WORDS.sub(" ", text[:LONGEST_QUESTION].casefold()).strip()
    if not words:
        return ""
    asked = f"{session}\0{words}".encode("utf-8", "surrogatepass")
    return blake2b(asked, key=key, digest_size=8, person=b"question").hexdigest()


def _rows(said: _Body) -> Sequence[msgspec.Raw | str]:
    if said.messages is not None:
        return said.messages
    if said.contents is not None:
        return said.contents
    if len(said.input):
        found: str | list[msgspec.Raw] = _decode_rows(said.input)
        return [found] if isinstance(found, str) else found
    return [said.prompt] if said.prompt else []


def _before(said: _Body) -> Iterator[str]:
    for raw in (said.system, said.system_instruction, said.systemInstruction):
        found = _decode_any(raw) if len(raw) else None
        yield _text(found.get("parts") if isinstance(found, dict) else found)


def _turn(row: msgspec.Raw | str) -> Turn:
    if isinstance(row, str):
        return Turn(role="user", text=row)
    message = _decode_message(row)
    parts = message.parts if message.content is None else message.content
    whole = not any(map(_is_no_text, parts)) if isinstance(parts, list) else True
    if message.type in _RESULTS or (isinstance(parts, list) and any(map(_is_result, parts))):
        return Turn(role="tool", text=_text(message.output) or _text(parts), whole=whole)
    if message.role is None and message.parts is None:  # a call, or reasoning: an item of its own
        return Turn(role="assistant", text="")
    return Turn(role=_ROLES.get(message.role or "user", "assistant"), text=_text(parts), whole=whole)


def _text(content: Any) -> str:
    """The text of a content: text itself, or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(text for text in map(_text_of_part, content) if text)


def _text_of_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("thought"):
        return ""
    if part.get("type") == "tool_result":
        return _text(part.get("content"))
    result = part.get("functionResponse")
    if result is not None:
        return msgspec.json.encode(result).decode()
    text = part.get("text")
    return text if isinstance(text, str) else ""


def _is_result(part: Any) -> bool:
    return isinstance(part, dict) and (part.get("type") == "tool_result" or "functionResponse" in part)


_NO_TEXT = frozenset(
    ("image_url", "input_image", "image", "input_audio", "audio", "input_file", "file", "document", "video")
)
_DATA = ("inlineData", "inline_data", "fileData", "file_data")


def _is_no_text(part: Any) -> bool:
    return isinstance(part, dict) and (part.get("type") in _NO_TEXT or any(name in part for name in _DATA))
