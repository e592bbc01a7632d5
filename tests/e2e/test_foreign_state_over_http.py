"""Conversations begun by a candidate that is then rolled back or promoted, over HTTP and by the SDKs."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import types as genai_types

from demo.provider.behaviour import Behaviour, Fault
from demo.provider.server import LocalProvider
from routing.canary import ArmName
from tests.e2e.conversations import Conversation, Form
from tests.e2e.stage import Stage, on_stage
from tests.effort import in_more
from tests.serving import WAIT_S, eventually

PROVIDERS = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: sk-baseline}}
  openai-2: {{api: openai, base_url: "{url}/v1", api_key: sk-candidate}}
  anthropic: {{api: anthropic, base_url: "{url}", api_key: sk-ant-baseline}}
  anthropic-2: {{api: anthropic, base_url: "{url}", api_key: sk-ant-candidate}}
  gemini: {{api: gemini, base_url: "{url}", api_key: g-baseline}}
  gemini-2: {{api: gemini, base_url: "{url}", api_key: g-candidate}}
canaries:
"""
CANARY = """
  - name: NAME
    match: {{models: [NAME]}}
    baseline: {{provider: API, model: NAME-old}}
    candidate: {{provider: API-2, model: NAME-new}}
    share: 50%
    settle: 0s
    guardrails: [RULES]
"""
COST = """
  - name: cost
    match: {{models: [cost]}}
    baseline: {{provider: openai, model: gpt-4o-mini}}
    candidate: {{provider: openai-2, model: gpt-4o}}
    share: 50%
    settle: 0s
    guardrails: [{{rule: cost_per_request, limit: 2x, window: 30m, minimum: 3}}]
"""


def canary(name: str, api: str = "openai", rules: str = "") -> str:
    return CANARY.replace("NAME", name).replace("API", api).replace("RULES", rules)


