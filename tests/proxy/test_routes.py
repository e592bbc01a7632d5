"""The table of base URLs: which provider gets a path, and which canary takes a request."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from proxy.calls.refusal import Refused
from proxy.calls.routes import ArmTarget, Route, Routes
from proxy.providers.provider import Provider, Timeout
from routing.canary import Match
from tests.proxy.calls import ANTHROPIC, AZURE, GEMINI, OPENAI, PROVIDERS, routes, trial

VERSION = {b"anthropic-version": b"2026-10-21"}
GOOGLE = {b"x-goog-api-key": b"k"}


def route(
    path: str,
    *,
    method: str = "POST",
    query: bytes = b"",
    headers: Mapping[bytes, bytes] | None = None,
    table: Routes | None = None,
) -> Route:
    return (table or routes()).route(method, path, query, headers or {})


@pytest.mark.parametrize(
    ("path", "query", "headers", "provider", "target", "operation"),
    [
        ("/v1/chat/completions", b"", {}, "openai", "/chat/completions", "chat"),
        ("/v1/completions", b"", {}, "openai", "/completions", "text_completion"),
        ("/v1/responses", b"", {}, "openai", "/responses", "chat"),
        ("/v1/embeddings", b"", {}, "openai", "/embeddings", "embeddings"),
        ("/v1/files", b"", {}, "openai", "/files", "other"),
        ("/v1/responses/resp_1/cancel", b"", {}, "openai", "/responses/resp_1/cancel", "other"),
        ("/v1/messages", b"", {}, "anthropic", "/v1/messages", "chat"),
        ("/v1/messages/count_tokens", b"", {}, "anthropic", "/v1/messages/count_tokens", "count_tokens"),
        ("/v1/responses/compact", b"", {}, "openai", "/responses/compact", "compact"),
        ("/v1/responses/input_tokens", b"", {}, "openai", "/responses/input_tokens", "count_tokens"),
        ("/v1/messages/batches", b"", {}, "anthropic", "/v1/messages/batches", "other"),
        ("/v1/files", b"", VERSION, "anthropic", "/v1/files", "other"),
        ("/anything", b"", VERSION, "anthropic", "/anything", "other"),
        (
            "/v1beta/models/gemini-2.5-pro:generateContent",
            b"",
            {},
            "gemini",
            "/v1beta/models/gemini-2.5-pro:generateContent",
            "generate_content",
        ),
        (
            "/v1/models/gemini-2.5-pro:streamGenerateContent",
            b"alt=sse",
            {},
            "gemini",
            "/v1/models/gemini-2.5-pro:streamGenerateContent",
            "generate_content",
        ),
        ("/v1/interactions", b"", {}, "gemini", "/v1/interactions", "generate_content"),
        ("/v1/models/g:embedContent", b"", {}, "gemini", "/v1/models/g:embedContent", "embeddings"),
        ("/v1/models/g:predict", b"", {}, "gemini", "/v1/models/g:predict", "other"),
        ("/v1beta/cachedContents", b"", {}, "gemini", "/v1beta/cachedContents", "other"),
        ("/v1/files", b"", GOOGLE, "gemini", "/v1/files", "other"),
        ("/upload/v1beta/files", b"key=k", {}, "gemini", "/upload/v1beta/files", "other"),
        ("/v1/files", b"alt=json&key=k", {}, "gemini", "/v1/files", "other"),
        ("/v1/files", b"monkey=k", {}, "openai", "/files", "other"),
        ("/azure/v1/chat/completions", b"", {}, "azure", "/chat/completions", "chat"),
        ("/azure/v1/files", b"", {}, "azure", "/files", "other"),
        ("/claude/v1/messages", b"", {}, "claude", "/v1/messages", "chat"),
        (
            "/vertex/v1beta/models/g:generateContent",
            b"",
            {},
            "vertex",
            "/v1beta/models/g:generateContent",
            "generate_content",
        ),
        ("/openai/v1/messages", b"key=k", VERSION, "openai", "/messages", "other"),
    ],
)
def test_every_base_url_of_the_contract_leads_to_its_provider(
    path: str, query: bytes, headers: dict[bytes, bytes], provider: str, target: str, operation: str
) -> None:
    found = route(path, query=query, headers=headers)
    assert (found.provider.name, found.place.target, found.operation.name) == (provider, target, operation)


@pytest.mark.parametrize("stray", [VERSION, GOOGLE, VERSION | GOOGLE, {b"x-api-key": b"k"}])
@pytest.mark.parametrize(
    ("path", "provider"),
    [
        ("/v1/chat/completions", "openai"),
        ("/v1/completions", "openai"),
        ("/v1/responses", "openai"),
        ("/v1/responses/resp_1/cancel", "openai"),
        ("/v1/embeddings", "openai"),
        ("/v1/audio/speech", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/v1/models/gemini-2.5-pro:generateContent", "gemini"),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", "gemini"),
        ("/v1beta/files", "gemini"),
        ("/v1/interactions", "gemini"),
        ("/v1/interactions/int_1/cancel", "gemini"),
    ],
)
def test_a_path_that_only_one_api_has_goes_there_whatever_stray_credentials_come_along(
    path: str, provider: str, stray: Mapping[bytes, bytes]
) -> None:
    assert route(path, headers=stray, query=b"key=k").provider.name == provider


@pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/v1/batches"])
def test_a_path_that_several_apis_have_follows_the_headers(path: str) -> None:
    found = [route(path, method="GET", headers=headers).provider.name for headers in ({}, VERSION, GOOGLE)]
    assert found == ["openai", "anthropic", "gemini"]


def test_only_a_post_is_an_operation() -> None:
    assert route("/v1/chat/completions", method="GET").operation.name == "other"
    assert not route("/v1/chat/completions", method="GET").operation.canary


def test_a_models_page_with_a_colon_in_its_name_is_not_geminis() -> None:
    assert route("/v1/models/llama3:latest", method="GET").provider is OPENAI


def test_the_first_entry_of_an_api_serves_its_base_url() -> None:
    assert route("/v1/models", table=routes(providers={"azure": AZURE, "openai": OPENAI})).provider is AZURE


def test_the_path_that_canaries_match_is_the_apis_own() -> None:
    assert route("/azure/v1/chat/completions").path == "/v1/chat/completions"
    assert route("/v1/chat/completions").path == "/v1/chat/completions"


def test_only_v1_itself_stands_for_the_base_urls_root() -> None:
    assert route("/openai/v1beta/x").place.target == "/v1beta/x"
    assert route("/openai/v1@elsewhere").place.target == "/v1@elsewhere"


@pytest.mark.parametrize(
    "path", ["/", "", "/v1", "/v2/chat", "/nobody/v1/chat/completions", "/V1/models", "/x"]
)
def test_an_unknown_path_is_a_404_that_names_the_right_ones(path: str) -> None:
    with pytest.raises(Refused) as refused:
        route(path)
    assert (refused.value.status, refused.value.error_type) == (404, "caller_not_found")
    assert "/v1/messages (Anthropic)" in refused.value.message
    assert "/PROVIDER/v1/…" in refused.value.message


@pytest.mark.parametrize(
    ("path", "api"),
    [("/v1/chat/completions", "openai"), ("/v1/messages", "anthropic"), ("/v1beta/x", "gemini")],
)
def test_an_api_that_no_entry_has_is_a_404_that_says_what_to_add(path: str, api: str) -> None:
    others = {name: each for name, each in PROVIDERS.items() if each.api != api}
    with pytest.raises(Refused, match=f"`api: {api}`") as refused:
        route(path, table=routes(providers=others))
    assert refused.value.status == 404


def encoded(text: str, *, times: int) -> str:
    """Every sign of a text percent-encoded, over and over."""
    for _ in range(times):
        text = "".join(f"%{ord(sign):02x}" for sign in text)
    return text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../admin",
        "/v1/..",
        "/openai/v1/../../admin",
        "/v1/%2e%2e/admin",
        "/v1/.%2E/admin",
        "/v1/files%2F..%2fadmin",
        "/v1/x\\..\\admin",
        "/v1/..;/admin",
        "/v1/..%3b/admin",
        "/v1/..%3Ba=b/admin",
        "/v1/%252e%252e/admin",
        "/v1/%25252E./admin",
        "/v1/%%32%65%%32%65/admin",
        "/v1/..%5cadmin",
        "/v1/..%20/admin",
        "/v1/..%00/admin",
        "/v1/..%00x/admin",
        "/v1/%2e%2e%2500/admin",
        "/v1/..%3fa=b/admin",
        "/v1/..%23/admin",
        "/v1/.%09./admin",
        "/v1/..%01/admin",
        "/v1/..%7f/admin",
        "/v1/.%e2%80%8b./admin",
        "/v1/..%c0%80/admin",
        "/v1/%c0%ae%c0%ae/admin",
        "/v1/..%ff/admin",
        "/v1/./chat/completions",
        "/v1/files/%2E",
        "/v1/%" + "25" * 4_000 + "2e%2e",
        "/v1/" + encoded("..", times=3),
        "/v1/" + encoded("a", times=4),
    ],
)
def test_a_path_with_dot_segments_in_any_encoding_is_refused(path: str) -> None:
    with pytest.raises(Refused) as refused:
        route(path)
    assert (refused.value.status, refused.value.error_type) == (400, "caller_rejected")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/100%2525",
        "/v1/files/..hidden",
        "/v1/files/a%00",
        "/v1/files/a..b",
        "/v1/models/a%2Fb",
        "/v1/files/%C3%BC",
        "/v1/files/...",
    ],
)
def test_dots_in_a_name_climb_nowhere(path: str) -> None:
    assert route(path).place.target == path.removeprefix("/v1")


def test_a_path_over_8_kib_is_refused() -> None:
    assert len(route("/v1/files/" + "a" * 8182).path) == 8192
    with pytest.raises(Refused) as refused:
        route("/v1/files/" + "a" * 8183)
    assert refused.value.status == 414


@pytest.mark.parametrize(
    ("path", "provider", "matched", "sent", "operation"),
    [
        ("/v1/ch%61t/completi%6Fns", "openai", "/v1/chat/completions", "/ch%61t/completi%6Fns", "chat"),
        ("/%761/chat//completions", "openai", "/v1/chat/completions", "/chat//completions", "chat"),
        ("//v1//chat/completions", "openai", "/v1/chat/completions", "//chat/completions", "chat"),
        ("//%61zure///v1/responses", "azure", "/v1/responses", "/responses", "chat"),
        ("/claude//v1/messages", "claude", "/v1/messages", "//v1/messages", "chat"),
        ("/v1/%6dessages", "anthropic", "/v1/messages", "/v1/%6dessages", "chat"),
        (
            "/v1beta/%6Dodels/g%2d3:gener%61teContent",
            "gemini",
            "/v1beta/models/g-3:generateContent",
            "/v1beta/%6Dodels/g%2d3:gener%61teContent",
            "generate_content",
        ),
        (
            "/v1beta/models/g-3%3agenerateContent",
            "gemini",
            "/v1beta/models/g-3:generateContent",
            "/v1beta/models/g-3%3agenerateContent",
            "generate_content",
        ),
        (
            "/v1beta/models/g%3A3%3AstreamGenerateContent",
            "gemini",
            "/v1beta/models/g%3A3:streamGenerateContent",
            "/v1beta/models/g%3A3%3AstreamGenerateContent",
            "generate_content",
        ),
        ("/v1/files/a%2fb%3a", "openai", "/v1/files/a%2Fb%3A", "/files/a%2fb%3a", "other"),
        ("/v1/files/a%2", "openai", "/v1/files/a%2", "/files/a%2", "other"),
    ],
)
def test_a_path_is_matched_in_one_spelling_and_sent_in_its_callers(
    path: str, provider: str, matched: str, sent: str, operation: str
) -> None:
    found = route(path)
    assert (found.provider.name, found.path, found.operation.name) == (provider, matched, operation)
    assert found.at(routes().plain(found.provider), False).target == sent.encode()


@pytest.mark.parametrize(
    ("path", "model", "sent"),
    [
        ("/v1beta/models/g%2d3:gener%61teContent", "new", "/v1beta/models/new:generateContent"),
        ("/v1beta/models/g-3%3AgenerateContent", "new", "/v1beta/models/new:generateContent"),
        ("/v1//chat/completions", "new", "//chat/completions"),
    ],
)
def test_an_arms_model_is_written_into_a_path_in_whatever_spelling(path: str, model: str, sent: str) -> None:
    found = route(path)
    target = ArmTarget(arm="candidate", provider=found.provider, model=model, timeout=Timeout(), key="k")
    assert found.at(target, False).target == sent.encode()


# Canaries.


def taken(
    table: Routes, path: str, model: str, **parts: Mapping[bytes, bytes] | Mapping[str, str]
) -> str | None:
    """The name of the canary that takes it."""
    headers: Mapping[bytes, bytes] = parts.get("headers", {})  # type: ignore[assignment]
    tags: Mapping[str, str] = parts.get("tags", {})  # type: ignore[assignment]
    found = table.matching(table.route("POST", path, b"", headers), model, headers, tags)
    return found[0].canary.name if found else None


def test_a_canary_takes_its_models_at_its_baselines_entry_only() -> None:
    table = routes(trial("support", models=["gpt-4o", "gpt-4o-mini"]))
    assert taken(table, "/v1/chat/completions", "gpt-4o") == "support"
    assert taken(table, "/openai/v1/chat/completions", "gpt-4o-mini") == "support"
    assert taken(table, "/v1/chat/completions", "gpt-5") is None
    assert taken(table, "/v1/chat/completions", "") is None
    assert taken(table, "/azure/v1/chat/completions", "gpt-4o") is None


def test_a_canary_at_a_named_entry_is_not_met_at_the_first_one() -> None:
    table = routes(trial("azured", baseline=("azure", "gpt-4o-2024-08-06")))
    assert taken(table, "/azure/v1/chat/completions", "gpt-4o") == "azured"
    assert taken(table, "/v1/chat/completions", "gpt-4o") is None


def test_paths_headers_and_tags_narrow_a_canary() -> None:
    embeddings = Match(paths=frozenset({"/v1/embeddings"}))
    beta = Match(models=frozenset({"gpt-4o"}), headers={"x-team": "beta"})
    europe = Match(models=frozenset({"gpt-4o"}), tags={"region": "eu"})
    table = routes(trial("paths", match=embeddings), trial("team", match=beta), trial("tagged", match=europe))
    chat = "/v1/chat/completions"
    assert taken(table, "/openai/v1/embeddings", "whatever") == "paths"
    assert taken(table, chat, "whatever") is None
    assert taken(table, chat, "gpt-4o") is None
    assert taken(table, chat, "gpt-4o", headers={b"x-team": b"beta"}) == "team"
    assert taken(table, chat, "gpt-4o", headers={b"x-team": b"alpha"}) is None
    assert taken(table, chat, "gpt-4o", tags={"region": "eu"}) == "tagged"


PATHS = frozenset({"/v1/chat/completions"})


@dataclass(frozen=True, kw_only=True)
class CountingMatch(Match):
    """Says to how many requests it was compared."""

    asked: list[str]

    def accepts(self, *, model: str, path: str, headers: Mapping[str, str], tags: Mapping[str, str]) -> bool:
        self.asked.append(model)
        return super().accepts(model=model, path=path, headers=headers, tags=tags)


def test_a_request_is_compared_to_the_canaries_of_its_own_model_and_no_other() -> None:
    asked: list[str] = []
    table = routes(
        *(
            trial(f"c{n}", match=CountingMatch(models=frozenset({f"model-{n}"}), paths=PATHS, asked=asked))
            for n in range(100)
        )
    )
    assert taken(table, "/v1/chat/completions", "model-57") == "c57"
    assert asked == ["model-57"]
    assert taken(table, "/v1/chat/completions", "no canary's") is None
    assert asked == ["model-57"]


def test_a_request_that_no_canary_takes_goes_to_its_provider_with_the_callers_model() -> None:
    target = routes().plain(ANTHROPIC)
    assert (target.arm, target.provider, target.model, target.key) == ("baseline", ANTHROPIC, "", "anthropic")


def test_arms_share_state_when_they_are_one_entry_not_when_they_are_one_api() -> None:
    assert trial().shares_state
    assert not trial(candidate=("azure", "gpt-4o-2024-11-20")).shares_state


def test_a_trial_knows_the_lane_of_each_arm() -> None:
    both = trial()
    assert both.target("baseline") is both.baseline
    assert both.target("candidate") is both.candidate


def test_a_provider_never_shows_its_key() -> None:
    shown = repr(Provider(name="p", api="openai", base_url="https://x.example", api_key="sk-secret"))
    assert "sk-secret" not in shown
    assert GEMINI.api_key is None


@pytest.mark.parametrize(
    ("path", "api"),
    [("/v1/messages", "anthropic"), ("/v1beta/models/g:generateContent", "gemini"), ("/v1/chat", "openai")],
)
def test_an_api_without_an_entry_is_refused_in_its_own_form(path: str, api: str) -> None:
    with pytest.raises(Refused, match=f"`api: {api}`") as refused:
        route(path, table=routes(providers={}))
    assert refused.value.form == api
