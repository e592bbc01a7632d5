"""Teams on one proxy, each with a key of its own: who gets in, who is refused how, and what is known of them.

The SDKs are real. Each provider takes the entry's own key only, so a caller's key there would be refused.
"""

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from demo.provider.server import LocalProvider
from tests.e2e.realtime_provider import RealtimeProvider
from tests.e2e.responses_provider import ResponsesProvider
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

NAMES = ("web", "narrow", "elsewhere", "slow-openai", "slow-anthropic", "slow-gemini", "rotating", "unseen")
KEYS = {name: f"ck_planted-{name}" for name in NAMES}
NEXT_KEY = "ck_planted-the-next"
OWN = frozenset({"own-openai", "own-anthropic", "own-gemini"})
ASK: list[Any] = [{"role": "user", "content": "Where is my refund?"}]
OPENAI_MODEL, CLAUDE, GEMINI = "gpt-4o", "claude-sonnet-4-6", "gemini-2.5-flash"
TRIES = 10
"""Requests of a caller that may send one a minute: all would pass only if each took a minute."""


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: own-openai}}
  anthropic: {{api: anthropic, base_url: "{url}", api_key: own-anthropic}}
  gemini: {{api: gemini, base_url: "{url}", api_key: own-gemini}}
  other: {{api: openai, base_url: "{url}/v1", api_key: own-openai}}
  socket: {{api: openai, base_url: "SOCKET", api_key: own-openai}}
  voice: {{api: openai, base_url: "VOICE", api_key: own-openai}}
  azure: {{api: openai, kind: azure, base_url: "{url}", api_key: own-openai}}
  bedrock: {{api: anthropic, kind: bedrock, region: eu-west-1, base_url: "{url}", api_key: own-anthropic}}
  vertex: {{api: gemini, kind: vertex, project: p, region: r, base_url: "{url}", api_key: own-gemini}}
canaries:
  - name: support
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    mirror: 100%
    capture: {{rate: 100%}}
    segments: [caller, region]
    guardrails: []
callers:
"""
LIMITS = {
    "narrow": 'models: ["gpt-4o*", "claude-sonnet-4*", "gemini-2.5*"]',
    "elsewhere": "providers: [other]",
    "slow-openai": "requests_per_minute: 1",
    "slow-anthropic": "requests_per_minute: 1",
    "slow-gemini": "requests_per_minute: 1",
}


def entry(name: str, *keys: str) -> str:
    digests = ", ".join(map(digest, keys or (KEYS[name],)))
    return f"  - {{name: {name}, key_sha256: [{digests}], {LIMITS.get(name, '')}}}\n"


ENTRIES = "".join(entry(name) for name in NAMES)


@pytest.fixture(scope="module")
def socket() -> Iterator[ResponsesProvider]:
    with ResponsesProvider(keys=OWN) as running:
        yield running


@pytest.fixture(scope="module")
def voice() -> Iterator[RealtimeProvider]:
    with RealtimeProvider() as running:
        yield running


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, socket: ResponsesProvider, voice: RealtimeProvider
) -> Iterator[Stage]:
    config = CONFIG.replace("SOCKET", socket.url).replace("VOICE", voice.url)
    config += ENTRIES.replace("{", "{{").replace("}", "}}")
    folder = tmp_path_factory.mktemp("callers")
    with on_stage(folder, config, provider=LocalProvider(keys=OWN), workers=2) as up:
        yield up


def by_openai(stage: Stage, key: str, model: str = OPENAI_MODEL) -> Any:
    with openai.OpenAI(base_url=f"{stage.server.traffic}/v1", api_key=key, max_retries=0) as sdk:
        return sdk.chat.completions.create(model=model, messages=ASK, user="user-1")


def by_anthropic(stage: Stage, key: str, model: str = CLAUDE) -> Any:
    with anthropic.Anthropic(base_url=stage.server.traffic, api_key=key, max_retries=0) as sdk:
        return sdk.messages.create(model=model, messages=ASK, max_tokens=50)


def by_gemini(stage: Stage, key: str, model: str = GEMINI) -> Any:
    options = genai_types.HttpOptions(base_url=stage.server.traffic)
    with genai.Client(api_key=key, http_options=options) as sdk:
        return sdk.models.generate_content(model=model, contents="Where is my refund?")


def gemini_status(problem: Exception) -> int:
    return int(problem.code) if isinstance(problem, genai_errors.APIError) else 0


SDKS: dict[str, Callable[..., Any]] = {
    "openai": by_openai,
    "anthropic": by_anthropic,
    "gemini": by_gemini,
}
REFUSALS: dict[str, dict[int, type[Exception]]] = {
    "openai": {
        401: openai.AuthenticationError,
        403: openai.PermissionDeniedError,
        429: openai.RateLimitError,
    },
    "anthropic": {
        401: anthropic.AuthenticationError,
        403: anthropic.PermissionDeniedError,
        429: anthropic.RateLimitError,
    },
    "gemini": dict.fromkeys((401, 403, 429), genai_errors.ClientError),
}


WORDS: dict[str, dict[int, str]] = {
    "openai": {401: "invalid_api_key", 403: "insufficient_permissions", 429: "rate_limit_exceeded"},
    "anthropic": {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"},
    "gemini": {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"},
}


def word(problem: Exception) -> str:
    """What the SDK says that was wrong: OpenAI's `code`, Anthropic's `type`, Gemini's `status`."""
    if isinstance(problem, openai.APIError):
        return str(problem.code)
    if isinstance(problem, anthropic.APIStatusError) and isinstance(problem.body, dict):
        return str(problem.body["error"]["type"])
    return str(getattr(problem, "status", None))


