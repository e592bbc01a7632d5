"""The request sent to an arm: the caller's bytes with the arm's model and credential, and nothing else."""

import asyncio
import json
from typing import Any

import pytest

from proxy.attempts.dispatch import upstream_request
from proxy.calls.call import UpstreamRequest
from proxy.calls.refusal import Refused
from proxy.calls.routes import Routes
from proxy.providers.credentials import Credentials
from proxy.providers.json_edit import MOST_WALKED
from tests.proxy.calls import Body, Header, call, routes, trial

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
GEMINI_PATH = "/v1beta/models/gemini-2.5-pro"


def sent(
    body: bytes | dict[str, Any],
    *headers: Header,
    arm: str = "candidate",
    path: str = "/v1/chat/completions",
    query: bytes = b"",
    table: Routes | None = None,
) -> UpstreamRequest:
    """The request to one arm of the trial that takes the call."""
    said = call(body, *headers, path=path, query=query, table=table)
    assert said.trial is not None
    return upstream_request(
        said, said.trial.candidate if arm == "candidate" else said.trial.baseline, Credentials()
    )


def test_a_long_body_that_names_its_model_twice_is_refused() -> None:
    body = b'{"model":"gpt-4o","model":"gpt-4o","messages":["' + b"x" * MOST_WALKED + b'"]}'
    with pytest.raises(Refused, match="a member is repeated") as refusal:
        sent(body)
    assert (refusal.value.status, refusal.value.error_type) == (400, "caller_rejected")


def geminis() -> Routes:
    return routes(
        trial(
            models=["gemini-2.5-pro"],
            baseline=("gemini", "gemini-2.5-pro"),
            candidate=("vertex", "tuned/gemini 3"),
        )
    )


def value(request: UpstreamRequest, name: bytes) -> list[bytes]:
    """The values of a header that goes out."""
    return [value for other, value in request.headers if other == name]


@pytest.mark.parametrize(
    ("arm", "model"), [("baseline", "gpt-4o-2024-08-06"), ("candidate", "gpt-4o-2024-11-20")]
)
def test_only_the_model_changes_in_the_body(arm: str, model: str) -> None:
    body = b'{ "model" :"gpt-4o",\n "messages":[{"content":"say \\"model\\": \\"x\\" \xc3\xa9"}],"n":1.0 }'
    request = sent(body, arm=arm)
    assert request.body == body.replace(b'"gpt-4o"', json.dumps(model).encode())
    assert (request.target, request.injected) == (b"/chat/completions", False)


def test_a_model_that_is_the_arms_already_is_left_alone() -> None:
    table = routes(trial(models=["gpt-4o-2024-08-06"]))
    body = b'{"model":"gpt-4o-2024-08-06"}'
    assert sent(body, arm="baseline", table=table).body == body


def test_a_model_that_json_must_escape_is_escaped() -> None:
    table = routes(trial(candidate=("openai", 'a"b\\c')))
    assert sent(CHAT, table=table).body == json.dumps(CHAT | {"model": 'a"b\\c'}).encode()


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
def test_geminis_model_changes_in_the_path_and_the_body_stays(method: str) -> None:
    body = {"contents": [{"parts": [{"text": "hi"}]}], "model": "models/gemini-2.5-pro"}
    for arm, model in (("baseline", "gemini-2.5-pro"), ("candidate", "tuned%2Fgemini%203")):
        request = sent(body, arm=arm, path=f"{GEMINI_PATH}:{method}", query=b"alt=sse", table=geminis())
        assert request.target == f"/v1beta/models/{model}:{method}?alt=sse".encode()
        assert request.body == json.dumps(body).encode()
        assert not request.injected


def test_geminis_embeddings_name_the_model_in_the_body_too() -> None:
    def batch(model: str) -> dict[str, Any]:
        part = {"parts": [{"text": '"model": "models/gemini-2.5-pro"'}]}
        return {"requests": [{"model": model, "content": part}, {"model": model, "content": part}]}

    request = sent(batch("models/gemini-2.5-pro"), path=f"{GEMINI_PATH}:batchEmbedContents", table=geminis())
    assert request.target == b"/v1beta/models/tuned%2Fgemini%203:batchEmbedContents"
    assert request.body == json.dumps(batch("models/tuned/gemini 3")).encode()


