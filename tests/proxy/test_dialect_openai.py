"""OpenAI's answers as its API reference documents them: chat, completions, embeddings, responses."""

import json
from typing import Any

import pytest

from proxy.dialects.openai import ChatEvents, operation, read_json
from proxy.dialects.operation import PASS_THROUGH
from proxy.dialects.responses import ResponsesEvents
from records.outcome import Usage


def chat(delta: dict[str, Any] | None, finish: str | None = None, *, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    document = {
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        "object": "chat.completion.chunk",
        "created": 1764000000,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [choice],
        "usage": None,
    }
    return json.dumps(document | more).encode()


USAGE = {
    "prompt_tokens": 1117,
    "completion_tokens": 46,
    "total_tokens": 1163,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 32,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
COUNTED = Usage(input_tokens=1117, cached_input_tokens=1024, output_tokens=46, reasoning_tokens=32)


def read(*events: bytes, name: bytes = b"") -> ChatEvents:
    reader = ChatEvents()
    for event in events:
        reader.take(name, event)
    return reader


def told(*events: dict[str, Any]) -> ResponsesEvents:
    """Named events of the responses API."""
    reader = ResponsesEvents()
    for event in events:
        reader.take(str(event.get("type", "")).encode(), json.dumps(event).encode())
    return reader


ROLE = chat({"role": "assistant", "content": "", "refusal": None})


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "Hi"},
        {"role": "assistant", "content": "Hi"},
        {"refusal": "I can't"},
        {"reasoning_content": "Let me see"},
        {"reasoning": "Let me see"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]},
    ],
)
def test_the_first_token_is_the_first_text_or_reasoning(delta: dict[str, Any]) -> None:
    assert not read(ROLE).seen.token
    assert read(ROLE, chat(delta)).seen.token


@pytest.mark.parametrize(
    "delta",
    [
        {"role": "assistant"},
        {"role": "assistant", "content": "", "refusal": None},
        {"content": None},
        {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {},
        None,
    ],
)
def test_a_role_and_a_tool_call_are_no_token(delta: dict[str, Any] | None) -> None:
    assert not read(chat(delta)).seen.token


def test_a_stream_of_tool_calls_alone_has_no_first_token_and_is_whole() -> None:
    call = {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f"}}]}
    reader = read(ROLE, chat(call), chat({}, "tool_calls"), b"[DONE]")
    assert (reader.seen.token, reader.seen.done, reader.seen.failed) == (False, True, False)


def test_a_completions_text_is_a_token() -> None:
    assert read(
        b'{"object":"text_completion","choices":[{"text":"Hi","index":0,"finish_reason":null}]}'
    ).seen.token
    assert not read(
        b'{"object":"text_completion","choices":[{"text":"","index":0,"finish_reason":null}]}'
    ).seen.token


def test_usage_comes_in_the_last_chunk() -> None:
    reader = read(ROLE, chat({"content": "Hi"}), chat({}, "stop"))
    assert reader.seen.usage is None
    reader.take(b"", json.dumps({"id": "c", "choices": [], "usage": USAGE}).encode())
    reader.take(b"", b"[DONE]")
    assert reader.seen.usage == COUNTED


GROQ = {"queue_time": 0.01, "prompt_tokens": 18, "completion_tokens": 556, "total_tokens": 574}


def test_groqs_own_usage_is_read_where_there_is_no_other() -> None:
    started = chat({"role": "assistant", "content": ""}, x_groq={"id": "req_01"})
    last = chat({}, "stop", x_groq={"id": "req_01", "usage": GROQ})
    assert read(started, chat({"content": "Hi"}), last).seen.usage == Usage(
        input_tokens=18, output_tokens=556
    )
    assert read(chat({}, "stop", x_groq={"error": "over capacity"})).seen.failed
    for odd in (7, "x", [], {"usage": 7}):
        reader = read(chat({"content": "Hi"}, "stop", x_groq=odd))
        assert (reader.seen.usage, reader.seen.done, reader.seen.failed) == (None, True, False)


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        (  # xAI: reasoning stands beside the completion, not in it
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "prompt_tokens_details": {"cached_tokens": 6},
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(input_tokens=32, cached_input_tokens=6, output_tokens=103, reasoning_tokens=94),
        ),
        (  # Google's endpoint for this API: thoughts are in the total alone
            {"prompt_tokens": 20, "completion_tokens": 424, "total_tokens": 1016},
            Usage(input_tokens=20, output_tokens=996),
        ),
        (  # Anthropic's endpoint for this API
            {"prompt_tokens": 14, "completion_tokens": 8, "total_tokens": 22, "prompt_tokens_details": None},
            Usage(input_tokens=14, output_tokens=8),
        ),
        (
            {"prompt_tokens": 0, "completion_tokens": 8, "total_tokens": 22},
            Usage(input_tokens=0, output_tokens=8),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 8},
            Usage(input_tokens=10, output_tokens=8),
        ),
        (  # written to the cache, at a price of its own
            {
                "prompt_tokens": 1500,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 200, "cache_write_tokens": 1200},
            },
            Usage(input_tokens=1500, cached_input_tokens=200, cache_write_tokens=1200, output_tokens=4),
        ),
        (  # Moonshot, Together
            {"prompt_tokens": 50, "completion_tokens": 4, "cached_tokens": 40},
            Usage(input_tokens=50, cached_input_tokens=40, output_tokens=4),
        ),
        (  # DeepSeek
            {
                "prompt_tokens": 50,
                "completion_tokens": 4,
                "prompt_cache_hit_tokens": 30,
                "prompt_cache_miss_tokens": 20,
            },
            Usage(input_tokens=50, cached_input_tokens=30, output_tokens=4),
        ),
        ({"prompt_tokens": -1, "completion_tokens": 4}, None),
        ({"prompt_tokens": 1 << 31, "completion_tokens": 4}, None),
        ({}, None),
    ],
)
def test_what_other_providers_of_the_api_count_where(counts: dict[str, Any], usage: Usage | None) -> None:
    streamed = read(chat({"content": "Hi"}, "stop", usage=counts)).seen.usage
    whole = read_json(
        json.dumps({"object": "chat.completion", "choices": [], "usage": counts}).encode()
    ).usage
    assert streamed == whole == usage


