"""Requests adapted on their way through the proxy: each API's form, both arms, copies, the fallback."""

import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from demo.provider.behaviour import Behaviour
from proxy.calls.routes import Routes
from proxy.dialects.operation import Api
from proxy.providers.arm_texts import ArmTexts
from proxy.providers.provider import Provider
from records.outcome import Outcome
from routing.canary import NO_CHANGES, ArmName, RequestChanges
from tests.proxy.raw_provider import pool, turns
from tests.proxy.traffic import Traffic
from tests.serving import ProviderThread

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Json = dict[str, Any]
MODELS: Mapping[ArmName, str] = {"baseline": "base", "candidate": "new"}
TURN: Json = {"messages": [{"role": "user", "content": "hi"}]}


@dataclass(frozen=True, kw_only=True)
class Form:
    """One operation: a request, the changes, and the members that then differ (None: gone)."""

    api: Api
    path: str
    body: Json
    changes: RequestChanges
    differs: Json
    streams: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    def expected(self, model: str) -> Json:
        """What the provider must get."""
        merged = {**self.body, **self.differs, **({} if self.api == "gemini" else {"model": model})}
        return {name: value for name, value in merged.items() if value is not None}

    def streamed(self) -> "Form":
        """The same as a stream."""
        if self.api == "gemini":
            path = self.path.replace(":generateContent", ":streamGenerateContent?alt=sse")
            return replace(self, path=path, streams=True)
        return replace(self, body=self.body | {"stream": True}, streams=True)


CHAT = Form(
    api="openai",
    path="/v1/chat/completions",
    body={"model": "gpt-4o", **TURN, "max_tokens": 9, "temperature": 0.5, "logit_bias": {"1": -100}},
    changes=RequestChanges(
        rename=[("max_tokens", "max_completion_tokens")],
        remove=["temperature", "logit_bias"],
        set=[("reasoning_effort", '"low"')],
        default=[("max_completion_tokens", "4096"), ("n", "1")],
    ),
    differs={
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "n": 1,
        "max_tokens": None,
        "temperature": None,
        "logit_bias": None,
    },
)
RESPONSES = Form(
    api="openai",
    path="/v1/responses",
    body={"model": "gpt-4o", "input": "hi", "temperature": 0.5, "text": {"format": {"type": "text"}}},
    changes=RequestChanges(
        remove=["temperature"], set=[("text.verbosity", '"low"'), ("reasoning.effort", '"high"')]
    ),
    differs={
        "temperature": None,
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "reasoning": {"effort": "high"},
    },
)
MESSAGES = Form(
    api="anthropic",
    path="/v1/messages",
    body={"model": "gpt-4o", "max_tokens": 64, "temperature": 0.5, "top_k": 3, **TURN},
    changes=RequestChanges(remove=["temperature", "top_k"], set=[("max_tokens", "128")]),
    differs={"temperature": None, "top_k": None, "max_tokens": 128},
    headers={"anthropic-version": "2023-06-01", "x-api-key": "sk-caller"},
)
GEMINI = Form(
    api="gemini",
    path="/v1beta/models/gpt-4o:generateContent",
    body={
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"temperature": 0.5, "maxOutputTokens": 9},
    },
    changes=RequestChanges(
        remove=["generationConfig.temperature"],
        set=[("generationConfig.maxOutputTokens", "64")],
        default=[("generationConfig.thinkingConfig", '{"thinkingBudget": 0}'), ("safetySettings", "[]")],
    ),
    differs={
        "generationConfig": {"maxOutputTokens": 64, "thinkingConfig": {"thinkingBudget": 0}},
        "safetySettings": [],
    },
    headers={"x-goog-api-key": "goog-caller"},
)
EMBEDDINGS = Form(
    api="openai",
    path="/v1/embeddings",
    body={"model": "gpt-4o", "input": "hi", "user": "u"},
    changes=RequestChanges(set=[("dimensions", "8")], remove=["user"]),
    differs={"dimensions": 8, "user": None},
)
COMPLETIONS = Form(
    api="openai",
    path="/v1/completions",
    body={"model": "gpt-4o", "prompt": "hi", "best_of": 2},
    changes=RequestChanges(remove=["best_of"]),
    differs={"best_of": None},
)
STREAMS = [form.streamed() for form in (CHAT, RESPONSES, MESSAGES, GEMINI)]
FORMS = [CHAT, RESPONSES, MESSAGES, GEMINI, EMBEDDINGS, *STREAMS]


def named(form: Form) -> str:
    return form.path.strip("/").replace("/", "-") + ("-stream" if form.streams else "")


@dataclass
class Sent:
    """What the provider got, by model, what was recorded, and the caller's answer."""

    bodies: dict[str, Json]
    outcomes: list[Outcome]
    answer: str


