"""Gemini's interactions by the real google-genai SDK, through `canary serve`, in every arm and form."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from google import genai
from google.genai import types as genai_types

from demo.provider.behaviour import AnswerFault, Behaviour
from demo.provider.server import LocalProvider
from records.captures.capture import CapturedMessage
from records.store import Store
from records.store.captures import CaptureStore
from routing.canary import ArmName
from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

pytestmark = pytest.mark.more  # one more API

OLD, NEW = "gemini-2.5-flash", "gemini-2.5-pro"
CONFIG = """
providers:
  gemini: {{api: gemini, base_url: "{url}"}}
  elsewhere: {{api: gemini, base_url: "{elsewhere}", api_key: gk-elsewhere}}
canaries:
  - name: interactions
    match: {{models: [gemini-2.5-flash]}}
    baseline: {{provider: gemini, model: gemini-2.5-flash}}
    candidate: {{provider: gemini, model: gemini-2.5-pro}}
    share: 50%
    guardrails: []
    capture: {{rate: 100%}}
  - name: moved
    match: {{models: [gemini-2.0-flash]}}
    baseline: {{provider: gemini, model: gemini-2.0-flash}}
    candidate: {{provider: elsewhere, model: gemini-3-flash}}
    share: 50%
    guardrails: []
"""
MODELS: dict[ArmName, str] = {"baseline": OLD, "candidate": NEW}
ARMS: tuple[ArmName, ...] = ("baseline", "candidate")
ASK = "Where is my refund? Zürich 🙂"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOL: Any = {"type": "function", "name": "weather", "parameters": WEATHER}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    calm = Behaviour(words=20, reasoning_tokens=5)
    names: list[str] = [OLD, NEW, "gemini-2.0-flash", "gemini-3-flash", "deep-research"]
    models = dict.fromkeys(names, calm)
    with on_stage(tmp_path_factory.mktemp("interactions"), CONFIG, provider=LocalProvider(models)) as up:
        yield up


@pytest.fixture(autouse=True)
def fresh(stage: Stage) -> None:
    stage.provider.log.clear()
    for model in MODELS.values():
        stage.provider.behave(model, Behaviour(words=20, reasoning_tokens=5))


def sdk(stage: Stage, user: str, version: str = "v1beta") -> genai.Client:
    options = genai_types.HttpOptions(
        base_url=stage.server.traffic,
        api_version=version,
        headers={"x-canary-unit": user, "x-canary-category": user},
    )
    return genai.Client(api_key="gk-caller", http_options=options)


def create(stage: Stage, user: str, *, version: str = "v1beta", model: str = OLD, **members: Any) -> Any:
    """An interaction, or the events of one that is streamed."""
    with sdk(stage, user, version) as client:
        if "agent" not in members:
            members["model"] = model
        answer = client.interactions.create(input=ASK, **members)
        return list(answer) if members.get("stream") else answer


def new_user(stage: Stage, arm: ArmName, test: str, canary: str = "interactions") -> str:
    return next(stage.users(arm, canary, 0.5, prefix=f"{test}-{arm}"))


def recorded(stage: Stage, user: str, *, number: int = 1) -> list[dict[str, Any]]:
    """The user's outcomes, once that many are stored."""

    def stored() -> list[dict[str, Any]]:
        found = [row for row in stage.outcomes() if row["category"] == user]
        return found if len(found) >= number else []

    found = eventually(stored)
    assert len(found) == number
    return found


def only(stage: Stage, user: str) -> dict[str, Any]:
    (row,) = recorded(stage, user)
    return row


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_a_whole_interaction_differs_by_its_model_alone(stage: Stage, arm: ArmName, version: str) -> None:
    user = new_user(stage, arm, f"whole-{version}")
    answer = create(stage, user, version=version, system_instruction="Be brief.")
    (sent,) = stage.provider.log.entries
    assert json.loads(sent.body)["model"] == MODELS[arm]
    assert sent.target == f"/{version}/interactions"
    assert (answer.model, answer.status, len(str(answer.output_text).split())) == (
        MODELS[arm],
        "completed",
        20,
    )
    row = only(stage, user)
    assert (row["canary"], row["arm"], row["reason"], row["outcome"]) == ("interactions", arm, "cohort", "ok")
    assert (row["operation"], row["stream"], row["finish"], row["model"]) == (
        "generate_content",
        0,
        "stop",
        MODELS[arm],
    )
    assert answer.usage is not None
    assert row["input_tokens"] == answer.usage.total_input_tokens
    assert (row["output_tokens"], row["reasoning_tokens"]) == (25, 5)
    assert row["cost_usd"] > 0


@pytest.mark.parametrize("arm", ARMS)
def test_a_stream_has_its_first_token_its_usage_and_its_finish(stage: Stage, arm: ArmName) -> None:
    user = new_user(stage, arm, "stream")
    events = create(stage, user, stream=True)
    assert events[-1].event_type == "interaction.completed"
    row = only(stage, user)
    assert (row["arm"], row["outcome"], row["stream"], row["finish"]) == (arm, "ok", 1, "stop")
    assert (row["output_tokens"], row["reasoning_tokens"]) == (25, 5)
    assert row["ttft_s"] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_sdk_hears_is_what_is_captured(stage: Stage, stream: bool) -> None:
    user = new_user(stage, "candidate", f"captured-{stream}")
    answer = create(stage, user, system_instruction="Be brief.", store=False, stream=stream)
    heard = _text(answer) if stream else answer.output_text
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        (found,) = eventually(lambda: list(CaptureStore(store).read("interactions", category=user)))
    assert found.messages == (CapturedMessage("system", "Be brief."), CapturedMessage("user", ASK))
    assert found.answer == heard
    assert len(heard) > 20


