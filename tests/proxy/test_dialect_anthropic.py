"""Anthropic's answers as its API reference documents them: messages, streamed and whole."""

import json
from typing import Any

import pytest

from proxy.dialects.anthropic import MessageEvents, operation, read_json
from proxy.dialects.operation import PASS_THROUGH
from records.outcome import Usage


def told(*events: dict[str, Any]) -> MessageEvents:
    reader = MessageEvents()
    for event in events:
        reader.take(str(event["type"]).encode(), json.dumps(event).encode())
    return reader


def started(**usage: int | None) -> dict[str, Any]:
    return {
        "type": "message_start",
        "message": {
            "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": "claude-sonnet-4-5",
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        },
    }


def delta(**delta: object) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": delta}


def ended(**usage: object) -> dict[str, Any]:
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    return {"type": "message_delta", "delta": stop, "usage": usage}


START = started(input_tokens=25, output_tokens=1)
STOP = {"type": "message_stop"}
TEXT = delta(type="text_delta", text="Hello")


def test_input_is_what_was_not_cached_and_what_was_read_and_written() -> None:
    start = started(
        input_tokens=21, cache_creation_input_tokens=188, cache_read_input_tokens=1880, output_tokens=1
    )
    reader = told(start, TEXT, ended(output_tokens=393), STOP)
    assert reader.seen.usage == Usage(
        input_tokens=21 + 188 + 1880, cached_input_tokens=1880, cache_write_tokens=188, output_tokens=393
    )


@pytest.mark.parametrize(
    ("last", "usage"),
    [
        ({"output_tokens": 15}, Usage(input_tokens=25, output_tokens=15)),
        (
            {"input_tokens": 10_682, "output_tokens": 510, "server_tool_use": {"web_search_requests": 1}},
            Usage(input_tokens=10_682, output_tokens=510),
        ),
        (
            {"input_tokens": 25, "cache_read_input_tokens": 7, "output_tokens": 15},
            Usage(input_tokens=32, cached_input_tokens=7, output_tokens=15),
        ),
        ({"input_tokens": None, "output_tokens": 15}, Usage(input_tokens=25, output_tokens=15)),
        ({}, Usage(input_tokens=25, output_tokens=1)),
    ],
)
def test_the_last_counts_are_laid_over_the_first(last: dict[str, Any], usage: Usage) -> None:
    assert told(START, TEXT, ended(**last), STOP).seen.usage == usage


def test_what_is_written_to_the_cache_for_an_hour_is_told_apart() -> None:
    split = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 88}
    usage = {
        "input_tokens": 21,
        "cache_creation_input_tokens": 188,
        "cache_creation": split,
        "output_tokens": 1,
    }
    counted = Usage(input_tokens=209, cache_write_tokens=188, cache_write_1h_tokens=88, output_tokens=393)
    start = {"type": "message_start", "message": {"type": "message", "usage": usage}}
    assert told(start, TEXT, ended(output_tokens=393), STOP).seen.usage == counted
    whole = {"type": "message", "usage": usage | {"output_tokens": 393}}
    assert read_json(json.dumps(whole).encode()).usage == counted


def test_thinking_is_counted_where_the_api_tells_it() -> None:
    last = ended(output_tokens=393, output_tokens_details={"thinking_tokens": 128})
    assert told(START, TEXT, last, STOP).seen.usage == Usage(
        input_tokens=25, output_tokens=393, reasoning_tokens=128
    )


COMPACTED = {
    "input_tokens": 23_000,
    "output_tokens": 1_000,
    "iterations": [
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
        {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
    ],
}


def test_a_compaction_is_paid_for_though_the_totals_leave_it_out() -> None:
    counted = Usage(input_tokens=203_000, output_tokens=4_500)
    assert told(START, TEXT, ended(**COMPACTED), STOP).seen.usage == counted
    assert read_json(json.dumps({"type": "message", "usage": COMPACTED}).encode()).usage == counted


def test_a_compaction_may_read_and_write_the_cache() -> None:
    compaction = {
        "type": "compaction",
        "input_tokens": 10,
        "output_tokens": 2,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 50,
    }
    usage = {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 7, "iterations": [compaction]}
    assert told(START, ended(**usage), STOP).seen.usage == Usage(
        input_tokens=5 + 10 + 107 + 50, cached_input_tokens=107, cache_write_tokens=50, output_tokens=3
    )


def test_later_counts_may_come_more_than_once() -> None:
    reader = told(START, ended(output_tokens=5), ended(output_tokens=9), STOP)
    assert reader.seen.usage == Usage(input_tokens=25, output_tokens=9)


@pytest.mark.parametrize("usage", [7, [], {"output_tokens": "9"}, {"input_tokens": -1}])
def test_counts_of_another_shape_change_nothing(usage: object) -> None:
    event = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
    reader = told(START, TEXT, event, STOP)
    assert (reader.seen.usage, reader.seen.done) == (Usage(input_tokens=25, output_tokens=1), True)
    reading = read_json(json.dumps({"type": "message", "usage": usage}).encode())
    assert (reading.valid, reading.failed, reading.usage) == (True, False, None)


@pytest.mark.parametrize(
    ("event", "token"),
    [
        ({"type": "ping"}, False),
        ({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, False),
        (delta(type="text_delta", text=""), False),
        (TEXT, True),
        (delta(type="thinking_delta", thinking="Let me see"), True),
        (delta(type="signature_delta", signature="EqQBCgIYAhIM"), False),
        (delta(type="input_json_delta", partial_json='{"city":'), False),
        (delta(type="citations_delta", citation={"cited_text": "x"}), False),
    ],
)
def test_the_first_token_is_the_first_text_or_thought(event: dict[str, Any], token: bool) -> None:
    assert not told(START).seen.token
    assert told(START, event).seen.token is token


def test_a_stream_of_tool_calls_alone_has_no_first_token_and_is_whole() -> None:
    block = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "toolu_1"},
    }
    reader = told(
        START, block, delta(type="input_json_delta", partial_json="{}"), ended(output_tokens=9), STOP
    )
    assert (reader.seen.token, reader.seen.done, reader.seen.failed) == (False, True, False)


