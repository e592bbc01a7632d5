"""Finish and faults of answers as the APIs document them, whole and in streams, wherever a stream is cut."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.answers.reader import reader_for
from proxy.attempts.examination import judge, tool_calls
from proxy.dialects import anthropic, gemini, openai, responses
from proxy.dialects.operation import OUTPUT_BOUND, AnswerChoices, CollectedOutput, Operation, OutputRequest
from records.outcome import Fault, Finish

OPERATIONS: dict[str, Operation] = {
    "chat": openai.operation("/chat/completions"),
    "completions": openai.operation("/completions"),
    "responses": openai.operation("/responses"),
    "anthropic": anthropic.operation("/v1/messages"),
    "gemini": gemini.operation("/v1beta/models/g:streamGenerateContent"),
}
Told = tuple[Finish, set[Fault]]


def sse(*events: Any, named: bool = False) -> bytes:
    """A stream's bytes; `named` events have their type as their name."""
    return b"".join(
        (f"event: {event['type']}\n".encode() if named else b"")
        + b"data: "
        + json.dumps(event, separators=(",", ":")).encode()
        + b"\n\n"
        for event in events
    )


def told(api: str, body: bytes, *, cuts: Sequence[int] = (), output: CollectedOutput | None = None) -> Told:
    """What a reader says of an answer, fed in pieces."""
    stream = body.startswith((b"data:", b"event:"))
    reader = reader_for(
        OPERATIONS[api],
        status=200,
        content_type=b"text/event-stream" if stream else b"application/json",
        encoding=b"",
        strip=False,
        output=output,
    )
    for start, end in pairwise([0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]):
        reader.feed(body[start:end], 0.0)
    reader.finish()
    assert reader.seen.answer is not None
    return reader.seen.answer.finish, reader.seen.answer.faults()


def chunk(delta: dict[str, Any], reason: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def chat(reason: str | None, *, index: int = 0, **message: Any) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", **message}, "finish_reason": reason}


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (chat("stop", content="Hi"), ("stop", set())),
        (chat("stop", content=" \n\t"), ("stop", {"empty"})),
        (chat("stop", content=None), ("stop", {"empty"})),
        (chat("stop", content=None, reasoning_content="Let me see"), ("stop", {"empty"})),
        (chat("stop", content=[{"type": "thinking", "thinking": []}]), ("stop", {"empty"})),
        (chat("stop", content=[{"type": "text", "text": "Hi"}]), ("stop", set())),
        (chat("stop", content=None, audio={"id": "a", "data": "QQ=="}), ("stop", set())),
        (chat("stop", content="", images=[{"type": "image_url"}]), ("stop", set())),
        (chat("stop", content=None, refusal="I can't"), ("refusal", {"refused"})),
        (chat("content_filter", content=""), ("content_filter", {"refused"})),
        (chat("length", content="Hi"), ("length", {"cut_off"})),
        (chat("length", content=""), ("length", {"cut_off", "empty"})),
        (chat("length", content=None, tool_calls=[CALL]), ("length", {"cut_off"})),
        (chat("model_length", content="Hi"), ("length", {"cut_off"})),
        (chat("tool_calls", content=None, tool_calls=[CALL]), ("tool_calls", set())),
        (chat("function_call", content=None, function_call={"name": "f"}), ("tool_calls", set())),
        (chat("stop", content=None, tool_calls=[CALL]), ("tool_calls", set())),  # a forced tool_choice
        (chat("eos", content="Hi"), ("stop", set())),
        (chat("abort", content="Hi"), ("other", set())),
        (chat(None, content="Hi"), ("unknown", set())),
        (
            chat("function_call_filter: MALFORMED_FUNCTION_CALL", content=None),
            ("other", {"tool_args_invalid"}),
        ),
        (chat("content_filter: SAFETY", content=None), ("content_filter", {"refused"})),
    ],
)
def test_chat_completions(choice: dict[str, Any], expected: Told) -> None:
    assert told("chat", json.dumps({"choices": [choice]}).encode()) == expected
    delta = {name: value for name, value in choice["message"].items() if value is not None}
    stream = sse(
        chunk({"role": "assistant", "content": ""}), chunk(delta), chunk({}, choice["finish_reason"])
    )
    assert told("chat", stream) == expected