def _text(events: list[Any]) -> str:
    deltas = [event.delta for event in events if event.event_type == "step.delta"]
    return "".join(delta.text for delta in deltas if delta.type == "text")


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_is_called_and_its_arguments_are_judged(stage: Stage, stream: bool) -> None:
    meets: list[dict[AnswerFault, float]] = [{}, {"tool_args_off_schema": 1.0}, {"tool_unknown": 1.0}]
    for faults in meets:
        stage.provider.behave(NEW, Behaviour(answer_faults=faults))
        user = new_user(stage, "candidate", f"tool-{stream}-{''.join(faults)}")
        answer = create(stage, user, tools=[TOOL], stream=stream)
        if not stream:
            assert answer.status == "requires_action"
            assert [step.type for step in answer.steps or ()] == ["function_call"]
        row = only(stage, user)
        assert (row["finish"], row["output_check"]) == ("tool_calls", "judged")
        assert row["faults"] == "".join(faults)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "finish", "faults"),
    [
        ("cut_off", "length", "cut_off,json_invalid"),
        ("empty", "stop", "empty,json_invalid"),
        ("refused", "content_filter", "refused"),
        ("json_off_schema", "stop", "json_off_schema"),
    ],
)
def test_answer_faults_are_seen_though_the_status_is_200(
    stage: Stage, stream: bool, fault: Any, finish: str, faults: str
) -> None:
    stage.provider.behave(NEW, Behaviour(answer_faults={fault: 1.0}))
    user = new_user(stage, "candidate", f"{fault}-{stream}")
    wanted: Any = {"type": "text", "mime_type": "application/json", "schema": WEATHER}
    create(stage, user, response_format=wanted, stream=stream)
    row = only(stage, user)
    assert (row["outcome"], row["finish"], row["faults"]) == ("ok", finish, faults)


def test_a_stream_that_fails_midway_is_the_providers_failure(stage: Stage) -> None:
    stage.provider.behave(OLD, Behaviour(faults={"stream_error": 1.0}, after_events=5))
    user = new_user(stage, "baseline", "stream-error")
    events = create(stage, user, stream=True)
    assert events[-1].event_type == "error"
    row = only(stage, user)
    assert (row["outcome"], row["error_type"]) == ("error", "provider_stream_error")
    assert row["provider_error_message"] == "The model is overloaded."


def test_the_baseline_answers_where_the_candidate_refuses(stage: Stage) -> None:
    stage.provider.behave(NEW, Behaviour(rejects=("temperature",)))
    user = new_user(stage, "candidate", "refuses")
    config: Any = {"temperature": 0.5}
    answer = create(stage, user, generation_config=config)
    assert answer.model == OLD
    row = only(stage, user)
    assert (row["outcome"], row["error_type"]) == ("fallback", "candidate_rejects")


@pytest.mark.parametrize("stream", [False, True])
def test_an_interaction_in_hops_is_one_exchange_a_hop_each_with_its_own_usage(
    stage: Stage, stream: bool
) -> None:
    stage.provider.behave(NEW, Behaviour(words=20, hop_words=8))
    user = new_user(stage, "candidate", f"hops-{stream}")
    answer = create(stage, user, stream=stream)
    if not stream:
        assert answer.status == "completed"
        assert len(str(answer.output_text).split()) == 20
    rows = recorded(stage, user, number=3)
    assert [(row["arm"], row["finish"]) for row in rows] == [
        ("candidate", "other"),
        ("candidate", "other"),
        ("candidate", "stop"),
    ]
    assert sum(row["output_tokens"] for row in rows) == 20


def test_an_agent_has_no_canary(stage: Stage) -> None:
    user = new_user(stage, "candidate", "agent")
    answer = create(stage, user, agent="deep-research")
    assert answer.status == "completed"
    row = only(stage, user)
    assert (row["canary"], row["outcome"]) == ("", "ok")


def test_stored_interactions_are_fetched_and_deleted_untouched(stage: Stage) -> None:
    user = new_user(stage, "candidate", "stored")
    with sdk(stage, user) as client:
        made: Any = client.interactions.create(model=OLD, input=ASK)
        fetched: Any = client.interactions.get(made.id)
        assert fetched.output_text == made.output_text
        client.interactions.delete(made.id)
    rows = recorded(stage, user, number=3)
    assert [row["canary"] for row in rows] == ["interactions", "", ""]


def test_state_that_one_entry_alone_has_or_would_have_stays_with_the_baseline(stage: Stage) -> None:
    user = new_user(stage, "candidate", "state", "moved")
    made = create(stage, user, model="gemini-2.0-flash")
    create(stage, user, model="gemini-2.0-flash", previous_interaction_id=made.id, store=False)
    create(stage, user, model="gemini-2.0-flash", store=False)
    rows = recorded(stage, user, number=3)
    assert [(row["arm"], row["reason"]) for row in rows] == [
        ("baseline", "stateful"),
        ("baseline", "stateful"),
        ("candidate", "cohort"),
    ]
    keys = [dict(entry.headers)["x-goog-api-key"] for entry in stage.provider.log.entries]
    assert keys == ["gk-caller", "gk-caller", "gk-elsewhere"]