def sent(
    run: Run,
    provider: ProviderThread,
    form: Form,
    *,
    arm: ArmName = "candidate",
    changes: Mapping[ArmName, RequestChanges],
    mirror: float = 0.0,
    texts: ArmTexts | None = None,
) -> Sent:
    """One request by a user of the arm; each arm has its own changes."""

    async def scene() -> Sent:
        base_url = f"{provider.url}/v1" if form.api == "openai" else provider.url
        entry = Provider(name="raw", api=form.api, base_url=base_url)
        async with pool() as upstreams:
            traffic = Traffic(entry, upstreams)
            trial = replace(
                traffic.trial,
                baseline=replace(traffic.trial.baseline, request=changes.get("baseline", NO_CHANGES)),
                candidate=replace(
                    traffic.trial.candidate, request=changes.get("candidate", NO_CHANGES), texts=texts
                ),
                prompts=() if texts is None else (texts,),
                mirror=mirror,
            )
            traffic.exchanges.routes = Routes({"raw": entry}, [trial], ())
            traffic.share = 1.0 if arm == "candidate" else 1e-12
            headers = {"x-canary-unit": "u", "authorization": "Bearer sk-caller", **form.headers}
            async with traffic.served() as http:
                answer = await http.post(form.path, json=form.body, headers=headers)
                while traffic.exchanges.mirrors.in_flight:
                    await turns(1)
            return Sent({}, traffic.outcomes, answer.text)

    told: Sent = run(scene())
    provider.settled()
    told.bodies = {entry.model: json.loads(entry.body) for entry in provider.log.entries}
    return told


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
@pytest.mark.parametrize("form", FORMS, ids=named)
def test_the_arm_gets_its_own_form_of_the_request(
    run: Run, provider: ProviderThread, form: Form, arm: ArmName
) -> None:
    told = sent(run, provider, form, arm=arm, changes={arm: form.changes})
    asks = {"stream_options": {"include_usage": True}} if form is STREAMS[0] else {}
    assert told.bodies == {MODELS[arm]: form.expected(MODELS[arm]) | asks}
    (outcome,) = told.outcomes
    assert (outcome.outcome, outcome.arm, outcome.served_by, outcome.adapted) == ("ok", arm, arm, True)


V7 = "You are kind.\nNever promise."
PROMPTED: list[tuple[Form, Json]] = [
    (CHAT, {"messages": [{"role": "developer", "content": V7}, *TURN["messages"]]}),
    (RESPONSES, {"instructions": V7}),
    (MESSAGES, {"system": [{"type": "text", "text": V7, "cache_control": {"type": "ephemeral"}}]}),
    (GEMINI, {"systemInstruction": {"parts": [{"text": V7}]}}),
]


@pytest.mark.parametrize(("form", "prompt"), [*PROMPTED, (STREAMS[0], PROMPTED[0][1])])
def test_a_candidate_and_a_copy_have_its_prompt_and_its_changes(
    run: Run, provider: ProviderThread, form: Form, prompt: Json
) -> None:
    texts = ArmTexts(V7, "You are brief.")
    form = replace(form, body={**form.body, **prompt})
    mirrors: Mapping[ArmName, float] = {"candidate": 0.0, "baseline": 1.0}
    for arm, mirror in mirrors.items():
        provider.log.clear()
        told = sent(
            run, provider, form, arm=arm, changes={"candidate": form.changes}, mirror=mirror, texts=texts
        )
        changed = json.dumps({**form.differs, **prompt}).replace(json.dumps(V7)[1:-1], "You are brief.")
        expected = replace(form, differs=json.loads(changed)).expected("new")
        asks = {"stream_options": {"include_usage": True}} if form.streams else {}
        stored = {"store": False} if mirror and form.path == RESPONSES.path else {}
        assert told.bodies["new"] == expected | asks | stored
        assert {outcome.reason for outcome in told.outcomes} == {"cohort"}


@pytest.mark.parametrize("form", [CHAT, GEMINI, EMBEDDINGS], ids=named)
def test_a_request_without_the_prompt_goes_to_the_baseline_as_it_came_and_is_not_copied(
    run: Run, provider: ProviderThread, form: Form
) -> None:
    texts = ArmTexts(V7, "You are brief.")
    told = sent(run, provider, form, changes={}, mirror=1.0, texts=texts)
    own = {} if form.api == "gemini" else {"model": "base"}
    assert told.bodies == {"base": form.body | own}
    (outcome,) = told.outcomes
    assert (outcome.arm, outcome.reason, outcome.adapted) == ("baseline", "prompt_missed", False)


def test_completions_are_adapted_too(run: Run, provider: ProviderThread) -> None:
    told = sent(run, provider, COMPLETIONS, arm="baseline", changes={"baseline": COMPLETIONS.changes})
    assert told.bodies == {"base": COMPLETIONS.expected("base")}  # the demo provider has no answer


@pytest.mark.parametrize("form", [CHAT, STREAMS[0], GEMINI], ids=named)
def test_the_other_arm_gets_the_request_as_it_came(run: Run, provider: ProviderThread, form: Form) -> None:
    told = sent(run, provider, form, arm="baseline", changes={"candidate": form.changes})
    asks = {"stream_options": {"include_usage": True}} if form is STREAMS[0] else {}
    own = {} if form.api == "gemini" else {"model": "base"}
    assert told.bodies == {"base": form.body | own | asks}
    assert not told.outcomes[0].adapted


