"""Bedrock's real SDKs with one change, the endpoint: what reaches a local Bedrock, and what is recorded.

The SDKs sign with keys that the local Bedrock does not know, so only canary's own credential opens it.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import anthropic
import boto3
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from genai_prices import Usage, calc_price

from records.captures.capture import CapturedMessage
from records.store import Store
from records.store.captures import CaptureStore
from routing.canary import ArmName
from tests.e2e.stage import Stage, on_stage
from tests.servers.aws_issuers import NOWHERE
from tests.servers.bedrock import ACCESS_KEY, BEARER_KEY, SECRET_KEY, LocalBedrock
from tests.servers.bedrock_answers import INPUT, OUTPUT, READ, Behaviour, says
from tests.serving import eventually

pytestmark = pytest.mark.more
CONFIG = """
providers:
  anthropic: {{{{api: anthropic, base_url: "{{url}}"}}}}
  aws-eu: {{{{api: anthropic, kind: bedrock, base_url: "{eu}", region: eu-west-1}}}}
  aws-us: {{{{api: anthropic, kind: bedrock, base_url: "{us}", region: us-east-1, auth: aws}}}}
  aws-chat: {{{{api: openai, kind: bedrock, base_url: "{us}", region: us-east-1, api_key: {key}}}}}
canaries:
  - name: regions
    match: {{{{models: ["{baseline}"]}}}}
    baseline: {{{{provider: aws-eu, model: "{baseline}"}}}}
    candidate: {{{{provider: aws-us, model: "{candidate}"}}}}
    share: 50%
    guardrails: []
    capture: {{{{rate: 100%}}}}
  - name: chat
    match: {{{{models: [gpt-old]}}}}
    baseline: {{{{provider: aws-chat, model: gpt-old}}}}
    candidate: {{{{provider: aws-chat, model: gpt-new}}}}
    share: 50%
    guardrails: []
  - name: move
    match: {{{{models: [claude-sonnet-4-6]}}}}
    baseline: {{{{provider: anthropic, model: claude-sonnet-4-6}}}}
    candidate: {{{{provider: aws-us, model: "{candidate}"}}}}
    share: 50%
    guardrails: []
