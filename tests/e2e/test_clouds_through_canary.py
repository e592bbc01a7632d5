"""The real SDKs of Azure and Vertex through `canary serve`, and plain SDKs whose candidate is at a cloud.

The local clouds check URL, `api-version`, credential, project and region as the real ones do, so an answer
shows that the request was right.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import types as genai_types
from google.oauth2.credentials import Credentials

from demo.provider.behaviour import Behaviour
from demo.provider.connection import Request
from demo.provider.server import LocalProvider
from routing.canary import ArmName
from tests.e2e.stage import Stage
from tests.servers.azure import LocalAzure
from tests.servers.cloud import LocalCloud
from tests.servers.vertex import LocalVertex
from tests.serving import ProviderThread

pytestmark = pytest.mark.more  # for more providers

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{plain}/v1", api_key: own-key}}
  anthropic: {{api: anthropic, base_url: "{plain}", api_key: own-key}}
  gemini: {{api: gemini, base_url: "{plain}", api_key: own-key}}
  azure: {{api: openai, kind: azure, base_url: "{azure_us}", api_key: us-key}}
  azure-eu: {{api: openai, kind: azure, base_url: "{azure_eu}", api_key: eu-key}}
  foundry: {{api: anthropic, kind: azure, base_url: "{azure_us}", api_key: us-key}}
  vertex: {{api: gemini, kind: vertex, base_url: "{vertex_us}", api_key: us-token,
           project: shop-us, region: us-central1}}
  vertex-eu: {{api: gemini, kind: vertex, base_url: "{vertex_eu}", api_key: eu-token,
              project: shop-eu, region: europe-west4}}
  claude-us: {{api: anthropic, kind: vertex, base_url: "{vertex_us}", api_key: us-token,
              project: shop-us, region: us-central1}}
  callers: {{api: gemini, kind: vertex, base_url: "{vertex_us}", auth: bearer, project: shop-us,
            region: us-central1}}
  claude-eu: {{api: anthropic, kind: vertex, base_url: "{vertex_eu}", api_key: eu-token,
              project: shop-eu, region: europe-west4}}
price_as: {{chat-old: gpt-4o, chat-new: gpt-4o-mini}}
canaries:
"""
CANARY = """
  - name: {name}
    match: {{models: ["{model}"]}}
    baseline: {{provider: {baseline[0]}, model: "{baseline[1]}"}}
    candidate: {{provider: {candidate[0]}, model: "{candidate[1]}"}}
    share: 50%
    guardrails: []
"""
ASK: list[Any] = [{"role": "user", "content": "Where is my refund?"}]
DEPLOYMENTS = ("chat-old", "chat-new", "chat-us", "chat-eu", "chat-azure", "o-old", "o-new", "haiku", "opus")
DATED = "?api-version=2024-10-21"


@dataclass(frozen=True)
class Clouds:
    """The stage, and what stands behind it, by name."""

    stage: Stage
    behind: Mapping[str, LocalProvider]

    def arrived(self, name: str) -> list[Request]:
        """The requests as they came to a cloud."""
        cloud = self.behind[name]
        assert isinstance(cloud, LocalCloud)
        return cloud.arrived


@dataclass(frozen=True)
class Answered:
    """What an SDK made of an answer."""

    text: str
    headers: Mapping[str, str]
    output_tokens: int | None = None


# The SDKs


def azure_older(url: str, model: str, user: str, *, stream: bool) -> Answered:
    with openai.AzureOpenAI(
        azure_endpoint=url, api_key="callers-key", api_version="2024-10-21", max_retries=0
    ) as sdk:
        return chat(sdk, model, user, stream=stream)


def azure_v1(url: str, model: str, user: str, *, stream: bool) -> Answered:
    with openai.OpenAI(base_url=f"{url}/azure/openai/v1", api_key="callers-key", max_retries=0) as sdk:
        return chat(sdk, model, user, stream=stream)


def plain_openai(url: str, model: str, user: str, *, stream: bool) -> Answered:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="callers-key", max_retries=0) as sdk:
        return chat(sdk, model, user, stream=stream)


