"""OpenTelemetry's metrics and attributes of real exchanges, as a collector receives them."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from demo.provider.behaviour import Behaviour
from routing.canary import ArmName
from tests.e2e.otlp import Collector, collecting, values
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  anthropic: {{api: anthropic, base_url: "{url}"}}
canaries:
"""
CANARY = """
  - name: NAME
    match: {{models: [app-NAME]}}
    baseline: {{provider: openai, model: old-NAME}}
    candidate: {{provider: openai, model: new-NAME}}
    share: 50%
    guardrails: []
"""
CANARIES = ("whole", "streamed", "failing", "tools")
"""One for each test that counts, because metrics are those of all that the server has served."""

DURATION, USAGE = "gen_ai.client.operation.duration", "gen_ai.client.token.usage"
FIRST = "gen_ai.client.operation.time_to_first_chunk"
PER_CHUNK = "gen_ai.client.operation.time_per_output_chunk"
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as up:
        yield up


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stage]:
    config = CONFIG + "".join(CANARY.replace("NAME", name) for name in CANARIES)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRIC_EXPORT_INTERVAL": "100"}
    with on_stage(tmp_path_factory.mktemp("metrics"), config, env=env) as up:
        for name in CANARIES:
            up.provider.behave(f"new-{name}", Behaviour(snapshot=f"snapshot-{name}", pace_s=0.002))
        yield up


def ask(
    stage: Stage, canary: str, arm: ArmName = "candidate", *, stream: bool = False, **more: Any
) -> httpx2.Response:
    """One request of a user of the arm. `more` are members of the request, and headers where it has `-`."""
    headers = {name: more.pop(name) for name in [*more] if "-" in name}
    document = chat(f"app-{canary}", None, stream=stream) | more
    unit = next(stage.users(arm, canary, 0.5))
    url = f"{stage.server.traffic}/v1/chat/completions"
    named = {"authorization": "Bearer sk", "x-canary-unit": unit, **headers}
    return httpx2.post(url, json=document, headers=named, timeout=30.0, trust_env=False)


def test_a_whole_answer_is_one_duration_and_its_tokens(stage: Stage, collector: Collector) -> None:
    answer = ask(stage, "whole", **{"x-canary-session": "talk-1"})
    span = eventually(lambda: collector.of(answer.headers["x-canary-exchange"]))
    said, row = values(span.attributes), stage.outcome(answer.headers["x-canary-exchange"])
    port = int(stage.provider.url.rpartition(":")[2])
    assert said["gen_ai.response.model"] == answer.json()["model"] == "snapshot-whole"
    assert (said["server.address"], said["server.port"]) == ("127.0.0.1", port)
    assert said["gen_ai.conversation.id"] == said["canary.session"] == row["session"] != ""
    (duration,) = eventually(lambda: collector.points(DURATION, canary__name="whole"))
    assert (duration.count, duration.sum) == (1, pytest.approx(row["latency_s"]))
    assert list(duration.explicit_bounds) == pytest.approx([0.01 * 2**n for n in range(14)])
    assert values(duration.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "new-whole",
        "gen_ai.response.model": "snapshot-whole",
        "server.address": "127.0.0.1",
        "server.port": port,
        "canary.name": "whole",
        "canary.arm": "candidate",
    }
    counted = answer.json()["usage"]
    for kind, tokens in (("input", counted["prompt_tokens"]), ("output", counted["completion_tokens"])):
        (usage,) = collector.points(USAGE, canary__name="whole", gen_ai__token__type=kind)
        assert (usage.count, usage.sum) == (1, tokens)
        assert list(usage.explicit_bounds) == [4**n for n in range(14)]
    metric = collector.metrics[DURATION]
    assert (metric.unit, collector.metrics[USAGE].unit) == ("s", "{token}")
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert metric.histogram.aggregation_temporality == cumulative
    assert not any(collector.points(each, canary__name="whole") for each in (FIRST, PER_CHUNK))


def test_a_stream_has_its_first_chunk_and_the_time_of_the_others(stage: Stage, collector: Collector) -> None:
    answer = ask(stage, "streamed", stream=True)
    row = stage.outcome(answer.headers["x-canary-exchange"])
    (first,) = eventually(lambda: collector.points(FIRST, canary__name="streamed"))
    (each,) = eventually(lambda: collector.points(PER_CHUNK, canary__name="streamed"))
    assert (first.count, first.sum) == (1, pytest.approx(row["ttfb_s"]))
    assert values(first.attributes)["gen_ai.response.model"] == "snapshot-streamed"
    assert each.count == 1
    assert 0.0 < each.sum <= row["latency_s"] - row["ttfb_s"]


def test_an_answer_that_failed_has_its_error(stage: Stage, collector: Collector) -> None:
    stage.provider.behave("old-failing", Behaviour(faults={"status": 1.0}))
    answer = ask(stage, "failing", "baseline")
    assert answer.status_code >= 500
    (point,) = eventually(lambda: collector.points(DURATION, canary__name="failing"))
    assert values(point.attributes)["error.type"] == "provider_5xx"
    assert "gen_ai.response.model" not in values(point.attributes)


def test_a_tool_call_is_a_chat_that_ended_so(stage: Stage, collector: Collector) -> None:
    answer = ask(stage, "tools", tools=[TOOL])
    assert answer.json()["choices"][0]["finish_reason"] == "tool_calls"
    span = eventually(lambda: collector.of(answer.headers["x-canary-exchange"]))
    (reasons,) = [each for each in span.attributes if each.key == "gen_ai.response.finish_reasons"]
    assert [each.string_value for each in reasons.value.array_value.values] == ["tool_calls"]


def test_what_asks_no_model_is_not_measured_and_a_model_that_does_not_exist_is_no_label(
    stage: Stage, collector: Collector
) -> None:
    named = {"authorization": "Bearer sk", "x-api-key": "k", "anthropic-version": "2023-06-01"}
    listed = httpx2.get(f"{stage.server.traffic}/v1/models", headers=named, trust_env=False)
    stage.provider.behave("claude-invented", Behaviour(faults={"status": 1.0}))
    body = {"model": "claude-invented", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    refused = httpx2.post(f"{stage.server.traffic}/v1/messages", json=body, headers=named, trust_env=False)
    for answer in (listed, refused):
        eventually(lambda answer=answer: collector.of(answer.headers["x-canary-exchange"]))
    (point,) = eventually(lambda: collector.points(DURATION, gen_ai__provider__name="anthropic"))
    assert "gen_ai.request.model" not in values(point.attributes)
    assert "canary.name" not in values(point.attributes)
    assert point.count == 1
