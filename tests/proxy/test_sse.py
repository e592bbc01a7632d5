"""However a stream's bytes are cut, it reads the same; nothing of it is lost or held but the extra event."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.answers.sse import EVENT_BOUND, SseReader
from proxy.dialects.anthropic import MessageEvents
from proxy.dialects.gemini import GenerateEvents
from proxy.dialects.openai import ChatEvents
from proxy.dialects.operation import AnswerSummary, EventReader
from proxy.dialects.responses import ResponsesEvents
from records.outcome import ErrorType, Usage


@dataclass(slots=True)
class Seen:
    """A dialect that writes down what it is shown, and knows no end."""

    events: list[tuple[bytes, bytes]] = field(default_factory=list)
    seen: AnswerSummary = field(default_factory=AnswerSummary)

    texts: ClassVar[None] = None

    def take(self, name: bytes, data: bytes) -> bool:
        self.events.append((name, data))
        return False


def chunk(delta: dict[str, object], finish: str | None = None, **more: object) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    document = {
        "id": "chatcmpl-B9",
        "object": "chat.completion.chunk",
        "created": 1764000000,
        "model": "gpt-4o",
    }
    return json.dumps(document | {"choices": [choice], "usage": None} | more, ensure_ascii=False)


USAGE_CHUNK = (
    '{"id":"chatcmpl-B9","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4o","choices":[],'
    '"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":'
    '{"cached_tokens":3,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":4}}}'
)
CHAT = [
    ("", chunk({"role": "assistant", "content": "", "refusal": None})),
    ("", chunk({"content": "Grüß"})),
    ("", chunk({"content": " dich 🐤"})),
    ("", chunk({}, "stop")),
    ("", USAGE_CHUNK),
    ("", "[DONE]"),
]
RESPONSES = [
    (
        "response.created",
        '{"type":"response.created","response":{"id":"resp_1","status":"in_progress","error":null,"usage":null}}',
    ),
    (
        "response.output_item.added",
        '{"type":"response.output_item.added","output_index":0,"item":{"id":"msg_1","type":"message"}}',
    ),
    (
        "response.output_text.delta",
        '{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"delta":"Hi"}',
    ),
    (
        "response.output_text.done",
        '{"type":"response.output_text.done","item_id":"msg_1","output_index":0,"text":"Hi"}',
    ),
    (
        "response.completed",
        '{"type":"response.completed","response":{"id":"resp_1","status":"completed","error":null,"usage":'
        '{"input_tokens":37,"input_tokens_details":{"cached_tokens":5},"output_tokens":11,'
        '"output_tokens_details":{"reasoning_tokens":7},"total_tokens":48}}}',
    ),
]
MESSAGES = [
    (
        "message_start",
        '{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],'
        '"stop_reason":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":100,'
        '"cache_read_input_tokens":50,"output_tokens":1}}}',
    ),
    (
        "content_block_start",
        '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
    ),
    ("ping", '{"type":"ping"}'),
    (
        "content_block_delta",
        '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hällo"}}',
    ),
    ("content_block_stop", '{"type":"content_block_stop","index":0}'),
    (
        "message_delta",
        '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}',
    ),
    ("message_stop", '{"type":"message_stop"}'),
]
GENERATE = [
    (
        "",
        '{"candidates":[{"content":{"parts":[{"text":"mull…","thought":true}],"role":"model"},"index":0}],'
        '"usageMetadata":{"promptTokenCount":8,"totalTokenCount":20,"thoughtsTokenCount":12}}',
    ),
    (
        "",
        '{"candidates":[{"content":{"parts":[{"text":"Kanarienvögel"}],"role":"model"},"finishReason":"STOP"}],'
        '"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":6,"totalTokenCount":26,'
        '"thoughtsTokenCount":12,"cachedContentTokenCount":2}}',
    ),
]
STREAMS: dict[str, tuple[type[EventReader], list[tuple[str, str]], int]] = {
    "chat": (ChatEvents, CHAT, 1),
    "responses": (ResponsesEvents, RESPONSES, 2),
    "messages": (MessageEvents, MESSAGES, 3),
    "generate": (GenerateEvents, GENERATE, 0),
}
"""Per API: its reader, a whole stream of it, and which of its events brings the first token."""


def wire(events: Iterable[tuple[str, str]], *, line_end: str = "\n") -> bytes:
    """Events as a provider sends them."""
    return b"".join(
        f"{f'event: {name}{line_end}' if name else ''}data: {data}{line_end}{line_end}".encode()
        for name, data in events
    )


def pieces(stream: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The stream cut at those places; empty pieces are left out, as no read brings one."""
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


