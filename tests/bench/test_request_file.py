"""The file of `canary preflight --from`."""

import pytest

from bench.errors import BenchError
from bench.preflight.requests import parse_requests
from records.captures.capture import WireRequest


def test_a_line_is_a_body_of_the_api_s_chat_or_names_its_path() -> None:
    text = '{"model": "m",  "x": 1}\n\n{"path": "/v1/responses", "body": {"input":  "hi"}}\n'
    assert parse_requests(text, api="openai", model="m") == [
        WireRequest(path="/v1/chat/completions", body='{"model": "m",  "x": 1}'),
        WireRequest(path="/v1/responses", body='{"input":  "hi"}'),
    ]


@pytest.mark.parametrize(
    ("api", "path"),
    [("anthropic", "/v1/messages"), ("gemini", "/v1beta/models/m:generateContent")],
)
def test_the_chat_is_that_of_the_baseline_s_api(api: str, path: str) -> None:
    (found,) = parse_requests("{}", api=api, model="m")  # type: ignore[arg-type]
    assert found.path == path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}\n[1]", "line 2 is not a request"),
        ('{"path": "v1/responses", "body": {}}', "begins with a slash"),
        ('{"path": "/v1/responses", "body": "hi"}', "line 1 is not a request"),
        ("not json", "line 1 is not a request"),
        ("\n", "there is no request in it"),
    ],
)
def test_a_bad_line_is_named(text: str, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        parse_requests(text, api="openai", model="m")
