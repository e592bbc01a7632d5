"""A provider's own words, in the forms of the APIs, and what never stands in them."""

import json
from typing import Any

import pytest

from proxy.answers.provider_error import lacks_model, said
from records.outcome import ProviderError

OPENAI = {
    "error": {
        "message": "Unsupported parameter: 'max_tokens' is not supported with this model.",
        "type": "invalid_request_error",
        "param": "max_tokens",
        "code": "unsupported_parameter",
    }
}
UNSUPPORTED = ProviderError(
    code="unsupported_parameter",
    type="invalid_request_error",
    param="max_tokens",
    message="Unsupported parameter: 'max_tokens' is not supported with this model.",
)
FAILED = {
    "type": "response.failed",
    "response": {"status": "failed", "error": {"code": "server_error", "message": "Try again"}},
}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (OPENAI, UNSUPPORTED),
        (
            {
                "type": "error",
                "error": {"type": "overloaded_error", "message": "Overloaded"},
                "request_id": "r",
            },
            ProviderError(type="overloaded_error", message="Overloaded"),
        ),
        (
            {"error": {"code": 400, "message": "Invalid value at 'tools'", "status": "INVALID_ARGUMENT"}},
            ProviderError(code="400", type="INVALID_ARGUMENT", message="Invalid value at 'tools'"),
        ),
        (
            [{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}],
            ProviderError(code="503", type="UNAVAILABLE", message="overloaded"),
        ),
        (
            {"object": "error", "message": "too long", "type": "BadRequestError", "param": None, "code": 400},
            ProviderError(code="400", type="BadRequestError", message="too long"),
        ),
        ({"detail": "Not Found"}, ProviderError(message="Not Found")),
        (
            {"detail": [{"loc": ["body", "n"], "msg": "Field required"}, {"msg": "Too much"}]},
            ProviderError(message="Field required; Too much"),
        ),
        ({"error": "model not loaded"}, ProviderError(message="model not loaded")),
        (
            {"type": "error", "code": "server_error", "message": "Sorry", "param": None},
            ProviderError(code="server_error", type="error", message="Sorry"),
        ),
        (FAILED, ProviderError(code="server_error", message="Try again")),
        (
            {"error": {"message": "x" * 300, "code": "c" * 90}},
            ProviderError(message="x" * 200, code="c" * 64),
        ),
    ],
)
def test_each_form_is_read(body: Any, told: ProviderError) -> None:
    assert said(json.dumps(body).encode()) == told


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"{}",
        b"[]",
        b"7",
        b'{"error":null}',
        b'{"error":{"message":7}}',
        b"\xff",
    ],
)
def test_other_bodies_say_nothing(body: bytes) -> None:
    assert said(body) is None


KEYS = [
    "Incorrect API key provided: sk-abc***. You can find your API key at https://x.example.",
    "Incorrect API key provided: sk-proj-********************abcd.",
    "Incorrect API key provided: geheim99.",
    "Invalid key sk-ant-api03-abcdefabcdefabcdefabcd",
    "Bearer abcdefghijklmnop is unknown",
    "key AIzaSyA-1234567890abcdefghijklm is not valid",
    "The key xai-abcd is blocked",
    "token ****1234 expired",
]


@pytest.mark.parametrize("message", KEYS)
def test_no_part_of_a_key_stands_in_a_message(message: str) -> None:
    told = said(json.dumps({"error": {"message": message, "code": message, "param": message}}).encode())
    assert told is not None
    for part in ("abc", "abcd", "geheim", "AIza", "1234", "ghij"):
        assert part not in told.message + told.code + told.param
    assert "[secret]" in told.message


def test_the_key_that_was_sent_is_taken_out_wherever_it_stands() -> None:
    key = "Sonnenblume"
    told = said(json.dumps({"error": {"message": f"no '{key}' here, {key}!"}}).encode(), [key, ""])
    assert told == ProviderError(message="no '[secret]' here, [secret]!")


def test_a_key_at_the_bound_is_not_cut_into_a_harmless_one() -> None:
    message = "sk-" + "a" * 986 + " sk-abcdefabcdefabcdefabcdef"
    told = said(json.dumps({"error": {"message": message}}).encode())
    assert told == ProviderError(message="[secret]")


def test_personal_data_is_redacted() -> None:
    told = said(b'{"error":{"message":"unknown user jane@example.com, +49 170 1234567"}}')
    assert told == ProviderError(message="unknown user [email], [phone]")


def test_amazons_errors_name_their_type_in_a_header() -> None:
    body = b'{"message": "Too many requests, please wait"}'
    told = said(
        body, type_in_head=b"ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/"
    )
    assert told == ProviderError(type="ThrottlingException", message="Too many requests, please wait")
    assert said(b'{"Message": "User is not authorized"}') == ProviderError(message="User is not authorized")
    own = b'{"error": {"type": "invalid_request_error", "message": "no"}}'
    assert said(own, type_in_head=b"ValidationException") == ProviderError(
        type="invalid_request_error", message="no"
    )


@pytest.mark.parametrize(
    ("body", "head", "gone"),
    [
        ({"error": {"code": "model_not_found", "message": "The model `x` does not exist"}}, b"", True),
        ({"error": {"code": "DeploymentNotFound", "message": "no deployment"}}, b"", True),
        (
            {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-x"}},
            b"",
            True,
        ),
        (
            {"error": {"code": 404, "status": "NOT_FOUND", "message": "models/x is not found for v1beta"}},
            b"",
            True,
        ),
        (
            {"message": "The provided model identifier is invalid."},
            b"ValidationException:http://internal.amazon.com/",
            True,
        ),
        (
            {"message": "This model version has reached the end of its life."},
            b"ResourceNotFoundException",
            True,
        ),
        ({"error": {"type": "not_found_error", "message": "file: f_1"}}, b"", False),
        ({"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError"}, b"", True),
        ({"message": "model x requires max_tokens"}, b"ValidationException", False),
        ({"error": {"code": None, "message": "Invalid URL (POST /v1/chat)"}}, b"", False),
        ({"message": "messages.0: too long"}, b"ValidationException", False),
    ],
)
def test_a_refusal_says_that_there_is_no_such_model(body: object, head: bytes, gone: bool) -> None:
    assert lacks_model(json.dumps(body).encode(), type_in_head=head) is gone