def relay(reader: SseReader, parts: Iterable[bytes]) -> tuple[bytes, ErrorType | None]:
    """All that goes out, and what is said at the end. The clock counts the parts."""
    out = [reader.feed(part, float(place)) for place, part in enumerate(parts)]
    rest, wrong = reader.finish()
    return b"".join(out) + rest, wrong


CUTS = st.lists(st.integers(0, 10_000), max_size=40)


@given(name=st.sampled_from(sorted(STREAMS)), cuts=CUTS, line_end=st.sampled_from(["\n", "\r\n"]))
def test_any_cut_of_a_stream_goes_out_byte_for_byte_and_reads_the_same(
    name: str, cuts: list[int], line_end: str
) -> None:
    events, stream, first = STREAMS[name]
    text = wire(stream, line_end=line_end)
    whole, cut = SseReader(events()), SseReader(events())
    parts = pieces(text, cuts)

    assert relay(whole, [text]) == (text, None)
    assert relay(cut, parts) == (text, None)
    assert whole.seen.usage is not None
    assert cut.seen.usage == whole.seen.usage
    assert cut.seen.done and cut.seen.has_event and not cut.seen.failed
    complete = len(wire(stream[: first + 1], line_end=line_end))
    assert cut.seen.first_token_at == sum(len(b"".join(parts[: n + 1])) < complete for n in range(len(parts)))


def test_every_single_cut_of_a_chat_stream_reads_the_same() -> None:
    for line_end in ("\n", "\r\n"):
        text = wire(CHAT, line_end=line_end)
        without = wire([event for event in CHAT if event[1] != USAGE_CHUNK], line_end=line_end)
        for place in range(1, len(text)):
            parts = [text[:place], text[place:]]
            assert relay(SseReader(ChatEvents()), parts) == (text, None)
            assert relay(SseReader(ChatEvents(), strip=True), parts) == (without, None)


@given(cuts=CUTS, line_end=st.sampled_from(["\n", "\r\n"]), pings=st.lists(st.integers(0, 5), max_size=4))
def test_the_extra_usage_event_is_all_that_stripping_takes(
    cuts: list[int], line_end: str, pings: list[int]
) -> None:
    def with_pings(events: list[tuple[str, str]]) -> bytes:
        parts = [wire([event], line_end=line_end) for event in events]
        for place in pings:
            parts.insert(min(place, len(parts)), f": keep-alive{line_end}{line_end}".encode())
        return b"".join(parts)

    extra = wire([("", USAGE_CHUNK)], line_end=line_end)
    text = with_pings(CHAT)
    reader = SseReader(ChatEvents(), strip=True)

    assert relay(reader, pieces(text, cuts)) == (text.replace(extra, b""), None)
    assert reader.seen.usage == Usage(
        input_tokens=19, cached_input_tokens=3, output_tokens=10, reasoning_tokens=4
    )


def test_until_the_model_has_finished_nothing_is_held() -> None:
    reader = SseReader(ChatEvents(), strip=True)
    before_finish = wire(CHAT[:3]) + wire([CHAT[3]])[:20]
    for place in range(len(before_finish)):
        byte = before_finish[place : place + 1]
        assert reader.feed(byte, 0.0) == byte


def test_after_it_has_finished_events_go_out_whole() -> None:
    reader = SseReader(ChatEvents(), strip=True)
    reader.feed(wire(CHAT[:4]), 0.0)
    done = wire([CHAT[5]])
    assert [reader.feed(done[:5], 0.0), reader.feed(done[5:], 0.0)] == [b"", done]


