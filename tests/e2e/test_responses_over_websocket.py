"""OpenAI's responses over a WebSocket through `canary serve`: by the real SDK, and bare."""

import asyncio
import json
from collections.abc import Coroutine, Iterator
from contextlib import closing
from typing import Any

import openai
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from records.store import Store
from records.store.captures import CaptureStore
from routing.canary import ArmName
from tests.e2e.responses_provider import ResponsesProvider
from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "URL", timeout: {{idle: 30s}}}}
  own: {{api: openai, base_url: "URL", api_key: sk-own}}
  down: {{api: openai, base_url: "http://127.0.0.1:1/v1", api_key: sk-own}}
  elsewhere: {{api: openai, base_url: "URL"}}
  quiet: {{api: openai, base_url: "URL", timeout: {{idle: 1s}}}}
canaries:
"""
CASE = """
  - name: NAME
    match: {{models: [NAME]}}
    baseline: {{provider: BASELINE, model: old}}
    candidate: {{provider: PROVIDER, model: CANDIDATE REQUEST}}
    share: 50%
    guardrails: []
    capture: {{rate: 100%}}
"""
CASES = {
    # canary and model asked for: (candidate's provider, candidate's model)
    "gpt-4o": ("openai", "gpt-4o-mini"),
    "moved": ("own", "new"),
    "refused": ("openai", "refuse-400"),
    "refused-elsewhere": ("own", "refuse-400"),
    "unreachable": ("down", "new"),
    "sealed": ("own", "foreign"),
    "taken-back": ("own", "new"),
    "shaky": ("own", "new"),
    "shunned": ("own", "new"),
    "warmed": ("own", "new"),
    "breaking": ("openai", "break"),
    "adapted": ("openai", "new, request: {{rename: {{max_output_tokens: most}}, set: {{mood: calm}}}}"),
    "hushed": ("quiet", "silent"),
}
ARMS: tuple[ArmName, ...] = ("baseline", "candidate")
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def provider() -> Iterator[ResponsesProvider]:
    with ResponsesProvider(keys=frozenset({"sk-caller", "sk-own"})) as running:
        yield running


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, provider: ResponsesProvider) -> Iterator[Stage]:
    cases = "".join(
        CASE.replace("NAME", name)
        .replace("BASELINE", "quiet" if where == "quiet" else "openai")
        .replace("PROVIDER", where)
        .replace("CANDIDATE REQUEST", model)
        for name, (where, model) in CASES.items()
    )
    config = (CONFIG + cases).replace("URL", provider.url)
    with on_stage(tmp_path_factory.mktemp("responses"), config) as up:
        yield up


@pytest.fixture(autouse=True)
def fresh(provider: ResponsesProvider) -> None:
    provider.lines.clear()


def new_user(stage: Stage, arm: ArmName, canary: str, test: str) -> str:
    return next(stage.users(arm, canary, 0.5, prefix=f"{test}-{canary}-{arm}"))


def run(scene: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(scene, 60))


def sdk(stage: Stage, session: str, **options: Any) -> openai.AsyncOpenAI:
    headers = {"x-canary-category": session}
    return openai.AsyncOpenAI(
        base_url=f"{stage.server.traffic}/v1", api_key="sk-caller", max_retries=0, default_headers=headers
    )


async def heard(connection: Any, **members: Any) -> list[Any]:
    """The events of one response, asked by the SDK."""
    await connection.response.create(**{"input": "Where is my refund?", **members})
    events = []
    async for event in connection:
        events.append(event)
        if event.type in ("response.completed", "response.incomplete", "response.failed", "error"):
            break
    return events


def recorded(stage: Stage, category: str, *, number: int) -> list[dict[str, Any]]:
    """The outcomes of one test's connection and responses, in their order, once they are stored."""

    def stored() -> list[dict[str, Any]]:
        found = [row for row in stage.outcomes() if row["category"] == category]
        return found if len(found) >= number else []

    found = eventually(stored)
    assert len(found) == number
    return found


