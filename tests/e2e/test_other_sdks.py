"""The SDKs of vendors that speak OpenAI's API, or nearly: what a canary takes, and what passes through.

The vendors' own APIs are answered by a local server in the forms of docs.ollama.com (api/chat),
docs.cohere.com (v2/chat) and docs.mistral.ai (fim/completions); their SDKs must understand what arrives.
"""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from threading import Thread
from types import TracebackType
from typing import Any

import cohere
import ollama
import openai
import pytest
from mistralai.client import Mistral
from mistralai.client.models import UserMessage

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from routing.canary import ArmName
from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

pytestmark = pytest.mark.more  # for more SDKs

CONFIG = """
providers:
  mistral: {{{{api: openai, base_url: "{{url}}/v1"}}}}
  ollama: {{{{api: openai, base_url: "{{url}}/v1"}}}}
  cohere: {{{{api: openai, base_url: "{{url}}/v1"}}}}
  ollama-own: {{{{api: openai, base_url: "{own}"}}}}
  cohere-own: {{{{api: openai, base_url: "{own}"}}}}
  mistral-own: {{{{api: openai, base_url: "{own}/v1"}}}}
canaries:
  - name: mistral
    match: {{{{models: [mistral-small-latest]}}}}
    baseline: {{{{provider: mistral, model: mistral-small-latest}}}}
    candidate: {{{{provider: mistral, model: mistral-medium-latest}}}}
    share: 50%
    guardrails: []
  - name: ollama
    match: {{{{models: ["qwen3:0.6b"]}}}}
    baseline: {{{{provider: ollama, model: "qwen3:0.6b"}}}}
    candidate: {{{{provider: ollama, model: "qwen3:4b"}}}}
    share: 50%
    guardrails: []
  - name: cohere
    match: {{{{models: [command-r-08-2024]}}}}
    baseline: {{{{provider: cohere, model: command-r-08-2024}}}}
    candidate: {{{{provider: cohere, model: command-a-03-2025}}}}
    share: 50%
    guardrails: []
"""
ARMS: dict[str, dict[ArmName, str]] = {
    "mistral": {"baseline": "mistral-small-latest", "candidate": "mistral-medium-latest"},
    "ollama": {"baseline": "qwen3:0.6b", "candidate": "qwen3:4b"},
    "cohere": {"baseline": "command-r-08-2024", "candidate": "command-a-03-2025"},
}
ASK: list[Any] = [{"role": "user", "content": "Where is my parcel?"}]
SAID = "On its way."
OWN_ANSWERS: dict[str, dict[str, Any]] = {
    "/api/chat": {
        "model": "qwen3:0.6b", "created_at": "2026-11-26T12:00:00Z", "done": True, "done_reason": "stop",
        "message": {"role": "assistant", "content": SAID}, "prompt_eval_count": 9, "eval_count": 4,
    },
    "/v2/chat": {
        "id": "c-1", "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": SAID}]},
        "usage": {"tokens": {"input_tokens": 9, "output_tokens": 4}},
    },
    "/v1/fim/completions": {
        "id": "f-1", "object": "chat.completion", "model": "codestral-latest", "created": 1,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
    },
}  # fmt: skip