def test_the_first_choice_says_why_and_any_may_have_a_fault() -> None:
    choices = [
        chat("length", index=1, content="x"),
        chat("stop", index=0, content="Hi"),
        chat("stop", index=2),
    ]
    assert told("chat", json.dumps({"choices": choices}).encode()) == ("stop", {"cut_off", "empty"})
    stream = sse(
        *[chunk({"role": "assistant", "content": ""}, index=index) for index in (0, 1, 2)],
        *[chunk({"content": "Hi"}, index=index) for index in (1, 0, 0, 1)],
        *[chunk({}, reason, index) for index, reason in enumerate(["stop", "length", "stop"])],
    )
    assert told("chat", stream) == ("stop", {"cut_off", "empty"})


@pytest.mark.parametrize("body", [b'{"choices":[]}', b'{"object":"chat.completion"}'])
def test_an_answer_without_choices_is_empty(body: bytes) -> None:
    assert told("chat", body) == ("unknown", {"empty"})


def test_completions() -> None:
    for text, reason, expected in (
        ("Hi", "stop", ("stop", set())),
        (" ", "length", ("length", {"cut_off", "empty"})),
    ):
        choice = {"index": 0, "text": text, "finish_reason": reason}
        assert told("completions", json.dumps({"choices": [choice]}).encode()) == expected
        assert told("completions", sse({"choices": [choice]})) == expected


THINKING = [chunk({"role": "assistant", "content": None, "reasoning_content": ""})] + [
    chunk({"content": None, "reasoning_content": word}) for word in ("Let", " me", " see", ".") * 5
]
BOTH = [chunk({"content": "", "reasoning_content": word}) for word in ("Let", " me", " see") * 3]
BLANK = [chunk({"content": word}) for word in (" ", "  ", " ") * 3]
TALKING = [chunk({"content": word}) for word in ("Hi", " there", ", you") * 5]
REFUSING = [chunk({"refusal": word}) for word in ("I", " can", "not") * 5]
CALLING = [
    chunk({"tool_calls": [{"index": 0, **CALL, "function": {"name": "f", "arguments": ""}}]}),
    *[
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
        for part in ('{"a"', ": 1", "}")
    ],
]
END, CUT = chunk({}, "stop"), chunk({}, "length")
Cuts = st.lists(st.integers(0, 4000), max_size=12)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([*THINKING, END], ("stop", {"empty"})),
        ([*THINKING, CUT], ("length", {"cut_off", "empty"})),
        ([*THINKING, *TALKING, END], ("stop", set())),
        ([*THINKING, TALKING[0], END], ("stop", set())),
        ([*TALKING, *REFUSING, END], ("refusal", {"refused"})),
        ([*THINKING, *TALKING, REFUSING[0], END], ("refusal", {"refused"})),
        ([*THINKING, *CALLING, END], ("tool_calls", set())),
        ([*TALKING, *CALLING, END], ("tool_calls", set())),
        ([*BOTH, chunk({"content": "Hi", "reasoning_content": ""}), END], ("stop", set())),
        ([*BOTH, END], ("stop", {"empty"})),
        ([*BLANK, TALKING[0], END], ("stop", set())),
        ([*BLANK, END], ("stop", {"empty"})),
        ([*TALKING], ("unknown", set())),
    ],
)
@given(cuts=Cuts, spaced=st.booleans())
def test_a_stream_with_templates_misses_neither_content_nor_refusal(
    events: list[dict[str, Any]], expected: Told, cuts: list[int], spaced: bool
) -> None:
    stream = sse(*events)
    if spaced:
        stream = stream.replace(b"\n\n", b"\r\n\r\n")
    assert told("chat", stream, cuts=cuts) == expected
    assert told("chat", sse(*events)) == expected
    # an event a time, as most providers send them
    places = [len(sse(*events[:place])) for place in range(1, len(events))]
    assert told("chat", sse(*events), cuts=places) == expected


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "id": "i", **fields}


SAYS = item("message", content=[{"type": "output_text", "text": "Hi"}])
REFUSES = item("message", content=[{"type": "refusal", "refusal": "I can't"}])
REASONS = item("reasoning", summary=[])
CALLS = item("function_call", name="f", arguments="{}")


