"""What is recorded of an answer's end and faults: every API, JSON and streams, over real sockets."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import httpx2
import pytest
import uvicorn
from uvicorn.server import ServerState

from demo.provider.behaviour import AnswerFault, Behaviour
from demo.provider.server import LocalProvider
from proxy.attempts.checker import Checker
from proxy.attempts.examination import result_of, tool_calls
from proxy.attempts.mirror import Mirrors
from proxy.attempts.record import ExchangeRecorder
from proxy.calls.canary_choice import ArmPins, subagent_in
from proxy.calls.routes import Routes
from proxy.dialects.operation import CollectedOutput
from proxy.exchange import Exchanges
from proxy.network.server.caller_connection import TrafficProtocol
from proxy.network.ticker import Ticker
from proxy.providers.credentials import Credentials
from proxy.providers.provider import Provider
from records.outcome import (
    MOST_TOOL_CALLS,
    Fault,
    Finish,
    Outcome,
    OutputCheck,
    ProviderError,
    ToolCall,
)
from routing.canary import Match
from routing.states import State, States
from tests.proxy.calls import trial
from tests.proxy.raw_provider import pool

Run = Callable[[Any], Any]
KEY = b"k" * 32
CHECKER = (sys.executable, "-P", "-m", "proxy.attempts.checker_process")
PATIENT_S = 20.0
"""The bound on a check in these tests: it must not decide them."""

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
OPENAPI = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER"}}}
FUNCTION = {"name": "weather", "parameters": SCHEMA}
JSON_SCHEMA = {"type": "json_schema", "schema": SCHEMA}
PLAIN: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "hello"}]},
    "responses": {"model": "m", "input": "hello", "store": False},
    "anthropic": {"model": "m", "max_tokens": 999, "messages": [{"role": "user", "content": "hello"}]},
    "gemini": {"contents": [{"parts": [{"text": "hello"}]}]},
}
TOOLS: dict[str, dict[str, Any]] = {
    "chat": {"tools": [{"type": "function", "function": FUNCTION}]},
    "responses": {"tools": [{"type": "function", **FUNCTION}, {"type": "web_search"}]},
    "anthropic": {"tools": [{"name": "weather", "input_schema": SCHEMA}]},
    "gemini": {"tools": [{"functionDeclarations": [{"name": "weather", "parameters": OPENAPI}]}]},
}
FORMATS: dict[str, dict[str, Any]] = {
    "chat": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
    "responses": {"text": {"format": JSON_SCHEMA | {"name": "x"}}},
    "anthropic": {"output_config": {"format": JSON_SCHEMA}},
    "gemini": {"generationConfig": {"responseMimeType": "application/json", "responseSchema": OPENAPI}},
}
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "anthropic": "/v1/messages"}
KINDS = {"chat": "openai", "responses": "openai", "anthropic": "anthropic", "gemini": "gemini"}
Apis = pytest.mark.parametrize("api", PLAIN)
Answers = pytest.mark.parametrize(
    ("api", "form"),
    [*[(api, form) for api in PLAIN for form in ("json", "stream")], ("gemini", "array")],
)
Row = tuple[Finish | None, tuple[Fault, ...], OutputCheck]


class Traffic:
    """Exchanges of one provider entry, all of the candidate, recorded in `outcomes`."""

    def __init__(self, provider: LocalProvider, upstreams: Any, api: str, **options: Any) -> None:
        root = "/v1" if KINDS[api] == "openai" else ""
        entry = Provider(name="raw", api=KINDS[api], base_url=provider.url + root)  # type: ignore[arg-type]
        arms = {arm: ("raw", options.pop(arm, "")) for arm in ("baseline", "candidate")}
        self._share = options.pop("share", 1.0)
        self.trial = replace(
            trial(providers={"raw": entry}, match=Match(models=frozenset()), **arms),  # type: ignore[arg-type]
            redact=options.pop("redact", ()),
            mirror=options.pop("mirror", 0.0),
        )
        self.outcomes: list[Outcome] = []
        self.checker = options.pop("checker", None) or Checker(CHECKER, within_s=PATIENT_S)
        recorder = ExchangeRecorder(
            append=self._append, price=lambda *_: None, ids_key=KEY, checker=self.checker, **options
        )
        self.ticker = Ticker(asyncio.get_running_loop())
        credentials = Credentials()
        self.exchanges = Exchanges(
            routes=Routes({"raw": entry}, [self.trial], ()),
            states=self._states,
            upstreams=upstreams,
            recorder=recorder,
            assignment_key=KEY,
            pins=ArmPins(lambda: None),
            mirrors=Mirrors(
                upstreams=upstreams, recorder=recorder, states=self._states, credentials=credentials
            ),
            ticker=self.ticker,
            credentials=credentials,
        )

    def _states(self) -> States:
        state = State(state="running", share=self._share, definition=self.trial.definition)
        return States(version=1, states={"support": state})

    def _append(self, outcome: Outcome) -> bool:
        self.outcomes.append(outcome)
        return True

    @asynccontextmanager
    async def served(self) -> AsyncIterator[httpx2.AsyncClient]:
        """A client whose requests reach them."""
        loop, state = asyncio.get_running_loop(), ServerState()
        config = uvicorn.Config(
            self.exchanges, http=TrafficProtocol, ws="none", lifespan="off", log_config=None
        )  # type: ignore[arg-type]
        server = await loop.create_server(
            lambda: TrafficProtocol(config, state, {}, _loop=loop), "127.0.0.1", 0
        )
        host, port = server.sockets[0].getsockname()
        url = f"http://{host}:{port}"
        try:
            async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30.0) as http:
                yield http
        finally:
            server.close()
            self.ticker.stop()
            self.checker.close()


async def asked(http: httpx2.AsyncClient, api: str, form: str, body: Mapping[str, Any]) -> httpx2.Response:
    """One request: JSON, SSE, or (Gemini's) an array."""
    headers = {
        "authorization": "Bearer sk-caller-0123456789",
        "x-canary-unit": "somebody",
        "x-canary-session": "s",
    }
    if api == "gemini":
        method = {"json": "generateContent", "stream": "streamGenerateContent?alt=sse"}.get(form)
        url = f"/v1beta/models/m:{method or 'streamGenerateContent'}"
        return await http.post(url, json=body, headers=headers | {"x-goog-api-key": "k"})
    stream = {"stream": True} if form == "stream" else {}
    headers |= {"anthropic-version": "2023-06-01"} if api == "anthropic" else {}
    return await http.post(PATHS[api], json={**body, **stream}, headers=headers)


def outcome_of(
    run: Run, api: str, form: str, behaviour: Behaviour, body: Mapping[str, Any], **options: Any
) -> Outcome:
    """The record of one request to a provider that behaves like that."""

    async def scene() -> Outcome:
        async with LocalProvider(other=behaviour) as provider, pool() as upstreams:
            traffic = Traffic(provider, upstreams, api, **options)
            async with traffic.served() as http:
                with suppress(httpx2.TransportError):  # an answer that breaks off
                    await asked(http, api, form, body)
            (outcome,) = traffic.outcomes
            return outcome

    outcome: Outcome = run(scene())
    return outcome


def row_of(run: Run, api: str, form: str, fault: AnswerFault | None, body: Mapping[str, Any]) -> Row:
    behaviour = Behaviour(answer_faults={fault: 1.0} if fault is not None else {})
    outcome = outcome_of(run, api, form, behaviour, body)
    assert (outcome.outcome, outcome.arm) == ("ok", "candidate")
    return outcome.finish, outcome.faults, outcome.output_check


@Answers
def test_a_good_answer_stops_and_has_no_fault(run: Run, api: str, form: str) -> None:
    assert row_of(run, api, form, None, PLAIN[api]) == ("stop", (), "")


@Answers
@pytest.mark.parametrize(
    ("fault", "finish", "faults"),
    [
        ("empty", "stop", ("empty",)),
        ("spent", "length", ("cut_off", "empty")),
        ("cut_off", "length", ("cut_off",)),
        ("refused", "refusal", ("refused",)),
        ("filtered", "content_filter", ("refused",)),
    ],
)
def test_faults_that_need_no_request(
    run: Run, api: str, form: str, fault: AnswerFault, finish: Finish, faults: tuple[Fault, ...]
) -> None:
    if (api, fault) == ("gemini", "refused"):
        finish = "content_filter"  # Gemini has no refusal
    if (api, fault) == ("anthropic", "filtered"):
        finish = "refusal"  # Anthropic has no filter
    assert row_of(run, api, form, fault, PLAIN[api]) == (finish, faults, "")


@Answers
@pytest.mark.parametrize(
    ("fault", "faults"),
    [
        (None, ()),
        ("tool_args_invalid", ("tool_args_invalid",)),
        ("tool_args_off_schema", ("tool_args_off_schema",)),
        ("tool_unknown", ("tool_unknown",)),
    ],
)
def test_tool_calls_are_judged(
    run: Run, api: str, form: str, fault: AnswerFault | None, faults: tuple[Fault, ...]
) -> None:
    named = api == "gemini" and fault == "tool_args_invalid"  # MALFORMED_FUNCTION_CALL
    finish: Finish = "other" if named else "tool_calls"
    assert row_of(run, api, form, fault, PLAIN[api] | TOOLS[api]) == (finish, faults, "judged")


@Answers
def test_a_tool_call_is_its_name_and_a_keyed_hash(run: Run, api: str, form: str) -> None:
    (found,) = outcome_of(run, api, form, Behaviour(), PLAIN[api] | TOOLS[api]).tool_calls
    assert (found.name, found.digest) == (
        "weather",
        called('{ "days": 1,\n "city": "Z\\u00fcrich" }')[0].digest,
    )
    assert outcome_of(run, api, form, Behaviour(), PLAIN[api]).tool_calls == ()


def called(*arguments: str, name: str = "weather", key: bytes = KEY) -> tuple[ToolCall, ...]:
    output = CollectedOutput()
    for place, text in enumerate(arguments):
        output.add_call(0, place, name=name, arguments=text)
    return tool_calls(key, output)


def test_equal_arguments_have_one_hash_in_any_order_and_with_any_spaces() -> None:
    same = called('{"a":1,"b":{"c":[1,2],"d":"x"}}', ' {"b": {"d": "\\u0078", "c": [1, 2]}, "a": 1}')
    assert len({call.digest for call in same}) == 1 and len(same[0].digest) == 8
    apart = called(
        "{}", '{"a":1}', '{"a":"1"}', '{"a":[2,1]}', '{"a":[1,2]}', '{"a":', '{"a": ', '{"a":1e999}'
    )
    assert len({call.digest for call in apart}) == len(apart)
    assert called("")[0] == called("{}")[0] != called("{}", key=b"o" * 32)[0]
    assert [call.name for call in called("{}", name="n" * 99)] == ["n" * 64]
    assert len(called(*["{}"] * 100)) == MOST_TOOL_CALLS
    assert tool_calls(KEY, None) == tool_calls(KEY, CollectedOutput()) == ()


RESULTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "chat": lambda id: {"messages": [{"role": "tool", "tool_call_id": id, "content": "4"}]},
    "responses": lambda id: {"input": [{"type": "function_call_output", "call_id": id, "output": "4"}]},
    "anthropic": lambda id: {
        "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": id}]}]
    },
    "gemini": lambda _: {
        "contents": [{"parts": [{"functionResponse": {"name": "weather", "response": {}}}]}]
    },
}
"""A request with the result of the call of this id."""


