"""What a request's JSON is taken to say, whatever shape it has."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.calls.call import Call
from routing.canary import NO_CHANGES, Match, RequestChanges
from tests.proxy.calls import call, routes, trial

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
UNIT = b"x-canary-unit"


@pytest.mark.parametrize(
    "odd",
    [
        {"user": 5},
        {"user": {"id": 1}},
        {"stream": "yes"},
        {"metadata": "m"},
        {"metadata": {"user_id": ["x"]}},
        {"stream_options": "all"},
        {"store": "no"},
        {"safety_identifier": 2.5},
        {"user": [], "stream": 1, "metadata": [], "store": 0},
    ],
)
def test_members_of_an_unknown_type_do_not_hide_the_others(odd: dict[str, Any]) -> None:
    said = call(CHAT | {"previous_response_id": "resp_1", "stream": True} | odd, (UNIT, b"h1"))
    assert said.trial is not None
    assert said.facts.model == "gpt-4o"
    assert said.facts.stream is ("stream" not in odd)
    assert said.facts.names_state
    assert said.unit == "h1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"model":"gpt-4o"',
        b'{"model":"gpt-4o"} x',
        b'{"user":5,"model":"gpt-4o"',
        b"[]",
        b'"gpt-4o"',
        b'{"model":"gpt-4o","user":"\xff"}',
        b'{"model":"gpt-4o","user":"\\ud800"}',
        b'{"model":"gpt-4o","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"gpt-4o","user":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_json_object_is_in_no_canary_and_untouched(body: bytes) -> None:
    takes_all = routes(trial(match=Match(paths=frozenset({"/v1/chat/completions"}))))
    for table in (takes_all, routes(trial())):
        said = call(body, (UNIT, b"h1"), table=table)
        assert (said.trial, said.unit, said.body) == (None, None, body)


@given(
    st.binary(max_size=60) | st.text(alphabet='{}[]":,\\ue0123modelusrxtrue.', max_size=60).map(str.encode)
)
def test_no_body_breaks_the_reader(body: bytes) -> None:
    assert call(body).body == body


def test_geminis_model_and_streaming_stand_in_the_path() -> None:
    table = routes(
        trial(
            models=["gemini-2.5-pro", "tuned/one"],
            baseline=("gemini", "gemini-2.5-pro"),
            candidate=("gemini", "gemini-3-pro"),
        )
    )
    body = {"contents": [{"parts": [{"text": "hi"}]}], "stream": True, "model": "no"}
    path = "/v1beta/models/gemini-2.5-pro:"
    plain = call(body, path=path + "generateContent", table=table)
    stream = call(body, path=path + "streamGenerateContent", query=b"alt=sse", table=table)
    quoted = call(body, path="/v1beta/models/tuned%2Fone:generateContent", table=table)
    assert [each.facts.model for each in (plain, stream, quoted)] == ["gemini-2.5-pro"] * 2 + ["tuned/one"]
    assert [each.facts.stream for each in (plain, stream)] == [False, True]
    assert plain.trial is stream.trial is quoted.trial is not None


@pytest.mark.parametrize(("stream", "streams"), [(True, True), (False, False), (None, False)])
def test_elsewhere_the_body_says_whether_it_streams(stream: bool | None, streams: bool) -> None:
    assert call(CHAT | {"stream": stream}).facts.stream is streams


def test_an_embedding_never_streams() -> None:
    said = call({"model": "gpt-4o", "input": "x", "stream": True}, path="/v1/embeddings")
    assert said.facts.stream is False


def responses(**more: object) -> Call:
    """A Responses call of a canary whose arms are at two providers."""
    table = routes(trial(candidate=("azure", "gpt-4o-2024-11-20")))
    return call({"model": "gpt-4o", "input": "hi", **more}, path="/v1/responses", table=table)


@pytest.mark.parametrize(
    ("more", "stateful"),
    [
        ({}, True),
        ({"store": None}, True),
        ({"store": True}, True),
        ({"store": False}, False),
        ({"store": False, "previous_response_id": None}, False),
        ({"store": False, "previous_response_id": ""}, False),
        ({"store": False, "previous_response_id": "resp_1"}, True),
        ({"store": False, "conversation": "conv_1"}, True),
        ({"store": False, "conversation": {"id": "conv_1"}}, True),
        ({"store": False, "prompt": {"id": "pmpt_1", "version": "2"}}, True),
        ({"store": False, "prompt": None}, False),
        ({"store": False, "tools": [{"parameters": {"properties": {"file_id": {"type": "string"}}}}]}, False),
        ({"store": False, "tools": [{"parameters": {"required": ["file_id", "file_ids"]}}]}, False),
        ({"store": False, "input": [{"type": "item_reference", "id": "msg_1"}]}, True),
        ({"store": False, "input": [{"content": [{"type": "input_file", "file_id": "file-1"}]}]}, True),
        ({"store": False, "input": [{"content": [{"type": "input_text", "text": '"file_id"'}]}]}, False),
        ({"store": False, "tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, True),
        ({"store": False, "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, False),
        ({"store": False, "tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, True),
    ],
)
def test_state_that_only_one_provider_has_is_noticed(more: dict[str, object], stateful: bool) -> None:
    assert responses(**more).stateful is stateful


@pytest.mark.parametrize(
    ("path", "model", "more", "stateful"),
    [
        ("/v1/messages", "claude-a", {}, False),
        ("/v1/messages", "claude-a", {"container": "container_1"}, True),
        (
            "/v1/messages",
            "claude-a",
            {"messages": [{"content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}]},
            True,
        ),
        ("/v1beta/models/gem-a:generateContent", "gem-a", {}, False),
        ("/v1beta/models/gem-a:generateContent", "gem-a", {"cachedContent": "cachedContents/1"}, True),
        (
            "/v1beta/models/gem-a:generateContent",
            "gem-a",
            {
                "contents": [
                    {
                        "parts": [
                            {"fileData": {"fileUri": "https://generativelanguage.example/v1beta/files/1"}}
                        ]
                    }
                ]
            },
            True,
        ),
        (
            "/v1beta/models/gem-a:generateContent",
            "gem-a",
            {"contents": [{"parts": [{"fileData": {"fileUri": "https://video.example/watch?v=1"}}]}]},
            False,
        ),
    ],
)
def test_stored_things_have_other_names_at_other_providers(
    path: str, model: str, more: dict[str, object], stateful: bool
) -> None:
    table = routes(
        trial("a", models=["claude-a"], baseline=("anthropic", "claude-a"), candidate=("claude", "claude-b")),
        trial("g", models=["gem-a"], baseline=("gemini", "gem-a"), candidate=("vertex", "gem-b")),
    )
    said = call({"model": model, **more}, path=path, table=table)
    assert said.trial is not None
    assert said.stateful is stateful


NOT_STORED = RequestChanges(set=[("store", "false")])


@pytest.mark.parametrize(
    ("more", "baseline", "candidate", "stateful"),
    [
        ({}, NOT_STORED, NOT_STORED, False),
        ({}, NO_CHANGES, NOT_STORED, True),
        ({}, NOT_STORED, NO_CHANGES, True),
        ({"store": False}, NO_CHANGES, RequestChanges(remove=["store"]), True),
        ({"store": False}, NO_CHANGES, RequestChanges(default=[("store", "true")]), False),
        ({"previous_response_id": "resp_1"}, NOT_STORED, NOT_STORED, True),
        (
            {"previous_response_id": "resp_1"},
            NOT_STORED,
            replace(NOT_STORED, remove=["previous_response_id"]),
            True,
        ),
    ],
)
def test_a_response_that_neither_arm_stores_may_go_to_either(
    more: dict[str, object], baseline: RequestChanges, candidate: RequestChanges, stateful: bool
) -> None:
    plain = trial(candidate=("azure", "gpt-4o-2024-11-20"))
    arms = {
        "baseline": replace(plain.baseline, request=baseline),
        "candidate": replace(plain.candidate, request=candidate),
    }
    table = routes(replace(plain, **arms))
    said = call({"model": "gpt-4o", "input": "hi", **more}, path="/v1/responses", table=table)
    assert said.stateful is stateful


def test_where_both_arms_share_one_provider_entry_nothing_is_stateful() -> None:
    said = call({"model": "gpt-4o", "previous_response_id": "resp_1"}, path="/v1/responses")
    assert said.trial is not None
    assert not said.stateful