def test_a_choice_without_a_number_or_with_an_empty_finish_reason_goes_on() -> None:
    unnumbered = b'{"choices":[{"index":null,"delta":{"content":"a"},"finish_reason":""}]}'
    reader = read(unnumbered)
    assert (reader.seen.token, reader.seen.finished, reader.seen.done) == (True, False, False)
    reader.take(b"", b'{"choices":[{"index":null,"delta":{},"finish_reason":"stop"}]}')
    assert (reader.seen.finished, reader.seen.done) == (True, True)


def test_a_choice_that_finished_in_error_is_one() -> None:
    assert read(chat({"content": "a"}), chat({"content": ""}, "error")).seen.failed


def test_the_last_of_running_counts_wins_and_null_takes_none_away() -> None:
    first, last = USAGE | {"completion_tokens": 1}, USAGE
    reader = read(chat({"content": "a"}, usage=first), chat({"content": "b"}, usage=last), chat({}, "stop"))
    assert reader.seen.usage == COUNTED


def test_a_stream_ends_with_done_or_with_its_last_finish_reason() -> None:
    assert not read(ROLE, chat({"content": "Hi"})).seen.done
    assert read(ROLE, chat({"content": "Hi"}), chat({}, "length")).seen.done
    assert read(ROLE, chat({"content": "Hi"}), b"[DONE]").seen.done


def test_of_several_choices_each_must_finish() -> None:
    parts = [chat({"content": "a"}, index=0), chat({"content": "b"}, index=1), chat({}, "stop", index=0)]
    reader = read(*parts)
    assert (reader.seen.finished, reader.seen.done) == (True, False)
    reader.take(b"", chat({"content": "c"}, index=1))
    assert not reader.seen.done
    reader.take(b"", chat({}, "stop", index=1))
    assert reader.seen.done