def refused(api: str, status: int, call: Callable[[], Any]) -> Exception:
    """The SDK's own exception for this status, which has the API's own word for it."""
    with pytest.raises(REFUSALS[api][status]) as problem:
        call()
    found = problem.value
    assert gemini_status(found) == status or getattr(found, "status_code", None) == status
    assert word(found) == WORDS[api][status]
    assert "ck_planted" not in str(found)
    return found


@pytest.mark.parametrize("api", SDKS)
def test_a_callers_key_opens_the_proxy_and_the_provider_gets_its_own(stage: Stage, api: str) -> None:
    stage.provider.log.clear()
    SDKS[api](stage, KEYS["web"])
    own = f"own-{api}"
    for received in stage.provider.log.entries:
        assert {value.removeprefix("Bearer ") for value in received.credentials.values()} == {own}


@pytest.mark.parametrize("api", SDKS)
def test_nobody_elses_key_opens_it(stage: Stage, api: str) -> None:
    stage.provider.log.clear()
    said = refused(api, 401, lambda: SDKS[api](stage, "sk-of-a-provider"))
    assert "this key is no caller's" in str(said)
    assert not stage.provider.log.entries


@pytest.mark.parametrize(
    ("api", "model"), [("openai", "o4"), ("anthropic", "claude-opus-5"), ("gemini", "gemini-3-pro")]
)
def test_a_model_that_is_not_the_callers_is_refused(stage: Stage, api: str, model: str) -> None:
    assert SDKS[api](stage, KEYS["narrow"])
    assert model in str(refused(api, 403, lambda: SDKS[api](stage, KEYS["narrow"], model)))


@pytest.mark.parametrize("api", SDKS)
def test_an_entry_that_is_not_the_callers_is_refused(stage: Stage, api: str) -> None:
    said = refused(api, 403, lambda: SDKS[api](stage, KEYS["elsewhere"]))
    assert f"may not use the provider entry {api}" in str(said)


def test_a_path_that_nothing_serves_is_told_to_callers_only(stage: Stage) -> None:
    def tell(key: str) -> tuple[int, str, str]:
        headers = {"authorization": f"Bearer {key}"}
        got = httpx2.get(f"{stage.server.traffic}/admin", headers=headers, trust_env=False)
        return got.status_code, got.json()["error"]["code"], got.text

    status, code, text = tell("ck_wrong")
    assert (status, code, "/v1beta/" in text) == (401, "invalid_api_key", False)
    status, code, text = tell(KEYS["web"])
    assert (status, code, "/v1beta/" in text) == (404, "caller_not_found", True)


def test_the_entry_that_is_the_callers_serves_it(stage: Stage) -> None:
    answer = ask(stage, KEYS["elsewhere"], path="/other/v1/chat/completions")
    assert answer.status_code == 200


ALLOWED = b'{"model": "gpt-4o", "contents": [], "messages": [], "input": "x"}'
"""A body whose `model` is the narrow caller's, wherever it is sent."""

ON_VERTEX = "/v1/projects/p/locations/r"