def chat(sdk: openai.OpenAI, model: str, user: str, *, stream: bool) -> Answered:
    create = sdk.chat.completions.with_raw_response.create
    if not stream:
        raw = create(model=model, messages=ASK, user=user)
        done = raw.parse()
        assert done.usage is not None
        return Answered(done.choices[0].message.content or "", raw.headers, done.usage.completion_tokens)
    raw_stream = create(model=model, messages=ASK, user=user, stream=True)
    chunks = list(raw_stream.parse())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return Answered(text, raw_stream.headers)


def vertex_claude(url: str, model: str, user: str, *, stream: bool) -> Answered:
    with anthropic.AnthropicVertex(
        base_url=f"{url}/v1",
        region="us-central1",
        project_id="shop-us",
        access_token="callers-token",
        max_retries=0,
    ) as sdk:
        return message(sdk, model, user, stream=stream)


def foundry(url: str, model: str, user: str, *, stream: bool) -> Answered:
    with anthropic.AnthropicFoundry(
        base_url=f"{url}/foundry/anthropic", api_key="callers-key", max_retries=0
    ) as sdk:
        return message(sdk, model, user, stream=stream)


def plain_anthropic(url: str, model: str, user: str, *, stream: bool) -> Answered:
    with anthropic.Anthropic(base_url=url, api_key="callers-key", max_retries=0) as sdk:
        return message(sdk, model, user, stream=stream)


def message(sdk: Any, model: str, user: str, *, stream: bool) -> Answered:
    create = sdk.messages.with_raw_response.create
    asked = {"model": model, "max_tokens": 64, "messages": ASK, "metadata": {"user_id": user}}
    raw = create(**asked, stream=stream)
    if not stream:
        done = raw.parse()
        return Answered(done.content[0].text, raw.headers, done.usage.output_tokens)
    events = list(raw.parse())
    text = "".join(each.delta.text for each in events if each.type == "content_block_delta")
    return Answered(text, raw.headers)


def vertex_gemini(url: str, model: str, user: str, *, stream: bool) -> Answered:
    options = genai_types.HttpOptions(base_url=url, headers={"x-canary-unit": user})
    with genai.Client(
        vertexai=True,
        project="shop-us",
        location="us-central1",
        credentials=Credentials(token="callers-token"),
        http_options=options,
    ) as sdk:
        return content(sdk, model, stream=stream)


def plain_gemini(url: str, model: str, user: str, *, stream: bool) -> Answered:
    options = genai_types.HttpOptions(base_url=url, headers={"x-canary-unit": user})
    with genai.Client(api_key="callers-key", http_options=options) as sdk:
        return content(sdk, model, stream=stream)


def content(sdk: genai.Client, model: str, *, stream: bool) -> Answered:
    if not stream:
        done = sdk.models.generate_content(model=model, contents="Where is my refund?")
        assert done.sdk_http_response is not None
        assert done.usage_metadata is not None
        headers = done.sdk_http_response.headers or {}
        return Answered(done.text or "", headers, done.usage_metadata.candidates_token_count)
    chunks = list(sdk.models.generate_content_stream(model=model, contents="Where is my refund?"))
    assert chunks[0].sdk_http_response is not None
    return Answered("".join(each.text or "" for each in chunks), chunks[0].sdk_http_response.headers or {})


# What they ask, and where that has to arrive


@dataclass(frozen=True)
class Case:
    """One canary: who asks for which model, its arms as (entry, model), and (server, path) of each arm. In a
    path, `METHOD` is Gemini's or Claude's method."""

    name: str
    ask: Callable[..., Answered]
    model: str
    arms: dict[ArmName, tuple[str, str]]
    arrives: dict[ArmName, tuple[str, str]]
    priced: tuple[ArmName, ...] = ()
    methods: tuple[str, str] = field(default=("", ""))


def arms(baseline: Any, candidate: Any) -> dict[ArmName, Any]:
    return {"baseline": baseline, "candidate": candidate}


def deployment(name: str) -> str:
    return f"/openai/deployments/{name}/chat/completions{DATED}"


