"""Which lines cure a refusal, for the words of each vendor."""

import json
from typing import Any

import pytest

from bench.preflight.cure import cure, merged, shape
from routing.canary import NO_CHANGES, RequestChanges

CHAT = {"model": "m", "messages": [], "max_tokens": 5, "temperature": 0.2, "top_p": 1, "stream_options": {}}


def openai(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def anthropic(message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}


def gemini(message: str) -> dict[str, Any]:
    return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}


def lines(said: Any, sent: Any = CHAT, arm: RequestChanges = NO_CHANGES) -> tuple[Any, Any]:
    text = said if isinstance(said, str) else json.dumps(said)
    changes = cure(text.encode(), json.dumps(sent).encode(), arm)
    return dict(changes.rename), list(changes.remove)


@pytest.mark.parametrize(
    ("said", "rename", "remove"),
    [
        (
            openai(
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                "max_tokens",
                "unsupported_parameter",
            ),
            {"max_tokens": "max_completion_tokens"},
            [],
        ),
        (
            openai(
                "Unsupported value: 'temperature' does not support 0.2 with this model. "
                "Only the default (1) value is supported.",
                "temperature",
                "unsupported_value",
            ),
            {},
            ["temperature"],
        ),
        (openai("Unrecognized request argument supplied: top_p"), {}, ["top_p"]),
        (openai("Your request was malformed.", "top_p"), {}, ["top_p"]),
        (
            openai("This parameter was replaced: use 'max_completion_tokens' instead.", "max_tokens"),
            {"max_tokens": "max_completion_tokens"},
            [],
        ),
        (openai("Unknown parameter: 'top_p'.", "top_p", "unknown_parameter"), {}, ["top_p"]),
        (anthropic("`temperature` is deprecated for this model."), {}, ["temperature"]),
        (anthropic("temperature: Extra inputs are not permitted"), {}, ["temperature"]),
        (
            anthropic("`temperature` and `top_p` cannot both be specified for this model. Use only one."),
            {},
            ["top_p"],
        ),
        (
            {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "stream_options"],
                        "msg": "Extra inputs are not permitted",
                    }
                ]
            },
            {},
            ["stream_options"],
        ),
        (
            {
                "object": "error",
                "message": {
                    "detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]
                },
            },
            {},
            ["stream_options"],
        ),
        (
            {
                "object": "error",
                "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), "
                "'msg': 'Extra inputs are not permitted', 'input': {}}]",
            },
            {},
            ["stream_options"],
        ),
    ],
)
def test_a_named_member_is_renamed_or_removed(said: Any, rename: Any, remove: Any) -> None:
    assert lines(said) == (rename, remove)


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ("Unknown name \"topK\" at 'generation_config': Cannot find field.", "generationConfig.topK"),
        ('Unknown name "labels": Cannot find field.', "labels"),
    ],
)
def test_gemini_s_names_are_those_of_the_request(message: str, place: str) -> None:
    sent = {"contents": [], "generationConfig": {"topK": 1}, "labels": {}}
    assert lines(gemini(f"Invalid JSON payload received. {message}"), sent) == ({}, [place])


def test_a_member_with_its_value_is_named_as_well() -> None:
    said = openai("gpt-6 models don't support temperature=0.2. Only temperature=1 is supported.")
    assert lines(said, {"messages": [], "temperature": 0.2}) == ({}, ["temperature"])


def test_a_member_one_level_down_is_found_by_its_path() -> None:
    said = openai("Unsupported parameter: 'reasoning.effort' is not supported.", "reasoning.effort")
    assert lines(said, {"reasoning": {"effort": "low"}}) == ({}, ["reasoning.effort"])


@pytest.mark.parametrize(
    "said",
    [
        openai("Unsupported parameter: 'logit_bias' is not supported with this model.", "logit_bias"),
        openai("This model's maximum context length is 8192 tokens.", "messages", "context_length_exceeded"),
        openai("The model `m` does not exist or is not supported.", "model", "model_not_found"),
        openai("max_tokens is too large: 50000. This model allows 4096.", "max_tokens", "invalid_value"),
        openai("Invalid value.", "max_tokens", "invalid_value"),
        openai("Unsupported: 'messages' is not supported.", "messages"),
        openai("Your request was malformed.", "messages[0].content"),
        anthropic("max_tokens: Field required"),
        openai("Incorrect API key provided."),
        "<html>not supported</html>",
    ],
)
def test_nothing_is_suggested_for_a_member_that_is_not_there_needed_or_only_wrong(said: Any) -> None:
    assert lines(said) == ({}, [])


def test_what_the_arm_itself_sets_is_not_suggested() -> None:
    said = openai("Unsupported parameter: 'temperature' is not supported with this model.", "temperature")
    assert lines(said, arm=RequestChanges(set=(("temperature", "1"),))) == ({}, [])
    assert lines(said, arm=RequestChanges(default=(("temperature", "1"),))) == ({}, [])


def test_a_member_that_the_arm_renamed_is_renamed_from_the_caller_s_name() -> None:
    said = openai("'b' is not supported. Use 'c' instead.", "b")
    arm = RequestChanges(rename=(("a", "b"),))
    assert lines(said, {"b": 1}, arm) == ({"a": "c"}, [])
    assert merged(arm, RequestChanges(rename=(("a", "c"),))) == RequestChanges(rename=(("a", "c"),))


def test_the_form_of_a_request_is_its_members_names() -> None:
    assert shape('{"a": {"b": 1}, "c": [{"d": 1}]}') == {"a", "a.b", "c"}
    assert shape("[]") == frozenset()