@pytest.mark.parametrize("arm", ARMS)
def test_the_sdk_hears_its_response_from_its_arm(
    stage: Stage, provider: ResponsesProvider, arm: ArmName
) -> None:
    user = new_user(stage, arm, "gpt-4o", "sdk")

    async def scene() -> list[Any]:
        async with sdk(stage, user).responses.connect() as connection:
            return await heard(connection, model="gpt-4o", safety_identifier=user)

    events = run(scene())
    model = {"baseline": "old", "candidate": "gpt-4o-mini"}[arm]
    assert [event.type for event in events][:: len(events) - 1] == ["response.created", "response.completed"]
    assert events[-1].response.model == model
    (line,) = provider.lines
    assert (line.target, [asked["model"] for asked in line.asked]) == ("/v1/responses", [model])
    connection, response = recorded(stage, user, number=2)
    assert (connection["canary"], connection["operation"], connection["outcome"]) == ("", "other", "ok")
    assert connection["provider_request_id"] == response["provider_request_id"] == "req_line"
    assert (response["canary"], response["arm"], response["reason"], response["outcome"]) == (
        "gpt-4o",
        arm,
        "cohort",
        "ok",
    )
    assert (response["operation"], response["stream"], response["finish"], response["model"]) == (
        "chat",
        1,
        "stop",
        model,
    )
    usage = events[-1].response.usage
    assert (response["input_tokens"], response["output_tokens"]) == (usage.input_tokens, usage.output_tokens)
    assert 0 < response["ttft_s"] <= response["latency_s"]
    if arm == "candidate":
        assert response["cost_usd"] > 0


def test_only_the_models_value_changes_on_the_way(stage: Stage, provider: ResponsesProvider) -> None:
    user = new_user(stage, "candidate", "gpt-4o", "bytes")
    sent = '{ "type":"response.create", "model" : "gpt-4o","input":"Zürich 🙂", "user":"USER" }'
    sent = sent.replace("USER", user)
    steer = '{"type": "response.steer", "previous_response_id": "resp_none", "input": "go on"}'

    async def scene() -> str:
        async with dial(stage, user) as line:
            await line.send(steer)
            await line.send(sent)
            while json.loads(event := await line.recv())["type"] != "response.completed":
                pass
            return str(event)

    run(scene())
    (line,) = provider.lines
    assert line.messages == [steer, sent.replace('"gpt-4o"', '"gpt-4o-mini"')]


def test_each_response_is_an_exchange_of_its_own_in_every_lane(stage: Stage) -> None:
    user = new_user(stage, "candidate", "gpt-4o", "lanes")

    async def scene() -> list[dict[str, Any]]:
        async with dial(stage, user) as line:
            for lane in ("a", "b"):
                await line.send(asking("gpt-4o", user, stream_id=lane))
            await line.send(asking("gpt-4o", user))
            events: list[dict[str, Any]] = []
            while sum(event["type"] == "response.completed" for event in events) < 3:
                events.append(json.loads(await line.recv()))
            return events

    ends = [event for event in run(scene()) if event["type"] == "response.completed"]
    assert [end.get("stream_id") for end in ends] == ["a", "b", None]
    rows = recorded(stage, user, number=4)
    assert [row["outcome"] for row in rows] == ["ok"] * 4
    assert sum(row["output_tokens"] or 0 for row in rows) == 36


def test_answers_are_judged_and_captured(stage: Stage) -> None:
    user = new_user(stage, "candidate", "gpt-4o", "judged")

    async def scene() -> list[Any]:
        async with sdk(stage, user).responses.connect() as connection:
            await heard(connection, model="gpt-4o", safety_identifier=user, tools=[TOOL])
            return await heard(connection, model="gpt-4o", safety_identifier=user, max_output_tokens=4)

    events = run(scene())
    _, called, cut = recorded(stage, user, number=3)
    assert (called["finish"], called["output_check"], called["faults"]) == ("tool_calls", "judged", "")
    assert (cut["finish"], cut["faults"]) == ("length", "cut_off")
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        captures = CaptureStore(store)
        calling, saying = eventually(
            lambda: found if len(found := list(captures.read("gpt-4o", category=user))) > 1 else None
        )
    assert [call.name for call in calling.answer_calls] == [TOOL["name"]]
    assert saying.answer == "".join(
        event.delta for event in events if event.type == "response.output_text.delta"
    )


