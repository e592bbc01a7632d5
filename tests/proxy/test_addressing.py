"""URLs of each kind of entry: which entry takes them, what they name, and how they are written elsewhere."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from proxy.attempts.dispatch import upstream_request
from proxy.calls.call import UpstreamRequest
from proxy.calls.refusal import Refused
from proxy.calls.routes import Routes
from proxy.dialects.operation import Api
from proxy.providers.credentials import Credentials
from proxy.providers.provider import Kind, Provider
from proxy.providers.urls import takes_canaries
from tests.proxy.calls import call, trial

OPENAI = Provider(name="openai", api="openai", base_url="https://api.openai.com/v1", api_key="k")
AZURE = Provider(name="azure", api="openai", kind="azure", base_url="https://a.openai.azure.com", api_key="k")
OTHER_AZURE = replace(AZURE, name="azure-eu", base_url="https://b.openai.azure.com")
CLAUDE = Provider(name="anthropic", api="anthropic", base_url="https://api.anthropic.com", api_key="k")
FOUNDRY = Provider(
    name="foundry", api="anthropic", kind="azure", base_url="https://r.services.ai.azure.com", api_key="k"
)
GEMINI = Provider(name="gemini", api="gemini", base_url="https://gemini.example", api_key="k")
VERTEX = Provider(
    name="vertex",
    api="gemini",
    kind="vertex",
    base_url="https://us-central1-aiplatform.googleapis.com",
    api_key="token",
    project="shop-us",
    region="us-central1",
)
OTHER_VERTEX = replace(VERTEX, name="vertex-eu", project="shop-eu", region="europe-west4")
VERTEX_CLAUDE = replace(VERTEX, name="vertex-claude", api="anthropic", region="global")
ENTRIES = {
    each.name: each
    for each in (OPENAI, AZURE, OTHER_AZURE, CLAUDE, FOUNDRY, GEMINI, VERTEX, OTHER_VERTEX, VERTEX_CLAUDE)
}

DEPLOYMENT = "/openai/deployments/chat-old/chat/completions"
ON_VERTEX = "/v1beta1/projects/mine/locations/us-central1/publishers/google/models/gemini-old:generateContent"
CLAUDE_ON_VERTEX = (
    "/v1/projects/mine/locations/global/publishers/anthropic/models/claude-old@20250929:streamRawPredict"
)
CHAT = {"model": "chat-old", "messages": []}
MESSAGE = {"model": "claude-old", "max_tokens": 9, "messages": []}


def asked(
    path: str,
    body: dict[str, object],
    *,
    query: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
    baseline: tuple[str, str],
    candidate: tuple[str, str],
    entries: dict[str, Provider] = ENTRIES,
) -> UpstreamRequest | None:
    """The candidate's request; None where the request stays outside the canary."""
    tried = trial(models=(), baseline=baseline, candidate=candidate, providers=entries)
    found = call(body, *headers, path=path, query=query, table=Routes(entries, [tried], ()))
    if found.trial is None:
        return None
    return upstream_request(found, tried.candidate, Credentials())


def told(request: UpstreamRequest | None) -> tuple[str, dict[str, object]]:
    """The target and the parsed body."""
    assert request is not None
    assert isinstance(request.body, bytes)
    return request.target.decode(), json.loads(request.body)


@pytest.mark.parametrize(
    ("path", "entry", "operation", "model"),
    [
        (DEPLOYMENT, "azure", "chat", "chat-old"),
        ("/azure-eu" + DEPLOYMENT, "azure-eu", "chat", "chat-old"),
        ("/azure/openai/v1/chat/completions", "azure", "chat", ""),
        ("/azure/v1/responses", "azure", "chat", ""),
        ("/azure/openai/responses", "azure", "chat", ""),
        ("/azure/openai/deployments/d/images/generations", "azure", "other", "d"),
        ("/openai/v1/chat/completions", "openai", "chat", ""),
        ("/foundry/anthropic/v1/messages", "foundry", "chat", ""),
        ("/foundry/v1/messages", "foundry", "chat", ""),
        (ON_VERTEX, "vertex", "generate_content", "gemini-old"),
        ("/vertex-eu" + ON_VERTEX, "vertex-eu", "generate_content", "gemini-old"),
        ("/v1beta1/publishers/google/models/g:countTokens", "vertex", "count_tokens", "g"),
        ("/vertex/v1beta/models/g:streamGenerateContent", "vertex", "generate_content", "g"),
        (ON_VERTEX.replace(":generateContent", ":predict"), "vertex", "other", ""),
        (CLAUDE_ON_VERTEX, "vertex-claude", "chat", "claude-old@20250929"),
        (CLAUDE_ON_VERTEX.replace("@", "%40"), "vertex-claude", "chat", "claude-old@20250929"),
        (
            "/v1/projects/p/locations/r/publishers/anthropic/models/count-tokens:rawPredict",
            "vertex-claude",
            "count_tokens",
            "",
        ),
        ("/vertex-claude" + ON_VERTEX, "vertex-claude", "other", ""),
    ],
)
def test_a_path_names_entry_operation_and_model(path: str, entry: str, operation: str, model: str) -> None:
    found = Routes(ENTRIES, (), ()).route("POST", path, b"", {})
    assert (found.provider.name, found.operation.name, found.model) == (entry, operation, model)


