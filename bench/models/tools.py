"""Tools of a request and the actions of a model: what it answers, and which tools it calls. Pure.

A tool stands as OpenAI's chat has it. Two calls are equal if they name the same tool and their arguments are
the same JSON, whatever the order of members, the spacing, and 1 or 1.0.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from records.captures.capture import CapturedMessage, CapturedToolCall


class AgentTool(msgspec.Struct, frozen=True, omit_defaults=True):
    """One declared function. `parameters`: the JSON Schema of its arguments; None takes any."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def function(self) -> dict[str, Any]:
        """The function's members as OpenAI's chat has them."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @property
    def schema(self) -> dict[str, Any]:
        """The schema of its arguments, where an API requires one."""
        return self.parameters or {"type": "object", "properties": {}}


class DeclaredTool(msgspec.Struct, frozen=True):
    """A tool as a dataset's line has it."""

    function: AgentTool
    type: str = "function"


class CalledFunction(msgspec.Struct, frozen=True):
    """A function's name with its arguments: JSON text, or in a file the object itself."""

    name: str
    arguments: str | dict[str, Any] = "{}"


class WrittenCall(msgspec.Struct, frozen=True):
    """A call as OpenAI's chat has it."""

    function: CalledFunction
    id: str = ""
    type: str = "function"

    def call(self) -> CapturedToolCall:
        given = self.function.arguments
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        return CapturedToolCall(id=self.id, name=self.function.name, arguments=text)


class WrittenMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as OpenAI's chat has it. `content` may be null beside tool calls."""

    role: str = "assistant"
    content: str | None = None
    tool_calls: tuple[WrittenCall, ...] = ()
    tool_call_id: str = ""

    def message(self) -> CapturedMessage:
        calls = tuple(each.call() for each in self.tool_calls)
        return CapturedMessage(self.role, self.content or "", calls, self.tool_call_id)


@dataclass(frozen=True, slots=True)
class Action:
    """What a model does next: it answers with a text, calls tools, or both."""

    text: str
    calls: tuple[CapturedToolCall, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The called tools, in the order of their names: calls in one answer are made at once."""
        return tuple(sorted(call.name for call in self.calls))

    @property
    def canonical(self) -> tuple[tuple[str, str], ...]:
        """Name and canonical arguments of each call, in order."""
        return tuple(sorted((call.name, canonical(call.arguments)) for call in self.calls))

    @property
    def written(self) -> str:
        """The action as people and judges read it."""
        return CapturedMessage("assistant", self.text, self.calls).said


def expected_action(expected: Any) -> Action:
    """The action of an example's `expected`, an assistant's message. Raises msgspec.ValidationError."""
    message = msgspec.convert(expected, WrittenMessage).message()
    return Action(message.content, message.tool_calls)


def written_call(call: CapturedToolCall) -> dict[str, Any]:
    """A call as OpenAI's chat and a dataset's line have it."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def written_message(message: CapturedMessage) -> dict[str, Any]:
    """A message as OpenAI's chat and a dataset's line have it."""
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        found |= {
            "content": message.content or None,
            "tool_calls": list(map(written_call, message.tool_calls)),
        }
    if message.role == "tool":
        found["tool_call_id"] = message.tool_call_id
    return found


def arguments_of(text: str) -> dict[str, Any]:
    """A call's arguments as an object. A tool that takes a text has it as `input`."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = text
    return found if isinstance(found, dict) else {"input": found}


def canonical(arguments: str) -> str:
    """Arguments as JSON that is the same text for the same value."""
    found = _whole(arguments_of(arguments))
    return json.dumps(found, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _whole(value: Any) -> Any:
    """The value with 1.0 as 1, as JSON knows one kind of number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    return value


def broken_calls(messages: Sequence[CapturedMessage]) -> str:
    """Why the providers would refuse these messages: a result without its call, or a call without its result.
    "" if they match."""
    waiting: set[str] = set()
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id not in waiting:
                return f"the result of {message.tool_call_id or 'no call'} does not follow its call"
            waiting.remove(message.tool_call_id)
            continue
        if waiting:
            break
        ids = [call.id for call in message.tool_calls]
        if "" in ids or len(set(ids)) < len(ids):
            return "each of tool_calls needs an id of its own"
        waiting = set(ids)
    return f"the call {min(waiting)} has no result behind it" if waiting else ""


def called(messages: Sequence[CapturedMessage]) -> Mapping[str, str]:
    """The tools' names by the ids of their calls."""
    return {call.id: call.name for message in messages for call in message.tool_calls}