"""
KEYS = {**NOWHERE, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
BASELINE = "anthropic.claude-3-haiku-20240307-v1:0"
CANDIDATE = "us.anthropic.claude-3-5-haiku-20241022-v1:0"
MODELS: dict[ArmName, str] = {"baseline": BASELINE, "candidate": CANDIDATE}
ASKED: Any = [{"role": "user", "content": [{"text": "Who are you?"}]}]
QUESTION: Any = [{"role": "user", "content": "Who are you?"}]
BODY = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": QUESTION}
TOOLS: Any = {
    "tools": [
        {
            "toolSpec": {
                "name": "weather",
                "inputSchema": {"json": {"type": "object", "properties": {"town": {"type": "string"}}}},
            }
        }
    ]
}


class Regions:
    """A local Bedrock in two regions, and canary before them."""

    def __init__(self, stage: Stage, eu: LocalBedrock, us: LocalBedrock) -> None:
        self.stage, self.eu, self.us = stage, eu, us
        self.named = ""
        self._users: dict[tuple[str, ArmName], Iterator[str]] = {}
        self.client: Any = boto3.client(
            "bedrock-runtime",
            endpoint_url=stage.server.traffic,
            region_name="eu-central-1",
            aws_access_key_id="AKIACALLER",
            aws_secret_access_key="the caller's secret",
            aws_session_token="the caller's session",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )
        self.client.meta.events.register("before-call.bedrock-runtime", self._name_the_user)

    def at(self, arm: ArmName) -> LocalBedrock:
        """The region of an arm of the canary `regions`."""
        return self.eu if arm == "baseline" else self.us

    def user(self, arm: ArmName, canary: str = "regions") -> str:
        """A new user of this arm."""
        users = self._users.setdefault((canary, arm), self.stage.users(arm, canary, 0.5))
        return next(users)

    def _name_the_user(self, params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-canary-unit"] = params["headers"]["x-canary-category"] = self.named

    def behave(self, behaviour: Behaviour, *arms: ArmName) -> None:
        for arm in arms:
            self.at(arm).behave(MODELS[arm], behaviour)

    def clear(self) -> None:
        for bedrock in (self.eu, self.us):
            for log in (bedrock.taken, bedrock.refused, bedrock.behaviours):
                log.clear()


@pytest.fixture(scope="module")
def regions_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regions]:
    with LocalBedrock("eu-west-1") as eu, LocalBedrock("us-east-1") as us:
        config = CONFIG.format(
            eu=eu.url,
            us=us.url,
            key=BEARER_KEY,
            baseline=BASELINE,
            candidate=CANDIDATE,
        )
        with on_stage(tmp_path_factory.mktemp("bedrock"), config, env=KEYS) as stage:
            yield Regions(stage, eu, us)


@pytest.fixture
def regions(regions_up: Regions) -> Iterator[Regions]:
    regions_up.clear()
    yield regions_up
    if regions_up.us.behaviours:  # keep the breaker closed
        regions_up.clear()
        for _ in range(2):
            conversed(boto(regions_up, regions_up.user("candidate")))


@pytest.fixture(params=["baseline", "candidate"])
def arm(request: pytest.FixtureRequest) -> ArmName:
    name: ArmName = request.param
    return name


def boto(regions: Regions, user: str) -> Any:
    """boto3's client, which signs with the caller's own keys. One for all, since it is slow to make."""
    regions.named = user
    return regions.client


def exchange_of(answer: Any) -> str:
    return str(answer["ResponseMetadata"]["HTTPHeaders"]["x-canary-exchange"])


def invoked(client: Any) -> tuple[str, str]:
    answer = client.invoke_model(modelId=BASELINE, body=json.dumps(BODY))
    return json.loads(answer["body"].read())["content"][0]["text"], exchange_of(answer)


def invoked_streaming(client: Any) -> tuple[str, str]:
    answer = client.invoke_model_with_response_stream(modelId=BASELINE, body=json.dumps(BODY))
    events = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]
    return "".join(event.get("delta", {}).get("text", "") for event in events), exchange_of(answer)


def conversed(client: Any) -> tuple[str, str]:
    answer = client.converse(modelId=BASELINE, messages=ASKED)
    return answer["output"]["message"]["content"][0]["text"], exchange_of(answer)


def conversed_streaming(client: Any) -> tuple[str, str]:
    answer = client.converse_stream(modelId=BASELINE, messages=ASKED)
    deltas = [
        event["contentBlockDelta"]["delta"] for event in answer["stream"] if "contentBlockDelta" in event
    ]
    return "".join(delta["text"] for delta in deltas).strip(), exchange_of(answer)


CALLS = pytest.mark.parametrize(
    ("called", "operation", "method"),
    [
        (invoked, "invoke_model", "invoke"),
        (invoked_streaming, "invoke_model", "invoke-with-response-stream"),
        (conversed, "chat", "converse"),
        (conversed_streaming, "chat", "converse-stream"),
    ],
)


@CALLS
def test_boto3_reaches_each_arm_and_its_answer_is_read(
    regions: Regions, arm: ArmName, called: Callable[[Any], tuple[str, str]], operation: str, method: str
) -> None:
    user = regions.user(arm)
    text, exchange = called(boto(regions, user))
    assert text == says(MODELS[arm])
    (request,) = regions.at(arm).taken
    quoted = MODELS[arm].replace(":", "%3A")
    assert request.target == f"/model/{quoted}/{method}"
    assert not any(name.startswith("x-canary") for name in request.headers)
    assert request.is_signed
    assert "CALLER" not in str(request.headers).upper()
    row = regions.stage.outcome(exchange)
    assert (row["outcome"], row["error_type"], row["arm"], row["model"]) == ("ok", None, arm, MODELS[arm])
    assert (row["operation"], row["stream"]) == (operation, int("stream" in method))
    counts = (row["input_tokens"], row["cached_input_tokens"], row["output_tokens"])
    assert counts == (INPUT + READ, READ, OUTPUT)
    usage = Usage(input_tokens=INPUT + READ, cache_read_tokens=READ, output_tokens=OUTPUT)
    price = calc_price(usage, MODELS[arm], provider_id="aws").total_price
    assert row["cost_usd"] == pytest.approx(float(price))
    assert row["finish"] == "stop"
    with closing(Store.open("sqlite:///canary.db", regions.stage.server.data)) as store:
        (found,) = eventually(lambda: list(CaptureStore(store).read("regions", category=user)))
    assert found.messages == (CapturedMessage("user", "Who are you?"),)
    assert found.answer.strip() == text
    assert (row["ttft_s"] is not None) == ("stream" in method)


@CALLS
@pytest.mark.parametrize(
    ("behaviour", "error_type", "kind", "message"),
    [
        ("throttled", "provider_throttled", "ThrottlingException", "Too many requests, please wait"),
        ("model_error", "provider_5xx", "ModelErrorException", "The model failed."),
        ("throttled_in_stream", "provider_throttled", "throttlingException", "Too many tokens, please"),
    ],
)
def test_the_baseline_answers_for_a_candidate_that_fails(
    regions: Regions,
    called: Callable[[Any], tuple[str, str]],
    operation: str,
    method: str,
    behaviour: Behaviour,
    error_type: str,
    kind: str,
    message: str,
) -> None:
    if behaviour == "throttled_in_stream" and "stream" not in method:
        behaviour, kind, message = "throttled", "ThrottlingException", "Too many"
    regions.behave(behaviour, "candidate")
    text, exchange = called(boto(regions, regions.user("candidate")))
    assert text == says(BASELINE)
    row = regions.stage.outcome(exchange)
    assert (row["outcome"], row["error_type"], row["served_by"]) == ("fallback", error_type, "baseline")
    assert row["provider_error_type"] == kind
    assert row["provider_error_message"].startswith(message)


def test_a_stream_that_breaks_after_its_first_event_breaks_for_the_caller(regions: Regions) -> None:
    regions.behave("fails_in_stream", "baseline")
    answer = boto(regions, regions.user("baseline")).converse_stream(modelId=BASELINE, messages=ASKED)
    with (
        closing(answer["stream"]) as stream,
        pytest.raises(EventStreamError, match="modelStreamErrorException"),
    ):
        list(stream)
    row = regions.stage.outcome(exchange_of(answer))
    assert (row["outcome"], row["error_type"]) == ("error", "provider_stream_error")
    assert row["provider_error_message"] == "it broke"


@pytest.mark.parametrize(
    ("behaviour", "finish", "faults"),
    [
        ("empty", "stop", "empty"),
        ("intervened", "content_filter", "refused"),
        ("cut", "length", "cut_off"),
        ("tool", "tool_calls", "tool_args_off_schema"),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_what_is_wrong_with_an_answer_is_seen(
    regions: Regions, behaviour: Behaviour, finish: str, faults: str, streams: bool
) -> None:
    regions.behave(behaviour, "candidate")
    client = boto(regions, regions.user("candidate"))
    answer: Any
    if streams:
        answer = client.converse_stream(modelId=BASELINE, messages=ASKED, toolConfig=TOOLS)
        assert list(answer["stream"])
    else:
        answer = client.converse(modelId=BASELINE, messages=ASKED, toolConfig=TOOLS)
    row = regions.stage.outcome(exchange_of(answer))
    assert (row["outcome"], row["finish"], row["faults"]) == ("ok", finish, faults)


@pytest.mark.parametrize("called", [invoked, invoked_streaming])
def test_of_another_models_form_bedrocks_own_counts_are_taken(regions: Regions, called: Any) -> None:
    regions.behave("llama", "candidate")
    client = boto(regions, regions.user("candidate"))
    answer: Any
    if called is invoked:
        answer = client.invoke_model(modelId=BASELINE, body=json.dumps({"prompt": "Hi"}))
    else:
        answer = client.invoke_model_with_response_stream(modelId=BASELINE, body=json.dumps({"prompt": "Hi"}))
        assert list(answer["body"])
    row = regions.stage.outcome(exchange_of(answer))
    assert (row["outcome"], row["input_tokens"], row["output_tokens"]) == ("ok", INPUT + READ, OUTPUT)
    assert row["finish"] == "unknown"


def test_an_error_of_the_baseline_reaches_boto3_as_it_is(regions: Regions) -> None:
    regions.behave("throttled", "baseline")
    with pytest.raises(ClientError) as caught:
        conversed(boto(regions, regions.user("baseline")))
    error = caught.value.response
    assert error["Error"]["Code"] == "ThrottlingException"
    row = regions.stage.outcome(exchange_of(error))
    assert (row["outcome"], row["error_type"]) == ("error", "provider_throttled")


def test_other_operations_pass_through(regions: Regions) -> None:
    client = boto(regions, regions.user("baseline"))
    answer = client.apply_guardrail(
        guardrailIdentifier="g", guardrailVersion="1", source="INPUT", content=[{"text": {"text": "Hi"}}]
    )
    assert answer["action"] == "NONE"
    assert [request.target for request in regions.eu.taken] == ["/guardrail/g/version/1/apply"]


@pytest.mark.parametrize("streams", [False, True])
def test_anthropic_bedrock_reaches_each_arm(regions: Regions, arm: ArmName, streams: bool) -> None:
    client = anthropic.AnthropicBedrock(
        aws_access_key="AKIACALLER",
        aws_secret_key="the caller's secret",
        aws_region="eu-central-1",
        base_url=regions.stage.server.traffic,
        max_retries=0,
        default_headers={"x-canary-unit": regions.user(arm)},
    )
    assert asked(client, BASELINE, streams) == says(MODELS[arm])
    (request,) = regions.at(arm).taken
    method = "invoke-with-response-stream" if streams else "invoke"
    assert request.target == f"/model/{MODELS[arm]}/{method}"
    assert request.members["anthropic_version"] == "2026-10-21"


@pytest.mark.parametrize("streams", [False, True])
def test_the_newer_client_reaches_each_arm(regions: Regions, arm: ArmName, streams: bool) -> None:
    client = anthropic.AnthropicBedrockMantle(
        aws_access_key="AKIACALLER",
        aws_secret_key="the caller's secret",
        aws_region="eu-central-1",
        base_url=f"{regions.stage.server.traffic}/aws-eu/anthropic",
        max_retries=0,
        default_headers={"x-canary-unit": regions.user(arm)},
    )
    assert asked(client, BASELINE, streams) == says(MODELS[arm])
    (request,) = regions.at(arm).taken
    assert request.target == "/anthropic/v1/messages"
    assert request.members["model"] == MODELS[arm]


@pytest.mark.parametrize("streams", [False, True])
def test_an_app_of_plain_anthropic_reaches_a_candidate_on_bedrock(regions: Regions, streams: bool) -> None:
    client = anthropic.Anthropic(
        api_key="ak-caller",
        base_url=regions.stage.server.traffic,
        max_retries=0,
        default_headers={"x-canary-unit": regions.user("candidate", "move")},
    )
    assert asked(client, "claude-sonnet-4-6", streams) == says(CANDIDATE)
    (request,) = regions.us.taken
    assert request.target == "/anthropic/v1/messages"
    assert "ak-caller" not in str(request.headers)


def asked(client: Any, model: str, streams: bool) -> str:
    """Ask by an SDK of Anthropic's; the text of the answer."""
    if streams:
        with client.messages.stream(model=model, max_tokens=50, messages=QUESTION) as stream:
            return "".join(stream.text_stream)
    answer = client.messages.create(model=model, max_tokens=50, messages=QUESTION)
    return str(answer.content[0].text)


@pytest.mark.parametrize("streams", [False, True])
def test_openais_sdk_reaches_each_arm(regions: Regions, arm: ArmName, streams: bool) -> None:
    client = openai.OpenAI(
        api_key="sk-caller",
        base_url=f"{regions.stage.server.traffic}/aws-chat/openai/v1",
        max_retries=0,
        default_headers={"x-canary-unit": regions.user(arm, "chat")},
    )
    model = "gpt-old" if arm == "baseline" else "gpt-new"
    if streams:
        raw = client.chat.completions.with_raw_response.create(
            model="gpt-old", messages=QUESTION, stream=True
        )
        chunks = list(raw.parse())
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        plain = client.chat.completions.with_raw_response.create(model="gpt-old", messages=QUESTION)
        text, raw = plain.parse().choices[0].message.content or "", plain
    assert text == says(model)
    (request,) = regions.us.taken
    assert request.target == "/openai/v1/chat/completions"
    row = regions.stage.outcome(raw.headers["x-canary-exchange"])
    assert (row["outcome"], row["input_tokens"], row["output_tokens"]) == ("ok", INPUT, OUTPUT)