def raw(
    stage: Stage,
    key: str,
    target: str,
    body: bytes = ALLOWED,
    kind: str = "application/json",
    method: str = "POST",
) -> int:
    """The status of a request whose target goes out as it stands here."""
    host, _, port = stage.server.traffic.removeprefix("http://").rpartition(":")
    with closing(HTTPConnection(host, int(port), timeout=30)) as line:
        line.putrequest(method, target)
        for name, value in (("authorization", f"Bearer {key}"), ("content-type", kind)):
            line.putheader(name, value)
        line.putheader("content-length", str(len(body)))
        line.endheaders(body)
        return line.getresponse().status


@pytest.mark.parametrize(
    "target",
    [
        # another model's spellings
        "/v1beta/models/gemini-3-pro:generateContent",
        "/v1beta/models/g%65mini-3-pro:generateContent",
        "/v1beta/%6Dodels/gemini-3-pro:generateContent",
        "/v1beta/models/gemini-3-pro:gener%61teContent",
        "/v1beta//models///gemini-3-pro:generateContent",
        "//v1beta/models/gemini-3-pro:generateContent",
        "/v1bet%61/models/gemini-3-pro:predict",
        "/gemini/v1beta/models/gemini-3-pro:predictLongRunning",
        "/v1/models/gemini-3-pro:batchGenerateContent",
        "/v1beta/Models/gemini-3-pro:generateContent",
        "/v1beta/models/gemini-3-pro%3AgenerateContent",
        "/v1beta/models%2Fgemini-3-pro:generateContent",
        "/v1beta/models;x/gemini-3-pro:generateContent",
        "/v1beta/models/gemini-3-pro",
        # forms whose model is not read
        "/v1beta/tunedModels/gemini-2.5-mine:generateContent",
        "/v1beta/tunedModels",
        "/v1beta/dynamic/gemini-2.5-x:generateContent",
        "/gemini/v1alpha/authTokens",
        "/v1beta/openai/batches",
        "/v1/batches",
        "/v1/messages/batches",
        "/v1/engines/o4/completions",
        "/azure/openai/deployments/o4/chat/completions?api-version=1",
        "/azure/openai/Deployments/o4/chat/completions?api-version=1",
        "/azure/OpenAI/deployments/o4/chat/completions?api-version=1",
        "/azure/openai/%64eployments/o4/chat/completions?api-version=1",
        "/azure/openai//deployments/o4/chat/completions?api-version=1",
        "/openai/deployments/%6f4/chat/completions?api-version=1",
        "/azure/openai/images/generations:submit?api-version=1&deployment=o4",
        "/azure/anything",
        "/model/anthropic.claude-opus/converse",
        "/model/anthropic.claude%2Dopus/invoke",
        "/m%6fdel/anthropic.claude-opus/converse",
        "/bedrock//model/anthropic.claude-opus/invoke-with-response-stream",
        "/bedrock/model/gpt-4o/some-new-method",
        "/bedrock/Model/anthropic.claude-opus/converse",
        "/async-invoke",
        "/bedrock/async%2dinvoke",
        "/bedrock/anything",
        ON_VERTEX + "/publishers/google/models/gemini-3-pro:generateContent",
        ON_VERTEX + "/publishers/google/models/gemini-3-pro:predict",
        ON_VERTEX + "/publishers/google/m%6Fdels/gemini-3-pro:streamGenerateContent",
        "/vertex" + ON_VERTEX + "/publishers/anthropic/models/claude-opus:rawPredict",
        "/vertex" + ON_VERTEX + "/publishers/meta/models/llama:predict",
        "/vertex" + ON_VERTEX + "/endpoints/123:predict",
        "/vertex" + ON_VERTEX + "/endpoints/openapi/chat/completions",
        "/vertex" + ON_VERTEX + "/endpoints/123:rawPredict",
        # a second model beside the one in the body
        "/v1/chat/completions?model=o4",
        "/v1/images/generations?%6Dodel=o4",
        "/v1/responses?Model=o4",
        # another entry's spellings
        "/v1/%63hat/completions?deployment=o4",
    ],
)
def test_no_spelling_of_a_path_leads_to_a_model_that_is_not_the_callers(stage: Stage, target: str) -> None:
    stage.provider.log.clear()
    assert raw(stage, KEYS["narrow"], target) == 403
    assert not stage.provider.log.entries


