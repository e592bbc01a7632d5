"""What a span says of an exchange, and what it does not."""

from msgspec import structs
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from opentelemetry.trace import StatusCode

from records.exports.otlp import SpanFactory
from records.outcome import Outcome, ProviderError
from tests.records.samples import an_outcome, some_feedback

BASE_URLS = {"openai": "https://eu.api.example:8443/v1", "local": "http://user:secret@[::1]/v1"}
SPANS = SpanFactory(Resource({}), DEFAULT_ON, lambda: BASE_URLS)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def span(outcome: Outcome) -> ReadableSpan:
    found = SPANS.of(outcome)
    assert found is not None
    return found


def test_a_record_that_is_told_twice_is_the_same_span() -> None:
    assert span(an_outcome(1)).get_span_context() == span(an_outcome(1)).get_span_context()
    assert span(an_outcome(1)).get_span_context() != span(an_outcome(2)).get_span_context()


def test_a_copy_is_a_span_of_its_own() -> None:
    copy = structs.replace(an_outcome(1), mirror=True)
    assert span(copy).get_span_context() != span(an_outcome(1)).get_span_context()
    assert (span(copy).attributes or {})["canary.mirror"] is True


def test_a_trace_that_its_caller_does_not_sample_is_not_continued() -> None:
    assert SPANS.of(structs.replace(an_outcome(1), traceparent=f"00-{TRACE}-{PARENT}-00")) is None


def test_a_traceparent_that_is_none_begins_a_trace() -> None:
    found = span(structs.replace(an_outcome(1), traceparent="00-not-a-trace"))
    assert found.parent is None


def test_what_is_unknown_is_left_out_and_a_known_zero_is_not() -> None:
    said = span(an_outcome(1)).attributes or {}
    assert "canary.cost_usd" not in said
    assert "gen_ai.usage.reasoning.output_tokens" not in said
    assert said["gen_ai.usage.cache_read.input_tokens"] == 0


def test_a_request_of_no_canary_has_no_arm() -> None:
    said = span(structs.replace(an_outcome(1), canary="", outcome="ok")).attributes or {}
    assert "canary.arm" not in said


def test_a_caller_that_leaves_is_no_error() -> None:
    left = structs.replace(an_outcome(1), outcome="aborted", error_type="aborted", latency_s=None)
    assert span(left).status.status_code is StatusCode.UNSET
    assert span(left).end_time == span(left).start_time


def test_feedback_about_nothing_known_stands_alone() -> None:
    record = SPANS.event(some_feedback(4.0), None).log_record
    assert record.event_name == "gen_ai.evaluation.result"
    assert not record.trace_id


def test_how_an_answer_ended_and_what_was_wrong_with_it_is_said() -> None:
    answer = structs.replace(
        an_outcome(1), finish="length", faults=("cut_off", "json_invalid"), output_check="judged"
    )
    said = span(answer).attributes or {}
    assert said["gen_ai.response.finish_reasons"] == ("length",)
    assert said["canary.answer.faults"] == ("cut_off", "json_invalid")
    assert said["canary.answer.output_check"] == "judged"
    good = span(structs.replace(an_outcome(1), finish="stop")).attributes or {}
    assert "canary.answer.faults" not in good and "canary.answer.output_check" not in good
    assert "gen_ai.response.finish_reasons" not in (span(an_outcome(1)).attributes or {})


def test_what_the_provider_said_is_in_its_own_words() -> None:
    error = ProviderError(code="unsupported_value", param="temperature", message="Unsupported value: 0.2")
    said = span(structs.replace(an_outcome(1), provider_error=error)).attributes or {}
    told = {name: value for name, value in said.items() if name.startswith("canary.provider_error.")}
    assert told == {
        "canary.provider_error.code": "unsupported_value",
        "canary.provider_error.param": "temperature",
        "canary.provider_error.message": "Unsupported value: 0.2",
    }


def test_the_server_is_that_of_the_entry_without_its_credentials() -> None:
    def server(provider: str) -> list[object]:
        said = span(structs.replace(an_outcome(1), provider=provider)).attributes or {}
        return [said.get("server.address"), said.get("server.port")]

    assert server("openai") == ["eu.api.example", 8443]
    assert server("local") == ["::1", 80]
    assert server("removed-from-the-config") == [None, None]