def test_tools_of_an_earlier_message_are_those_of_what_goes_on_from_it(stage: Stage) -> None:
    """Codex declares its tools in the input of its first message, and says nothing of them again."""
    user = new_user(stage, "candidate", "gpt-4o", "added")
    tools = {"type": "namespace", "name": "functions", "tools": [TOOL]}
    added = {"type": "additional_tools", "role": "developer", "tools": [tools]}
    asks = {"model": "gpt-4o", "safety_identifier": user}

    async def scene() -> None:
        async with sdk(stage, user).responses.connect() as connection:
            said = [added, {"role": "user", "content": "Where is it?"}]
            events = await heard(connection, input=said, **asks)
            await heard(connection, previous_response_id=events[-1].response.id, **asks)

    run(scene())
    _, *called = recorded(stage, user, number=3)
    for row in called:
        assert (row["finish"], row["output_check"], row["faults"]) == ("tool_calls", "judged", "")
        assert json.loads(row["tool_calls"])[0]["name"] == TOOL["name"]


def test_an_arm_at_another_entry_gets_a_line_of_its_own_with_its_own_key(
    stage: Stage, provider: ResponsesProvider
) -> None:
    user = new_user(stage, "candidate", "moved", "moved")

    async def scene() -> list[Any]:
        async with sdk(stage, user).responses.connect() as connection:
            first = await heard(connection, model="moved", safety_identifier=user, store=False)
            made = first[-1].response.id
            return await heard(
                connection, model="moved", safety_identifier=user, store=False, previous_response_id=made
            )

    assert run(scene())[-1].type == "response.completed"
    first, second = provider.lines
    assert (len(first.asked), [asked["model"] for asked in second.asked]) == (0, ["new", "new"])
    assert [line.headers["authorization"] for line in provider.lines] == ["Bearer sk-caller", "Bearer sk-own"]
    assert [(row["arm"], row["reason"]) for row in recorded(stage, user, number=3)[1:]] == [
        ("candidate", "cohort"),
        ("candidate", "cohort"),
    ]


def test_after_a_rollback_the_candidate_goes_on_with_the_responses_of_its_own_line(
    stage: Stage, provider: ResponsesProvider
) -> None:
    user = new_user(stage, "candidate", "taken-back", "taken-back")
    asks: dict[str, Any] = {"model": "taken-back", "safety_identifier": user, "store": False}

    async def order(*words: str) -> None:
        told = await asyncio.to_thread(stage.canary, words[0], "taken-back", "--reason", "a test", *words[1:])
        assert told.returncode == 0, told.stderr
        confirmed = {"alive": 1, "confirmed": 1}
        await asyncio.to_thread(
            eventually, lambda: stage.api("GET", "/api/status").json()["workers"] == confirmed
        )

    async def scene() -> list[str]:
        async with sdk(stage, user).responses.connect() as connection:
            answers = [(await heard(connection, **asks))[-1]]
            await order("rollback")
            for _ in range(2):
                before = answers[-1].response.id
                answers.append((await heard(connection, **asks, previous_response_id=before))[-1])
            anew = (await heard(connection, **asks))[-1]
            await order("rollback", "--hard")
            last = answers[-1].response.id
            (refused,) = await heard(connection, **asks, previous_response_id=last)
            assert refused.error.code == "previous_response_not_found"
            return [each.response.model for each in [*answers, anew]]

    assert run(scene()) == ["new", "new", "new", "old"]
    rows = recorded(stage, user, number=6)[1:]
    assert [(row["arm"], row["served_by"], row["reason"], row["outcome"]) for row in rows[:4]] == [
        ("candidate", "candidate", "cohort", "ok"),
        ("baseline", "candidate", "foreign_state", "ok"),
        ("baseline", "candidate", "foreign_state", "ok"),
        ("baseline", "baseline", "stopped", "ok"),
    ]
    assert (rows[4]["arm"], rows[4]["served_by"]) == ("baseline", "baseline")


def test_a_failure_of_the_line_that_made_the_response_before_is_its_own_and_the_baseline_is_not_asked(
    stage: Stage, provider: ResponsesProvider
) -> None:
    user = new_user(stage, "candidate", "shaky", "fails")
    asks: dict[str, Any] = {"model": "shaky", "safety_identifier": user, "store": False}

    async def scene() -> list[list[Any]]:
        async with sdk(stage, user).responses.connect() as connection:
            first = await heard(connection, **asks)
            asks["previous_response_id"] = first[-1].response.id
            return [await heard(connection, **asks, instructions="fail"), await heard(connection, **asks)]

    failed, tried_again = run(scene())
    assert [(event.type, event.status) for event in failed] == [("error", 503)]
    assert tried_again[-1].response.model == "new"
    assert {asked["model"] for line in provider.lines for asked in line.asked} == {"new"}
    rows = recorded(stage, user, number=4)[1:]
    assert [(row["outcome"], row["error_type"], row["served_by"]) for row in rows] == [
        ("ok", None, "candidate"),
        ("error", "provider_5xx", "candidate"),
        ("ok", None, "candidate"),
    ]