@pytest.mark.parametrize(
    ("status", "reason", "output", "expected"),
    [
        ("completed", None, [REASONS, SAYS], ("stop", set())),
        ("completed", None, [REASONS], ("stop", {"empty"})),
        ("completed", None, [REASONS, CALLS], ("tool_calls", set())),
        ("completed", None, [item("custom_tool_call", name="f", input="x")], ("tool_calls", set())),
        ("completed", None, [item("image_generation_call", result="QQ==")], ("stop", set())),
        ("completed", None, [REFUSES], ("refusal", {"refused"})),
        ("incomplete", "max_output_tokens", [SAYS], ("length", {"cut_off"})),
        ("incomplete", "max_output_tokens", [REASONS], ("length", {"cut_off", "empty"})),
        ("incomplete", "content_filter", [], ("content_filter", {"refused"})),
        ("incomplete", None, [SAYS], ("other", set())),
        ("cancelled", None, [SAYS], ("other", set())),
        (None, None, [SAYS], ("unknown", set())),
    ],
)
def test_responses(status: str, reason: str | None, output: list[dict[str, Any]], expected: Told) -> None:
    details = {"reason": reason} if reason else None
    response = {"object": "response", "status": status, "incomplete_details": details, "output": output}
    assert told("responses", json.dumps(response).encode()) == expected
    if status in ("completed", "incomplete"):
        end = {"type": f"response.{status}", "response": response}
        items = [{"type": "response.output_item.done", "output_index": 0, "item": one} for one in output]
        assert told("responses", sse(*items, end, named=True)) == expected
        bare = {"type": f"response.{status}", "response": {**response, "output": []}}  # as some send it
        assert told("responses", sse(*items, bare, named=True)) == expected


def test_a_response_made_in_the_background_is_no_answer_yet() -> None:
    for status in ("queued", "in_progress"):
        body = json.dumps({"object": "response", "status": status, "output": []}).encode()
        assert responses.read_json(body).answer is None


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *[{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", "index": index},
    ]


def message(reason: str | None, *blocks: list[dict[str, Any]]) -> bytes:
    return sse(
        {
            "type": "message_start",
            "message": {"type": "message", "content": [], "usage": {"input_tokens": 1}},
        },
        *[event for events in blocks for event in events],
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
        named=True,
    )


def thinks(index: int) -> list[dict[str, Any]]:
    deltas = [{"type": "thinking_delta", "thinking": word} for word in ("Let", " me", " see") * 3]
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas)


def writes(index: int, *words: str) -> list[dict[str, Any]]:
    return block(
        index, {"type": "text", "text": ""}, *[{"type": "text_delta", "text": word} for word in words]
    )


def uses(index: int, *parts: str, kind: str = "tool_use", name: str = "f") -> list[dict[str, Any]]:
    start = {"type": kind, "id": f"toolu_{index}", "name": name, "input": {}}
    return block(index, start, *[{"type": "input_json_delta", "partial_json": part} for part in parts])


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (message("end_turn", writes(0, "Hi", " there", "!")), ("stop", set())),
        (message("end_turn"), ("stop", {"empty"})),
        (message("end_turn", writes(0, "\n", " ")), ("stop", {"empty"})),
        (message("end_turn", writes(0, *[" "] * 9, "Hi")), ("stop", set())),
        (message("end_turn", thinks(0), writes(1, *[" "] * 9)), ("stop", {"empty"})),
        (message("stop_sequence", thinks(0), writes(1, "Hi")), ("stop", set())),
        (message("max_tokens", thinks(0)), ("length", {"cut_off", "empty"})),
        (message("model_context_window_exceeded", writes(0, "Hi")), ("length", {"cut_off"})),
        (message("tool_use", thinks(0), uses(1, '{"a":', "1}")), ("tool_calls", set())),
        (message("refusal"), ("refusal", {"refused"})),
        (message("refusal", writes(0, "Hi")), ("refusal", {"refused"})),
        (message("pause_turn", uses(0, "{}", kind="server_tool_use")), ("other", set())),
        (message(None, writes(0, "Hi")), ("unknown", set())),
    ],
)
@given(cuts=Cuts)
def test_message_streams(stream: bytes, expected: Told, cuts: list[int]) -> None:
    assert told("anthropic", stream, cuts=cuts) == expected
    ends = [place + 2 for place in range(len(stream)) if stream.startswith(b"\n\n", place)]
    assert told("anthropic", stream, cuts=ends) == expected  # an event a time