def test_a_clouds_path_without_an_entry_of_its_kind_goes_where_it_went_before_there_were_kinds() -> None:
    plain = replace(GEMINI, base_url="https://us-central1-aiplatform.googleapis.com")
    found = Routes({"gemini": plain, "openai": OPENAI}, (), ()).route("POST", ON_VERTEX, b"", {})
    assert (found.provider.name, found.place.target, found.model) == ("gemini", ON_VERTEX, "gemini-old")
    with pytest.raises(Refused, match="kind: azure"):
        Routes({"gemini": plain}, (), ()).route("POST", DEPLOYMENT, b"", {})


def test_an_arm_swaps_the_deployment_in_the_path_and_the_model_in_the_body() -> None:
    request = asked(
        DEPLOYMENT,
        CHAT,
        query=b"api-version=2024-10-21",
        baseline=("azure", "chat-old"),
        candidate=("azure-eu", "chat new"),
    )
    assert told(request) == (
        "/openai/deployments/chat%20new/chat/completions?api-version=2024-10-21",
        {**CHAT, "model": "chat new"},
    )


def test_a_deployments_caller_reaches_plain_openai() -> None:
    request = asked(
        DEPLOYMENT,
        {"messages": []},
        query=b"api-version=2024-10-21&x=1",
        baseline=("azure", "chat-old"),
        candidate=("openai", "gpt-5"),
    )
    assert told(request) == ("/chat/completions?x=1", {"messages": [], "model": "gpt-5"})


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/openai/v1/chat/completions"])
def test_a_caller_of_plain_openai_reaches_azure(path: str) -> None:
    request = asked(path, CHAT, baseline=("openai", "gpt-5"), candidate=("azure", "chat-new"))
    assert told(request) == ("/openai/v1/chat/completions", {**CHAT, "model": "chat-new"})


def test_azures_undated_and_dated_responses_keep_their_form() -> None:
    both = {"baseline": ("azure", "old"), "candidate": ("azure-eu", "new")}
    assert told(asked("/azure/openai/v1/responses", CHAT, **both))[0] == "/openai/v1/responses"
    dated = asked("/azure/openai/responses", CHAT, query=b"api-version=1", **both)
    assert told(dated) == ("/openai/responses?api-version=1", {**CHAT, "model": "new"})


def test_vertex_gets_the_entrys_own_project_and_region() -> None:
    request = asked(ON_VERTEX, {}, baseline=("vertex", "a"), candidate=("vertex-eu", "gemini-new"))
    assert told(request)[0] == (
        "/v1beta1/projects/shop-eu/locations/europe-west4/publishers/google/models/gemini-new:generateContent"
    )


def test_the_called_entry_keeps_the_callers_project() -> None:
    request = asked(ON_VERTEX, {}, baseline=("vertex", "a"), candidate=("vertex", "gemini-new"))
    assert told(request)[0] == ON_VERTEX.replace("gemini-old", "gemini-new")


@pytest.mark.parametrize(("own", "on_vertex"), [("v1", "v1"), ("v1beta", "v1beta1")])
def test_gemini_and_vertex_reach_each_other(own: str, on_vertex: str) -> None:
    there = asked(
        f"/{own}/models/gemini-old:streamGenerateContent",
        {},
        query=b"alt=sse",
        baseline=("gemini", "a"),
        candidate=("vertex", "gemini-new"),
    )
    path = f"/{on_vertex}/projects/shop-us/locations/us-central1/publishers/google/models/gemini-new"
    assert told(there)[0] == f"{path}:streamGenerateContent?alt=sse"
    back = asked(
        f"{path}:generateContent", {}, baseline=("vertex", "a"), candidate=("gemini", "gemini-newer")
    )
    assert told(back)[0] == f"/{own}/models/gemini-newer:generateContent"


def test_embeddings_of_gemini_have_no_form_on_vertex() -> None:
    arms = {"baseline": ("gemini", "a"), "candidate": ("vertex", "b")}
    assert asked("/v1beta/models/g:embedContent", {}, **arms) is None
    assert asked("/v1beta/models/g:countTokens", {}, **arms) is not None