@Apis
def test_a_request_says_which_answer_it_goes_on_from(run: Run, api: str) -> None:
    first = outcome_of(run, api, "json", Behaviour(), PLAIN[api] | TOOLS[api])
    again = outcome_of(run, api, "json", Behaviour(), PLAIN[api] | TOOLS[api] | RESULTS[api]("c2"))
    named = CollectedOutput()
    named.add_call(0, 0, id="c2", name="weather", arguments="{}")
    (call,) = tool_calls(KEY, named, named=api != "gemini")  # whose calls have ids at times only
    assert first.result_of == 0 and bool(first.tool_calls[0].id) is (api != "gemini")
    assert again.result_of == call.id and again.output_check == "judged"
    assert outcome_of(run, api, "json", Behaviour(), PLAIN[api] | RESULTS[api]("c2")).result_of == 0


def test_the_last_result_in_a_body_counts_and_no_word_in_a_text() -> None:
    names = (b"tool_use_id",)

    def found(body: object) -> int:
        return result_of(KEY, names, json.dumps(body).encode())

    two = {"messages": [{"tool_use_id": "a"}, {"tool_use_id": "b"}]}
    schema = {"tools": [{"properties": {"tool_use_id": {"type": "string"}}, "required": ["tool_use_id"]}]}
    assert (
        found(two) == found(two | schema) == found({"x": {"tool_use_id": "b"}}) != found({"tool_use_id": "a"})
    )
    assert found(schema) == found({"text": '{"tool_use_id": "b"}'}) == found({"tool_use_id": "b" * 257}) == 0
    assert result_of(KEY, (), b"", subagent="ses_1") == result_of(KEY, names, b"{}", subagent="ses_1") != 0