@pytest.mark.parametrize(
    "target",
    ["/openai/v1/chat/completions", "/%6Fpenai/v1/chat/completions", "//openai//v1/chat/completions",
     "/v1/%63hat/completions", "/%761/chat/completions", "/v1beta/models/gemini-2.5-flash:generateContent",
     "/m%6Fdel/x/converse", "/openai/d%65ployments/x/chat/completions"],
)  # fmt: skip
def test_no_spelling_of_a_path_leads_to_an_entry_that_is_not_the_callers(stage: Stage, target: str) -> None:
    stage.provider.log.clear()
    assert raw(stage, KEYS["elsewhere"], target) == 403
    assert not stage.provider.log.entries


@pytest.mark.parametrize("target", ["/v1beta/./models/gemini-3-pro:generateContent", "/v1/..%3b/admin",
                                    "/v1/%252e%252e/models/gemini-3-pro:generateContent"])  # fmt: skip
def test_a_path_with_dot_segments_reaches_nobody(stage: Stage, target: str) -> None:
    stage.provider.log.clear()
    assert raw(stage, KEYS["web"], target) == 400
    assert not stage.provider.log.entries


@pytest.mark.parametrize(
    ("target", "body", "kind"),
    [
        ("/v1/chat/completions", ALLOWED, "application/json"),
        ("/v1/ch%61t//completions", ALLOWED, "application/json"),
        ("/v1beta/models/g%65mini-2.5-flash:generateContent", b"{}", "application/json"),
        ("/v1beta/models/gemini-2.5-flash:countTokens", b"{}", "application/json"),
        ("/v1beta/models/gemini-2.5-embed:embedContent", b"{}", "application/json"),
        ("/v1beta/cachedContents", b'{"model": "models/gemini-2.5-flash"}', "application/json"),
        ("/v1beta/openai/chat/completions", b'{"model": "gemini-2.5-flash"}', "application/json"),
        ("/v1beta/fileSearchStores", b"{}", "application/json"),
        ("/v1beta/batches/b1:cancel", b"{}", "application/json"),
        ("/gemini/upload/v1beta/files", b"bytes", "image/png"),
        ("/v1/files", b"--x--", "multipart/form-data; boundary=x"),
        ("/azure/openai/deployments/gpt-4o/chat/completions?api-version=1", b"{}", "application/json"),
        ("/azure/openai/v1/responses", ALLOWED, "application/json"),
        ("/azure/openai/files?api-version=1", b"--x--", "multipart/form-data; boundary=x"),
        ("/azure/openai/images/generations?api-version=1", ALLOWED, "application/json"),
        ("/model/gpt-4o-of-ours/converse", b"{}", "application/json"),
        ("/guardrail/g/version/1/apply", b"{}", "application/json"),
        (ON_VERTEX + "/publishers/google/models/gemini-2.5-flash:predict", b"{}", "application/json"),
        ("/vertex" + ON_VERTEX + "/cachedContents",
         b'{"model": "projects/p/locations/r/publishers/google/models/gemini-2.5"}', "application/json"),
    ],
)  # fmt: skip
def test_known_forms_of_a_callers_own_models_go_as_they_were_written(
    stage: Stage, target: str, body: bytes, kind: str
) -> None:
    stage.provider.log.clear()
    assert raw(stage, KEYS["narrow"], target, body, kind) != 403
    sent = {each.target.partition("?")[0] for each in stage.provider.log.entries}
    assert any(target.partition("?")[0].endswith(each.removeprefix("/v1")) for each in sent), sent


def test_a_multipart_model_is_no_callers(stage: Stage) -> None:
    stage.provider.log.clear()
    part = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\n%s\r\n--x--\r\n'
    for model in (b"o4", b"gpt-4o"):
        kind = "multipart/form-data; boundary=x"
        assert raw(stage, KEYS["narrow"], "/v1/audio/transcriptions", part % model, kind) == 403
    assert not stage.provider.log.entries


@pytest.mark.parametrize("api", SDKS)
def test_over_its_rate_a_caller_is_told_when_to_come_again(stage: Stage, api: str) -> None:
    key, problem = KEYS[f"slow-{api}"], None
    for _ in range(TRIES):
        try:
            SDKS[api](stage, key)
        except tuple(REFUSALS[api].values()) as found:
            problem = found
            break
    assert problem is not None

    def again() -> Any:
        for _ in range(TRIES):
            SDKS[api](stage, key)

    refused(api, 429, again)
    response = getattr(problem, "response", None)
    assert response is not None
    assert 1 <= int(response.headers["retry-after"]) <= 60


