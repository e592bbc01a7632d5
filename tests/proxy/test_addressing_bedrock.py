"""URLs of Bedrock entries: which entry takes them, what they name, and how they are written elsewhere."""

from dataclasses import replace

import pytest

from proxy.calls.routes import Routes
from proxy.providers.provider import Provider
from tests.proxy.test_addressing import CLAUDE, ENTRIES, VERTEX_CLAUDE, asked, told

AWS = Provider(
    name="aws",
    api="anthropic",
    kind="bedrock",
    base_url="https://bedrock-runtime.eu-west-1.amazonaws.com",
    api_key="k",
    region="eu-west-1",
)
AWS_US = replace(AWS, name="aws-us", base_url="https://bedrock-runtime.us-east-1.amazonaws.com")
AWS_CHAT = replace(AWS, name="aws-chat", api="openai")
MANTLE = replace(AWS_CHAT, name="mantle", base_url="https://bedrock-mantle.us-east-1.api.aws")
ALL = ENTRIES | {each.name: each for each in (AWS, AWS_US, AWS_CHAT, MANTLE)}

NOVA = "/model/amazon.nova-lite-v1%3A0/converse"
BODY: dict[str, object] = {"messages": []}
CHAT: dict[str, object] = {"model": "old", "messages": []}


@pytest.mark.parametrize(
    ("method", "path", "entry", "operation", "model"),
    [
        ("POST", NOVA, "aws", "chat", "amazon.nova-lite-v1:0"),
        ("POST", "/aws-us" + NOVA, "aws-us", "chat", "amazon.nova-lite-v1:0"),
        ("POST", "/aws-chat" + NOVA, "aws-chat", "chat", "amazon.nova-lite-v1:0"),
        ("POST", "/model/m:0/invoke-with-response-stream", "aws", "invoke_model", "m:0"),
        ("POST", "/model/arn:aws:bedrock:eu:1:inference-profile/eu.m/invoke", "aws", "invoke_model",
         "arn:aws:bedrock:eu:1:inference-profile/eu.m"),
        ("POST", "/model/arn%3Aaws%3Abedrock%3Aeu%3A1%3Ainference-profile%2Feu.m/invoke", "aws",
         "invoke_model", "arn:aws:bedrock:eu:1:inference-profile/eu.m"),
        ("GET", NOVA, "aws", "other", ""),
        ("POST", "/guardrail/g/version/1/apply", "aws", "other", ""),
        ("GET", "/async-invoke", "aws", "other", ""),
        ("POST", "/aws/v1/messages", "aws", "chat", ""),
        ("POST", "/aws/anthropic/v1/messages", "aws", "chat", ""),
        ("POST", "/aws/openai/v1/chat/completions", "aws", "chat", ""),
        ("POST", "/aws-chat/openai/v1/chat/completions", "aws-chat", "chat", ""),
        ("POST", "/aws-chat/v1/chat/completions", "aws-chat", "chat", ""),
        ("POST", "/mantle/v1/responses", "mantle", "chat", ""),
        ("POST", "/aws/foundation-models", "aws", "other", ""),
    ],
)  # fmt: skip
def test_a_path_names_entry_operation_and_model(
    method: str, path: str, entry: str, operation: str, model: str
) -> None:
    route = Routes(ALL, [], ()).route(method, path, b"", {})
    assert (route.provider.name, route.operation.name, route.model) == (entry, operation, model)


def test_without_an_entry_of_its_kind_a_path_goes_where_it_went() -> None:
    named = Routes({"model": CLAUDE}, [], ()).route("POST", "/model/v1/messages", b"", {})
    assert (named.provider, named.path) == (CLAUDE, "/v1/messages")