def test_where_calls_have_no_ids_those_of_one_subagent_are_no_other_ones() -> None:
    output = CollectedOutput()
    output.add_call(0, 0, id="made up", name="weather", arguments="{}")
    (plain,), (one,), (other,) = (
        tool_calls(KEY, output, named=False, subagent=who) for who in ("", "ses_1", "ses_2")
    )
    assert plain.digest == one.digest == other.digest and plain.id == 0 != one.id != other.id != 0
    parent, own = (b"x-parent-session-id", b"ses_1"), (b"x-session-id", b"ses_2")
    assert [subagent_in(dict(named)) for named in ((parent, own), (own,), (parent,))] == ["ses_2", "", ""]


@Answers
@pytest.mark.parametrize(
    ("fault", "faults"),
    [(None, ()), ("json_invalid", ("json_invalid",)), ("json_off_schema", ("json_off_schema",))],
)
def test_wanted_json_is_judged(
    run: Run, api: str, form: str, fault: AnswerFault | None, faults: tuple[Fault, ...]
) -> None:
    assert row_of(run, api, form, fault, PLAIN[api] | FORMATS[api]) == ("stop", faults, "judged")


@Answers
def test_json_that_is_cut_off_does_not_parse_and_a_refusal_is_no_json(run: Run, api: str, form: str) -> None:
    body = PLAIN[api] | FORMATS[api]
    assert row_of(run, api, form, "cut_off", body) == ("length", ("cut_off", "json_invalid"), "judged")
    assert row_of(run, api, form, "refused", body)[1:] == (("refused",), "judged")


