"""Gemini's answers as its API reference documents them: generateContent, streamed and whole."""

import json
from typing import Any

import pytest

from proxy.dialects.gemini import MODEL_PATH, GenerateEvents, operation, read_json
from proxy.dialects.operation import PASS_THROUGH
from records.outcome import Usage


def said(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-pro", "responseId": "x"} | more


def told(*answers: dict[str, Any]) -> GenerateEvents:
    reader = GenerateEvents()
    for answer in answers:
        reader.take(b"", json.dumps(answer).encode())
    return reader


FIRST = {"promptTokenCount": 12, "totalTokenCount": 52, "thoughtsTokenCount": 40}
LAST = {
    "promptTokenCount": 12,
    "cachedContentTokenCount": 8,
    "candidatesTokenCount": 30,
    "thoughtsTokenCount": 40,
    "totalTokenCount": 82,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}],
}
COUNTED = Usage(input_tokens=12, cached_input_tokens=8, output_tokens=70, reasoning_tokens=40)
BLOCKED = {
    "promptFeedback": {"blockReason": "SAFETY", "safetyRatings": []},
    "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5},
}


def test_the_last_usage_wins_and_thoughts_are_output() -> None:
    reader = told(
        said({"text": "a"}, usageMetadata=FIRST), said({"text": "b"}, finish="STOP", usageMetadata=LAST)
    )
    assert reader.seen.usage == COUNTED


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        (LAST, COUNTED),
        (
            {"promptTokenCount": 12, "candidatesTokenCount": 30, "totalTokenCount": 42},
            Usage(input_tokens=12, output_tokens=30),
        ),
        (
            {"promptTokenCount": 12, "thoughtsTokenCount": 9},
            Usage(input_tokens=12, output_tokens=9, reasoning_tokens=9),
        ),
        (
            {"promptTokenCount": 12, "toolUsePromptTokenCount": 100, "candidatesTokenCount": 3},
            Usage(input_tokens=112, output_tokens=3),
        ),
        ({"promptTokenCount": 12}, Usage(input_tokens=12)),
        ({}, None),
    ],
)
def test_what_is_counted_where(counts: dict[str, Any], usage: Usage | None) -> None:
    answer = said({"text": "a"}, finish="STOP", usageMetadata=counts)
    assert told(answer).seen.usage == usage
    assert read_json(json.dumps(answer).encode()).usage == usage


def test_null_takes_no_counts_away() -> None:
    reader = told(said({"text": "a"}, usageMetadata=LAST), said(finish="STOP", usageMetadata=None))
    assert reader.seen.usage == COUNTED


@pytest.mark.parametrize("usage", [7, [], {"promptTokenCount": "9"}, {"promptTokenCount": -1}])
def test_counts_of_another_shape_are_unknown_and_hide_nothing_else(usage: object) -> None:
    answer = said({"text": "a"}, finish="STOP", usageMetadata=usage)
    reader, reading = told(answer), read_json(json.dumps(answer).encode())
    assert (reader.seen.token, reader.seen.done, reader.seen.failed, reader.seen.usage) == (
        True,
        True,
        False,
        None,
    )
    assert (reading.valid, reading.failed, reading.usage) == (True, False, None)