@pytest.mark.parametrize(
    ("path", "model", "target"),
    [
        (NOVA, "eu.amazon.nova-pro-v1:0", "/model/eu.amazon.nova-pro-v1%3A0/converse"),
        ("/model/m-v1:0/invoke", "n-v2:0", "/model/n-v2:0/invoke"),
        ("/model/m/invoke", "n-v2:0", "/model/n-v2%3A0/invoke"),
        ("/model/m%3A0/converse-stream", "arn:aws:x/y", "/model/arn%3Aaws%3Ax%2Fy/converse-stream"),
        ("/model/arn:aws:x/y/invoke", "arn:aws:x/z", "/model/arn:aws:x/z/invoke"),
        ("/model/m:0/invoke", "arn:aws:x/z", "/model/arn:aws:x%2Fz/invoke"),
    ],
)
def test_an_arm_swaps_the_model_in_the_path_as_its_caller_writes_it(
    path: str, model: str, target: str
) -> None:
    request = asked(path, BODY, baseline=("aws", ""), candidate=("aws-us", model), entries=ALL)
    assert told(request) == (target, BODY)


@pytest.mark.parametrize("candidate", ["anthropic", "vertex-claude", "foundry"])
def test_bedrocks_own_operations_stay_outside_a_canary_whose_candidate_is_elsewhere(candidate: str) -> None:
    assert candidate in (CLAUDE.name, VERTEX_CLAUDE.name, "foundry")
    assert asked(NOVA, BODY, baseline=("aws", ""), candidate=(candidate, "m"), entries=ALL) is None


def test_they_go_to_a_bedrock_entry_of_any_api() -> None:
    request = asked(NOVA, BODY, baseline=("aws", ""), candidate=("aws-chat", "n"), entries=ALL)
    assert told(request)[0] == "/model/n/converse"


@pytest.mark.parametrize(
    ("path", "baseline", "candidate", "target"),
    [
        ("/v1/messages", "anthropic", "aws", "/anthropic/v1/messages"),
        ("/v1/messages/count_tokens", "anthropic", "aws", "/anthropic/v1/messages/count_tokens"),
        ("/aws/v1/messages", "aws", "aws-us", "/anthropic/v1/messages"),
        ("/aws/anthropic/v1/messages", "aws", "anthropic", "/v1/messages"),
        ("/v1/chat/completions", "openai", "aws-chat", "/openai/v1/chat/completions"),
        ("/v1/chat/completions", "openai", "mantle", "/v1/chat/completions"),
        ("/aws-chat/openai/v1/chat/completions", "aws-chat", "openai", "/chat/completions"),
        ("/aws-chat/openai/v1/chat/completions", "aws-chat", "azure", "/openai/v1/chat/completions"),
        ("/openai/deployments/old/chat/completions", "azure", "aws-chat", "/openai/v1/chat/completions"),
    ],
)
def test_plain_callers_reach_the_form_of_the_entrys_api(
    path: str, baseline: str, candidate: str, target: str
) -> None:
    request = asked(path, CHAT, baseline=(baseline, ""), candidate=(candidate, "new"), entries=ALL)
    assert told(request) == (target, {**CHAT, "model": "new"})


def test_paths_without_an_operation_pass_as_they_came() -> None:
    for path in ("/v1/models", "/openai/v1/models", "/anthropic/v1/models", "/guardrail/g/version/1/apply"):
        route = Routes(ALL, [], ()).route("GET", "/mantle" + path, b"", {})
        assert route.at(Routes(ALL, [], ()).plain(MANTLE), False).target == path.encode()


def test_a_form_that_is_not_the_entrys_own_goes_to_bedrock_only() -> None:
    path = "/aws/openai/v1/chat/completions"
    elsewhere = asked(path, CHAT, baseline=("aws", ""), candidate=("anthropic", "new"), entries=ALL)
    assert elsewhere is None
    request = asked(path, CHAT, baseline=("aws", ""), candidate=("aws-us", "new"), entries=ALL)
    assert told(request) == ("/openai/v1/chat/completions", {**CHAT, "model": "new"})
