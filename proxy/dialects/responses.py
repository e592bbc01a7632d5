"""OpenAI's responses API: named events, and a document with a list of output items.

The token counts of chat completions are here too: both have the same, under two sets of names.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from common.text import UNREADABLE, readable
from proxy.dialects.operation import (
    AnswerChoices,
    AnswerSummary,
    CollectedOutput,
    Count,
    ExpectedOutput,
    OutputRequest,
    Schema,
    Texts,
    decode_counted,
    given,
    is_given,
    named,
    read_counted,
    schema_of,
    usage_in,
)
from records.outcome import Finish, Usage


class _Details(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class OpenAIUsage(msgspec.Struct, gc=False):
    """The counts under the names of chat completions and of responses.

    Prompt tokens include tokens read from and written to the cache. Moonshot and Together add
    `cached_tokens`, DeepSeek `prompt_cache_hit_tokens`. OpenRouter states what it charged as `cost` in
    dollars, xAI as `cost_in_usd_ticks`.
    """

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    cached_tokens: Count | None = None
    prompt_cache_hit_tokens: Count | None = None
    cost: Any = None
    cost_in_usd_ticks: Any = None

    def usage(self) -> Usage | None:
        read, written = self.prompt_tokens, self.completion_tokens
        read = self.input_tokens if read is None else read
        written = self.output_tokens if written is None else written
        if read is None and written is None:
            return None
        if written is not None and read and self.total_tokens is not None:
            # xAI and Google's compatible endpoint count reasoning only in the total and bill it as output.
            written = max(written, self.total_tokens - read)
        into = self.prompt_tokens_details or self.input_tokens_details or _NO_DETAILS
        out = self.completion_tokens_details or self.output_tokens_details or _NO_DETAILS
        cached = self.prompt_cache_hit_tokens if self.cached_tokens is None else self.cached_tokens
        states_cost = self.cost is not None or self.cost_in_usd_ticks is not None
        return Usage(
            input_tokens=read,
            cached_input_tokens=cached if into.cached_tokens is None else into.cached_tokens,
            cache_write_tokens=into.cache_write_tokens,
            output_tokens=written,
            reasoning_tokens=out.reasoning_tokens,
            stated_usd=self._stated() if states_cost else None,
        )

    def _stated(self) -> float | None:
        """The dollars that the provider says it charged; None when it says no finite number of at least 0."""
        for value, dollars in ((self.cost, 1.0), (self.cost_in_usd_ticks, _TICK)):
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _BEYOND:
                return value * dollars
        return None


_TICK = 1e-10
"""Dollars; docs.x.ai/developers/cost-tracking."""


_BEYOND = 1e15


_NO_DETAILS = _Details()


def usage_of(counts: Any) -> Usage | None:
    """The usage in decoded JSON; None when missing or of another shape, which is not an answer's error."""
    try:
        return msgspec.convert(counts, OpenAIUsage).usage() if counts else None
    except msgspec.ValidationError:
        return None


class _Reason(msgspec.Struct, gc=False):
    reason: str | None = None


class _Part(msgspec.Struct, gc=False):
    """A message's part: `output_text` or `refusal`."""

    type: str = ""
    text: str | None = None


class _Item(msgspec.Struct, gc=False):
    """An output item: a message, reasoning, a call of some tool, an image. Arguments and input of calls that
    the provider runs may be objects."""

    type: str = ""
    content: list[_Part] | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: Any = None
    input: Any = None