@pytest.mark.parametrize(
    ("event", "only_text"),
    [
        (chat({"content": "b"}), True),
        (chat({"content": ""}), True),
        (chat({"tool_calls": [{"index": 3, "function": {"arguments": "{"}}]}), False),  # the first call
        (chat({"content": "b"}, index=1), False),
        (chat({}, "stop"), False),
        (chat({"content": "b"}, usage=USAGE), False),
        (chat({"content": "b"}, x_groq={"usage": USAGE}), False),
        (chat({"content": "b"}, error={"message": "overloaded"}), False),
        (b"[DONE]", False),
        (b"no JSON", False),
    ],
)
def test_a_chunk_says_whether_it_was_only_text(event: bytes, only_text: bool) -> None:
    assert ChatEvents().take(b"", event) is False
    assert read(chat({"content": "a"})).take(b"", event) is only_text


def test_a_chunk_after_the_end_reopens_nothing() -> None:
    assert read(chat({"content": "a"}), b"[DONE]", chat({"content": "b"}, index=1)).seen.done
    assert read(chat({"content": "a"}), chat({}, "stop"), chat({})).seen.done


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (
            b"",
            b'{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}',
        ),
        (b"", b'{"error":{"message":"overloaded"},"choices":[]}'),
        (b"error", b'{"message":"overloaded"}'),
        (b"error", b"overloaded"),
    ],
)
def test_an_error_in_the_stream_is_seen(name: bytes, data: bytes) -> None:
    assert not read(ROLE).seen.failed
    assert read(ROLE, data, name=name).seen.failed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ping",
        b"<html>",
        b"[]",
        b'"x"',
        b'{"choices":7}',
        b'{"choices":[{"delta":"x"}]}',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'{"choices":' + b"[" * 100_000,
    ],
)
def test_data_of_another_shape_is_ignored(data: bytes) -> None:
    reader = read(ROLE, data, chat({"content": "Hi"}), chat({}, "stop"))
    assert (reader.seen.token, reader.seen.done, reader.seen.failed) == (True, True, False)


@pytest.mark.parametrize("usage", [7, "many", [], {"prompt_tokens": "9"}, {"prompt_tokens_details": 1}])
def test_counts_of_another_shape_are_unknown_and_hide_nothing_else(usage: object) -> None:
    reader = read(chat({"content": "Hi"}, "stop", usage=usage))
    assert (reader.seen.token, reader.seen.done, reader.seen.failed, reader.seen.usage) == (
        True,
        True,
        False,
        None,
    )
    reading = read_json(json.dumps({"object": "chat.completion", "choices": [], "usage": usage}).encode())
    assert (reading.valid, reading.failed, reading.usage) == (True, False, None)


CREATED = {"type": "response.created", "response": {"id": "r", "error": None, "usage": None}}
R_USAGE = {
    "input_tokens": 328,
    "input_tokens_details": {"cached_tokens": 128, "cache_write_tokens": 0},
    "output_tokens": 52,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 380,
}
R_COUNTED = Usage(
    input_tokens=328, cached_input_tokens=128, cache_write_tokens=0, output_tokens=52, reasoning_tokens=20
)


@pytest.mark.parametrize(
    ("kind", "token"),
    [
        ("response.in_progress", False),
        ("response.output_item.added", False),
        ("response.content_part.added", False),
        ("response.output_text.delta", True),
        ("response.refusal.delta", True),
        ("response.reasoning_text.delta", True),
        ("response.reasoning_summary_text.delta", True),
        ("response.function_call_arguments.delta", False),
    ],
)
def test_the_first_token_of_a_response(kind: str, token: bool) -> None:
    assert told(CREATED, {"type": kind, "delta": "x"}).seen.token is token
    assert not told(CREATED, {"type": kind, "delta": ""}).seen.token