@pytest.mark.parametrize(("streams", "method"), [(False, "rawPredict"), (True, "streamRawPredict")])
def test_a_caller_of_plain_anthropic_reaches_vertex(streams: bool, method: str) -> None:
    request = asked(
        "/v1/messages",
        {**MESSAGE, "stream": streams},
        query=b"beta=true",
        baseline=("anthropic", "a"),
        candidate=("vertex-claude", "claude-new@20260101"),
    )
    target, body = told(request)
    path = "/v1/projects/shop-us/locations/global/publishers/anthropic/models/claude-new%4020260101"
    assert target == f"{path}:{method}"
    assert body == {
        "max_tokens": 9,
        "messages": [],
        "stream": streams,
        "anthropic_version": "vertex-2023-10-16",
    }


def test_vertexs_caller_reaches_plain_anthropic_and_foundry() -> None:
    body: dict[str, object] = {"max_tokens": 9, "messages": [], "anthropic_version": "vertex-2026-10-21"}
    expected = {"max_tokens": 9, "messages": [], "model": "claude-new", "stream": True}
    for entry, path in (("anthropic", "/v1/messages"), ("foundry", "/anthropic/v1/messages")):
        request = asked(
            CLAUDE_ON_VERTEX, body, baseline=("vertex-claude", "a"), candidate=(entry, "claude-new")
        )
        assert told(request) == (path, expected)
        assert request is not None
        assert (b"anthropic-version", b"2023-06-01") in request.headers


@pytest.mark.parametrize(
    ("header", "member"), [("2023-06-01", "vertex-2023-10-16"), ("2026-10-21", "2026-10-21")]
)
def test_anthropics_version_moves_between_header_and_body(header: str, member: str) -> None:
    there = asked(
        "/v1/messages",
        MESSAGE,
        headers=[(b"anthropic-version", header.encode())],
        baseline=("anthropic", "a"),
        candidate=("vertex-claude", "b"),
    )
    assert told(there)[1]["anthropic_version"] == member
    body: dict[str, object] = {"messages": [], "anthropic_version": member}
    back = asked(CLAUDE_ON_VERTEX, body, baseline=("vertex-claude", "a"), candidate=("anthropic", "b"))
    assert back is not None
    assert dict(back.headers)[b"anthropic-version"] == header.encode()


def test_the_version_that_an_sdk_writes_into_the_body_stays_on_vertex() -> None:
    body: dict[str, object] = {"messages": [], "anthropic_version": "2026-10-21"}
    request = asked(
        CLAUDE_ON_VERTEX, body, baseline=("vertex-claude", "a"), candidate=("vertex-claude", "claude-new")
    )
    assert told(request) == (CLAUDE_ON_VERTEX.replace("claude-old@20250929", "claude-new"), body)


def test_tokens_are_counted_for_claude_on_vertex() -> None:
    path = "/v1/projects/p/locations/global/publishers/anthropic/models/count-tokens:rawPredict"
    body: dict[str, object] = {"model": "claude-old", "messages": []}
    request = asked(path, body, baseline=("vertex-claude", "a"), candidate=("vertex-claude", "claude-new"))
    assert told(request) == (path, {"model": "claude-new", "messages": []})
    there = asked(
        "/v1/messages/count_tokens", body, baseline=("anthropic", "a"), candidate=("vertex-claude", "new")
    )
    assert told(there) == (
        path.replace("projects/p", "projects/shop-us"),
        {"model": "new", "messages": [], "anthropic_version": "vertex-2023-10-16"},
    )


@pytest.mark.parametrize(
    ("path", "body", "entry", "target"),
    [
        ("/azure/v1/chat/completions", CHAT, AZURE, "/openai/v1/chat/completions"),
        ("/azure" + DEPLOYMENT, CHAT, AZURE, DEPLOYMENT),
        (
            "/vertex-claude/v1/messages",
            MESSAGE,
            VERTEX_CLAUDE,
            "/v1/projects/shop-us/locations/global/publishers/anthropic/models/claude-old:rawPredict",
        ),
        ("/vertex/v1beta/models/g:embedContent", {}, VERTEX, "/v1beta/models/g:embedContent"),
    ],
)
def test_requests_outside_canaries_are_written_for_their_entry_too(
    path: str, body: dict[str, object], entry: Provider, target: str
) -> None:
    table = Routes(ENTRIES, (), ())
    request = upstream_request(call(body, path=path, table=table), table.plain(entry), Credentials())
    assert request.target.decode() == target


def test_a_url_that_needs_a_model_is_not_guessed() -> None:
    table = Routes(ENTRIES, (), ())
    found = call({"messages": []}, path="/vertex-claude/v1/messages", table=table)
    with pytest.raises(Refused, match="names no model"):
        upstream_request(found, table.plain(VERTEX_CLAUDE), Credentials())


@pytest.mark.parametrize(
    ("kind", "api", "path", "takes"),
    [("plain", "openai", DEPLOYMENT, False), ("azure", "openai", DEPLOYMENT, True)],
)
def test_only_an_entry_of_the_kind_takes_canaries_at_its_paths(
    kind: Kind, api: Api, path: str, takes: bool
) -> None:
    assert takes_canaries(kind, api, path) is takes