class _Response(msgspec.Struct, gc=False):
    id: Any = None
    background: Any = None
    status: str | None = None
    incomplete_details: _Reason | None = None
    output: list[_Item] | None = None
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

    __slots__ = ("_answer", "seen")

    def __init__(self) -> None:
        self._answer = AnswerChoices()
        self.seen = AnswerSummary(answer=self._answer)

    def take(self, name: bytes, data: bytes) -> bool:
        if name == b"error":
            self.seen.failed = True
        try:
            event = _decode_event(data)
        except UNREADABLE:
            return False
        kind = event.type or name.decode("latin-1")
        if kind in _TOKENS:
            self._look_at_token(kind, event.delta)
        elif kind == "response.output_item.done":
            if (item := readable(_decode_item, event.item)) is not None:
                _note_item(self._answer, item)
        elif kind == "response.created":
            begun = readable(_decode, event.response)
            if begun is not None and begun.background is True:
                self.seen.pending = named(begun.id)
        elif kind in _ENDS:
            self.seen.done, self.seen.pending = True, ""
            if (response := readable(_decode, event.response)) is not None:
                _note_end(self._answer, response)
        elif kind in ("response.failed", "error"):
            self.seen.failed = True
        if event.error:
            self.seen.failed = True
        if given(event.response) and (counted := readable(decode_counted, event.response)) is not None:
            self.seen.usage = usage_in(decode_usage, counted.usage) or self.seen.usage
            self.seen.model = named(counted.model) or self.seen.model
        return False

    def _look_at_token(self, kind: str, delta: Any) -> None:
        self.seen.token = self.seen.token or bool(delta)
        if kind == "response.refusal.delta":
            self._answer.choice(0).refused = True
        elif kind == "response.output_text.delta" and isinstance(delta, str) and delta.strip():
            self._answer.choice(0).content = True


def _note_end(answer: AnswerChoices, response: _Response) -> None:
    choice = answer.choice(0)
    if response.status == "incomplete":
        reason = response.incomplete_details.reason if response.incomplete_details is not None else None
        choice.reason = _INCOMPLETE.get(reason or "", "other")
    elif response.status is not None:
        choice.reason = "stop" if response.status == "completed" else "other"
    for item in response.output or ():
        _note_item(answer, item)


def _note_item(answer: AnswerChoices, item: _Item) -> None:
    """Note one item. Reasoning is no content; every other item but a message is a call or a picture."""
    choice = answer.choice(0)
    if item.type == "message":
        for part in item.content or ():
            choice.refused = choice.refused or part.type == "refusal"
            choice.content = choice.content or (part.type != "refusal" and bool((part.text or "").strip()))
    elif item.type and item.type != "reasoning":
        choice.content = True
        choice.called = choice.called or item.type in _CALLS


_decode_event = msgspec.json.Decoder(_Event).decode
decode_usage = msgspec.json.Decoder(OpenAIUsage).decode
_decode_item = msgspec.json.Decoder(_Item).decode
_decode = msgspec.json.Decoder(_Response).decode


def read_json(body: bytes) -> AnswerSummary:
    """Read a whole response: valid if a JSON object, failed if it carries an error despite its status."""
    response = readable(_decode, body)
    if response is None:
        return read_counted(body, decode_usage)
    answer = AnswerChoices()
    _note_end(answer, response)
    return AnswerSummary(
        failed=bool(response.error),
        usage=usage_in(decode_usage, response.usage),
        answer=None if response.status in _NOT_ENDED else answer,
        pending=named(response.id) if response.status in _NOT_ENDED else "",
        model=named(response.model),
    )


def read_counts(body: bytes) -> AnswerSummary:
    """Read an answer about a conversation that is no turn of it: a compaction, or its tokens."""
    return read_counted(body, decode_usage)


_MATTERS = (b"response.output_item.done", b"response.completed", b"response.incomplete")


def take_output(output: CollectedOutput, data: bytes) -> None:
    """Collect a finished item, or all items at the end, which some providers leave out there."""
    if not any(kind in data for kind in _MATTERS):
        return
    event = _decode_event(data)
    if event.type == "response.output_item.done" and given(event.item):
        _take_item(output, _decode_item(event.item))
    elif given(event.response) and (items := _decode(event.response).output):
        output.restart()
        for item in items:
            _take_item(output, item)


def read_output(output: CollectedOutput, body: bytes) -> None:
    for item in _decode(body).output or ():
        _take_item(output, item)


