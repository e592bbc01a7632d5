"""The recorder of an answer while its reader follows it."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.answers.reader import Reader, reader_for
from proxy.answers.recorder import MOST_BYTES, AnswerRecorder
from proxy.dialects.operation import Operation
from proxy.providers.urls import operation

CHAT = operation("openai", "POST", "/chat/completions")
COMPLETIONS = operation("openai", "POST", "/completions")
RESPONSES = operation("openai", "POST", "/responses")
ANTHROPIC = operation("anthropic", "POST", "/v1/messages")
GEMINI = operation("gemini", "POST", "/v1beta/models/m:generateContent")
GEMINI_STREAM = operation("gemini", "POST", "/v1beta/models/m:streamGenerateContent")
JSON = [
    pytest.param(CHAT, {"choices": [{"index": 0, "message": {"content": "Blue."}}, {"index": 1}]}, id="chat"),
    pytest.param(
        CHAT, {"choices": [{"message": {"content": [{"type": "text", "text": "Blue."}]}}]}, id="chat, parts"
    ),
    pytest.param(COMPLETIONS, {"choices": [{"text": "Blue."}]}, id="completions"),
    pytest.param(
        RESPONSES,
        {
            "output": [
                {"type": "reasoning"},
                {"type": "message", "content": [{"type": "output_text", "text": "Blue."}]},
            ]
        },
        id="responses",
    ),
    pytest.param(
        ANTHROPIC,
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Blue."}]},
        id="anthropic",
    ),
    pytest.param(
        GEMINI,
        {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}, {"text": "Blue."}]}}]},
        id="gemini",
    ),
    pytest.param(
        GEMINI,
        [{"candidates": [{"content": {"parts": [{"text": text}]}}]} for text in ("Bl", "ue.")],
        id="gemini, array",
    ),
]
EVENTS = [
    pytest.param(
        CHAT,
        [{"choices": [{"delta": {"content": "Bl"}}]}, {"choices": [{"index": 1, "delta": {"content": "no"}}]},
         {"choices": [{"delta": {"content": "ue."}}]}, {"choices": [], "usage": {}}],
        id="chat",
    ),
    pytest.param(
        RESPONSES,
        [{"type": "response.output_text.delta", "delta": "Blue."},
         {"type": "response.output_item.done",
          "item": {"type": "message", "content": [{"type": "output_text", "text": "Blue."}]}},
         {"type": "response.completed"}],
        id="responses",
    ),
    pytest.param(
        ANTHROPIC,
        [{"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
         {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Blue."}}],
        id="anthropic",
    ),
    pytest.param(
        GEMINI_STREAM,
        [{"candidates": [{"content": {"parts": [{"text": each}]}}]} for each in ("Bl", "ue.")],
        id="gemini",
    ),
]  # fmt: skip
PIECES = [b"data: ", b"\n", b"\r\n", b'{"choices":', b'[{"delta":{"content":"\xc3\xa9"}}]}', b"[DONE]"]
STREAM = b"text/event-stream"


def reader(
    recorder: AnswerRecorder,
    of: Operation = CHAT,
    *,
    kind: bytes = b"application/json",
    encoding: bytes = b"",
) -> Reader:
    return reader_for(of, status=200, content_type=kind, encoding=encoding, strip=False, recorder=recorder)


def stream(events: list[Any]) -> bytes:
    return (
        b"".join(b"event: x\ndata: %b\n\n" % json.dumps(each).encode() for each in events)
        + b"data: [DONE]\n\n"
    )


@pytest.mark.parametrize(("of", "answer"), JSON)
def test_a_whole_answer_says_its_text(of: Operation, answer: Any) -> None:
    recorder = AnswerRecorder()
    reader(recorder, of).feed(json.dumps(answer).encode(), 1.0)
    assert recorder.recorded() == ("Blue.", ())


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(("of", "events"), EVENTS)
def test_a_stream_is_heard_as_its_text_however_it_is_cut(of: Operation, events: list[Any], size: int) -> None:
    recorder, data = AnswerRecorder(), stream(events)
    listening = reader(recorder, of, kind=STREAM)
    for at in range(0, len(data), size):
        assert listening.feed(data[at : at + size], 1.0) == data[at : at + size]
    assert (recorder.recorded(), recorder.truncated) == (("Blue.", ()), False)


def test_the_reader_within_reads_as_it_would_alone() -> None:
    listening = reader(AnswerRecorder(), kind=STREAM)
    listening.feed(stream([{"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}]), 5.0)
    seen = listening.seen
    assert (seen.done, seen.first_token_at, seen.failed, seen.has_event) == (True, 5.0, False, True)
    assert listening.finish() == (b"", None)
    assert listening.seen.usage is None


def test_a_packed_answer_is_heard_unpacked() -> None:
    recorder, body = AnswerRecorder(), json.dumps({"choices": [{"message": {"content": "Blue."}}]}).encode()
    packed = gzip.compress(body)
    assert reader(recorder, encoding=b"gzip").feed(packed, 1.0) == packed
    assert recorder.recorded() == ("Blue.", ())


def test_of_a_long_stream_the_beginning_is_kept() -> None:
    recorder = AnswerRecorder()
    listening = reader(recorder, kind=STREAM)
    event = stream([{"choices": [{"delta": {"content": "x" * 1000}}]}]).removesuffix(b"data: [DONE]\n\n")
    for _ in range(400):
        listening.feed(event, 1.0)
    assert (len(recorder.recorded()[0]), recorder.truncated) == (MOST_BYTES, True)


def test_of_a_long_json_answer_nothing_is_kept() -> None:
    recorder = AnswerRecorder()
    listening = reader(recorder)
    for _ in range(5):
        listening.feed(b"x" * (MOST_BYTES // 4), 1.0)
    assert (recorder.recorded(), recorder.truncated) == (("", ()), True)


@pytest.mark.parametrize(
    "payload",
    [b"", b"[DONE]", b"{", b"7", b"null", b"\xff", b'{"choices": 7}', b"[" * 99_999],
)
def test_what_says_nothing_is_no_text(payload: bytes) -> None:
    recorder = AnswerRecorder()
    reader(recorder).feed(payload, 1.0)
    assert recorder.recorded() == ("", ())


@given(pieces=st.lists(st.binary(max_size=40) | st.sampled_from(PIECES), max_size=30), streamed=st.booleans())
def test_whatever_comes_goes_on_as_it_came_and_is_kept_within_bounds(
    pieces: list[bytes], streamed: bool
) -> None:
    recorder = AnswerRecorder()
    listening = reader(recorder, kind=STREAM if streamed else b"application/json")
    assert [listening.feed(piece, 1.0) for piece in pieces] == pieces
    text, calls = recorder.recorded()
    assert len(text.encode()) <= MOST_BYTES and not calls and not recorder.lost


CALLS = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}


@pytest.mark.parametrize(("more", "cut"), [(0, False), (1, True)])
def test_the_bound_is_one_of_bytes_in_every_script(more: int, cut: bool) -> None:
    recorder = AnswerRecorder()
    listening = reader(recorder, kind=STREAM)
    said = ["\u5bc6" * 1000] * (MOST_BYTES // 3000) + ["x" * (MOST_BYTES % 3000 - 2 + more)]
    listening.feed(stream([{"choices": [{"delta": {"content": each}}]} for each in said]), 1.0)
    listening.feed(stream([{"choices": [{"delta": CALLS}]}]), 1.0)
    text, calls = recorder.recorded()
    assert (len(text.encode()) + 2, bool(calls), recorder.truncated) == (MOST_BYTES + more, not cut, cut)
    assert recorder.recorded() == (text, calls)


def test_a_text_that_is_cut_within_a_letter_is_truncated() -> None:
    recorder = AnswerRecorder()
    words = stream([{"choices": [{"delta": {"content": "\u5bc6" * (MOST_BYTES // 3 + 1)}}]}])
    reader(recorder, kind=STREAM).feed(words, 1.0)
    text, _ = recorder.recorded()
    assert (text, recorder.truncated) == ("\u5bc6" * (MOST_BYTES // 3), True)


PARTIAL = {"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a"}], "willContinue": True}}


@pytest.mark.parametrize("streamed", [True, False])
def test_of_calls_in_pieces_the_text_before_them_is_kept(streamed: bool) -> None:
    recorder = AnswerRecorder()
    parts = [[{"text": "Blue."}], [PARTIAL, {"functionCall": {"name": "g", "args": {}}}], [{"text": "no"}]]
    answers = [{"candidates": [{"content": {"parts": each}}]} for each in parts]
    data = stream(answers) if streamed else json.dumps(answers).encode()
    reader(recorder, GEMINI_STREAM, kind=STREAM if streamed else b"application/json").feed(data, 1.0)
    assert (recorder.recorded(), recorder.truncated) == (("Blue.", ()), True)
    assert recorder.recorded() == ("Blue.", ())