def on_vertex(where: str, publisher: str, model: str, version: str = "v1beta1") -> str:
    region = {"us": "us-central1", "eu": "europe-west4"}[where]
    return f"/{version}/projects/shop-{where}/locations/{region}/publishers/{publisher}/models/{model}:METHOD"


V1 = "/openai/v1/chat/completions"
GENERATE = ("generateContent", "streamGenerateContent?alt=sse")
PREDICT = ("rawPredict", "streamRawPredict")
CASES = [
    Case(
        "deployments",
        azure_older,
        "chat-old",
        arms(("azure", "chat-old"), ("azure", "chat-new")),
        arms(("azure_us", deployment("chat-old")), ("azure_us", deployment("chat-new"))),
        priced=("baseline", "candidate"),
    ),
    Case(
        "resources",
        azure_older,
        "chat-us",
        arms(("azure", "chat-us"), ("azure-eu", "chat-eu")),
        arms(("azure_us", deployment("chat-us")), ("azure_eu", deployment("chat-eu"))),
    ),
    Case(
        "azure-to-openai",
        azure_older,
        "chat-azure",
        arms(("azure", "chat-azure"), ("openai", "gpt-4o")),
        arms(("azure_us", deployment("chat-azure")), ("plain", "/v1/chat/completions")),
        priced=("candidate",),
    ),
    Case(
        "azure-v1",
        azure_v1,
        "o-old",
        arms(("azure", "o-old"), ("azure-eu", "o-new")),
        arms(("azure_us", V1), ("azure_eu", V1)),
    ),
    Case(
        "openai-to-azure",
        plain_openai,
        "gpt-4o-mini",
        arms(("openai", "gpt-4o-mini"), ("azure-eu", "chat-eu")),
        arms(("plain", "/v1/chat/completions"), ("azure_eu", V1)),
        priced=("baseline",),
    ),
    Case(
        "foundry",
        foundry,
        "haiku",
        arms(("foundry", "haiku"), ("foundry", "opus")),
        arms(("azure_us", "/anthropic/v1/messages"), ("azure_us", "/anthropic/v1/messages")),
    ),
    Case(
        "anthropic-to-foundry",
        plain_anthropic,
        "claude-haiku-4-5",
        arms(("anthropic", "claude-haiku-4-5"), ("foundry", "haiku")),
        arms(("plain", "/v1/messages"), ("azure_us", "/anthropic/v1/messages")),
        priced=("baseline",),
    ),
    Case(
        "vertex-models",
        vertex_gemini,
        "gemini-2.5-flash",
        arms(("vertex", "gemini-2.5-flash"), ("vertex", "gemini-2.5-pro")),
        arms(
            ("vertex_us", on_vertex("us", "google", "gemini-2.5-flash")),
            ("vertex_us", on_vertex("us", "google", "gemini-2.5-pro")),
        ),
        priced=("baseline", "candidate"),
        methods=GENERATE,
    ),
    Case(
        "vertex-regions",
        vertex_gemini,
        "gemini-2.5-pro",
        arms(("vertex", "gemini-2.5-pro"), ("vertex-eu", "gemini-2.5-pro")),
        arms(
            ("vertex_us", on_vertex("us", "google", "gemini-2.5-pro")),
            ("vertex_eu", on_vertex("eu", "google", "gemini-2.5-pro")),
        ),
        priced=("baseline", "candidate"),
        methods=GENERATE,
    ),
    Case(
        "gemini-to-vertex",
        plain_gemini,
        "gemini-2.0-flash",
        arms(("gemini", "gemini-2.0-flash"), ("vertex-eu", "gemini-2.5-flash")),
        arms(
            ("plain", "/v1/models/gemini-2.0-flash:METHOD"),
            ("vertex_eu", on_vertex("eu", "google", "gemini-2.5-flash", "v1")),
        ),
        priced=("baseline", "candidate"),
        methods=GENERATE,
    ),
    Case(
        "vertex-to-gemini",
        vertex_gemini,
        "gemini-2.5-flash-lite",
        arms(("vertex", "gemini-2.5-flash-lite"), ("gemini", "gemini-2.5-flash")),
        arms(
            ("vertex_us", on_vertex("us", "google", "gemini-2.5-flash-lite")),
            ("plain", "/v1beta/models/gemini-2.5-flash:METHOD"),
        ),
        priced=("baseline", "candidate"),
        methods=GENERATE,
    ),
    Case(
        "claude-regions",
        vertex_claude,
        "claude-sonnet-4-5@20250929",
        arms(("claude-us", "claude-sonnet-4-5@20250929"), ("claude-eu", "claude-opus-4-1@20250805")),
        arms(
            ("vertex_us", on_vertex("us", "anthropic", "claude-sonnet-4-5%4020250929", "v1")),
            ("vertex_eu", on_vertex("eu", "anthropic", "claude-opus-4-1%4020250805", "v1")),
        ),
        priced=("baseline", "candidate"),
        methods=PREDICT,
    ),
    Case(
        "anthropic-to-vertex",
        plain_anthropic,
        "claude-sonnet-4-6",
        arms(("anthropic", "claude-sonnet-4-6"), ("claude-eu", "claude-sonnet-4-5@20250929")),
        arms(
            ("plain", "/v1/messages"),
            ("vertex_eu", on_vertex("eu", "anthropic", "claude-sonnet-4-5%4020250929", "v1")),
        ),
        priced=("baseline", "candidate"),
        methods=PREDICT,
    ),
    Case(
        "vertex-to-anthropic",
        vertex_claude,
        "claude-haiku-4-5@20251001",
        arms(("claude-us", "claude-haiku-4-5@20251001"), ("anthropic", "claude-haiku-4-5")),
        arms(
            ("vertex_us", on_vertex("us", "anthropic", "claude-haiku-4-5%4020251001", "v1")),
            ("plain", "/v1/messages"),
        ),
        priced=("baseline", "candidate"),
        methods=PREDICT,
    ),
]