@pytest.mark.parametrize(
    ("part", "token"),
    [
        ({"text": "Hi"}, True),
        ({"text": "**Weighing**", "thought": True}, True),
        ({"text": ""}, False),
        ({"text": "", "thoughtSignature": "CiQB"}, False),
        ({"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}, False),
        ({"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}, False),
    ],
)
def test_the_first_token_is_the_first_text_or_thought(part: dict[str, Any], token: bool) -> None:
    assert told(said(part)).seen.token is token


def test_a_stream_of_function_calls_alone_has_no_first_token_and_is_whole() -> None:
    reader = told(said({"functionCall": {"name": "f", "args": {}}}), said(finish="STOP", usageMetadata=LAST))
    assert (reader.seen.token, reader.seen.done, reader.seen.failed) == (False, True, False)


@pytest.mark.parametrize("finish", ["STOP", "MAX_TOKENS", "SAFETY"])
def test_a_finish_reason_ends_a_stream(finish: str) -> None:
    assert not told(said({"text": "a"})).seen.done
    assert told(said({"text": "a"}), {"candidates": [{"finishReason": finish}]}).seen.done


def test_a_blocked_prompt_is_a_whole_answer() -> None:
    reader, reading = told(BLOCKED), read_json(json.dumps(BLOCKED).encode())
    assert (reader.seen.done, reader.seen.token, reader.seen.failed) == (True, False, False)
    assert (reading.valid, reading.failed) == (True, False)
    assert reader.seen.usage == reading.usage == Usage(input_tokens=5)


def test_feedback_to_a_prompt_that_is_answered_ends_nothing() -> None:
    assert not told(said({"text": "a"}, promptFeedback={"safetyRatings": []})).seen.done


def test_an_error_in_the_stream_is_seen() -> None:
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    assert not told(said({"text": "a"})).seen.failed
    assert told(said({"text": "a"}), error).seen.failed


@pytest.mark.parametrize(
    "data", [b"", b"x", b"[]", b'{"candidates":7}', b'{"x":' + b"[" * 100_000, b"[DONE]"]
)
def test_data_of_another_shape_is_ignored(data: bytes) -> None:
    reader = told(said({"text": "a"}))
    reader.take(b"", data)
    assert (reader.seen.done, reader.seen.failed) == (False, False)


def test_a_stream_that_was_not_asked_for_as_sse_is_an_array() -> None:
    parts = [said({"text": "a"}, usageMetadata=FIRST), said({"text": "b"}, finish="STOP", usageMetadata=LAST)]
    text = b"[" + b",\r\n".join(json.dumps(part, indent=1).encode() for part in parts) + b"\n]\n"
    for body in (text, b" \n" + text):
        reading = read_json(body)
        assert (reading.valid, reading.failed, reading.usage) == (True, False, COUNTED)
    assert not read_json(text[: len(text) // 2]).valid


def test_an_error_with_status_200_is_seen_alone_or_in_an_array() -> None:
    error = {"error": {"code": 500, "message": "An internal error", "status": "INTERNAL"}}
    for body in (error, [error], [said({"text": "a"}), error]):
        reading = read_json(json.dumps(body).encode())
        assert (reading.valid, reading.failed) == (True, True)


@pytest.mark.parametrize(
    "body", [b'{"totalTokens":31}', b'{"embedding":{"values":[0.1]}}', b'{"embeddings":[]}', b"{}"]
)
def test_other_methods_answer_without_usage(body: bytes) -> None:
    reading = read_json(body)
    assert (reading.valid, reading.failed, reading.usage) == (True, False, None)


@pytest.mark.parametrize(
    "body", [b"", b" ", b"<html></html>", b'{"candidates":[', b"[]", b"[7]", b'"x"', b"7"]
)
def test_what_is_no_json_object_is_no_answer(body: bytes) -> None:
    assert not read_json(body).valid


@pytest.mark.parametrize(
    ("path", "model", "method"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", "generateContent"),
        ("/v1/models/gemini-2.5-flash:countTokens", "gemini-2.5-flash", "countTokens"),
        (
            "/v1/projects/p/locations/eu/publishers/google/models/g:streamGenerateContent",
            "g",
            "streamGenerateContent",
        ),
        ("/v1beta/models/a%2Fb:embedContent", "a%2Fb", "embedContent"),
    ],
)
def test_the_model_and_the_method_stand_in_the_path(path: str, model: str, method: str) -> None:
    place = MODEL_PATH.match(path)
    assert place is not None
    assert (place["model"], place["method"]) == (model, method)
    assert operation(path).canary


def test_which_methods_are_operations() -> None:
    def named(method: str) -> str:
        return operation(f"/v1beta/models/g:{method}").name

    assert named("generateContent") == named("streamGenerateContent") == "generate_content"
    assert named("countTokens") == "count_tokens"
    assert named("embedContent") == named("batchEmbedContents") == "embeddings"
    assert operation("/v1beta/models/g:streamGenerateContent").streams is True
    assert operation("/v1beta/models/g:generateContent").streams is False
    for path in (
        "/v1beta/models/g:predict",
        "/v1beta/models/g",
        "/v1beta/files",
        "/v1beta/tunedModels/t:generateContent",
    ):
        assert operation(path) is PASS_THROUGH
