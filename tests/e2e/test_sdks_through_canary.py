"""The real SDKs with one change, the base URL: what reaches the provider, and what comes back.

Every call is made twice, straight to the demo provider and through `canary serve`, and the provider's log
tells the two requests apart: by the model's value, and where usage was asked for on top, by that.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider, ReceivedRequest
from routing.canary import ArmName
from tests.e2e.stage import Stage, chat, on_stage

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  anthropic: {{api: anthropic, base_url: "{url}"}}
  gemini: {{api: gemini, base_url: "{url}"}}
canaries:
  - name: chat
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    guardrails: []
  - name: embeddings
    match: {{models: [text-embedding-3-small]}}
    baseline: {{provider: openai, model: text-embedding-3-small}}
    candidate: {{provider: openai, model: text-embedding-3-large}}
    share: 50%
    guardrails: []
  - name: messages
    match: {{models: [claude-sonnet-4-6]}}
    baseline: {{provider: anthropic, model: claude-sonnet-4-6}}
    candidate: {{provider: anthropic, model: claude-sonnet-5}}
    share: 50%
    guardrails: []
  - name: gemini
    match: {{models: [gemini-2.5-flash]}}
    baseline: {{provider: gemini, model: gemini-2.5-flash}}
    candidate: {{provider: gemini, model: gemini-3-flash}}
    share: 50%
    guardrails: []
"""
ARMS: dict[str, dict[ArmName, str]] = {
    "chat": {"baseline": "gpt-4o-2024-08-06", "candidate": "gpt-4o-2024-11-20"},
    "embeddings": {"baseline": "text-embedding-3-small", "candidate": "text-embedding-3-large"},
    "messages": {"baseline": "claude-sonnet-4-6", "candidate": "claude-sonnet-5"},
    "gemini": {"baseline": "gemini-2.5-flash", "candidate": "gemini-3-flash"},
}
KEYS = frozenset({"sk-caller", "ak-caller", "gk-caller"})
ASK: list[Any] = [{"role": "user", "content": "Where is my refund? Zürich 🙂"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
INJECTED = b'{"stream_options":{"include_usage":true},'
THE_CONNECTIONS = {"host", "content-length", "connection", "x-canary-unit"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("sdks"), CONFIG, provider=LocalProvider(keys=KEYS)) as up:
        yield up


@pytest.fixture(params=["baseline", "candidate"])
def arm(request: pytest.FixtureRequest) -> ArmName:
    name: ArmName = request.param
    return name


def user_of(stage: Stage, canary: str, arm: ArmName) -> str:
    return next(stage.users(arm, canary, 0.5))


def openai_sdk(url: str) -> openai.OpenAI:
    headers = {"x-canary-tags": "plan=pro", "x-canary-request-id": "app-1"}
    return openai.OpenAI(base_url=f"{url}/v1", api_key="sk-caller", max_retries=0, default_headers=headers)


def anthropic_sdk(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="ak-caller", max_retries=0)


def gemini_sdk(url: str, user: str) -> genai.Client:
    options = genai_types.HttpOptions(base_url=url, headers={"x-canary-unit": user})
    return genai.Client(api_key="gk-caller", http_options=options)


@dataclass(frozen=True)
class Twice:
    """What one call sent, both ways, and what came back through canary."""

    straight: ReceivedRequest
    through: ReceivedRequest
    result: Any

    def same_headers(self, *, identity: bool = False) -> None:
        """All of the caller's headers arrive, none of canary's; `identity` asks for no compression."""
        expected = {name: value for name, value in self.straight.headers if name not in THE_CONNECTIONS}
        expected = {name: value for name, value in expected.items() if not name.startswith("x-canary-")}
        if identity:
            expected["accept-encoding"] = "identity"
        arrived = {name: value for name, value in self.through.headers if name not in THE_CONNECTIONS}
        assert arrived == expected
        assert not [name for name, _ in self.through.headers if name.startswith("x-canary")]
        assert self.through.credentials == self.straight.credentials != {}

    def same_but_for(self, asked: str, sent: str, *, injected: bool = False) -> None:
        """The body differs by the model's value only (and by the usage asked for)."""
        model = json.dumps(asked).encode()
        assert self.straight.body.count(model) == 1
        body = self.straight.body.replace(model, json.dumps(sent).encode())
        assert self.through.body == (INJECTED + body.removeprefix(b"{") if injected else body)
        self.same_headers(identity=injected)


def twice(stage: Stage, call: Callable[[str], Any]) -> Twice:
    """Make the call at the provider and at canary, each of which it reaches exactly once."""
    stage.provider.log.clear()
    call(stage.provider.url)
    result = call(stage.server.traffic)
    straight, through = stage.provider.log.entries
    return Twice(straight, through, result)


def check_named(headers: Any, canary: str, arm: ArmName) -> None:
    assert (headers["x-canary-name"], headers["x-canary-arm"]) == (canary, arm)
    assert headers["x-canary-exchange"]
    assert "x-canary-served-by" not in headers
    assert "set-cookie" not in headers


# OpenAI


def test_a_chat_completion_differs_by_the_model_only(stage: Stage, arm: ArmName) -> None:
    user = user_of(stage, "chat", arm)

    def call(url: str) -> Any:
        with openai_sdk(url) as sdk:
            return sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASK, user=user)

    made = twice(stage, call)
    made.same_but_for("gpt-4o", ARMS["chat"][arm])
    check_named(made.result.headers, "chat", arm)
    done = made.result.parse()
    assert (done.model, bool(done.choices[0].message.content)) == (ARMS["chat"][arm], True)
    assert made.result.headers["x-request-id"].startswith("req_")
    row = stage.outcome(made.result.headers["x-canary-exchange"])
    assert (row["outcome"], row["arm"], row["request_id"]) == ("ok", arm, "app-1")
    assert row["provider_request_id"] == made.result.headers["x-request-id"]
    assert (row["input_tokens"], row["output_tokens"]) == (
        done.usage.prompt_tokens,
        done.usage.completion_tokens,
    )


@pytest.mark.parametrize("asks", [False, True])
def test_a_chat_stream_is_counted_and_shows_its_usage_to_those_who_asked(
    stage: Stage, arm: ArmName, asks: bool
) -> None:
    user = user_of(stage, "chat", arm)
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks else {}

    def call(url: str) -> Any:
        with openai_sdk(url) as sdk:
            raw = sdk.chat.completions.with_raw_response.create(
                model="gpt-4o", messages=ASK, user=user, stream=True, **options
            )
            return raw.headers, list(raw.parse())

    made = twice(stage, call)
    made.same_but_for("gpt-4o", ARMS["chat"][arm], injected=not asks)
    headers, chunks = made.result
    check_named(headers, "chat", arm)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [bool(chunk.choices) for chunk in chunks] == [True] * (len(chunks) - asks) + [False] * asks
    if asks:
        assert chunks[-1].usage.completion_tokens == 24
    else:
        assert not any(chunk.usage for chunk in chunks)
    row = stage.outcome(headers["x-canary-exchange"])
    assert (row["outcome"], row["stream"], row["output_tokens"]) == ("ok", 1, 24)
    assert row["ttft_s"] <= row["latency_s"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_model_calls_tools(stage: Stage, arm: ArmName, stream: bool) -> None:
    user = user_of(stage, "chat", arm)

    def call(url: str) -> str:
        with openai_sdk(url) as sdk:
            done: Any = sdk.chat.completions.create(
                model="gpt-4o", messages=ASK, user=user, tools=[CHAT_TOOL], stream=stream
            )
            if not stream:
                return str(done.choices[0].message.tool_calls[0].function.arguments)
            deltas = [delta for chunk in done for delta in chunk.choices[0].delta.tool_calls or ()]
            return "".join(delta.function.arguments or "" for delta in deltas)

    made = twice(stage, call)
    made.same_but_for("gpt-4o", ARMS["chat"][arm], injected=stream)
    assert json.loads(made.result) == {"city": "Zürich", "days": 1}


def test_the_responses_api_passes_as_json(stage: Stage, arm: ArmName) -> None:
    user = user_of(stage, "chat", arm)

    def call(url: str) -> Any:
        with openai_sdk(url) as sdk:
            return sdk.responses.with_raw_response.create(
                model="gpt-4o", input="hello", safety_identifier=user
            )

    made = twice(stage, call)
    made.same_but_for("gpt-4o", ARMS["chat"][arm])
    check_named(made.result.headers, "chat", arm)
    done = made.result.parse()
    assert done.output_text
    assert (
        stage.outcome(made.result.headers["x-canary-exchange"])["output_tokens"] == done.usage.output_tokens
    )


def test_the_responses_api_passes_as_a_stream(stage: Stage, arm: ArmName) -> None:
    user = user_of(stage, "chat", arm)

    def call(url: str) -> Any:
        with openai_sdk(url) as sdk:
            stream = sdk.responses.create(model="gpt-4o", input="hello", safety_identifier=user, stream=True)
            return [event.type for event in stream]

    made = twice(stage, call)
    made.same_but_for("gpt-4o", ARMS["chat"][arm])
    assert (made.result[0], made.result[-1]) == ("response.created", "response.completed")
    assert "response.output_text.delta" in made.result


def test_embeddings_pass(stage: Stage, arm: ArmName) -> None:
    user = user_of(stage, "embeddings", arm)

    def call(url: str) -> Any:
        with openai_sdk(url) as sdk:
            return sdk.embeddings.with_raw_response.create(
                model="text-embedding-3-small", input=["one", "two"], user=user
            )

    made = twice(stage, call)
    made.same_but_for("text-embedding-3-small", ARMS["embeddings"][arm])
    check_named(made.result.headers, "embeddings", arm)
    assert [len(each.embedding) for each in made.result.parse().data] == [64, 64]


def test_the_models_list_passes_outside_any_canary(stage: Stage) -> None:
    stage.provider.behave("gpt-4o-2024-08-06", Behaviour())

    def call(url: str) -> Any:
        with openai_sdk(url) as sdk:
            return sdk.models.with_raw_response.list()

    made = twice(stage, call)
    made.same_headers()
    assert "gpt-4o-2024-08-06" in {each.id for each in made.result.parse().data}
    assert "x-canary-arm" not in made.result.headers
    row = stage.outcome(made.result.headers["x-canary-exchange"])
    assert (row["canary"], row["outcome"]) == ("", "ok")


def test_a_file_is_uploaded_and_comes_back_as_it_was(stage: Stage) -> None:
    content = bytes(range(256)) * 512
    with openai_sdk(stage.server.traffic) as sdk:
        sent = sdk.files.create(file=("all-bytes.bin", content), purpose="user_data")
        assert (sent.bytes, sent.filename) == (len(content), "all-bytes.bin")
        assert sdk.files.content(sent.id).content == content


def test_a_multipart_body_reaches_the_provider_untouched(stage: Stage) -> None:
    part = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    part += (
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.json"\r\n\r\n{"model": "gpt-4o"}'
    )
    body = part + b"\r\n--b--\r\n"
    headers = {"authorization": "Bearer sk-caller", "content-type": "multipart/form-data; boundary=b"}
    answer = httpx2.post(f"{stage.server.traffic}/v1/files", content=body, headers=headers)
    assert (answer.status_code, answer.headers.get("x-canary-arm")) == (200, None)
    assert stage.provider.log.entries[-1].body == body


# Anthropic


def test_a_message_differs_by_the_model_only(stage: Stage, arm: ArmName) -> None:
    user = user_of(stage, "messages", arm)

    def call(url: str) -> Any:
        with anthropic_sdk(url) as sdk:
            return sdk.messages.with_raw_response.create(
                model="claude-sonnet-4-6",
                max_tokens=100,
                messages=ASK,
                metadata={"user_id": user},
                extra_headers={"anthropic-beta": "context-1m-2025-08-07"},
            )

    made = twice(stage, call)
    made.same_but_for("claude-sonnet-4-6", ARMS["messages"][arm])
    assert ("anthropic-beta", "context-1m-2025-08-07") in made.through.headers
    check_named(made.result.headers, "messages", arm)
    done = made.result.parse()
    assert done.content[0].text
    row = stage.outcome(made.result.headers["x-canary-exchange"])
    assert (row["input_tokens"], row["output_tokens"]) == (done.usage.input_tokens, done.usage.output_tokens)


def test_a_message_stream_passes(stage: Stage, arm: ArmName) -> None:
    user = user_of(stage, "messages", arm)

    def call(url: str) -> Any:
        with (
            anthropic_sdk(url) as sdk,
            sdk.messages.stream(
                model="claude-sonnet-4-6", max_tokens=100, messages=ASK, metadata={"user_id": user}
            ) as stream,
        ):
            return stream.get_final_message(), stream.response.headers

    made = twice(stage, call)
    made.same_but_for("claude-sonnet-4-6", ARMS["messages"][arm])
    message, headers = made.result
    assert (message.model, message.stop_reason) == (ARMS["messages"][arm], "end_turn")
    check_named(headers, "messages", arm)
    assert stage.outcome(headers["x-canary-exchange"])["output_tokens"] == message.usage.output_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_a_message_may_use_a_tool(stage: Stage, arm: ArmName, stream: bool) -> None:
    user = user_of(stage, "messages", arm)
    tool: Any = {"name": "weather", "input_schema": WEATHER}

    def call(url: str) -> Any:
        asked: dict[str, Any] = {
            "model": "claude-sonnet-4-6",
            "max_tokens": 100,
            "messages": ASK,
            "metadata": {"user_id": user},
            "tools": [tool],
        }
        with anthropic_sdk(url) as sdk:
            if not stream:
                return sdk.messages.create(**asked).content[0]
            with sdk.messages.stream(**asked) as events:
                return events.get_final_message().content[0]

    made = twice(stage, call)
    made.same_but_for("claude-sonnet-4-6", ARMS["messages"][arm])
    assert (made.result.type, made.result.input) == ("tool_use", {"city": "Zürich", "days": 1})


def test_anthropic_counts_tokens_by_the_arms_model(stage: Stage, arm: ArmName) -> None:
    user = user_of(stage, "messages", arm)

    def call(url: str) -> Any:
        with anthropic_sdk(url) as sdk:
            return sdk.messages.count_tokens(
                model="claude-sonnet-4-6", messages=ASK, extra_headers={"x-canary-unit": user}
            )

    made = twice(stage, call)
    made.same_but_for("claude-sonnet-4-6", ARMS["messages"][arm])
    assert made.through.target == made.straight.target
    assert made.result.input_tokens > 0


# Gemini


def test_gemini_content_differs_by_the_model_in_the_path_only(stage: Stage, arm: ArmName) -> None:
    user = user_of(stage, "gemini", arm)

    def call(url: str) -> Any:
        with gemini_sdk(url, user) as sdk:
            return sdk.models.generate_content(model="gemini-2.5-flash", contents="hello")

    made = twice(stage, call)
    assert made.through.target == made.straight.target.replace("gemini-2.5-flash", ARMS["gemini"][arm])
    assert made.through.body == made.straight.body
    made.same_headers()
    assert made.through.credentials == {"x-goog-api-key": "gk-caller"}
    headers = made.result.sdk_http_response.headers
    check_named(headers, "gemini", arm)
    assert made.result.text
    row = stage.outcome(headers["x-canary-exchange"])
    assert row["output_tokens"] == made.result.usage_metadata.candidates_token_count


def test_a_gemini_stream_passes(stage: Stage, arm: ArmName) -> None:
    user = user_of(stage, "gemini", arm)

    def call(url: str) -> Any:
        with gemini_sdk(url, user) as sdk:
            return list(sdk.models.generate_content_stream(model="gemini-2.5-flash", contents="hello"))

    made = twice(stage, call)
    assert made.through.target == made.straight.target.replace("gemini-2.5-flash", ARMS["gemini"][arm])
    assert made.through.body == made.straight.body
    assert len(made.result) > 3
    assert made.result[-1].usage_metadata.candidates_token_count == 24


def test_gemini_calls_a_function(stage: Stage, arm: ArmName) -> None:
    user = user_of(stage, "gemini", arm)
    declared = genai_types.FunctionDeclaration(name="weather", parameters_json_schema=WEATHER)
    config = genai_types.GenerateContentConfig(tools=[genai_types.Tool(function_declarations=[declared])])

    def call(url: str) -> Any:
        with gemini_sdk(url, user) as sdk:
            return sdk.models.generate_content(model="gemini-2.5-flash", contents="hello", config=config)

    made = twice(stage, call)
    assert made.through.body == made.straight.body
    assert made.result.function_calls[0].args == {"city": "Zürich", "days": 1}


def test_gemini_counts_tokens_by_the_arms_model(stage: Stage, arm: ArmName) -> None:
    user = user_of(stage, "gemini", arm)

    def call(url: str) -> Any:
        with gemini_sdk(url, user) as sdk:
            return sdk.models.count_tokens(model="gemini-2.5-flash", contents="hello")

    made = twice(stage, call)
    assert made.through.target == made.straight.target.replace("gemini-2.5-flash", ARMS["gemini"][arm])
    assert made.through.body == made.straight.body
    assert made.result.total_tokens > 0


# Errors


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
def test_an_error_of_the_provider_is_the_openai_sdks_own(
    stage: Stage, arm: ArmName, status: int, error: type[openai.APIStatusError]
) -> None:
    user = user_of(stage, "chat", arm)
    for model in ARMS["chat"].values():
        stage.provider.behave(model, Behaviour(faults={"status": 1.0}, status=status, retry_after_s=2.0))
    try:
        with openai_sdk(stage.server.traffic) as sdk, pytest.raises(error) as caught:
            sdk.chat.completions.create(model="gpt-4o", messages=ASK, user=user)
    finally:
        for model in ARMS["chat"].values():
            stage.provider.behave(model, Behaviour())
    assert "on purpose" in str(caught.value)
    headers = caught.value.response.headers
    assert headers["x-canary-arm"] == arm
    assert headers.get("retry-after") == ("2" if status in (429, 503) else None)
    assert headers.get("x-canary-served-by") == ("baseline" if arm == "candidate" else None)


def test_errors_of_the_provider_are_the_other_sdks_own(stage: Stage) -> None:
    with (
        anthropic.Anthropic(base_url=stage.server.traffic, api_key="wrong", max_retries=0) as sdk,
        pytest.raises(anthropic.AuthenticationError) as unknown,
    ):
        sdk.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=ASK)
    assert unknown.value.response.headers["request-id"]
    with anthropic_sdk(stage.server.traffic) as sdk, pytest.raises(anthropic.BadRequestError):
        sdk.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=[])
    stage.provider.behave("gemini-2.5-flash", Behaviour(faults={"status": 1.0}, status=429))
    user = user_of(stage, "gemini", "baseline")
    with gemini_sdk(stage.server.traffic, user) as sdk, pytest.raises(genai_errors.ClientError) as limited:
        sdk.models.generate_content(model="gemini-2.5-flash", contents="hello")
    stage.provider.behave("gemini-2.5-flash", Behaviour())
    assert limited.value.code == 429


def test_a_named_provider_entry_is_reached_by_its_name(stage: Stage) -> None:
    user = user_of(stage, "chat", "candidate")
    headers = {"authorization": "Bearer sk-caller"}
    url = f"{stage.server.traffic}/openai/v1/chat/completions"
    answer = httpx2.post(url, json=chat("gpt-4o", user), headers=headers)
    assert (answer.status_code, answer.headers["x-canary-arm"]) == (200, "candidate")
    assert stage.provider.log.entries[-1].target == "/v1/chat/completions"