def config(urls: Mapping[str, str]) -> str:
    canaries = [
        CANARY.format(
            name=each.name,
            model=each.model,
            baseline=each.arms["baseline"],
            candidate=each.arms["candidate"],
        )
        for each in CASES
    ]
    return CONFIG.format(**urls) + "".join(canaries)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    behind = {
        "plain": LocalProvider(keys=frozenset({"own-key"})),
        "azure_us": LocalAzure(key="us-key", deployments=DEPLOYMENTS),
        "azure_eu": LocalAzure(key="eu-key", deployments=DEPLOYMENTS),
        "vertex_us": LocalVertex(project="shop-us", region="us-central1", token="us-token"),
        "vertex_eu": LocalVertex(project="shop-eu", region="europe-west4", token="eu-token"),
    }
    with ExitStack() as up:
        threads = {name: up.enter_context(ProviderThread(each)) for name, each in behind.items()}
        text = config({name: thread.url for name, thread in threads.items()})
        stage = Stage(tmp_path_factory.mktemp("clouds"), threads["plain"], text)
        up.callback(lambda: stage.server.kill())
        yield Clouds(stage, behind)


def sent_to(clouds: Clouds, server: str) -> str:
    """The target of the newest request there."""
    if server == "plain":
        return clouds.behind["plain"].log.entries[-1].target
    return clouds.arrived(server)[-1].target


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("arm", ["baseline", "candidate"])
@pytest.mark.parametrize("case", CASES, ids=[each.name for each in CASES])
def test_each_arm_answers_at_its_own_cloud_and_is_recorded(
    clouds: Clouds, case: Case, arm: ArmName, stream: bool
) -> None:
    user = next(clouds.stage.users(arm, case.name, 0.5))
    answered = case.ask(clouds.stage.server.traffic, case.model, user, stream=stream)
    server, path = case.arrives[arm]
    assert sent_to(clouds, server) == path.replace("METHOD", case.methods[stream])
    assert answered.text
    assert (answered.headers["x-canary-name"], answered.headers["x-canary-arm"]) == (case.name, arm)
    assert "x-canary-served-by" not in answered.headers
    row = clouds.stage.outcome(answered.headers["x-canary-exchange"])
    assert (row["outcome"], row["arm"], row["stream"]) == ("ok", arm, int(stream))
    assert (row["provider"], row["model"]) == case.arms[arm]
    assert row["output_tokens"] > 0
    assert answered.output_tokens in (None, row["output_tokens"])
    assert (row["ttft_s"] is not None) is stream
    assert (row["cost_usd"] is not None) is (arm in case.priced)


