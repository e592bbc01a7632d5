"""Which exchanges are measured, and under which labels."""

from collections.abc import Iterator

import pytest
from msgspec import structs
from opentelemetry.sdk.resources import Resource

from records.exports.otlp import MOST_MODELS, ClientMetrics
from records.outcome import Outcome, Usage
from tests.e2e.otlp import Collector, collecting, values
from tests.records.samples import an_outcome

DURATION, USAGE = "gen_ai.client.operation.duration", "gen_ai.client.token.usage"
PER_CHUNK = "gen_ai.client.operation.time_per_output_chunk"
ANSWERED = structs.replace(
    an_outcome(1), provider="openai", api="openai", operation="chat", outcome="ok", model="new", ttfb_s=0.05
)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as up:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", up.url)
        yield up


def sent(*outcomes: Outcome) -> None:
    metrics = ClientMetrics(Resource({}), dict)
    metrics.take(outcomes)
    metrics.close()


def test_a_stream_has_the_mean_of_its_chunks(collector: Collector) -> None:
    sent(structs.replace(ANSWERED, chunks=5), structs.replace(ANSWERED, chunks=1))
    (point,) = collector.points(PER_CHUNK)
    assert (point.count, point.sum) == (1, pytest.approx((0.25 - 0.05) / 4))


def test_an_estimate_is_no_count_and_a_caller_that_left_no_duration(collector: Collector) -> None:
    broken = Usage(input_tokens=10, output_tokens=3, estimated=True)
    left = structs.replace(ANSWERED, outcome="aborted", error_type="aborted", usage=broken)
    sent(left, ANSWERED)
    assert [point.count for point in collector.points(DURATION)] == [1]
    assert [point.count for point in collector.points(USAGE)] == [1, 1]


def test_a_copy_is_told_apart(collector: Collector) -> None:
    sent(ANSWERED, structs.replace(ANSWERED, mirror=True))
    copies = [values(point.attributes).get("canary.mirror") for point in collector.points(DURATION)]
    assert sorted(copies, key=str) == [None, True]


def test_more_models_than_anybody_has_are_one(collector: Collector) -> None:
    other = [
        structs.replace(ANSWERED, canary="", model=f"model-{number}") for number in range(2 * MOST_MODELS)
    ]
    sent(*other)
    told = [values(point.attributes)["gen_ai.request.model"] for point in collector.points(DURATION)]
    assert len(told) == MOST_MODELS + 1 and "_OTHER" in told


def test_models_of_callers_do_not_take_the_place_of_a_canary_s(collector: Collector) -> None:
    other = [structs.replace(ANSWERED, canary="", model=f"model-{number}") for number in range(MOST_MODELS)]
    own = structs.replace(ANSWERED, canary="c", model="new", response_model="new-2026")
    sent(*other, own)
    told = [values(point.attributes) for point in collector.points(DURATION)]
    (found,) = [each for each in told if "canary.name" in each]
    assert (found["gen_ai.request.model"], found["gen_ai.response.model"]) == ("new", "new-2026")