def test_usage_that_comes_with_a_choice_is_no_extra_event() -> None:
    last = chunk({}, "stop", usage={"prompt_tokens": 4, "completion_tokens": 2})
    text = wire([*CHAT[:3], ("", last), ("", "[DONE]")])
    reader = SseReader(ChatEvents(), strip=True)
    assert relay(reader, [text]) == (text, None)
    assert reader.seen.usage == Usage(input_tokens=4, output_tokens=2)


def test_usage_that_comes_with_a_choice_after_the_end_is_no_extra_event_either() -> None:
    late = chunk({}, usage={"prompt_tokens": 4, "completion_tokens": 2})
    text = wire([*CHAT[:4], ("", late), CHAT[5]])
    assert relay(SseReader(ChatEvents(), strip=True), [text]) == (text, None)


@given(cuts=CUTS)
def test_usage_that_comes_before_the_end_goes_out(cuts: list[int]) -> None:
    text = wire([CHAT[0], CHAT[4], *CHAT[1:4], CHAT[5]])
    assert relay(SseReader(ChatEvents(), strip=True), pieces(text, cuts)) == (text, None)


def test_an_empty_choices_event_without_usage_goes_out() -> None:
    azure = '{"id":"","choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}'
    text = wire([("", azure), *CHAT[:4], ("", azure), CHAT[5]])
    assert relay(SseReader(ChatEvents(), strip=True), [text]) == (text, None)


def test_an_extra_usage_event_that_ends_the_stream_without_its_blank_line_is_stripped_too() -> None:
    kept = wire(CHAT[:4])
    reader = SseReader(ChatEvents(), strip=True)
    assert relay(reader, [kept, f"data: {USAGE_CHUNK}\n".encode()]) == (kept, None)
    assert reader.seen.usage is not None


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: one\n\ndata: two\n\n", [(b"", b"one"), (b"", b"two")]),
        (b"event: a\ndata: one\n\n", [(b"a", b"one")]),
        (b"data: one\r\n\r\ndata: two\r\n\r\n", [(b"", b"one"), (b"", b"two")]),
        (b"data: one\n\r\ndata: two\r\n\n", [(b"", b"one"), (b"", b"two")]),
        (b"data: one\ndata: two\n\n", [(b"", b"one\ntwo")]),
        (b"data:one\n\n", [(b"", b"one")]),
        (b"data:  one\n\n", [(b"", b" one")]),
        (b"event:a\nid: 7\nretry: 10\ndata: one\n\n", [(b"a", b"one")]),
        (b"data: one\nevent: a\n\n", [(b"a", b"one")]),
        (b": ping\n\ndata: one\n\n", [(b"", b"one")]),
        (b": OPENROUTER PROCESSING\n\n\n\n\ndata: one\n\n", [(b"", b"one")]),
        (b"event: ping\n\ndata: one\n\n", [(b"", b"one")]),
        (b"data\n\ndata: one\n\n", [(b"", b"one")]),
        (b'data: {"text":"a: data: b\\n\\n"}\n\n', [(b"", b'{"text":"a: data: b\\n\\n"}')]),
        (b"data: without its blank line\n", [(b"", b"without its blank line")]),
        (b"data: \n\ndata:\n\ndata: one \n\n", [(b"", b"one ")]),
        (b"event:  a \ndata: one\n\n", [(b"a", b"one")]),
        (b"event: a\n\ndata: one\r\n\n", [(b"", b"one")]),
        (b"data: a\rdata: b\n\n", [(b"", b"a\rdata: b")]),
    ],
)
def test_events_are_split_as_the_standard_says(text: bytes, events: list[tuple[bytes, bytes]]) -> None:
    for place in range(len(text)):
        seen = Seen()
        assert relay(SseReader(seen), [text[:place], text[place:]])[0] == text
        assert seen.events == events