@pytest.mark.parametrize("form", [CHAT, MESSAGES, GEMINI, STREAMS[0], *STREAMS[2:]], ids=named)
def test_a_copy_is_adapted_for_the_candidate(run: Run, provider: ProviderThread, form: Form) -> None:
    told = sent(run, provider, form, arm="baseline", changes={"candidate": form.changes}, mirror=1.0)
    asks = {"stream_options": {"include_usage": True}} if form is STREAMS[0] else {}
    assert told.bodies["new"] == form.expected("new") | asks
    assert {outcome.mirror: outcome.adapted for outcome in told.outcomes} == {False: False, True: True}


def test_a_copy_that_its_arm_does_not_store_is_made(run: Run, provider: ProviderThread) -> None:
    changes = replace(RESPONSES.changes, set=[*RESPONSES.changes.set, ("store", "false")])
    told = sent(run, provider, RESPONSES, arm="baseline", changes={"candidate": changes}, mirror=1.0)
    assert told.bodies["new"]["store"] is False


def test_no_copy_may_act_through_a_tool_that_its_arm_sets(run: Run, provider: ProviderThread) -> None:
    tools = RequestChanges(set=[("tools", '[{"type":"mcp","server_url":"https://tools.example"}]')])
    told = sent(run, provider, CHAT, arm="baseline", changes={"candidate": tools}, mirror=1.0)
    assert list(told.bodies) == ["base"]


@pytest.mark.parametrize("form", [CHAT, STREAMS[0]], ids=named)
def test_the_fallback_gets_the_baselines_form(run: Run, provider: ProviderThread, form: Form) -> None:
    provider.behave("new", Behaviour(rejects=("max_completion_tokens",)))
    baseline = RequestChanges(set=[("seed", "7")])
    told = sent(run, provider, form, changes={"candidate": form.changes, "baseline": baseline})
    assert "max_completion_tokens" in told.bodies["new"]
    body = {name: value for name, value in told.bodies["base"].items() if name != "stream_options"}
    assert body == form.body | {"model": "base", "seed": 7}
    (outcome,) = told.outcomes
    assert (outcome.outcome, outcome.error_type, outcome.adapted) == ("fallback", "candidate_rejects", True)


def test_adapted_is_what_the_assigned_arms_request_was(run: Run, provider: ProviderThread) -> None:
    provider.behave("new", Behaviour(rejects=("temperature",)))
    told = sent(run, provider, CHAT, changes={"baseline": CHAT.changes})
    assert told.bodies["base"] == CHAT.expected("base")
    assert (told.outcomes[0].outcome, told.outcomes[0].adapted) == ("fallback", False)


def test_a_candidate_takes_what_it_refused_once_its_request_is_adapted(
    run: Run, provider: ProviderThread
) -> None:
    provider.behave("new", Behaviour(rejects=("max_tokens", "temperature", "logit_bias")))
    plain = sent(run, provider, CHAT, changes={}).outcomes[0]
    cured = sent(run, provider, CHAT, changes={"candidate": CHAT.changes}).outcomes[0]
    assert [each.error_type for each in (plain, cured)] == ["candidate_rejects", None]


@pytest.mark.parametrize(
    ("changes", "asked", "shown"),
    [
        (RequestChanges(set=[("stream_options", '{"include_usage": true}')]), {"include_usage": True}, False),
        (RequestChanges(remove=["stream_options"]), None, False),
        (
            RequestChanges(set=[("stream_options", '{"include_usage": false}')]),
            {"include_usage": False},
            False,
        ),
        (
            RequestChanges(set=[("stream_options.include_obfuscation", "false")]),
            {"include_obfuscation": False, "include_usage": True},
            False,
        ),
    ],
)
def test_an_arm_may_say_how_its_streams_are_asked_for_usage_and_the_caller_sees_no_difference(
    run: Run, provider: ProviderThread, changes: RequestChanges, asked: Json | None, shown: bool
) -> None:
    told = sent(run, provider, STREAMS[0], changes={"candidate": changes})
    assert told.bodies["new"].get("stream_options") == asked
    assert ('"usage":{' in told.answer) is shown
    assert (told.outcomes[0].usage.output_tokens is not None) is bool(asked and asked["include_usage"])


def test_an_answer_is_looked_at_for_the_format_that_its_arm_asked_for(
    run: Run, provider: ProviderThread
) -> None:
    wants_json = RequestChanges(set=[("response_format", '{"type": "json_object"}')])
    for form in (CHAT, STREAMS[0]):
        plain = sent(run, provider, form, changes={}).outcomes[0]
        asked = sent(run, provider, form, changes={"candidate": wants_json}).outcomes[0]
        assert (plain.output_check, asked.output_check) == ("", "not_judged")  # there is no checker here


def test_an_answer_is_not_judged_by_tools_that_its_arm_took_away(run: Run, provider: ProviderThread) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    form = replace(CHAT, body=CHAT.body | {"tools": [tool]})
    assert sent(run, provider, form, changes={}).outcomes[0].output_check == "not_judged"
    without = RequestChanges(remove=["tools"])
    assert sent(run, provider, form, changes={"candidate": without}).outcomes[0].output_check == ""