def test_a_failed_response_may_still_have_been_counted() -> None:
    event = {"type": "response.failed", "response": {"error": {"code": "server_error"}, "usage": R_USAGE}}
    failed = told(CREATED, event)
    assert (failed.seen.failed, failed.seen.usage) == (True, R_COUNTED)


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete"])
def test_a_response_ends_with_its_usage(kind: str) -> None:
    assert not told(CREATED).seen.done
    ended = told(CREATED, {"type": kind, "response": {"id": "r", "error": None, "usage": R_USAGE}})
    assert (ended.seen.done, ended.seen.failed, ended.seen.usage) == (True, False, R_COUNTED)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.failed", "response": {"error": {"code": "server_error"}, "usage": None}},
        {"type": "error", "code": "ERR_SOMETHING", "message": "Something went wrong"},
        {"error": {"message": "overloaded"}},
    ],
)
def test_a_failed_response_is_seen(event: dict[str, Any]) -> None:
    failed = told(CREATED, event)
    assert (failed.seen.failed, failed.seen.done) == (True, False)


def test_a_responses_event_may_be_named_outside_its_data() -> None:
    reader = ResponsesEvents()
    reader.take(b"response.output_text.delta", b'{"delta":"Hi"}')
    reader.take(b"response.completed", json.dumps({"response": {"usage": R_USAGE}}).encode())
    assert (reader.seen.token, reader.seen.done, reader.seen.usage) == (True, True, R_COUNTED)


def test_a_responses_event_of_another_shape_is_ignored() -> None:
    reader = told(CREATED)
    for data in (b"x", b'{"type":7}', b"[]"):
        reader.take(b"", data)
    assert (reader.seen.token, reader.seen.done, reader.seen.failed) == (False, False, False)


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        (
            {
                "object": "chat.completion",
                "choices": [{"message": {"content": "Hi", "refusal": None}, "finish_reason": "stop"}],
                "usage": USAGE,
            },
            COUNTED,
        ),
        ({"object": "response", "status": "completed", "error": None, "usage": R_USAGE}, R_COUNTED),
        (
            {
                "object": "list",
                "data": [{"embedding": [0.1]}],
                "usage": {"prompt_tokens": 8, "total_tokens": 8},
            },
            Usage(input_tokens=8),
        ),
        ({"object": "chat.completion", "choices": []}, None),
        (
            {"usage": {"prompt_tokens": 5, "completion_tokens": 0, "prompt_tokens_details": None}},
            Usage(input_tokens=5, output_tokens=0),
        ),
    ],
)
def test_usage_of_a_whole_answer(answer: dict[str, Any], usage: Usage | None) -> None:
    reading = read_json(json.dumps(answer).encode())
    assert (reading.valid, reading.failed, reading.usage) == (True, False, usage)


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"message": "boom", "type": "server_error", "param": None, "code": None}},
        {"object": "response", "status": "failed", "error": {"code": "server_error"}, "usage": None},
    ],
)
def test_an_error_with_status_200_is_seen(answer: dict[str, Any]) -> None:
    reading = read_json(json.dumps(answer).encode())
    assert (reading.valid, reading.failed) == (True, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"<!DOCTYPE html><html></html>",
        b'{"object":"chat.completion"',
        b"[]",
        b"null",
        b'"ok"',
        b"data: {}\n\n",
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_json_object_is_no_answer(body: bytes) -> None:
    assert not read_json(body).valid


def test_which_paths_are_operations() -> None:
    chat_, text = operation("/chat/completions"), operation("/completions")
    responses, embeddings = operation("/responses"), operation("/embeddings")
    assert [each.name for each in (chat_, text, responses, embeddings)] == [
        "chat",
        "text_completion",
        "chat",
        "embeddings",
    ]
    assert [each.injects_usage for each in (chat_, text, responses, embeddings)] == [True, True, False, False]
    assert [each.creates_state for each in (chat_, text, responses, embeddings)] == [
        False,
        False,
        True,
        False,
    ]
    for path in ("/chat/completions/", "/chat/completions/chatcmpl-1", "/files", "/models", "/batches", ""):
        assert operation(path) is PASS_THROUGH


def test_the_fingerprint_of_the_system_is_read_where_the_model_is() -> None:
    whole = json.dumps({"model": "gpt-4o", "system_fingerprint": "fp_1", "choices": []}).encode()
    assert (read_json(whole).model, read_json(whole).fingerprint) == ("gpt-4o", "fp_1")
    assert read_json(b'{"model": "gpt-4o", "system_fingerprint": null}').fingerprint == ""
    assert read(ROLE).seen.fingerprint == "fp_44709d6fcb"