def test_an_answer_whose_schema_is_not_checked_in_time_is_not_judged(run: Run) -> None:
    checker = Checker(("/bin/sleep", "60"), within_s=0.0)
    behaviour = Behaviour(answer_faults={"tool_args_off_schema": 1.0})
    outcome = outcome_of(run, "chat", "json", behaviour, PLAIN["chat"] | TOOLS["chat"], checker=checker)
    assert (outcome.finish, outcome.faults, outcome.output_check) == ("tool_calls", (), "not_judged")


def test_a_fault_that_needs_no_schema_is_found_without_a_checker(run: Run) -> None:
    checker = Checker(("/no/such/program",))
    behaviour = Behaviour(answer_faults={"tool_unknown": 1.0})
    outcome = outcome_of(run, "chat", "stream", behaviour, PLAIN["chat"] | TOOLS["chat"], checker=checker)
    assert (outcome.faults, outcome.output_check) == (("tool_unknown",), "judged")


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "http://127.0.0.1:9/schema"}, {"$ref": "file:///etc/hostname"}]
)
def test_a_schema_that_is_none_leaves_the_answer_not_judged(run: Run, schema: dict[str, Any]) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    outcome = outcome_of(run, "chat", "json", Behaviour(), PLAIN["chat"] | {"tools": [tool]})
    assert (outcome.finish, outcome.faults, outcome.output_check) == ("tool_calls", (), "not_judged")


@pytest.mark.parametrize(
    ("body", "check"),
    [
        ({"response_format": {"type": "text"}}, ""),
        ({"tools": []}, ""),
        ({"tools": None}, ""),
        ({"tool_choice": "none", "tools": TOOLS["chat"]["tools"]}, "judged"),
    ],
)
def test_only_requests_with_tools_or_a_format_are_judged(run: Run, body: dict[str, Any], check: str) -> None:
    async def scene() -> Outcome:
        async with LocalProvider(other=Behaviour(says={"hello": "good"})) as provider, pool() as upstreams:
            traffic = Traffic(provider, upstreams, "chat")
            async with traffic.served() as http:
                await asked(http, "chat", "stream", PLAIN["chat"] | body)
            return traffic.outcomes[0]

    outcome = run(scene())
    assert (outcome.outcome, outcome.output_check) == ("ok", check)


def test_a_caller_that_leaves_while_a_schema_is_checked_has_a_record_not_judged(run: Run) -> None:
    async def scene() -> list[Outcome]:
        checker = Checker(("/bin/sleep", "60"), within_s=PATIENT_S)
        checker._has_answered = True  # so that it waits for a result that never comes
        async with LocalProvider() as provider, pool() as upstreams:
            traffic = Traffic(provider, upstreams, "chat", checker=checker)
            async with traffic.served() as http:
                asking = asyncio.ensure_future(asked(http, "chat", "json", PLAIN["chat"] | TOOLS["chat"]))
                while not checker._waiting:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                asking.cancel()
                while not traffic.outcomes:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            return traffic.outcomes

    (outcome,) = run(scene())
    assert (outcome.outcome, outcome.finish, outcome.output_check) == ("ok", "tool_calls", "not_judged")