def test_an_open_breaker_keeps_nothing_from_the_candidate_that_only_it_can_read(
    stage: Stage, provider: ResponsesProvider
) -> None:
    user = new_user(stage, "candidate", "shunned", "goes-on")
    asks: dict[str, Any] = {"model": "shunned", "safety_identifier": user, "store": False}

    async def scene() -> list[Any]:
        async with sdk(stage, user).responses.connect() as connection:
            first = await heard(connection, **asks)
            asks["previous_response_id"] = first[-1].response.id
            for _ in range(5):  # opens the breaker
                await heard(connection, **asks, instructions="fail")
            return await heard(connection, **asks)

    assert run(scene())[-1].response.model == "new"
    assert [asked["model"] for line in provider.lines for asked in line.asked] == ["new"] * 7
    assert [row["outcome"] for row in recorded(stage, user, number=8)[1:]] == ["ok", *["error"] * 5, "ok"]


def test_a_request_that_generates_nothing_warms_its_arm_up_and_is_no_exchange_of_the_canary(
    stage: Stage, provider: ResponsesProvider
) -> None:
    user = new_user(stage, "candidate", "warmed", "warmed")
    asks: dict[str, Any] = {"model": "warmed", "safety_identifier": user, "store": False}

    async def scene() -> list[Any]:
        async with sdk(stage, user).responses.connect() as connection:
            warm = await heard(connection, **asks, generate=False)
            assert warm[-1].response.output == []
            return await heard(connection, **asks, previous_response_id=warm[-1].response.id)

    assert run(scene())[-1].response.model == "new"
    assert [asked["model"] for asked in provider.lines[1].asked] == ["new", "new"]
    rows = recorded(stage, user, number=3)[1:]
    assert [(row["canary"], row["operation"], list(row["faults"])) for row in rows] == [
        ("", "other", []),
        ("warmed", "chat", []),
    ]


def test_a_stored_response_stays_with_the_baseline_where_entries_differ(stage: Stage) -> None:
    user = new_user(stage, "candidate", "moved", "stored")

    async def scene() -> list[Any]:
        async with sdk(stage, user).responses.connect() as connection:
            return await heard(connection, model="moved", safety_identifier=user)

    assert run(scene())[-1].response.model == "old"
    row = recorded(stage, user, number=2)[1]
    assert (row["arm"], row["reason"]) == ("baseline", "stateful")


@pytest.mark.parametrize(
    ("canary", "error"),
    [
        ("refused", "candidate_rejects"),
        ("refused-elsewhere", "candidate_rejects"),
        ("unreachable", "provider_connect"),
    ],
)
def test_the_baseline_answers_where_the_candidate_does_not(stage: Stage, canary: str, error: str) -> None:
    user = new_user(stage, "candidate", canary, "falls")

    async def scene() -> list[Any]:
        async with sdk(stage, user).responses.connect() as connection:
            return await heard(connection, model=canary, safety_identifier=user, store=False)

    events = run(scene())
    assert [event.type for event in events].count("error") == 0
    assert events[-1].response.model == "old"
    row = recorded(stage, user, number=2)[1]
    assert (row["outcome"], row["error_type"], row["served_by"]) == ("fallback", error, "baseline")


def test_a_candidate_that_refuses_what_the_baseline_takes_is_soon_left_alone(stage: Stage) -> None:
    users = [new_user(stage, "candidate", "refused", f"refused-{number}") for number in range(7)]

    async def scene(user: str) -> None:
        async with sdk(stage, user).responses.connect() as connection:
            await heard(connection, model="refused", safety_identifier=user, store=False)

    for user in users:
        run(scene(user))
    why = [recorded(stage, user, number=2)[1]["error_type"] for user in users]
    assert why[-1] == "breaker_open"
    assert set(why) == {"candidate_rejects", "breaker_open"}


