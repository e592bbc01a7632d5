"""Extracts the texts of a request's messages. The shape of the body tells the wire API. Pure.

Used only for canaries that count repeated questions or capture texts.
"""

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from proxy.dialects.operation import UNREADABLE

Role = Literal["system", "user", "assistant", "tool"]

LONGEST_BODY = 8 << 20
"""Bytes. Longer requests are not searched for a question."""

LONGEST_QUESTION = 4096
"""Characters of a message that go into its fingerprint."""

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
_RESULTS = ("tool_result", "function_call_output", "custom_tool_call_output", "function_result")
_CONTENTS = ("text", "image", "audio", "video", "document")
"""The types of an interaction's contents, which make up one message of the user."""
_STEPS: dict[str | None, Role] = {"user_input": "user", "model_output": "assistant"}


class PromptMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message. `whole` is False when it has parts other than text: images, files or audio."""

    role: Role
    text: str
    whole: bool = True


class _Body(msgspec.Struct):
    """The members of all wire APIs that hold texts.

    Chat completions and Anthropic have `messages`, the responses API and interactions `input`, Gemini
    `contents`, completions `prompt`. The other members hold the system instructions.
    """

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
    result: Any = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_rows = msgspec.json.Decoder(str | list[msgspec.Raw] | dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder(Any).decode


def conversation(body: bytes) -> list[PromptMessage]:
    """Return all messages with content, in order; empty when the body has no known shape."""
    try:
        parsed = _decode_body(body)
        system = "\n".join(part for part in (parsed.instructions or "", *_system_texts(parsed)) if part)
        turns = [turn for turn in map(_turn, _rows(parsed)) if turn.text or not turn.whole]
    except UNREADABLE:
        return []
    return [PromptMessage(role="system", text=system), *turns] if system else turns


def question(body: bytes) -> str:
    """Return the user's question: the text of the last user or tool message, "" if it is a tool's.

    Messages of the assistant or the system after the user's are skipped.
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
    """Hash a question of a session to 16 hex digits; "" for an empty question.

    Case, whitespace and punctuation do not matter. Without `key`, 16 to 64 bytes, the text stays secret.
    """
    words = _BETWEEN_WORDS.sub(" ", text[:LONGEST_QUESTION].casefold()).strip()
    if not words:
        return ""
    asked = f"{session}\0{words}".encode("utf-8", "surrogatepass")
    return blake2b(asked, key=key, digest_size=8, person=b"question").hexdigest()


def _rows(body: _Body) -> Sequence[msgspec.Raw | str]:
    if body.messages is not None:
        return body.messages
    if body.contents is not None:
        return body.contents
    if len(body.input):
        rows: str | list[msgspec.Raw] | dict[str, msgspec.Raw] = _decode_rows(body.input)
        if isinstance(rows, dict):  # one content of an interaction
            return [_user_message(b"[%b]" % bytes(body.input))]
        if isinstance(rows, list) and rows and _is_content(rows[0]):
            return [_user_message(bytes(body.input))]
        return [rows] if isinstance(rows, str) else rows
    return [body.prompt] if body.prompt else []


def _user_message(contents: bytes) -> msgspec.Raw:
    """A message of the user with these contents, as JSON."""
    return msgspec.Raw(b'{"role":"user","content":%b}' % contents)


def _is_content(row: msgspec.Raw) -> bool:
    """True for an interaction's content; messages, items and steps have other types."""
    return _decode_message(row).type in _CONTENTS


def _system_texts(body: _Body) -> Iterator[str]:
    for raw in (body.system, body.system_instruction, body.systemInstruction):
        content = _decode_any(raw) if len(raw) else None
        yield _text(content.get("parts") if isinstance(content, dict) else content)


def _turn(row: msgspec.Raw | str) -> PromptMessage:
    if isinstance(row, str):
        return PromptMessage(role="user", text=row)
    message = _decode_message(row)
    parts = message.parts if message.content is None else message.content
    whole = not any(map(_is_no_text, parts)) if isinstance(parts, list) else True
    if message.type in _RESULTS or (isinstance(parts, list) and any(map(_is_result, parts))):
        text = _text(message.output) or _text(message.result) or _text(parts)
        return PromptMessage(role="tool", text=text, whole=whole)
    if step := _STEPS.get(message.type):
        return PromptMessage(role=step, text=_text(parts), whole=whole)
    if message.role is None and message.parts is None:  # a function call or reasoning item
        return PromptMessage(role="assistant", text="")
    return PromptMessage(role=_ROLES.get(message.role or "user", "assistant"), text=_text(parts), whole=whole)


def _text(content: Any) -> str:
    """The text of a message's content: a string or a list of parts."""
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
    result = part.get("toolResult")
    if isinstance(result, dict):
        return _text(result.get("content"))
    text = part.get("text")
    return text if isinstance(text, str) else ""


def _is_result(part: Any) -> bool:
    return isinstance(part, dict) and (
        part.get("type") == "tool_result" or "functionResponse" in part or "toolResult" in part
    )


_NO_TEXT = frozenset(
    ("image_url", "input_image", "image", "input_audio", "audio", "input_file", "file", "document", "video")
)
_DATA = (
    "inlineData", "inline_data", "fileData", "file_data",
    "image", "document", "video", "audio",
)  # fmt: skip
"""Members with data: Gemini's, then those of Bedrock's Converse."""


def _is_no_text(part: Any) -> bool:
    return isinstance(part, dict) and (part.get("type") in _NO_TEXT or any(name in part for name in _DATA))
