"""What is recorded of an answer's end and faults: every API, JSON and streams, over real sockets."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
import uvicorn
from uvicorn.server import ServerState

from demo.behaviour import AnswerFault, Behaviour
from demo.provider import LocalProvider
from proxy.checker import Checker
from proxy.exchange import Exchanges
from proxy.mirror import Mirrors
from proxy.pins import Pins
from proxy.provider import Provider
from proxy.record import Recorder
from proxy.routes import Routes
from proxy.server import TrafficProtocol
from records.outcome import Fault, Finish, Outcome, OutputCheck
from routing.canary import Match
from routing.plan import Plan, State
from tests.proxy.calls import trial
from tests.proxy.raw_provider import pool

Run = Callable[[Any], Any]
KEY = b"k" * 32
CHECKER = (sys.executable, "-P", "-m", "proxy.checker_process")
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
Forms = pytest.mark.parametrize("form", ["json", "stream", "array"])
Row = tuple[Finish | None, tuple[Fault, ...], OutputCheck]


class Traffic:
    """Exchanges of one provider entry, all of the candidate, recorded in `outcomes`."""

    def __init__(self, provider: LocalProvider, upstreams: Any, api: str, **options: Any) -> None:
        root = "/v1" if KINDS[api] == "openai" else ""
        entry = Provider(name="raw", api=KINDS[api], base_url=provider.url + root)  # type: ignore[arg-type]
        arms = {"baseline": ("raw", options.pop("baseline", "")), "candidate": ("raw", "")}
        self.trial = replace(
            trial(providers={"raw": entry}, match=Match(models=frozenset()), **arms),  # type: ignore[arg-type]
            capture=options.pop("capture", None),
        )
        self.outcomes: list[Outcome] = []
        self.checker = options.pop("checker", None) or Checker(CHECKER, within_s=PATIENT_S)
        recorder = Recorder(
            append=self._append, price=lambda *_: None, ids_key=KEY, checker=self.checker, **options
        )
        self.exchanges = Exchanges(
            routes=Routes({"raw": entry}, [self.trial], ()),
            plan=self._plan,
            upstreams=upstreams,
            recorder=recorder,
            assignment_key=KEY,
            pins=Pins(lambda: None),
            mirrors=Mirrors(upstreams=upstreams, recorder=recorder, plan=self._plan),
        )

    def _plan(self) -> Plan:
        state = State(state="running", share=1.0, definition=self.trial.definition)
        return Plan(version=1, states={"support": state})

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
        async with httpx2.AsyncClient(
            base_url=f"http://{host}:{port}", trust_env=False, timeout=30.0
        ) as http:
            yield http
        server.close()
        self.checker.close()


async def asked(http: httpx2.AsyncClient, api: str, form: str, body: Mapping[str, Any]) -> httpx2.Response:
    """One request: JSON, SSE, or (Gemini's) an array."""
    headers = {"authorization": "Bearer sk-caller-0123456789", "x-canary-unit": "somebody"}
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
    if form == "array" and api != "gemini":
        pytest.skip("only Gemini streams as an array")

    async def scene() -> Outcome:
        async with LocalProvider(other=behaviour) as provider, pool() as upstreams:
            traffic = Traffic(provider, upstreams, api, **options)
            async with traffic.served() as http:
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


@Apis
@Forms
def test_a_good_answer_stops_and_has_no_fault(run: Run, api: str, form: str) -> None:
    assert row_of(run, api, form, None, PLAIN[api]) == ("stop", (), "")


@Apis
@Forms
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


@Apis
@Forms
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


@Apis
@Forms
@pytest.mark.parametrize(
    ("fault", "faults"),
    [(None, ()), ("json_invalid", ("json_invalid",)), ("json_off_schema", ("json_off_schema",))],
)
def test_wanted_json_is_judged(
    run: Run, api: str, form: str, fault: AnswerFault | None, faults: tuple[Fault, ...]
) -> None:
    assert row_of(run, api, form, fault, PLAIN[api] | FORMATS[api]) == ("stop", faults, "judged")


@Apis
@Forms
def test_json_that_is_cut_off_does_not_parse_and_a_refusal_is_no_json(run: Run, api: str, form: str) -> None:
    body = PLAIN[api] | FORMATS[api]
    assert row_of(run, api, form, "cut_off", body) == ("length", ("cut_off", "json_invalid"), "judged")
    assert row_of(run, api, form, "refused", body)[1:] == (("refused",), "judged")