def test_state_that_the_candidate_cannot_read_is_no_failure_of_the_candidate(stage: Stage) -> None:
    user = new_user(stage, "candidate", "sealed", "foreign")
    given = [{"type": "reasoning", "encrypted_content": "gAAAA"}, {"role": "user", "content": "Go on"}]

    async def scene() -> dict[str, Any]:
        async with dial(stage, user) as line:
            await line.send(asking("sealed", user, store=False, input=given))
            while (event := json.loads(await line.recv()))["type"] != "response.completed":
                assert event["type"] != "error"
            return dict(event["response"])

    assert run(scene())["model"] == "old"
    row = recorded(stage, user, number=2)[1]
    assert (row["outcome"], row["reason"], row["served_by"]) == ("ok", "foreign_state", "baseline")


def test_the_callers_own_mistake_is_its_own_in_both_arms(stage: Stage) -> None:
    user = new_user(stage, "candidate", "gpt-4o", "mistake")

    async def scene() -> list[Any]:
        async with sdk(stage, user).responses.connect() as connection:
            return await heard(
                connection, model="gpt-4o", safety_identifier=user, previous_response_id="resp_none"
            )

    (event,) = run(scene())
    assert event.error.code == "previous_response_not_found"
    row = recorded(stage, user, number=2)[1]
    assert (row["outcome"], row["error_type"]) == ("caller_error", "caller_rejected")


def test_a_line_that_breaks_in_a_response_breaks_the_connection_visibly(stage: Stage) -> None:
    user = new_user(stage, "candidate", "breaking", "breaks")

    async def scene() -> None:
        async with dial(stage, user) as line:
            await line.send(asking("breaking", user))
            while True:
                await line.recv()

    with pytest.raises(ConnectionClosed):
        run(scene())
    connection, row = recorded(stage, user, number=2)
    assert (row["outcome"], row["error_type"], row["arm"]) == ("error", "provider_truncated", "candidate")
    assert (connection["outcome"], connection["error_type"]) == ("error", "provider_truncated")


def test_a_request_is_adapted_as_its_arm_says(stage: Stage, provider: ResponsesProvider) -> None:
    user = new_user(stage, "candidate", "adapted", "adapted")

    async def scene() -> list[Any]:
        async with sdk(stage, user).responses.connect() as connection:
            return await heard(connection, model="adapted", safety_identifier=user, max_output_tokens=9)

    assert run(scene())[-1].type == "response.completed"
    (asked,) = provider.lines[0].asked
    assert (asked["model"], asked["most"], asked["mood"]) == ("new", 9, "calm")
    assert recorded(stage, user, number=2)[1]["adapted"] == 1


def test_the_successor_of_a_steered_response_is_an_exchange_of_its_own(stage: Stage) -> None:
    user = new_user(stage, "candidate", "gpt-4o", "steered")

    async def scene() -> list[dict[str, Any]]:
        async with dial(stage, user) as line:
            await line.send(asking("gpt-4o", user))
            ends: list[dict[str, Any]] = []
            while len(ends) < 2:
                event = json.loads(await line.recv())
                if event["type"] == "response.completed":
                    ends.append(event)
                    if len(ends) == 1:
                        await line.send(steering(event["response"]["id"]))
            return ends

    ends = run(scene())
    _, first, second = recorded(stage, user, number=3)
    usages = [end["response"]["usage"]["output_tokens"] for end in ends]
    assert [(row["arm"], row["finish"], row["output_tokens"]) for row in (first, second)] == [
        ("candidate", "stop", tokens) for tokens in usages
    ]


def test_a_message_whose_model_cannot_be_changed_is_refused_and_the_connection_stays(stage: Stage) -> None:
    user = new_user(stage, "candidate", "gpt-4o", "intricate")
    intricate = asking("gpt-4o", user, padding="x" * 70_000)[:-1] + ', "model": "gpt-4o"}'

    async def scene() -> tuple[dict[str, Any], dict[str, Any]]:
        async with dial(stage, user) as line:
            await line.send(intricate)
            refused = json.loads(await line.recv())
            await line.send(asking("gpt-4o", user))
            return refused, json.loads(await line.recv())

    refused, begun = run(scene())
    assert (refused["type"], refused["status"], refused["error"]["code"]) == ("error", 400, "caller_rejected")
    assert begun["type"] == "response.created"
    assert recorded(stage, user, number=3)[1]["outcome"] == "caller_error"