def _take_item(output: CollectedOutput, item: _Item) -> None:
    """Collect a message's texts, or a call. Tools that the provider runs have items of other types."""
    if item.type == "message":
        for part in item.content or ():
            if part.type == "output_text":
                output.add_text(0, part.text or "")
    elif item.type in ("function_call", "custom_tool_call"):
        place = len(output.choices[0].calls) if output.choices else 0
        arguments = item.arguments or item.input or ""
        call = output.add_call(0, place, id=item.call_id, name=item.name, arguments=arguments)
        call.free = item.type == "custom_tool_call"
        call.namespace = item.namespace or ""


class _Tool(msgspec.Struct, gc=False):
    """A tool. A `namespace` has tools of its own."""

    type: str = ""
    name: str = ""
    parameters: msgspec.Raw = msgspec.Raw()
    tools: list["_Tool"] | None = None


class _InputItem(msgspec.Struct, gc=False):
    type: str = ""
    tools: msgspec.Raw = msgspec.Raw()


ADDED_TOOLS = "additional_tools"
"""The type of an input item that declares tools, as Codex does from its first item on."""
_MOST_OBJECTS = 200_000
"""Of an input with more objects nothing is read: building them would take the loop tens of milliseconds."""


class _Format(msgspec.Struct, gc=False):
    type: str = ""
    schema: msgspec.Raw = msgspec.Raw()


class _Text(msgspec.Struct, gc=False):
    format: _Format | None = None


_decode_tools = msgspec.json.Decoder(list[_Tool]).decode
_decode_input = msgspec.json.Decoder(list[_InputItem]).decode
_decode_text = msgspec.json.Decoder(_Text).decode
_OWN_ITEMS = (
    "web_search", "file_search", "code_interpreter", "image_generation", "computer", "local_shell", "shell",
    "apply_patch", "mcp",
)  # fmt: skip
"""How the types of tools begin whose calls are items of their own types, never function calls."""


def expected_output(request: OutputRequest) -> ExpectedOutput:
    tools = list(_in_all_namespaces([*_listed(request.tools), *_added(request.input)]))
    named = [
        (name, schema_of(tool.parameters)) for name, tool in tools if tool.type in ("function", "custom")
    ]
    wanted = (_decode_text(request.form).format if is_given(request.form) else None) or _Format()
    return ExpectedOutput(
        tools=_by_name(named),
        others=any(not _is_closed(tool) for _, tool in tools),
        wants_json=wanted.type in ("json_object", "json_schema"),
        schema=schema_of(wanted.schema) if wanted.type == "json_schema" else None,
    )


def _listed(tools: msgspec.Raw) -> list[_Tool]:
    return _decode_tools(tools) if is_given(tools) else []


def _added(given_input: msgspec.Raw) -> Iterator[_Tool]:
    """The tools that the input declares. Raises DecodeError for an input of too many objects."""
    text = bytes(given_input)
    if text.count(b"{") > _MOST_OBJECTS:
        raise msgspec.DecodeError(f"it has more than {_MOST_OBJECTS} objects")
    for item in _decode_input(text) if text else ():
        if item.type == ADDED_TOOLS:
            yield from _listed(item.tools)


def _in_all_namespaces(tools: Iterable[_Tool], within: str = "") -> Iterator[tuple[str, _Tool]]:
    """All tools, each with the namespaces that it is in before its name."""
    for tool in tools:
        yield within + tool.name, tool
        yield from _in_all_namespaces(tool.tools or (), f"{within}{tool.name}.")


def _by_name(tools: Iterable[tuple[str, Schema | None]]) -> dict[str, Schema | None]:
    """The schemas by every name that a call may give: with all namespaces, the inner ones or none. None for a
    name of two tools that differ."""
    found: dict[str, Schema | None] = {}
    for path, schema in tools:
        name, dot = path, "."
        while dot:
            found[name] = schema if found.get(name, schema) == schema else None
            _, dot, name = name.partition(".")
    return found


def _is_closed(tool: _Tool) -> bool:
    """True for a tool that brings no functions of other names."""
    return tool.type in ("function", "custom", "namespace") or tool.type.startswith(_OWN_ITEMS)