class VendorsOwn(ThreadingHTTPServer):
    """The vendors' own APIs. `asked` has (path, document) of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "VendorsOwn":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert isinstance(self.server, VendorsOwn)
        self.server.asked.append((self.path, document))
        found = OWN_ANSWERS.get(self.path)
        body = json.dumps(found or {"error": "no such path"}).encode() + b"\n"
        kind = "application/x-ndjson" if document.get("stream") else "application/json"
        self.send_response(200 if found else 404)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def own() -> Iterator[VendorsOwn]:
    with VendorsOwn() as running:
        yield running


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, own: VendorsOwn) -> Iterator[Stage]:
    with on_stage(
        tmp_path_factory.mktemp("sdks"), CONFIG.format(own=own.url), provider=LocalProvider()
    ) as up:
        yield up


@pytest.fixture(params=["baseline", "candidate"])
def arm(request: pytest.FixtureRequest) -> ArmName:
    name: ArmName = request.param
    return name


def the_next(stage: Stage, stored: int) -> dict[str, Any]:
    """The one outcome after the first `stored`."""

    def found() -> list[dict[str, Any]] | None:
        rows = stage.outcomes()[stored:]
        return rows or None

    (row,) = eventually(found)
    return row


def check(stage: Stage, row: dict[str, Any], canary: str, arm: ArmName) -> None:
    assert (row["canary"], row["arm"], row["outcome"]) == (canary, arm, "ok")
    assert row["model"] == ARMS[canary][arm] == stage.provider.log.entries[-1].model
    assert row["input_tokens"] > 0
    assert row["output_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_mistrals_sdk_reaches_each_arm(stage: Stage, arm: ArmName, stream: bool) -> None:
    """In a stream Mistral states its usage by itself."""
    model = ARMS["mistral"][arm]
    stage.provider.behave(model, Behaviour(states_usage=True))
    user = {"x-canary-unit": next(stage.users(arm, "mistral", 0.5, prefix=f"m-{stream}"))}
    stored = len(stage.outcomes())
    messages: list[Any] = [UserMessage(content="Where is my parcel?")]
    with Mistral(api_key="sk-caller", server_url=stage.server.traffic) as sdk:
        if stream:
            events = sdk.chat.stream(model="mistral-small-latest", messages=messages, http_headers=user)
            text = "".join(str(each.data.choices[0].delta.content or "") for each in events)
        else:
            answer = sdk.chat.complete(model="mistral-small-latest", messages=messages, http_headers=user)
            message = answer.choices[0].message
            assert message is not None
            text = str(message.content)
    assert text
    check(stage, the_next(stage, stored), "mistral", arm)
    sent = stage.provider.log.entries[-1]
    assert sent.target == "/v1/chat/completions"
    assert sent.credentials == {"authorization": "Bearer sk-caller"}


def test_mistrals_sdk_does_not_notice_a_refusal_of_stream_options(stage: Stage) -> None:
    strict = Behaviour(rejects=("stream_options",), reject_status=422, states_usage=True)
    stage.provider.behave("mistral-small-latest", strict)
    messages: list[Any] = [UserMessage(content="Where is my parcel?")]
    for user in islice(stage.users("baseline", "mistral", 0.5, prefix="strict"), 2):
        stored = len(stage.outcomes())
        with Mistral(api_key="sk-caller", server_url=stage.server.traffic) as sdk:
            headers = {"x-canary-unit": user}
            events = sdk.chat.stream(model="mistral-small-latest", messages=messages, http_headers=headers)
            assert "".join(str(each.data.choices[0].delta.content or "") for each in events)
        check(stage, the_next(stage, stored), "mistral", "baseline")


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("canary", ["ollama", "cohere"])
def test_ollama_and_cohere_are_reached_by_openais_sdk(
    stage: Stage, arm: ArmName, canary: str, stream: bool
) -> None:
    user = {"x-canary-unit": next(stage.users(arm, canary, 0.5, prefix=f"{canary}-{stream}"))}
    stored = len(stage.outcomes())
    with openai.OpenAI(
        base_url=f"{stage.server.traffic}/{canary}/v1", api_key="sk-caller", max_retries=0
    ) as sdk:
        create = sdk.chat.completions.create
        model = ARMS[canary]["baseline"]
        if stream:
            chunks = create(model=model, messages=ASK, stream=True, extra_headers=user)
            text = "".join(each.choices[0].delta.content or "" for each in chunks)
        else:
            whole = create(model=model, messages=ASK, extra_headers=user)
            text = whole.choices[0].message.content or ""
    assert text
    check(stage, the_next(stage, stored), canary, arm)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_ollamas_own_chat_passes_through_without_a_canary(
    stage: Stage, own: VendorsOwn, stream: bool
) -> None:
    """At an entry whose base URL is Ollama's root. Its usage is not read."""
    stored = len(stage.outcomes())
    host = f"{stage.server.traffic}/ollama-own"
    with ollama.Client(host=host, headers={"x-canary-unit": "user-1"}, trust_env=False) as sdk:
        if stream:
            text = "".join(
                each.message.content or "" for each in sdk.chat("qwen3:0.6b", messages=ASK, stream=True)
            )
        else:
            text = sdk.chat("qwen3:0.6b", messages=ASK).message.content or ""
    assert text == SAID
    assert own.asked[-1][0] == "/api/chat"
    row = the_next(stage, stored)
    assert (row["canary"], row["outcome"], row["input_tokens"]) == ("", "ok", None)


def test_coheres_own_chat_passes_through_without_a_canary(stage: Stage, own: VendorsOwn) -> None:
    stored = len(stage.outcomes())
    with cohere.ClientV2(api_key="sk-caller", base_url=f"{stage.server.traffic}/cohere-own") as sdk:
        answer = sdk.chat(model="command-r-08-2024", messages=ASK)
    assert [each.text for each in answer.message.content or [] if each.type == "text"] == [SAID]
    assert own.asked[-1][0] == "/v2/chat"
    row = the_next(stage, stored)
    assert (row["canary"], row["outcome"], row["cost_usd"]) == ("", "ok", None)


def test_mistrals_own_completions_pass_through_without_a_canary(stage: Stage, own: VendorsOwn) -> None:
    stored = len(stage.outcomes())
    with Mistral(api_key="sk-caller", server_url=f"{stage.server.traffic}/mistral-own") as sdk:
        answer = sdk.fim.complete(model="codestral-latest", prompt="def")
    assert answer.choices[0].message is not None
    assert answer.choices[0].message.content == SAID
    assert own.asked[-1][0] == "/v1/fim/completions"
    row = the_next(stage, stored)
    assert (row["canary"], row["outcome"]) == ("", "ok")