@pytest.mark.parametrize(
    ("reason", "content", "expected"),
    [
        ("end_turn", [{"type": "text", "text": "Hi"}], ("stop", set())),
        ("end_turn", [], ("stop", {"empty"})),
        ("max_tokens", [{"type": "thinking", "thinking": "Hm"}], ("length", {"cut_off", "empty"})),
        ("tool_use", [{"type": "tool_use", "name": "f", "input": {}}], ("tool_calls", set())),
        ("refusal", [{"type": "text", "text": "No"}], ("refusal", {"refused"})),
        ("pause_turn", [{"type": "server_tool_use", "name": "web_search"}], ("other", set())),
    ],
)
def test_messages(reason: str, content: list[dict[str, Any]], expected: Told) -> None:
    body = json.dumps({"type": "message", "content": content, "stop_reason": reason}).encode()
    assert told("anthropic", body) == expected


def candidate(reason: str | None, *parts: dict[str, Any], index: int = 0) -> dict[str, Any]:
    content = {"role": "model", **({"parts": list(parts)} if parts else {})}
    return {
        "candidates": [{"content": content, "index": index, **({"finishReason": reason} if reason else {})}]
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (candidate("STOP", {"text": "Hi"}), ("stop", set())),
        (candidate("STOP"), ("stop", {"empty"})),
        (candidate("STOP", {"text": " \n"}), ("stop", {"empty"})),
        (candidate("STOP", {"text": "Hm", "thought": True}), ("stop", {"empty"})),
        (candidate("STOP", {"inlineData": {"mimeType": "image/png", "data": "QQ=="}}), ("stop", set())),
        (candidate("STOP", {"functionCall": {"name": "f", "args": {}}}), ("tool_calls", set())),
        (candidate("MAX_TOKENS"), ("length", {"cut_off", "empty"})),
        (candidate("MAX_TOKENS", {"text": "Hi"}), ("length", {"cut_off"})),
        *[
            (candidate(reason), ("content_filter", {"refused"}))
            for reason in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY")
        ],
        (candidate("MALFORMED_FUNCTION_CALL"), ("other", {"tool_args_invalid"})),
        (candidate("UNEXPECTED_TOOL_CALL"), ("other", {"tool_unknown"})),
        (candidate("LANGUAGE", {"text": "Hi"}), ("other", set())),
        (candidate(None, {"text": "Hi"}), ("unknown", set())),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, ("content_filter", {"refused"})),
        ({"usageMetadata": {"promptTokenCount": 5}}, ("unknown", {"empty"})),
    ],
)
def test_generated_content(answer: dict[str, Any], expected: Told) -> None:
    assert told("gemini", json.dumps(answer).encode()) == expected
    assert told("gemini", sse(answer)) == expected
    assert told("gemini", json.dumps([{"usageMetadata": {}}, answer]).encode()) == expected


def test_the_text_of_a_generated_stream_may_come_before_its_reason() -> None:
    answers = [candidate(None, {"text": "Hi"}), candidate("MAX_TOKENS", {"text": ""})]
    assert told("gemini", sse(*answers)) == ("length", {"cut_off"})
    assert told("gemini", json.dumps(answers).encode()) == ("length", {"cut_off"})


# What is collected


def collected(api: str, body: bytes, cuts: Sequence[int] = ()) -> CollectedOutput:
    output = CollectedOutput()
    told(api, body, cuts=cuts, output=output)
    return output


def calls(output: CollectedOutput) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for choice in output.choices.values() for call in choice.calls]


STREAMED: dict[str, bytes] = {
    "chat": sse(
        chunk({"role": "assistant", "content": ""}),
        *[chunk({"content": word}) for word in ("Grüß", " dich")],
        *CALLING,
        chunk({"tool_calls": [{"index": 1, "id": "d", "function": {"name": "g", "arguments": "{}"}}]}),
        chunk({}, "tool_calls"),
    ),
    "responses": sse(
        {
            "type": "response.output_item.done",
            "item": SAYS | {"content": [{"type": "output_text", "text": "Grüß dich"}]},
        },
        {"type": "response.output_item.done", "item": CALLS | {"arguments": '{"a": 1}'}},
        {"type": "response.output_item.done", "item": CALLS | {"name": "g"}},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
        named=True,
    ),
    "anthropic": message(
        "tool_use",
        thinks(0),
        writes(1, "Grüß", " dich"),
        uses(2, '{"query":', '"x"}', kind="server_tool_use", name="web_search"),
        uses(3, '{"a"', ": 1", "}"),
        uses(4, "{}", name="g"),
    ),
    "gemini": sse(
        candidate(None, {"text": "Hm", "thought": True}, {"text": "Grüß"}),
        candidate(None, {"text": " dich"}, {"functionCall": {"name": "f", "args": {"a": 1}}}),
        candidate("STOP", {"functionCall": {"name": "g", "args": {}}}),
    ),
}


