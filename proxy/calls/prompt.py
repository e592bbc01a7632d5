"""Extracts the messages of a request, with tool calls and results, and the tools that it declares. The shape
of the body tells the wire API. Pure.

Used only for canaries that count repeated questions or capture texts.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from common.text import UNREADABLE
from proxy.dialects.responses import ADDED_TOOLS
from records.captures.capture import CapturedToolCall

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
_CALLS = ("function_call", "custom_tool_call")
_RESULT_MEMBERS = ("functionResponse", "function_response", "toolResult")
_CONTENTS = ("text", "image", "audio", "video", "document")
"""The types of an interaction's contents, which make up one message of the user."""
_STEPS: dict[str | None, Role] = {"user_input": "user", "model_output": "assistant"}


class PromptMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message. `whole` is False when it has parts other than text and tools: images, files or audio.

    `calls`: the tools that the assistant called. `call_id`: the call whose result this is.
    """

    role: Role
    text: str
    whole: bool = True
    calls: tuple[CapturedToolCall, ...] = ()
    call_id: str = ""


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
    """A message, or an item or step of its own type: a call, or its result."""

    role: str | None = None
    type: str | None = None
    content: Any = None
    parts: Any = None
    output: Any = None
    result: Any = None
    id: Any = None
    call_id: Any = None
    tool_call_id: Any = None
    name: Any = None
    arguments: Any = None
    input: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _ToolConfig(msgspec.Struct):
    tools: Any = None


class _Declaring(msgspec.Struct):
    """The members that declare tools; Bedrock's Converse has `toolConfig`, Codex items of its `input`."""

    tools: Any = None
    functions: Any = None
    tool_config: _ToolConfig | None = msgspec.field(name="toolConfig", default=None)
    input: msgspec.Raw = msgspec.Raw()


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_declaring = msgspec.json.Decoder(_Declaring).decode
_decode_rows = msgspec.json.Decoder(str | list[msgspec.Raw] | dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder(Any).decode


def conversation(body: bytes) -> list[PromptMessage]:
    """Return all messages with content, in order; empty when the body has no known shape.

    A message with several tool results is several messages. Calls without an id get one.
    """
    try:
        parsed = _decode_body(body)
        system = "\n".join(part for part in (parsed.instructions or "", *_system_texts(parsed)) if part)
        turns = _joined(turn for row in _rows(parsed) for turn in _turns(row))
    except UNREADABLE:
        return []
    return [PromptMessage(role="system", text=system), *turns] if system else turns


def _joined(turns: Iterable[PromptMessage]) -> list[PromptMessage]:
    """The messages with content. Calls that follow one another, or a text of the assistant, are one
    message."""
    found: list[PromptMessage] = []
    numbered = _NumberedCalls()
    for turn in map(numbered.with_ids, turns):
        last = found[-1] if found else None
        if last is not None and turn.calls and not turn.text and last.role == turn.role == "assistant":
            found[-1] = msgspec.structs.replace(last, calls=last.calls + turn.calls)
        elif turn.text or turn.calls or turn.call_id or not turn.whole:
            found.append(turn)
    return found


class _NumberedCalls:
    """Gives ids to calls without one. A result without an id names its tool, and is that of the first call of
    the tool that has no result yet."""

    def __init__(self) -> None:
        self._count = 0
        self._open: dict[str, list[str]] = defaultdict(list)

    def with_ids(self, turn: PromptMessage) -> PromptMessage:
        if turn.calls:
            return msgspec.structs.replace(turn, calls=tuple(map(self._numbered, turn.calls)))
        waiting = self._open.get(turn.call_id)
        return msgspec.structs.replace(turn, call_id=waiting.pop(0)) if waiting else turn

    def _numbered(self, call: CapturedToolCall) -> CapturedToolCall:
        if call.id:
            return call
        self._count += 1
        self._open[call.name].append(f"call_{self._count}")
        return msgspec.structs.replace(call, id=f"call_{self._count}")


def question(body: bytes) -> str:
    """Return the user's question: the text of the last user or tool message, "" if it is a tool's.

    Messages of the assistant or the system after the user's are skipped.
    """
    if len(body) > LONGEST_BODY:
        return ""
    try:
        for row in reversed(_rows(_decode_body(body))):
            turn = next(_turns(row))
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


def _turns(row: msgspec.Raw | str) -> Iterator[PromptMessage]:
    """The messages of one row: the results of tools first, as the APIs want them, then what else it has."""
    if isinstance(row, str):
        yield PromptMessage(role="user", text=row)
        return
    message = _decode_message(row)
    if message.type in _RESULTS:
        result = _result(message.output) or _result(message.result) or _result(message.content)
        yield PromptMessage(role="tool", text=result, call_id=_first(message.call_id, message.name))
        return
    if message.type in _CALLS:
        yield PromptMessage(role="assistant", text="", calls=(_item_call(message),))
        return
    parts = message.parts if message.content is None else message.content
    pieces = parts if isinstance(parts, list) else []
    results = [part for part in pieces if _is_result(part)]
    for part in results:
        yield _tool_turn(part)
    rest = [part for part in pieces if not _is_result(part)] if results else parts
    if rest or not results:
        yield _said(message, rest)


def _said(message: _Message, parts: Any) -> PromptMessage:
    """What a message says, and calls."""
    pieces = parts if isinstance(parts, list) else []
    role = _STEPS.get(message.type) or _ROLES.get(message.role or "user", "assistant")
    if message.role is None and message.parts is None and message.type not in _STEPS:  # a reasoning item
        return PromptMessage(role="assistant", text="")
    is_tool = role == "tool"
    return PromptMessage(
        role=role,
        text=_text(parts),
        whole=not any(map(_is_no_text, pieces)),
        calls=tuple(_calls(message, pieces)) if role == "assistant" else (),
        call_id=_first(message.tool_call_id, message.name) if is_tool else "",
    )


def _calls(message: _Message, parts: Sequence[Any]) -> Iterator[CapturedToolCall]:
    """The calls of an assistant's message: members of their own in OpenAI's chat, parts elsewhere."""
    listed = message.tool_calls if isinstance(message.tool_calls, list) else []
    for each in listed:
        call = _object(each)
        function, custom = _object(call.get("function")), _object(call.get("custom"))
        if custom:
            yield _call(call.get("id"), custom.get("name"), _json(custom.get("input", "")))
        else:
            yield _call(call.get("id"), function.get("name"), function.get("arguments"))
    if function := _object(message.function_call):
        yield _call(None, function.get("name"), function.get("arguments"))
    for each in parts:
        part = _object(each)
        if part.get("type") == "tool_use":
            yield _call(part.get("id"), part.get("name"), part.get("input"))
        elif google := _object(part.get("functionCall") or part.get("function_call")):
            yield _call(google.get("id"), google.get("name"), google.get("args"))
        elif (amazon := _object(part.get("toolUse"))) and amazon.get("type") != "server_tool_use":
            yield _call(amazon.get("toolUseId"), amazon.get("name"), amazon.get("input"))


def _item_call(message: _Message) -> CapturedToolCall:
    if message.type == "custom_tool_call":
        return _call(message.call_id, message.name, _json(message.input or ""))
    return _call(_first(message.call_id, message.id), message.name, message.arguments)


def _call(id: Any, name: Any, arguments: Any) -> CapturedToolCall:
    """A call; `arguments` are an object, or its JSON text."""
    text = arguments if isinstance(arguments, str) else _json(arguments or {})
    return CapturedToolCall(id=_first(id), name=_first(name), arguments=text or "{}")


def _tool_turn(part: Mapping[str, Any]) -> PromptMessage:
    """The result of a tool in a message's part."""
    google = _object(part.get("functionResponse") or part.get("function_response"))
    amazon = _object(part.get("toolResult"))
    if google:
        text, call_id = _result(google.get("response")), _first(google.get("id"), google.get("name"))
    elif amazon:
        text, call_id = _text(amazon.get("content")), _first(amazon.get("toolUseId"))
    else:
        text, call_id = _text(part.get("content")), _first(part.get("tool_use_id"))
    return PromptMessage(role="tool", text=text, call_id=call_id)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(*names: Any) -> str:
    """The first of these that is a text, "" without one."""
    return next((name for name in names if isinstance(name, str) and name), "")


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _result(value: Any) -> str:
    """The text of a tool's result; one that is neither a text nor a list of parts with texts is JSON."""
    return _text(value) or ("" if value is None or isinstance(value, str) else _json(value))


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
    if "json" in part:  # of a result in Bedrock's Converse
        return _json(part["json"])
    text = part.get("text")
    return text if isinstance(text, str) else ""


def _is_result(part: Any) -> bool:
    return isinstance(part, dict) and (
        part.get("type") == "tool_result" or any(name in part for name in _RESULT_MEMBERS)
    )


def declared_tools(body: bytes) -> str:
    """The tools that a request declares, as JSON text in the form of OpenAI's chat; "" without any. Tools of
    the provider's own have a name at most."""
    try:
        found = _decode_declaring(body)
    except UNREADABLE:
        return ""
    config = found.tool_config.tools if found.tool_config else None
    groups = (found.tools, found.functions, config, added_tools(found.input))
    tools = [
        {"type": "function", "function": function}
        for group in groups
        for tool in (group if isinstance(group, list) else ())
        for function in _functions(_object(tool))
    ]
    return _json(tools) if tools else ""


def added_tools(given: bytes | msgspec.Raw) -> list[Any]:
    """The tools that items of a request's `input` declare."""
    try:
        rows = _decode_rows(given) if _ADDS_TOOLS.search(given) else []
    except UNREADABLE:
        return []
    items = [_decode_any(row) for row in rows if isinstance(row, msgspec.Raw) and _ADDS_TOOLS.search(row)]
    found = [item["tools"] for item in items if isinstance(item, dict) and item.get("type") == ADDED_TOOLS]
    return [tool for tools in found if isinstance(tools, list) for tool in tools]


_ADDS_TOOLS = re.compile(b'"%b"' % ADDED_TOOLS.encode())


def _functions(tool: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The functions of one declared tool: a group has several."""
    for group in ("functionDeclarations", "function_declarations", "tools"):
        for nested in tool.get(group) or () if isinstance(tool.get(group), list) else ():
            yield from _functions(_object(nested))
    inner = _object(tool.get("function") or tool.get("custom") or tool.get("toolSpec")) or tool
    name = _first(inner.get("name"))
    if name and tool.get("type") != "namespace":
        members = {"name": name, "description": inner.get("description"), "parameters": _parameters(inner)}
        yield {member: value for member, value in members.items() if value}


def _parameters(function: Mapping[str, Any]) -> Any:
    given = ("parametersJsonSchema", "parameters_json_schema", "input_schema")
    schema = next((function[name] for name in given if function.get(name)), None)
    schema = schema or _object(function.get("inputSchema")).get("json")
    return schema or _in_lower_case(function.get("parameters"))


def _in_lower_case(schema: Any) -> Any:
    """A schema with its types as JSON Schema writes them: Gemini's are in upper case."""
    if isinstance(schema, list):
        return [_in_lower_case(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _in_lower_case(value)
        for name, value in schema.items()
    }


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