def test_only_message_stop_ends_a_stream() -> None:
    assert not told(START, TEXT, ended(output_tokens=15)).seen.done
    assert told(START, TEXT, ended(output_tokens=15), STOP).seen.done


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (b"error", b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'),
        (b"", b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'),
        (b"error", b"overloaded"),
        (b"error", b'{"type":7}'),
        (b"", b'{"error":{"message":"overloaded"}}'),
    ],
)
def test_an_error_in_the_stream_is_seen(name: bytes, data: bytes) -> None:
    reader = told(START)
    assert not reader.seen.failed
    reader.take(name, data)
    assert reader.seen.failed


@pytest.mark.parametrize(
    ("event", "only_text"),
    [
        (TEXT, True),
        (delta(type="input_json_delta", partial_json="{"), True),
        (TEXT | {"usage": {"output_tokens": 3}}, False),
        (ended(output_tokens=3), False),
        (STOP, False),
        ({"type": "ping"}, False),
    ],
)
def test_an_event_says_whether_it_was_only_text(event: dict[str, Any], only_text: bool) -> None:
    data = json.dumps(event).encode()
    assert told(START).take(b"", data) is False
    assert told(START, TEXT).take(b"", data) is only_text


def test_an_event_may_be_named_outside_its_data() -> None:
    reader = MessageEvents()
    reader.take(b"content_block_delta", b'{"index":0,"delta":{"text":"Hi"}}')
    reader.take(b"message_stop", b"{}")
    assert (reader.seen.token, reader.seen.done) == (True, True)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"[]", b'{"delta":7}', b'{"x":' + b"[" * 100_000, b'{"type":"\xff"}']
)
def test_data_of_another_shape_is_ignored(data: bytes) -> None:
    reader = told(START)
    reader.take(b"", data)
    assert (reader.seen.token, reader.seen.done, reader.seen.failed) == (False, False, False)


def test_usage_of_a_whole_answer() -> None:
    answer = {
        "id": "msg_01",
        "type": "message",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 2095,
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": 0,
            "output_tokens": 503,
            "service_tier": "standard",
        },
    }
    reading = read_json(json.dumps(answer).encode())
    assert (reading.valid, reading.failed) == (True, False)
    assert reading.usage == Usage(input_tokens=2095, cached_input_tokens=0, output_tokens=503)


def test_a_token_count_is_an_answer_without_usage() -> None:
    reading = read_json(b'{"input_tokens":14}')
    assert (reading.valid, reading.failed, reading.usage) == (True, False, None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"error","error":{"type":"api_error","message":"Internal server error"}}',
        b'{"error":{"message":"overloaded"}}',
    ],
)
def test_an_error_with_status_200_is_seen(body: bytes) -> None:
    reading = read_json(body)
    assert (reading.valid, reading.failed) == (True, True)


@pytest.mark.parametrize("body", [b"", b"<html></html>", b'{"type":"message"', b"[]", b"7"])
def test_what_is_no_json_object_is_no_answer(body: bytes) -> None:
    assert not read_json(body).valid


def test_which_paths_are_operations() -> None:
    assert operation("/v1/messages").name == "chat"
    assert operation("/v1/messages").streams is None
    assert operation("/v1/messages/count_tokens").name == "count_tokens"
    assert operation("/v1/messages/count_tokens").streams is False
    for path in ("/v1/messages/", "/v1/messages/batches", "/v1/complete", "/v1/files", "/messages"):
        assert operation(path) is PASS_THROUGH
