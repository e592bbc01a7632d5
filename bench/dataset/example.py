"""One example of a dataset: the question, the right answer, their validation, and the prompt to send."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, get_args

import msgspec

from bench.models.tools import (
    AgentTool,
    DeclaredTool,
    WrittenMessage,
    broken_calls,
    expected_action,
    written_message,
)
from bench.models.wires import NO_EXTRAS, RESPONSES, RequestExtras
from proxy.dialects.operation import Api
from records.captures.capture import CapturedMessage

AnswerTask = Literal["choice", "extract", "classify", "similar", "rank", "exact", "judge"]
"""The tasks whose expected answer is an answer, so that a model can propose it."""
ActionTask = Literal["action", "tool", "schema"]
"""The tasks whose expected answer is what an agent does next, an assistant's message."""
SampledTask = Literal[AnswerTask, ActionTask]
"""The tasks whose expected answer is told by what a model did."""
Task = Literal[SampledTask, "regex", "json"]
TASKS: tuple[Task, ...] = get_args(Task)

_OURS = ("model", "stream", "messages", "system", "contents", "systemInstruction")
"""Members of a request that the benchmark writes itself."""
PATHS = (RESPONSES,)
"""Where an example may be asked instead of the API's own chat."""
TELLING = ("anthropic-version", "anthropic-beta", "openai-beta")
"""The headers that a request may have: those that change how a provider reads its body."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class LabelEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One label that a line had: by whom (a person, or a model as provider/model), when, which."""

    by: str
    at: str
    label: str
    expected: Any = None


class ExampleLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line's keys and types. `problems` checks their values."""

    id: str
    task: Task
    input: str | tuple[WrittenMessage, ...]
    expected: Any
    choices: tuple[str, ...] = ()
    category: str = ""
    tags: dict[str, str] = {}
    critical: bool = False
    document: str = ""
    threshold: float | None = None
    tolerance: float | None = None
    parameters: dict[str, Any] = {}
    headers: dict[str, str] = {}
    path: str = ""
    api: Api | Literal[""] = ""
    tools: tuple[DeclaredTool, ...] = ()
    labels: tuple[LabelEntry, ...] = ()
    sampled: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question. `expected` is in the form of its task's scorer; None if no answer is known to be right.

    An answer is right from the score `threshold` in (0, 1] on (None: the task's). `tolerance` is the allowed
    relative error of a number. Examples of one `cluster` (a document, else an id) are not independent
    evidence. `hash` covers the id, the question, and what counts as right. `classes` are the classes of a
    `classify` example: its choices, else all that its dataset expects. `extras` are what the
    request has beside its messages.
    """

    id: str
    task: Task
    messages: tuple[CapturedMessage, ...]
    expected: Any
    choices: tuple[str, ...]
    category: str
    tags: Mapping[str, str]
    critical: bool
    cluster: str
    threshold: float | None
    tolerance: float | None
    hash: str
    classes: tuple[str, ...] = ()
    extras: RequestExtras = NO_EXTRAS


def example(line: ExampleLine) -> Example:
    """The example of a valid line."""
    messages = messages_of(line)
    known = ("id", "task", "expected", "choices", "threshold", "tolerance")
    asked = {name: getattr(line, name) for name in known}
    asked |= {"input": list(map(_asked, messages)), **_given(line)}
    return Example(
        id=line.id,
        task=line.task,
        messages=messages,
        expected=line.expected,
        choices=line.choices,
        category=line.category,
        tags=line.tags,
        critical=line.critical,
        cluster=f"document {line.document}" if line.document else f"id {line.id}",
        threshold=line.threshold,
        tolerance=line.tolerance,
        hash=fingerprint(asked),
        extras=_extras(line),
    )


def _extras(line: ExampleLine) -> RequestExtras:
    return RequestExtras(
        parameters=line.parameters,
        headers=line.headers,
        path=line.path,
        api=line.api or ("openai" if line.path else ""),
        tools=tools_of(line),
    )


def messages_of(line: ExampleLine | Mapping[str, Any]) -> tuple[CapturedMessage, ...]:
    """The messages of a valid line's input."""
    if isinstance(line, Mapping):
        line = msgspec.convert(line, ExampleLine)
    if isinstance(line.input, str):
        return (CapturedMessage("user", line.input),)
    return tuple(each.message() for each in line.input)


def tools_of(line: ExampleLine) -> tuple[AgentTool, ...]:
    """The tools that a line declares."""
    return tuple(each.function for each in line.tools)


def _asked(message: CapturedMessage) -> Any:
    """What an example's hash has of a message."""
    if message.tool_calls or message.role == "tool":
        return written_message(message)
    return [message.role, message.content]


def _given(line: ExampleLine) -> dict[str, Any]:
    """What the line says of the request beside its messages."""
    extras = {name: getattr(line, name) for name in ("parameters", "headers", "path", "api")}
    extras["tools"] = [each.function() for each in tools_of(line)]
    return {name: value for name, value in extras.items() if value}


def fingerprint(value: object) -> str:
    """SHA-256, in hex, of canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def problems(line: ExampleLine) -> Iterator[str]:
    """The errors in a line whose types are right."""
    if not line.id.strip():
        yield "id is empty"
    yield from _wrong_with_input(line)
    if line.tools:
        yield from _wrong_with_tools(line)
    if line.sampled and not _is_day(line.sampled):
        yield f"sampled must be a day such as 2026-11-26, not {line.sampled!r}"
    if line.threshold is not None and not 0 < line.threshold <= 1:
        yield f"threshold must be above 0 and at most 1, not {line.threshold:g}"
    if line.tolerance is not None and line.tolerance < 0:
        yield f"tolerance must not be negative, and is {line.tolerance:g}"
    if ours := [name for name in line.parameters if name in _OURS]:
        yield f"parameters must not have {', '.join(ours)}: the benchmark writes that itself"
    if line.path and line.path not in PATHS:
        yield f"path must be {' or '.join(PATHS)}, or left out for the API's own chat, not {line.path!r}"
    if strange := [name for name in line.headers if name not in TELLING]:
        yield f"headers may have {', '.join(TELLING)}, not {', '.join(strange)}"
    if len(set(line.choices)) < len(line.choices):
        yield "choices has a duplicate"
    if line.expected is not None:
        yield from _wrong_with_expected(line)


def _wrong_with_input(line: ExampleLine) -> Iterator[str]:
    messages = messages_of(line) if line.input else ()
    if not messages or messages[-1].role not in ("user", "tool"):
        yield "input must be a text, or messages with the user's or a tool's last"
    if broken := broken_calls(messages):
        yield f"input: {broken}"
    if line.choices and messages and messages[-1].role == "tool":
        yield "choices need a user's message at the end of input"


def _wrong_with_tools(line: ExampleLine) -> Iterator[str]:
    names = [each.function.name for each in line.tools]
    if "" in names or len(set(names)) < len(names):
        yield "each of tools needs a name of its own"
    for tool in tools_of(line) if line.task == "schema" else ():
        if tool.parameters is not None:
            for problem in _wrong_with_schema(tool.parameters):
                yield problem.replace("expected", f"parameters of the tool {tool.name}")


def _wrong_with_action(line: ExampleLine) -> Iterator[str]:
    if not line.tools:
        yield f"the task {line.task} needs tools, as OpenAI's chat has them"
    try:
        action = expected_action(line.expected)
    except msgspec.ValidationError as problem:
        yield f"expected must be an assistant's message with tool_calls or content: {problem}"
        return
    if not action.calls and not action.text:
        yield "expected must be an assistant's message with tool_calls or content"
    known = {each.function.name for each in line.tools}
    if strange := sorted(set(action.names) - known):
        yield f"expected calls {', '.join(strange)}, which tools has not"


def _wrong_with_expected(line: ExampleLine) -> Iterator[str]:
    expected, choices = line.expected, line.choices
    match line.task:
        case "choice":
            if not 2 <= len(choices) <= len(LETTERS):
                yield f"choices must have 2 to {len(LETTERS)} texts"
            elif not isinstance(expected, str) or place_of(expected, choices) is None:
                yield f"expected must be one of the choices, or its letter, not {expected!r}"
        case "extract":
            if not isinstance(expected, dict) or not expected:
                yield "expected must be a JSON object with the fields to find"
        case "classify":
            if not isinstance(expected, str) or not expected.strip():
                yield "expected must be a class name"
            elif choices and expected not in choices:
                yield f"expected must be one of the choices, not {expected!r}"
        case "rank":
            if not _are_texts(expected, least=2) or len(set(expected)) < len(expected):
                yield "expected must be a list of at least two different texts, best first"
            elif choices and set(choices) != set(expected):
                yield "choices and expected must have the same texts"
        case "similar" | "exact":
            if not _is_text(expected) and not _are_texts(expected, least=1):
                yield "expected must be a text, or a list of accepted texts"
        case "action" | "tool" | "schema":
            yield from _wrong_with_action(line)
        case "regex":
            yield from _wrong_with_pattern(expected)
        case "json":
            yield from _wrong_with_schema(expected)
        case "judge":
            if not _is_text(expected):
                yield "expected must be a text that says what a good answer contains"


def _wrong_with_pattern(pattern: object) -> Iterator[str]:
    if not isinstance(pattern, str) or not pattern:
        yield "expected must be a regular expression that the answer has a match of"
        return
    try:
        re.compile(pattern)
    except re.error as problem:
        yield f"expected is not a regular expression of Python's `re`: {problem}"


def _wrong_with_schema(schema: object) -> Iterator[str]:
    import jsonschema_rs  # only here: most processes that know examples never check one

    if not isinstance(schema, dict):
        yield "expected must be a JSON Schema, for example {} for any JSON"
        return
    try:
        jsonschema_rs.validator_for(schema, offline=True)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as problem:
        yield f"expected is not a JSON Schema that can be used: {str(problem).splitlines()[0]}"


def place_of(text: str, choices: tuple[str, ...]) -> int | None:
    """The index of the choice that a text names, by its text or its letter; None for none."""
    if text in choices:
        return choices.index(text)
    letter = text.strip().upper()
    place = LETTERS.find(letter) if len(letter) == 1 else -1
    return place if 0 <= place < len(choices) else None


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(value: object, *, least: int) -> bool:
    return isinstance(value, list) and len(value) >= least and all(map(_is_text, value))


def prompt(example: Example) -> tuple[CapturedMessage, ...]:
    """The messages to send. Without choices they are the input alone."""
    *before, last = example.messages
    how = _how(example)
    return (*before, CapturedMessage(last.role, f"{last.content}\n\n{how}")) if how else example.messages


def _how(example: Example) -> str:
    if not example.choices:
        return ""
    lettered = "\n".join(f"{letter}. {each}" for letter, each in zip(LETTERS, example.choices, strict=False))
    match example.task:
        case "choice":
            return f"{lettered}\n\nAnswer with the letter of the right choice only."
        case "classify":
            return f"Answer with one of these only: {', '.join(example.choices)}."
        case "rank":
            listed = "\n".join(f"- {each}" for each in example.choices)
            return f"{listed}\n\nAnswer with these, best first, one a line, and nothing else."
        case _:
            return ""