def ask(
    stage: Stage,
    key: str | None,
    model: str = OPENAI_MODEL,
    *,
    path: str = "/v1/chat/completions",
    **headers: str,
) -> httpx2.Response:
    sent = {"authorization": f"Bearer {key}"} if key else {}
    url = f"{stage.server.traffic}{path}"
    return httpx2.post(url, json=chat(model, "user-1"), headers=sent | headers, trust_env=False, timeout=30.0)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v1/chat/completions", ("type", "invalid_request_error")),
        ("/v1/messages", ("type", "authentication_error")),
        ("/v1beta/models/gemini-2.5-flash:generateContent", ("status", "UNAUTHENTICATED")),
    ],
)
def test_a_refusal_has_the_form_of_the_api_before_a_body_is_read(
    stage: Stage, path: str, error: tuple[str, str]
) -> None:
    answer = ask(stage, None, path=path)
    member, value = error
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error"][member] == value
    assert "x-canary-arm" not in answer.headers


def test_feedback_and_health_need_no_callers_key(stage: Stage) -> None:
    exchange = ask(stage, KEYS["web"]).headers["x-canary-exchange"]
    rating = {"exchange_id": exchange, "metric": "csat", "value": 4}
    assert (
        httpx2.post(f"{stage.server.traffic}/canary/feedback", json=rating, trust_env=False).status_code
        == 202
    )
    for path in ("/healthz", "/readyz"):
        assert httpx2.get(f"{stage.server.traffic}{path}", trust_env=False).status_code == 200


def test_the_callers_name_is_stored_and_no_app_can_take_another(stage: Stage) -> None:
    good = ask(stage, KEYS["web"], **{"x-canary-tags": "caller=narrow, region=eu"})
    bad = ask(stage, KEYS["narrow"], "o4")
    nobody = ask(stage, None, **{"x-canary-tags": "caller=web"})
    row = stage.outcome(good.headers["x-canary-exchange"])
    assert (row["canary"], json.loads(row["tags"])) == ("support", {"caller": "web", "region": "eu"})
    row = stage.outcome(bad.headers["x-canary-exchange"])
    assert (row["outcome"], row["error_type"]) == ("caller_error", "caller_unauthorized")
    assert json.loads(row["tags"]) == {"caller": "narrow"}
    row = stage.outcome(nobody.headers["x-canary-exchange"])
    assert (row["outcome"], row["error_type"], row["canary"]) == ("caller_error", "caller_unauthorized", "")
    assert json.loads(row["tags"] or "{}") == {}


def test_who_calls_is_listed_shown_and_counted(stage: Stage) -> None:
    assert ask(stage, KEYS["web"]).status_code == 200
    assert ask(stage, KEYS["narrow"], "o4").status_code == 403

    def known() -> dict[str, Any] | None:
        document = stage.api("GET", "/api/callers").json()
        callers = {each["name"]: each for each in document["callers"]}
        return callers if callers["web"]["requests"] and callers["narrow"]["refused"] else None

    callers = eventually(known)
    assert list(callers) == list(NAMES)
    assert callers["web"]["last_seen"] is not None
    assert callers["unseen"]["last_seen"] is None
    listed = json.loads(stage.canary("callers", "list", "-o", "json").stdout)
    assert [each["name"] for each in listed["callers"]] == list(NAMES)
    text = stage.canary("callers", "list").stdout
    assert re.search(r"unseen: 0 requests since 20\S+Z, 0 of them refused, last seen never", text)
    page = stage.api("GET", "/").text
    assert 'aria-label="Callers"' in page
    assert "narrow" in page
    table = page[page.index('aria-label="Callers"') :].partition("</table>")[0]
    assert len(re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC</time>", table)) > len(NAMES)
    assert not re.search(r"\dT\d", re.sub(r"<[^>]*>", "", table))

    def counted() -> bool:
        metrics = httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).text
        wanted = ('{caller="web",outcome="ok"}', '{caller="narrow",outcome="caller_error"}')
        lines = [line for line in metrics.splitlines() if line.startswith("canary_caller_requests_total")]
        return all(any(each in line and not line.endswith(" 0.0") for line in lines) for each in wanted)

    assert eventually(counted)