@given(
    st.lists(
        st.sampled_from(
            [b"\n", b"\r", b"\r\n", b"data: x", b"data:", b" ", b"data: x\n\n", b"event: y", b":", b"[DONE]"]
        ),
        max_size=30,
    ),
    CUTS,
)
@example(lines=[b"data: x", b"\n", b"\n", b"\n", b"\n"], cuts=[9])
def test_any_text_is_split_into_the_same_events_however_it_is_cut(
    lines: list[bytes], cuts: list[int]
) -> None:
    text = b"".join(lines)
    whole, cut = Seen(), Seen()
    relay(SseReader(whole), [text])
    assert relay(SseReader(cut), pieces(text, cuts))[0] == text
    assert cut.events == whole.events


NASTY = st.sampled_from(
    [
        "",
        " wor",
        "naïve 🐤",
        '"finish_reason":"stop"',
        '","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
        '{"error":{"message":"no"}}',
        '"usage":{"prompt_tokens":1}',
        "back\\slash\\",
        "line\nline\r\n\r\n",
    ]
)
"""What a model may say to look like something else."""
CHOICES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "index": st.sampled_from([0, 0, 0, 1, None]),
            "delta": st.fixed_dictionaries(
                {},
                optional={
                    "role": st.just("assistant"),
                    "content": st.none() | NASTY,
                    "reasoning": NASTY,
                    "tool_calls": st.just([{"index": 1, "function": {"arguments": '{"finish_reason":1}'}}]),
                },
            ),
            "text": NASTY,
            "logprobs": st.none(),
            "finish_reason": st.sampled_from([None, None, None, "", "stop", "error"]),
        },
    ),
    max_size=2,
)
COUNTS = {"prompt_tokens": 3, "completion_tokens": 5}
CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "id": NASTY,
        "choices": CHOICES,
        "usage": st.sampled_from([None, None, COUNTS, {}, 7]),
        "error": st.sampled_from([None, None, None, {"message": "overloaded"}]),
        "x_groq": st.sampled_from([None, {"id": "req_1"}, {"usage": COUNTS}]),
        "obfuscation": NASTY,
    },
)


def plainly(chunks: list[dict[str, Any]]) -> tuple[bool, bool, bool, bool, Usage | None, float | None]:
    """What a chat stream says, read with no thought of speed: token, done, failed, finished, usage, first."""
    failed, usage, first = False, None, None
    begun: set[int] = set()
    ended: set[int] = set()
    for place, chunk in enumerate(chunks):
        failed |= bool(chunk.get("error"))
        for counts in (chunk.get("usage"), (chunk.get("x_groq") or {}).get("usage")):
            usage = Usage(input_tokens=3, output_tokens=5) if counts == COUNTS else usage
        for choice in chunk.get("choices", []):
            begun.add(choice.get("index") or 0)
            if choice.get("finish_reason"):
                ended.add(choice.get("index") or 0)
                failed |= choice["finish_reason"] == "error"
            delta = choice.get("delta") or {}
            if first is None and (delta.get("content") or delta.get("reasoning") or choice.get("text")):
                first = float(place)
    return first is not None, bool(begun) and begun == ended, failed, bool(ended), usage, first


@given(
    chunks=st.lists(CHUNKS, max_size=12),
    spaced=st.booleans(),
    escaped=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
    name=st.sampled_from(["", "message"]),
)
def test_a_chunk_a_time_says_what_reading_all_of_it_says(
    chunks: list[dict[str, Any]], spaced: bool, escaped: bool, line_end: str, name: str
) -> None:
    def written(chunk: dict[str, Any]) -> tuple[str, str]:
        marks = None if spaced else (",", ":")
        return name, json.dumps(chunk, separators=marks, ensure_ascii=escaped)

    events, whole = ChatEvents(), ChatEvents()
    reader = SseReader(events)
    for place, chunk in enumerate(chunks):
        event = wire([written(chunk)], line_end=line_end)
        assert reader.feed(event, float(place)) == event
    SseReader(whole).feed(wire([written(chunk) for chunk in chunks], line_end=line_end), 0.0)

    said = plainly(chunks)
    for read in (events, whole):
        assert (
            read.seen.token,
            read.seen.done,
            read.seen.failed,
            read.seen.finished,
            read.seen.usage,
        ) == said[:-1]
    assert reader.seen.first_token_at == said[-1]


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_an_event_a_time_reads_as_any_other_cut(name: str) -> None:
    kind, stream, first = STREAMS[name]
    reader = SseReader(kind())
    assert relay(reader, [wire([event]) for event in stream]) == (wire(stream), None)
    whole = SseReader(kind())
    relay(whole, [wire(stream)])
    assert (reader.seen.usage, reader.seen.first_token_at) == (whole.seen.usage, float(first))