@pytest.mark.parametrize("api", STREAMED)
@given(cuts=Cuts)
def test_output_is_put_together_wherever_a_stream_is_cut(api: str, cuts: list[int]) -> None:
    output = collected(api, STREAMED[api], cuts)
    assert output.choices[0].text == "Grüß dich"
    assert [(name, json.loads(arguments)) for name, arguments in calls(output)] == [
        ("f", {"a": 1}),
        ("g", {}),
    ]


def test_calls_with_one_index_and_other_ids_are_several() -> None:
    both = [
        chunk({"tool_calls": [{"index": 0, "id": name, "function": {"name": name, "arguments": "{}"}}]})
        for name in ("f", "g")
    ]
    assert calls(collected("chat", sse(*both, END))) == [("f", "{}"), ("g", "{}")]


@pytest.mark.parametrize("more", [0, 1])
def test_output_beyond_the_bound_is_lost(more: int) -> None:
    words = ["x" * (OUTPUT_BOUND // 4)] * 4 + ["y" * more]
    stream = sse(*[chunk({"content": word}) for word in words], END)
    output = collected("chat", stream)
    assert output.lost == bool(more)
    assert len(output.choices[0].text) <= OUTPUT_BOUND
    form = OPERATIONS["chat"].output
    assert form is not None
    request = OutputRequest(form=raw({"type": "json_object"}))
    reader = reader_for(
        OPERATIONS["chat"],
        status=200,
        content_type=b"text/event-stream",
        encoding=b"",
        strip=False,
        output=output,
    )
    reader.feed(sse(END), 0.0)
    assert judge(form, request, output, reader.seen.answer).check == ("not_judged" if more else "judged")


def test_a_call_without_arguments_has_an_empty_object() -> None:
    silent = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    for api, tool, body in (
        (
            "chat",
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
            sse(chunk({"tool_calls": [silent]})),
        ),
        ("anthropic", {"name": "f", "input_schema": {"type": "object"}}, message("tool_use", uses(0))),
        ("anthropic", {"name": "f", "input_schema": {"type": "object"}}, message("tool_use", uses(0, ""))),
    ):
        form, answer = OPERATIONS[api].output, AnswerChoices()
        assert form is not None
        answer.choice(0).reason = "tool_calls"
        found = judge(form, OutputRequest(tools=raw([tool])), collected(api, body), answer)
        assert not found.faults
        assert [each.value for each in found.open] == ["{}"]  # left for the schema to say


def raw(value: Any) -> Any:
    return msgspec.Raw(json.dumps(value).encode())


SEARCHES = {"type": "tool_search_call", "arguments": {"goal": "weather"}, "call_id": None, "input": {"a": 1}}


def test_a_call_that_the_provider_runs_may_have_objects_and_hides_no_answer() -> None:
    items = [SEARCHES, SAYS, CALLS]
    ended = {"status": "completed", "output": items}
    stream = sse({"type": "response.completed", "response": ended}, named=True)
    done = sse(*[{"type": "response.output_item.done", "item": each} for each in items], named=True)
    for body in (json.dumps(ended).encode(), stream, done + stream):
        assert told("responses", body) == ("tool_calls", set())
    for body in (stream, done):
        output = collected("responses", body)
        assert (len(calls(output)), output.lost) == (1, False)
    odd = {"type": "response.output_item.done", "item": CALLS | {"arguments": {"a": 1}}}
    output = collected("responses", sse(odd, named=True))
    assert (output.lost, tool_calls(b"k" * 16, output)) == (True, ())  # the API has no such call


def test_an_item_or_a_response_that_is_null_is_none() -> None:
    nothing = [
        {"type": "response.output_item.done", "item": None},
        {"type": "response.completed", "response": None},
    ]
    said = {"type": "response.output_item.done", "item": SAYS}
    assert not collected("responses", sse(said, *nothing, named=True)).lost


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("anthropic", {"content": [{"type": "text", "text": "Hi", "id": None, "name": None}]}),
        ("gemini", {"candidates": [{"content": {"parts": [{"functionCall": {"name": None, "id": None}}]}}]}),
    ],
)
def test_a_name_that_is_null_hides_no_answer(api: str, body: dict[str, Any]) -> None:
    assert not told(api, json.dumps(body).encode())[1]