# What did not end well


@pytest.mark.parametrize("form", ["json", "stream"])
@pytest.mark.parametrize("fault", ["status", "cut", "stream_error"])
def test_a_failure_has_no_finish(run: Run, form: str, fault: Any) -> None:
    body = PLAIN["chat"] | TOOLS["chat"]
    behaviour = Behaviour(faults={fault: 1.0}, after_events=3)
    outcome = outcome_of(run, "chat", form, behaviour, body)
    assert outcome.outcome == "error"
    assert (outcome.finish, outcome.faults, outcome.output_check) == (None, (), "")


@pytest.mark.parametrize("form", ["json", "stream"])
def test_what_the_baseline_says_in_a_fallback_is_no_arms_answer(run: Run, form: str) -> None:
    async def scene() -> tuple[Outcome, httpx2.Response]:
        refusing = Behaviour(rejects=("messages",))
        async with LocalProvider({"m": refusing}, other=Behaviour()) as provider, pool() as upstreams:
            traffic = Traffic(provider, upstreams, "chat", baseline="good")
            async with traffic.served() as http:
                answer = await asked(http, "chat", form, PLAIN["chat"] | TOOLS["chat"])
            return traffic.outcomes[0], answer

    outcome, answer = run(scene())
    assert (answer.status_code, outcome.outcome) == (200, "fallback")
    assert (outcome.finish, outcome.faults, outcome.output_check) == (None, (), "")
    assert outcome.provider_error == ProviderError(
        code="unsupported_parameter",
        type="invalid_request_error",
        param="messages",
        message="Unsupported parameter: 'messages' is not supported with this model.",
    )


@Apis
def test_the_words_of_a_provider_that_failed_are_recorded(run: Run, api: str) -> None:
    outcome = outcome_of(run, api, "json", Behaviour(faults={"status": 1.0}, status=503), PLAIN[api])
    assert outcome.provider_error is not None
    assert outcome.provider_error.message == "The model answered with status 503 on purpose."
    assert outcome.provider_error.type in ("server_error", "api_error", "UNAVAILABLE")


@Apis
def test_the_words_of_an_error_inside_a_stream_are_recorded(run: Run, api: str) -> None:
    behaviour = Behaviour(faults={"stream_error": 1.0}, after_events=4)
    outcome = outcome_of(run, api, "stream", behaviour, PLAIN[api])
    assert (outcome.error_type, outcome.finish) == ("provider_stream_error", None)
    assert outcome.provider_error is not None
    assert outcome.provider_error.message


def test_a_good_exchange_has_no_words(run: Run) -> None:
    assert outcome_of(run, "chat", "json", Behaviour(), PLAIN["chat"]).provider_error is None


@pytest.mark.parametrize("works", [True, False])
def test_words_are_redacted_by_the_configs_own_patterns_or_left_out(run: Run, works: bool) -> None:
    checker = Checker(CHECKER if works else ("/no/such/program",), within_s=PATIENT_S)
    behaviour, redact = Behaviour(faults={"status": 1.0}), ("on purpose",)
    outcome = outcome_of(run, "chat", "json", behaviour, PLAIN["chat"], checker=checker, redact=redact)
    assert outcome.provider_error is not None
    told = "The model answered with status 500 [redacted]." if works else ""
    assert (outcome.provider_error.message, outcome.provider_error.type) == (told, "server_error")


def test_a_mirror_copy_is_read_as_any_answer(run: Run) -> None:
    async def scene() -> list[Outcome]:
        faulty = Behaviour(answer_faults={"tool_args_invalid": 1.0})
        async with LocalProvider({"copied": faulty}) as provider, pool() as upstreams:
            traffic = Traffic(provider, upstreams, "chat", candidate="copied", mirror=1.0, share=0.0001)
            async with traffic.served() as http:
                await asked(http, "chat", "stream", PLAIN["chat"] | TOOLS["chat"])
                while len(traffic.outcomes) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            return sorted(traffic.outcomes, key=lambda outcome: outcome.mirror)

    real, copy = run(scene())
    assert (real.arm, real.faults, real.output_check) == ("baseline", (), "judged")
    assert (copy.arm, copy.faults, copy.output_check) == ("candidate", ("tool_args_invalid",), "judged")