def test_the_key_in_the_query_stays_with_the_callers_own_provider() -> None:
    query, path = b"key=sk-caller&alt=sse", f"{GEMINI_PATH}:generateContent"
    own = sent({}, arm="baseline", path=path, query=query, table=geminis())
    other = sent({}, arm="candidate", path=path, query=query, table=geminis())
    assert own.target.endswith(b"?key=sk-caller&alt=sse")
    assert other.target.endswith(b"?alt=sse")
    assert value(other, b"x-goog-api-key") == [b"goog-own"]


def test_a_query_of_nothing_but_a_key_leaves_no_question_mark() -> None:
    request = sent({}, path=f"{GEMINI_PATH}:generateContent", query=b"key=sk-caller", table=geminis())
    assert b"?" not in request.target


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": None}}, {"include_usage": True}),
        (
            {"stream_options": {"include_obfuscation": False}},
            {"include_obfuscation": False, "include_usage": True},
        ),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_stream_of_a_canary_is_asked_for_its_usage(
    path: str, options: dict[str, Any], expected: dict[str, Any]
) -> None:
    asked = CHAT | {"stream": True} | options
    request = sent(asked, (b"accept-encoding", b"gzip"), path=path)
    assert isinstance(request.body, bytes)
    document = json.loads(request.body)
    assert document == asked | {"model": "gpt-4o-2024-11-20", "stream_options": expected}
    assert request.body.count(b'"stream_options"') == 1
    assert request.injected
    assert value(request, b"accept-encoding") == [b"identity"]


def test_asking_for_usage_leaves_every_other_byte_alone() -> None:
    body = b'{ "stream":true ,"model":"gpt-4o-2024-11-20","n":1.0}'
    table = routes(trial(models=["gpt-4o-2024-11-20"]))
    assert sent(body, table=table).body == b'{"stream_options":{"include_usage":true},' + body[1:]


@pytest.mark.parametrize(
    "body",
    [
        CHAT,
        CHAT | {"stream": False},
        CHAT | {"stream": True, "stream_options": {"include_usage": True}},
        CHAT | {"stream": True, "stream_options": "all"},
        CHAT | {"stream": True, "stream_options": []},
        CHAT | {"stream": True, "stream_options": [1]},
    ],
)
def test_usage_is_not_asked_for_where_it_comes_anyway_or_could_not(body: dict[str, Any]) -> None:
    request = sent(body, (b"accept-encoding", b"gzip"))
    assert request.body == json.dumps(body | {"model": "gpt-4o-2024-11-20"}).encode()
    assert not request.injected
    assert value(request, b"accept-encoding") == [b"gzip"]


def test_options_that_are_no_utf_8_are_the_providers_to_refuse() -> None:
    body = b'{"model":"gpt-4o","stream":true,"stream_options":{"x":"\xff"}}'
    request = sent(body)
    assert (request.body, request.injected) == (body.replace(b"gpt-4o", b"gpt-4o-2024-11-20"), False)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/embeddings"])
def test_other_operations_are_never_asked(path: str) -> None:
    assert not sent(CHAT | {"stream": True}, path=path).injected


def test_without_a_canary_nothing_is_touched() -> None:
    body = json.dumps({"model": "other", "stream": True}).encode()
    said = call(body, (b"accept-encoding", b"gzip"), query=b"api-version=1")
    request = upstream_request(said, routes().plain(said.route.provider), Credentials())
    assert said.trial is None
    assert (request.target, request.body, request.injected) == (
        b"/chat/completions?api-version=1",
        body,
        False,
    )
    assert value(request, b"accept-encoding") == [b"gzip"]


def test_a_body_that_passes_through_is_handed_on_as_it_comes() -> None:
    said = call(Body(b"one", b"two"), (b"content-length", b"6"), path="/v1/files")
    request = upstream_request(said, routes().plain(said.route.provider), Credentials())

    async def parts() -> list[bytes]:
        assert not isinstance(request.body, bytes)
        return [part async for part in request.body]

    assert asyncio.run(parts()) == [b"one", b"two"]
    assert request.target == b"/files"


def test_the_same_call_can_be_written_for_both_arms() -> None:
    said = call(CHAT | {"stream": True}, table=routes(trial(candidate=("azure", "gpt-5"))))
    assert said.trial is not None
    first, second, again = (
        upstream_request(said, target, Credentials())
        for target in (said.trial.candidate, said.trial.baseline, said.trial.candidate)
    )
    assert json.loads(first.body)["model"] == "gpt-5"  # type: ignore[arg-type]
    assert json.loads(second.body)["model"] == "gpt-4o-2024-08-06"  # type: ignore[arg-type]
    assert again == first