def test_a_pin_that_is_not_allowed_is_refused_as_an_event_of_its_lane(stage: Stage) -> None:
    user = new_user(stage, "candidate", "gpt-4o", "pinned")

    async def scene() -> dict[str, Any]:
        async with dial(stage, user, pin="candidate") as line:
            await line.send(asking("gpt-4o", user, stream_id="a"))
            return dict(json.loads(await line.recv()))

    refused = run(scene())
    assert (refused["type"], refused["status"], refused["stream_id"]) == ("error", 403, "a")
    assert [row["outcome"] for row in recorded(stage, user, number=2)] == ["ok", "caller_error"]


def test_the_unit_may_stand_in_a_header(stage: Stage) -> None:
    user = new_user(stage, "candidate", "gpt-4o", "header")

    async def scene() -> list[Any]:
        headers = {"x-canary-unit": user}
        async with sdk(stage, user).responses.connect(extra_headers=headers) as connection:
            return await heard(connection, model="gpt-4o")

    assert run(scene())[-1].response.model == "gpt-4o-mini"


def test_a_model_without_a_canary_passes_byte_for_byte(stage: Stage, provider: ResponsesProvider) -> None:
    sent = asking("someone-elses", "user-of-nobody")

    async def scene() -> None:
        async with dial(stage, "passes") as line:
            await line.send(sent)
            while json.loads(await line.recv())["type"] != "response.completed":
                pass

    run(scene())
    assert provider.lines[0].messages == [sent]
    assert [row["canary"] for row in recorded(stage, "passes", number=2)] == ["", ""]


def test_an_entry_without_canaries_keeps_its_compression(stage: Stage) -> None:
    async def scene(path: str) -> str | None:
        async with dial(stage, "raw", path=path) as line:
            assert line.response is not None
            return line.response.headers.get("sec-websocket-extensions")

    assert "permessage-deflate" in str(run(scene("/elsewhere/v1/responses")))
    assert run(scene("/v1/responses")) is None


def test_a_refused_handshake_is_the_providers_own(stage: Stage) -> None:
    async def scene() -> None:
        async with dial(stage, "unauthorized", key="sk-wrong"):
            pass

    with pytest.raises(InvalidStatus) as refused:
        run(scene())
    assert refused.value.response.status_code == 401
    (row,) = recorded(stage, "unauthorized", number=1)
    assert (row["outcome"], row["error_type"]) == ("caller_error", "caller_unauthorized")


def test_a_caller_that_leaves_in_a_response_is_aborted(
    stage: Stage,
) -> None:
    user = new_user(stage, "candidate", "hushed", "leaves")

    async def scene() -> None:
        async with dial(stage, user, path="/quiet/v1/responses") as line:
            await line.send(asking("hushed", user))
            await line.ping()

    run(scene())
    connection, row = recorded(stage, user, number=2)
    assert (row["outcome"], connection["outcome"]) == ("aborted", "aborted")


def test_silence_in_a_response_is_the_providers(stage: Stage) -> None:
    user = new_user(stage, "candidate", "hushed", "silent")

    async def scene() -> None:
        async with dial(stage, user, path="/quiet/v1/responses") as line:
            await line.send(asking("hushed", user))
            await line.recv()

    with pytest.raises(ConnectionClosed):
        run(scene())
    _, row = recorded(stage, user, number=2)
    assert (row["outcome"], row["error_type"]) == ("error", "provider_timeout")


def dial(
    stage: Stage, category: str, *, path: str = "/v1/responses", key: str = "sk-caller", pin: str = ""
) -> connect:
    """A bare connection."""
    headers = {"Authorization": f"Bearer {key}", "x-canary-category": category}
    if pin:
        headers |= {"x-canary-pin": pin, "x-canary-pin-token": "wrong"}
    address = stage.server.traffic.replace("http://", "ws://")
    return connect(
        f"{address}{path}", additional_headers=headers, max_size=None, ping_interval=None, proxy=None
    )


def asking(model: str, user: str, **members: Any) -> str:
    return json.dumps({"type": "response.create", "model": model, "user": user, "input": "Hi", **members})


def steering(response: str) -> str:
    return json.dumps({"type": "response.steer", "previous_response_id": response, "input": "Go on"})