def test_events_that_come_one_by_one_are_stripped_too() -> None:
    reader = SseReader(ChatEvents(), strip=True)
    without = wire([event for event in CHAT if event[1] != USAGE_CHUNK])
    assert relay(reader, [wire([event]) for event in CHAT]) == (without, None)
    assert reader.seen.usage is not None


@pytest.mark.parametrize(
    ("parts", "wrong"),
    [
        ([], "provider_malformed"),
        ([b"<html><body>Bad gateway</body></html>"], "provider_malformed"),
        ([b": ping\n\n"], "provider_malformed"),
        ([wire(CHAT[:1])], "provider_truncated"),
        ([wire(CHAT[:3])], "provider_truncated"),
        ([wire(CHAT[:3]), wire([CHAT[3]])[:-20]], "provider_truncated"),
        ([wire(CHAT[:4])], None),
        ([wire(CHAT[:3]), wire([CHAT[5]])], None),
        (
            [wire(CHAT[:2]), b'data: {"error":{"message":"overloaded","code":503}}\n\n'],
            "provider_stream_error",
        ),
        ([b'event: error\ndata: {"message":"no"}\n\n'], "provider_stream_error"),
        ([b"event: error\ndata: no JSON\n\n"], "provider_stream_error"),
    ],
)
def test_how_a_chat_stream_may_end(parts: list[bytes], wrong: ErrorType | None) -> None:
    for strip in (False, True):
        assert relay(SseReader(ChatEvents(), strip=strip), parts) == (b"".join(parts), wrong)


@pytest.mark.parametrize("name", ["responses", "messages", "generate"])
def test_a_stream_cut_before_its_terminal_event_is_truncated(name: str) -> None:
    events, stream, _ = STREAMS[name]
    text = wire(stream[:-1])
    assert relay(SseReader(events()), [text]) == (text, "provider_truncated")


def test_the_first_complete_event_is_noticed_whatever_it_says() -> None:
    reader = SseReader(ChatEvents())
    text = wire(CHAT[:1])
    reader.feed(b": ping\n\n" + text[:-1], 0.0)
    assert not reader.seen.has_event
    reader.feed(text[-1:], 0.0)
    assert reader.seen.has_event and reader.seen.first_token_at is None


def test_an_error_in_the_first_event_is_noticed_at_once() -> None:
    reader = SseReader(MessageEvents())
    reader.feed(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n', 0.0)
    assert reader.seen.has_event and reader.seen.failed


def test_an_event_too_long_to_keep_is_relayed_and_ends_nothing() -> None:
    reader = SseReader(ChatEvents())
    long = b"data: " + b"x" * 65_530
    text = [long, *[b"y" * 65_536] * (EVENT_BOUND // 65_536 + 1), b"\n\n", wire(CHAT)]
    assert relay(reader, text) == (b"".join(text), None)
    assert reader.seen.usage is not None


def test_a_stream_of_which_an_event_was_not_kept_is_not_called_truncated() -> None:
    text = [wire(CHAT[:2]), b"data: ", *[b"y" * 65_536] * (EVENT_BOUND // 65_536 + 1), b"\n\n"]
    assert relay(SseReader(ChatEvents()), text) == (b"".join(text), None)


def test_an_event_too_long_to_hold_goes_out_and_what_follows_is_not_held() -> None:
    reader = SseReader(ChatEvents(), strip=True)
    text = [wire(CHAT[:4]), b"data: ", *[b"y" * 65_536] * (EVENT_BOUND // 65_536 + 1)]
    out = b"".join(reader.feed(part, 0.0) for part in text)
    assert out == b"".join(text)
    assert reader.feed(b"zz", 0.0) == b"zz"
    assert reader.finish() == (b"", None)