def test_a_clouds_failure_is_the_arms_and_the_baseline_answers(clouds: Clouds) -> None:
    clouds.behind["azure_eu"].behave("o-new", Behaviour(status=503, faults={"status": 1.0}))
    user = next(clouds.stage.users("candidate", "azure-v1", 0.5, prefix="unlucky"))
    answered = azure_v1(clouds.stage.server.traffic, "o-old", user, stream=False)
    assert answered.headers["x-canary-served-by"] == "baseline"
    row = clouds.stage.outcome(answered.headers["x-canary-exchange"])
    assert (row["outcome"], row["error_type"]) == ("fallback", "provider_5xx")


def test_a_clouds_own_refusal_reaches_the_sdk_and_blames_no_arm(clouds: Clouds) -> None:
    """The deployment of the baseline does not exist: Azure's words come back."""
    with pytest.raises(openai.NotFoundError, match="does not exist") as refused:
        azure_older(clouds.stage.server.traffic, "no-such", "user-1", stream=False)
    row = clouds.stage.outcome(refused.value.response.headers["x-canary-exchange"])
    assert row["outcome"] == "caller_error"


def test_an_entry_without_a_key_passes_the_callers_token_on(clouds: Clouds) -> None:
    for token, status in (("us-token", 200), ("callers-token", 401)):
        found = httpx2.post(
            f"{clouds.stage.server.traffic}/callers"
            "/v1/projects/shop-us/locations/us-central1/publishers/google/models/gemini-x:generateContent",
            json={"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
        )
        assert found.status_code == status


def test_no_credential_of_a_caller_reaches_a_cloud_with_one_of_its_own(clouds: Clouds) -> None:
    for name in ("azure_us", "azure_eu", "vertex_eu"):
        for request in clouds.arrived(name):
            assert not [value for _, value in request.headers if "callers-" in value]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_claude_counts_and_plain_paths_work_at_a_clouds_entry(clouds: Clouds, stream: bool) -> None:
    """A plain SDK at `/ENTRY` outside any canary: the model moves from the body into Vertex's path."""
    url = f"{clouds.stage.server.traffic}/claude-us"
    assert plain_anthropic(url, "claude-opus-4-8", "user-1", stream=stream).text
    method = PREDICT[stream]
    assert sent_to(clouds, "vertex_us") == on_vertex("us", "anthropic", "claude-opus-4-8", "v1").replace(
        "METHOD", method
    )
    with anthropic.Anthropic(base_url=url, api_key="callers-key", max_retries=0) as sdk:
        assert sdk.messages.count_tokens(model="claude-opus-4-8", messages=ASK).input_tokens > 0


def test_tokens_are_counted_with_vertexs_own_sdk(clouds: Clouds) -> None:
    with anthropic.AnthropicVertex(
        base_url=f"{clouds.stage.server.traffic}/v1",
        region="us-central1",
        project_id="shop-us",
        access_token="callers-token",
    ) as sdk:
        counted = sdk.messages.count_tokens(model="claude-sonnet-4-5@20250929", messages=ASK)
    assert counted.input_tokens > 0


def test_the_local_azure_takes_no_key_as_bearer_on_its_older_path(clouds: Clouds) -> None:
    """The local clouds refuse what the real ones refuse; else these tests would show nothing."""
    cloud = clouds.behind["azure_us"].url
    path = f"{cloud}/openai/deployments/chat-old/chat/completions"
    body = {"messages": ASK}
    bearer, key = {"authorization": "Bearer us-key"}, {"api-key": "us-key"}

    def status(url: str, headers: dict[str, str]) -> int:
        return httpx2.post(url, json=body, headers=headers, trust_env=False).status_code

    assert [status(path + DATED, bearer), status(path, key), status(path + DATED, key)] == [401, 404, 200]