CONFIG = "".join(
    (
        PROVIDERS,
        canary("person"),
        canary("errors", rules="{{rule: error_rate}}"),
        COST,
        canary("uncovered") + "    on_candidate_failure: error\n",
        canary("promoted"),
        canary("lost"),
        canary("failing"),
        canary("failing-anthropic", "anthropic"),
        canary("failing-gemini", "gemini"),
        canary("by-openai"),
        canary("compacted"),
        canary("by-anthropic", "anthropic"),
        canary("by-gemini", "gemini"),
    )
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    provider = LocalProvider(other=Behaviour(words=6, reasoning_tokens=5))
    with on_stage(tmp_path_factory.mktemp("state"), CONFIG, provider=provider, workers=2) as up:
        yield up


def ask(stage: Stage, conversation: Conversation) -> httpx2.Response:
    """The conversation's next turn."""
    with httpx2.Client(base_url=stage.server.traffic, trust_env=False, timeout=WAIT_S) as http:
        return conversation.turn(http)


def begun(stage: Stage, name: str, arm: ArmName = "candidate", *, stream: bool = False) -> Conversation:
    """A conversation with one answer, by this arm."""
    conversation = Conversation("reasoning", next(stage.users(arm, name, 0.5)), stream=stream, model=name)
    first = ask(stage, conversation)
    assert (first.status_code, first.headers["x-canary-arm"]) == (200, arm)
    return conversation


def order(stage: Stage, name: str, what: str, *more: str) -> None:
    """One order at the command line, followed by both workers."""
    assert stage.canary(what, name, "--reason", "a test", *more).returncode == 0
    followed(stage)


def followed(stage: Stage) -> None:
    eventually(
        lambda: stage.api("GET", "/api/status").json()["workers"] == {"alive": 2, "confirmed": 2} or None
    )


def until_rolled_back(stage: Stage, name: str) -> None:
    """New users of both arms ask until a rule rolls back."""
    baselines = stage.users("baseline", name, 0.5, "crowd")
    with httpx2.Client(base_url=stage.server.traffic, trust_env=False, timeout=WAIT_S) as http:
        for user in stage.users("candidate", name, 0.5, "crowd"):
            for each in (user, next(baselines)):
                Conversation("reasoning", each, model=name).turn(http)
            if stage.status(name)["state"] == "rolled_back":
                break
    followed(stage)


def goes_on_at(answer: httpx2.Response, arm: str, *, assigned: str) -> None:
    """The other arm answered, and says so."""
    assert answer.status_code == 200, answer.text
    told = answer.headers
    assert (told["x-canary-arm"], told["x-canary-served-by"]) == (assigned, arm)


def is_refused(answer: httpx2.Response) -> None:
    """The baseline's own refusal."""
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_encrypted_content")
    assert answer.headers["x-canary-arm"] == "baseline"
    assert "x-canary-served-by" not in answer.headers


@pytest.mark.parametrize("stream", [pytest.param(False, marks=pytest.mark.more), True])
def test_after_a_persons_rollback_the_candidate_goes_on_until_it_is_made_hard_whatever_restarts(
    stage: Stage, stream: bool
) -> None:
    conversation = begun(stage, "person", stream=stream)
    order(stage, "person", "rollback")
    answer = ask(stage, conversation)
    goes_on_at(answer, "candidate", assigned="baseline")
    row = stage.outcome(answer.headers["x-canary-exchange"])
    assert (row["outcome"], row["reason"], row["arm"], row["served_by"]) == (
        "ok",
        "foreign_state",
        "baseline",
        "candidate",
    )
    assert row["model"] == "person-new"
    assert not stage.status("person")["hard"]
    eventually(
        lambda: stage.status("person")["arms"]["baseline"]["foreign_state"]
    )  # counted after it is stored
    assert stage.status("person")["arms"]["baseline"]["errors"] == 0
    counted = 'canary_assignments_total{arm="baseline",canary="person",reason="foreign_state"}'
    eventually(lambda: counted in stage.api("GET", "/metrics").text)

    stage.restart()
    followed(stage)
    goes_on_at(ask(stage, conversation), "candidate", assigned="baseline")
    order(stage, "person", "rollback", "--hard")
    assert stage.status("person")["hard"]
    is_refused(ask(stage, conversation))
    stage.restart()
    followed(stage)
    conversation.history.pop()  # the app did not keep the refused question
    is_refused(ask(stage, conversation))
    order(stage, "person", "resume")  # the candidate answers its users again
    assert not stage.status("person")["hard"]


def test_a_new_conversation_never_reaches_a_candidate_that_was_rolled_back(stage: Stage) -> None:
    order(stage, "lost", "rollback")
    stage.provider.log.clear()
    user = next(stage.users("candidate", "lost", 0.5))
    conversation = Conversation("reasoning", user, model="lost")
    assert [ask(stage, conversation).status_code for _ in range(3)] == [200] * 3
    assert {entry.model for entry in stage.provider.log.entries} == {"lost-old"}
    stranger = Conversation("reasoning", next(stage.users("baseline", "lost", 0.5)), model="lost")
    stranger.history.append({"type": "reasoning", "id": "rs_x", "summary": [], "encrypted_content": "gAAA"})
    is_refused(ask(stage, stranger))
    assert {entry.model for entry in stage.provider.log.entries} == {"lost-old"}


def test_after_a_rollback_for_errors_the_candidate_is_never_asked(stage: Stage) -> None:
    conversation = begun(stage, "errors")
    stage.provider.behave("errors-new", Behaviour(faults={"status": 0.5}))
    until_rolled_back(stage, "errors")
    stage.provider.behave("errors-new", Behaviour(words=6, reasoning_tokens=5))
    stage.provider.log.clear()
    assert stage.status("errors")["hard"]
    is_refused(ask(stage, conversation))
    assert {entry.model for entry in stage.provider.log.entries} == {"errors-old"}


def test_after_a_rollback_for_cost_the_candidate_goes_on_with_what_it_began(stage: Stage) -> None:
    conversation = begun(stage, "cost")
    until_rolled_back(stage, "cost")
    assert not stage.status("cost")["hard"]
    goes_on_at(ask(stage, conversation), "candidate", assigned="baseline")


@pytest.mark.parametrize("stream", [in_more(False), True])
def test_without_a_fallback_the_baseline_is_asked_all_the_same(stage: Stage, stream: bool) -> None:
    conversation = begun(stage, "uncovered", "baseline", stream=stream)
    order(stage, "uncovered", "promote", "--against-verdict")
    answer = ask(stage, conversation)
    goes_on_at(answer, "baseline", assigned="candidate")
    row = stage.outcome(answer.headers["x-canary-exchange"])
    assert (row["outcome"], row["error_type"], row["reason"]) == ("ok", None, "foreign_state")
    order(stage, "uncovered", "rollback")
    order(stage, "uncovered", "resume")


CANDIDATE = Behaviour(words=6, reasoning_tokens=5)
FAILING: Mapping[Form, str] = {
    "reasoning": "failing",
    "thinking": "failing-anthropic",
    "thoughts": "failing-gemini",
}


@pytest.mark.parametrize("form", FAILING)
@pytest.mark.parametrize("stream", [in_more(False), True])
@pytest.mark.parametrize(
    "fault, status, error",
    [
        ("status", 503, "provider_5xx"),
        ("throttled", 429, "provider_throttled"),
        ("reset", 502, "provider_reset"),
    ],
)
def test_a_failure_that_the_baseline_cannot_cover_is_the_candidates_own_and_may_be_tried_again(
    stage: Stage, form: Form, stream: bool, fault: Fault, status: int, error: str
) -> None:
    name = FAILING[form]
    user = next(stage.users("candidate", name, 0.5, f"{fault}-{stream}"))
    conversation = Conversation(form, user, stream=stream, model=name)
    assert ask(stage, conversation).headers["x-canary-arm"] == "candidate"
    stage.provider.behave(f"{name}-new", Behaviour(faults={fault: 1.0}, status=503))
    try:
        answer = ask(stage, conversation)
    finally:
        stage.provider.behave(f"{name}-new", CANDIDATE)
    assert (answer.status_code, answer.headers["x-canary-arm"]) == (status, "candidate"), answer.text
    assert "x-canary-served-by" not in answer.headers
    assert "signature" not in answer.text and "encrypted" not in answer.text
    row = stage.outcome(answer.headers["x-canary-exchange"])
    assert (row["outcome"], row["error_type"], row["served_by"]) == ("error", error, "candidate")

    conversation.history.pop()  # an agent sends the request again
    answer = ask(stage, conversation)
    assert (answer.status_code, answer.headers["x-canary-arm"]) == (200, "candidate"), answer.text
    assert "x-canary-served-by" not in answer.headers


def test_an_open_breaker_leaves_a_conversation_of_the_candidates_with_an_error_to_be_tried_again(
    stage: Stage,
) -> None:
    name = "failing"
    conversation = begun(stage, name)
    stage.provider.behave(f"{name}-new", Behaviour(faults={"status": 1.0}, status=503))
    try:
        for user in islice(stage.users("candidate", name, 0.5, "crowd"), 24):
            assert ask(stage, Conversation("reasoning", user, model=name)).status_code == 200
        answers = [ask(stage, conversation) for _ in range(3)]
    finally:
        stage.provider.behave(f"{name}-new", CANDIDATE)
    assert {answer.status_code for answer in answers} == {503}
    by_canary = next(answer for answer in answers if "retry-after" in answer.headers)
    assert "try again" in by_canary.json()["error"]["message"]
    row = stage.outcome(by_canary.headers["x-canary-exchange"])
    assert (row["outcome"], row["error_type"]) == ("error", "breaker_open")


def test_stored_responses_are_the_baselines_until_promotion_and_then_each_arms_own(stage: Stage) -> None:
    user = next(stage.users("candidate", "promoted", 0.5))
    early = Conversation("stored", user, model="promoted")
    first = ask(stage, early)
    assert stage.outcome(first.headers["x-canary-exchange"])["reason"] == "stateful"
    assert first.headers["x-canary-arm"] == "baseline"
    order(stage, "promoted", "promote", "--against-verdict")
    late = Conversation("stored", user, model="promoted")
    for _ in range(2):
        assert ask(stage, late).headers["x-canary-arm"] == "candidate"
    assert "x-canary-served-by" not in late.answers[-1].headers
    goes_on_at(ask(stage, early), "baseline", assigned="candidate")
    order(stage, "promoted", "rollback")
    goes_on_at(ask(stage, late), "candidate", assigned="baseline")
    assert "x-canary-served-by" not in ask(stage, early).headers


# The real SDKs.


@pytest.mark.parametrize("stream", [in_more(False), True])
def test_openais_sdk_goes_on_with_its_reasoning_items(stage: Stage, stream: bool) -> None:
    wants: dict[str, Any] = {"model": "by-openai", "store": False, "include": ["reasoning.encrypted_content"]}
    user = next(stage.users("candidate", "by-openai", 0.5))
    wants["extra_headers"] = {"x-canary-unit": user}
    said: list[Any] = []
    with openai.OpenAI(base_url=f"{stage.server.traffic}/v1", api_key="sk-x", max_retries=0) as sdk:

        def turn(text: str) -> str:
            said.append({"role": "user", "content": text})
            if stream:
                with sdk.responses.stream(input=said, **wants) as events:
                    events.until_done()
                    response = events.get_final_response()
            else:
                response = sdk.responses.create(input=said, **wants)
            said.extend(item.model_dump(exclude_none=True) for item in response.output)
            return response.model

        assert turn("hello") == "by-openai-new"
        order(stage, "by-openai", "rollback")
        assert [turn("and then?"), turn("and then?")] == ["by-openai-new"] * 2
        order(stage, "by-openai", "resume")


def test_what_openais_sdk_asks_of_a_conversation_between_its_turns_goes_to_the_arm_that_has_it(
    stage: Stage,
) -> None:
    models: Mapping[ArmName, str] = {"candidate": "compacted-new", "baseline": "compacted-old"}
    for arm, model in models.items():
        wants: dict[str, Any] = {
            "model": "compacted",
            "extra_headers": {"x-canary-unit": next(stage.users(arm, "compacted", 0.5))},
        }
        said: list[Any] = [{"role": "user", "content": "hello"}]
        with openai.OpenAI(base_url=f"{stage.server.traffic}/v1", api_key="sk-x", max_retries=0) as sdk:
            turn = partial(sdk.responses.create, store=False, include=["reasoning.encrypted_content"])
            for item in turn(input=said, **wants).output:
                said.append(item.model_dump(exclude_none=True))
            stage.provider.log.clear()
            counted = sdk.responses.input_tokens.with_raw_response.count(input=said, **wants)
            assert counted.parse().input_tokens > 0
            row = stage.outcome(counted.headers["x-canary-exchange"])
            assert (row["operation"], row["arm"], row["cost_usd"]) == ("count_tokens", arm, 0.0)
            compacted = sdk.responses.compact(input=said, **wants)
            said = [item.model_dump(exclude_none=True) for item in compacted.output]
            assert [item["type"] for item in said] == ["compaction"]
            said.append({"role": "user", "content": "and then?"})
            assert turn(input=said, **wants).status == "completed"
        asked = [(entry.target.rpartition("/")[2], entry.model) for entry in stage.provider.log.entries]
        assert asked == [("input_tokens", model), ("compact", model), ("responses", model)]


@pytest.mark.parametrize("stream", [in_more(False), True])
def test_anthropics_sdk_goes_on_with_its_signed_thinking(stage: Stage, stream: bool) -> None:
    user = next(stage.users("candidate", "by-anthropic", 0.5))
    asks: dict[str, Any] = {
        "model": "by-anthropic",
        "max_tokens": 99,
        "extra_headers": {"x-canary-unit": user},
    }
    said: list[Any] = []
    with anthropic.Anthropic(base_url=stage.server.traffic, api_key="ak-x", max_retries=0) as sdk:

        def turn(text: str) -> str:
            said.append({"role": "user", "content": text})
            if stream:
                with sdk.messages.stream(messages=said, **asks) as parts:
                    message = parts.get_final_message()
            else:
                message = sdk.messages.create(messages=said, **asks)
            said.append({"role": "assistant", "content": message.content})
            return message.model

        assert turn("hello") == "by-anthropic-new"
        order(stage, "by-anthropic", "rollback")
        assert [turn("and then?"), turn("and then?")] == ["by-anthropic-new"] * 2
        order(stage, "by-anthropic", "resume")


@pytest.mark.parametrize("stream", [in_more(False), True])
def test_googles_sdk_goes_on_with_its_thought_signatures(stage: Stage, stream: bool) -> None:
    user = next(stage.users("candidate", "by-gemini", 0.5))
    options = genai_types.HttpOptions(base_url=stage.server.traffic, headers={"x-canary-unit": user})
    with genai.Client(api_key="g-x", http_options=options) as sdk:
        chat = sdk.chats.create(model="by-gemini")

        def turn(text: str) -> str | None:
            if stream:
                return list(chat.send_message_stream(text))[-1].model_version
            return chat.send_message(text).model_version

        assert turn("hello") == "by-gemini-new"
        order(stage, "by-gemini", "rollback")
        assert [turn("and then?"), turn("and then?")] == ["by-gemini-new"] * 2
        order(stage, "by-gemini", "resume")