def test_doctor_names_a_caller_that_was_not_seen_yet_and_gives_it_a_day(stage: Stage) -> None:
    command = [sys.executable, "-m", "canary", "doctor", "--config", str(stage.server.config)]
    done = subprocess.run(
        [*command, "--data", str(stage.server.data), "-o", "json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = [each for each in json.loads(done.stdout)["findings"] if each["check"] == "callers"]
    assert [each["state"] for each in found] == ["ok"]
    assert found[0]["says"].startswith("not yet seen, and in the config for less than a day: ")
    assert "unseen" in found[0]["says"]


# WebSockets


def run(scene: Any) -> Any:
    return asyncio.run(asyncio.wait_for(scene, 60))


def line(stage: Stage, path: str, key: str | None, **options: Any) -> connect:
    address = stage.server.traffic.replace("http://", "ws://")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    settings: dict[str, Any] = {"ping_interval": None, "proxy": None, "additional_headers": headers}
    return connect(f"{address}{path}", **(settings | options))


def test_a_browsers_realtime_session_has_its_key_in_the_subprotocol(
    stage: Stage, voice: RealtimeProvider
) -> None:
    offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{KEYS['narrow']}")]
    path = "/voice/v1/realtime?model=gpt-4o-realtime-preview"

    async def scene() -> str:
        async with line(stage, path, None, subprotocols=offered) as session:
            assert session.response is not None
            return session.response.headers["x-canary-exchange"]

    row = stage.outcome(run(scene()))
    assert (row["operation"], json.loads(row["tags"])) == ("realtime", {"caller": "narrow"})
    (seen,) = voice.sessions("gpt-4o-realtime-preview")
    assert seen.header("authorization") == ["Bearer own-openai"]
    assert "ck_planted" not in str(seen.headers)


@pytest.mark.parametrize(
    ("path", "name", "status"),
    [
        ("/voice/v1/realtime?model=gpt-4o-realtime-preview", None, 401),
        ("/voice/v1/realtime?model=other", "narrow", 403),
        ("/voice/v1/realtime?intent=transcription", "narrow", 403),
        ("/voice/v1/realtime?model=gpt-4o-realtime-preview", "elsewhere", 403),
        ("/socket/v1/responses", None, 401),
    ],
)
def test_a_websocket_that_is_not_the_callers_is_refused(
    stage: Stage, path: str, name: str | None, status: int
) -> None:
    async def scene() -> None:
        async with line(stage, path, KEYS[name] if name else None):
            pass

    with pytest.raises(InvalidStatus) as answer:
        run(scene())
    assert answer.value.response.status_code == status
    code = json.loads(answer.value.response.body or b"")["error"]["code"]
    assert code == WORDS["openai"][status]


def test_each_response_over_a_websocket_is_the_callers(stage: Stage, socket: ResponsesProvider) -> None:
    socket.lines.clear()

    async def scene() -> list[Any]:
        said: list[Any] = []
        async with line(stage, "/socket/v1/responses", KEYS["narrow"]) as session:
            for message in (
                json.dumps({"type": "response.create", "model": "o4", "input": "hi"}),
                json.dumps({"type": "response.create", "model": "o4", "input": "hi"}).encode(),
                "{" + json.dumps({"type": "response.create", "model": "gpt-4o-mini"}),
                '{"type": "response.create", "model": "o4", "input": "hi", "model": "gpt-4o-mini"}',
                '{"type": "response.create", "m\\u006fdel": "o4", "input": "hi", "model": "gpt-4o-mini"}',
                '{"type": "response.create", "type": "ping", "model": "o4", "input": "hi"}',
                '{"type": "ping", "t\\u0079pe": "response.create", "model": "gpt-4o-mini", "input": "hi"}',
                '{"type": "response.create", "model": "gpt-4o-mini", "input": "hi", "input": "ho"}',
                json.dumps({"type": "response.create", "model": "gpt-4o-mini", "input": "hi"}),
            ):
                await session.send(message)
                while True:
                    said.append(json.loads(await session.recv()))
                    if said[-1]["type"] in ("error", "response.completed"):
                        break
        return said

    said = run(scene())
    first, *hidden = said[:8]
    assert (first["type"], first["status"], first["error"]["code"]) == (
        "error",
        403,
        "insufficient_permissions",
    )
    assert "'o4'" in first["error"]["message"]
    assert [(each["type"], each["status"]) for each in hidden] == [("error", 403)] * 7
    assert said[-1]["type"] == "response.completed"
    (arrived,) = socket.lines
    assert [asked["model"] for asked in arrived.asked] == ["gpt-4o-mini"]
    assert "ck_planted" not in str(arrived.headers)

    def stored() -> list[dict[str, Any]] | None:
        rows = [row for row in stage.outcomes() if "gpt-4o-mini" in str(row["model_requested"])]
        return rows if any(row["outcome"] == "ok" for row in rows) else None

    rows = eventually(stored)
    assert {json.loads(row["tags"])["caller"] for row in rows} == {"narrow"}


# A changed file


def test_a_key_is_replaced_while_requests_go_on(stage: Stage) -> None:
    (workers, answers, stop) = (20, list[int](), threading.Event())

    def keep_asking() -> None:
        while not stop.is_set():
            answers.append(ask(stage, KEYS["web"]).status_code)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        whole, old = stage.config_text, entry("rotating")
        stage.configure(whole.replace(old, entry("rotating", KEYS["rotating"], NEXT_KEY)))
        eventually(lambda: all(ask(stage, NEXT_KEY).status_code == 200 for _ in range(workers)))
        assert ask(stage, KEYS["rotating"]).status_code == 200
        stage.configure(whole.replace(old, entry("rotating", NEXT_KEY)))
        eventually(lambda: all(ask(stage, KEYS["rotating"]).status_code == 401 for _ in range(workers)))
        assert ask(stage, NEXT_KEY).status_code == 200
    finally:
        stop.set()
        asking.join()
    assert len(answers) > workers
    assert set(answers) == {200}


def test_a_bad_file_keeps_the_callers(stage: Stage) -> None:
    whole = stage.config_text
    stage.configure(whole.replace(digest(KEYS["web"]), "ck_planted-oops"))
    eventually(lambda: "looks like a key" in stage.api("GET", "/api/status").text)
    assert ask(stage, KEYS["web"]).status_code == 200
    assert ask(stage, None).status_code == 401
    assert "oops" not in stage.server.log_file.read_text()
    stage.configure(whole)
    eventually(lambda: "looks like a key" not in stage.api("GET", "/api/status").text)


def test_no_key_stands_in_anything_that_canary_wrote_said_or_sent(stage: Stage) -> None:
    """The last test of this file: it stops the server."""
    answers = []
    query = f"/v1beta/models/{GEMINI}:generateContent?key={KEYS['web']}"
    for path, headers in (
        (query, {}),
        ("/v1/chat/completions", {"api-key": KEYS["web"]}),
        ("/v1/chat/completions", {"x-canary-key": KEYS["web"], "authorization": "AWS4-HMAC-SHA256 x"}),
        ("/v1/messages", {"x-api-key": KEYS["web"]}),
        ("/v1/models", {"authorization": f"Bearer {KEYS['web']}"}),
        ("/v1/chat/completions", {"authorization": "Bearer ck_planted-unknown"}),
    ):
        answer = ask(stage, None, path=path, **headers)
        answers.append(f"{answer.headers} {answer.text}")
    sent = "".join(f"{each.target} {each.headers} {each.body!r}" for each in stage.provider.log.entries)
    assert len(stage.provider.log.entries) >= 5
    said = {
        "answers": "".join(answers).encode(),
        "requests to providers": sent.encode(),
        "metrics": httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).content,
        "callers": stage.api("GET", "/api/callers").content,
        "page": stage.api("GET", "/").content,
        "log": stage.server.log_file.read_bytes(),
    }
    eventually(lambda: captured(stage.server.data))
    stage.server.stop()
    said |= contents(stage.server.data)
    assert {"canary.db", "live.json"} <= set(said)
    assert [place for place, text in said.items() if b"ck_planted" in text] == []
    assert b"gpt-4o-2024-08-06" in said["canary.db"] + said["requests to providers"]


def captured(data: Path) -> bool:
    """True once a text was captured: what is searched for a key is there."""
    with suppress(FileNotFoundError):
        return any(b"Where is my" in text or b"hello" in text for text in contents(data).values())
    return False


def contents(data: Path) -> dict[str, bytes]:
    files = [path for path in data.rglob("*") if path.is_file()]
    return {str(path.relative_to(data)): path.read_bytes() for path in files}
