"""Traces of the real server, as a collector of them receives them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from demo.provider.behaviour import Behaviour
from tests.e2e.otlp import Collector, collecting, values
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    guardrails: []
"""
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as up:
        yield up


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stage]:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "CANARY_FEEDBACK_TOKEN": "tok"}
    with on_stage(tmp_path_factory.mktemp("tracing"), CONFIG, env=env) as up:
        yield up


def ask(stage: Stage, user: str, **headers: str) -> httpx2.Response:
    url = f"{stage.server.traffic}/v1/chat/completions"
    named = {"authorization": "Bearer sk", **headers}
    return httpx2.post(url, json=chat("gpt-4o", user), headers=named, trust_env=False)


def span_of(collector: Collector, answer: httpx2.Response) -> Span:
    exchange_id = answer.headers["x-canary-exchange"]
    return eventually(lambda: collector.of(exchange_id))


def test_an_exchange_is_a_client_span_under_the_callers_own(stage: Stage, collector: Collector) -> None:
    user = next(stage.users("candidate", "support-nov", 0.5))
    answer = ask(stage, user, traceparent=f"00-{TRACE}-{PARENT}-01")
    span, row = span_of(collector, answer), stage.outcome(answer.headers["x-canary-exchange"])
    assert span.name == "chat gpt-4o-2024-11-20"
    assert span.kind == Span.SPAN_KIND_CLIENT
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert span.start_time_unix_nano == pytest.approx(row["at"] * 1e9, abs=1e3)
    assert span.end_time_unix_nano - span.start_time_unix_nano == pytest.approx(
        row["latency_s"] * 1e9, abs=1e3
    )
    usage = answer.json()["usage"]
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-2024-11-20",
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "http.response.status_code": 200,
        "canary.name": "support-nov",
        "canary.arm": "candidate",
        "canary.model_requested": "gpt-4o",
        "canary.outcome": "ok",
    }
    said = values(span.attributes)
    assert {name: said.get(name) for name in expected} == expected
    assert collector.resources[0]["service.name"] == "canary"


def test_feedback_is_an_event_in_its_exchanges_trace(stage: Stage, collector: Collector) -> None:
    answer = ask(stage, "user-of-feedback")
    span = span_of(collector, answer)
    document = {"exchange_id": answer.headers["x-canary-exchange"], "metric": "csat", "value": 4}
    given = httpx2.post(
        f"{stage.server.traffic}/canary/feedback",
        json=document | {"comment": "a text of mine"},
        headers={"authorization": "Bearer tok"},
        trust_env=False,
    )
    assert given.status_code == 202
    (event,) = eventually(lambda: list(collector.events))
    assert event.event_name == "gen_ai.evaluation.result"
    assert (event.trace_id, event.span_id) == (span.trace_id, span.span_id)
    said = values(event.attributes)
    assert (said["gen_ai.evaluation.name"], said["gen_ai.evaluation.score.value"]) == ("csat", 4.0)
    assert b"a text of mine" not in event.SerializeToString()


def test_a_fallback_shows_both_attempts_and_is_no_error(stage: Stage, collector: Collector) -> None:
    stage.provider.behave("gpt-4o-2024-11-20", Behaviour(faults={"status": 1.0}))
    answer = ask(stage, next(stage.users("candidate", "support-nov", 0.5, prefix="other")))
    stage.provider.behave("gpt-4o-2024-11-20", Behaviour())
    span = span_of(collector, answer)
    attempts = [values(each.attributes) for each in span.events if each.name == "canary.attempt"]
    assert [(each["canary.arm"], each.get("error.type")) for each in attempts] == [
        ("candidate", "provider_5xx"),
        ("baseline", None),
    ]
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert values(span.attributes)["canary.outcome"] == "fallback"
    assert [each.time_unix_nano for each in span.events] == sorted(
        each.time_unix_nano for each in span.events
    )


def test_an_answer_that_failed_is_a_span_with_an_error(stage: Stage, collector: Collector) -> None:
    stage.provider.behave("gpt-4o-2024-08-06", Behaviour(faults={"status": 1.0}))
    answer = ask(stage, next(stage.users("baseline", "support-nov", 0.5)))
    stage.provider.behave("gpt-4o-2024-08-06", Behaviour())
    span = span_of(collector, answer)
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "provider_5xx")
    assert values(span.attributes)["error.type"] == "provider_5xx"


def counted(stage: Stage, arm: str) -> Any:
    return stage.status("support-nov")["arms"][arm]["requests"]


@pytest.mark.more
def test_a_collector_that_never_answers_holds_nothing_up(tmp_path: Path, collector: Collector) -> None:
    collector.answering.clear()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    try:
        with on_stage(tmp_path, CONFIG, env=env) as stage:
            before = collector.asked
            user = next(stage.users("baseline", "support-nov", 0.5))
            ask(stage, user)
            eventually(lambda: collector.asked > before)
            last = [ask(stage, user) for _ in range(20)][-1]
            eventually(lambda: counted(stage, "baseline") == 21)
            stage.outcome(last.headers["x-canary-exchange"])
            assert stage.server.stop() == 0
            log = stage.server.log_file.read_text()
            assert '"event": "traces.dropped"' in log
    finally:
        collector.answering.set()
