"""Eighteen ways in which a real candidate goes wrong, and what canary saw of each, as a new user meets them.

A small real model answers for both arms, and users ask until canary acts. Neither arm has a key of its own,
so no preflight keeps a canary waiting. `make test-real` prints the table of docs/guardrails.md.
"""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2
import pytest

from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage
from tests.reliability.answers import DONE, JSON, SSE, chunk, head, whole
from tests.reliability.fault_provider import Seen
from tests.reliability.rig import rigged
from tests.servers.small_model import small_model
from tests.serving import eventually

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(3600)]

CONFIG = """
providers:
  own: {api: openai, base_url: "<model>/v1"}
canaries:
CANARIES
notify: [{webhook: "HOOK"}]
"""
CANARY = """  - name: NAME
    match: {models: [NAME]}
    baseline: {provider: own, model: smollm2}
    candidate: {provider: own, model: ill-NAME}
    share: 50%
"""
SECRET = "a-secret-of-the-tests-of-a-real-model-01234"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WANTS_JSON = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "place", "schema": CITY, "strict": True},
    }
}
TOOL = {"type": "function", "function": {"name": "refund", "parameters": CITY}}
STALL_S = 8.0
SLOWER = 5.0
AT_ONCE = 4
MOST_REQUESTS, MOST_S = 240, 240.0

Ask = Callable[..., Awaitable[httpx2.Response]]
"""Asks the model itself (`Models.asked`)."""
Ill = Callable[[Seen, Ask], Awaitable[None]]


@dataclass
class Models:
    """The real model, once for each arm, and what stands before the candidate's."""

    baseline: str
    candidate: str

    async def play(self, seen: Seen) -> None:
        name = seen.model.removeprefix("ill-")
        await (PATHOLOGIES[name].ill if name in PATHOLOGIES else well)(seen, self.asked)

    async def asked(self, seen: Seen, **changed: Any) -> httpx2.Response:
        """The model's whole answer to a request, with these members changed."""
        url = self.candidate if seen.model.startswith("ill-") else self.baseline
        body = json.loads(bytes(seen.message.body)) | {"model": "smollm2"} | changed
        path = seen.message.start.split()[1].decode()
        return await asyncio.to_thread(httpx2.post, f"{url}{path}", json=body, timeout=120.0, trust_env=False)


async def well(seen: Seen, ask: Ask, **changed: Any) -> None:
    """The model's answer as it is."""
    response = await ask(seen, **changed)
    kind = b"content-type: %b\r\n" % response.headers["content-type"].encode()
    seen.write(whole(response.content, response.status_code, kind))


async def hangs(seen: Seen, ask: Ask) -> None:
    await seen.left.wait()


async def is_slow(seen: Seen, ask: Ask) -> None:
    """As long as the model takes, five times."""
    began = time.monotonic()
    response = await ask(seen)
    await asyncio.sleep((SLOWER - 1.0) * (time.monotonic() - began))
    kind = b"content-type: %b\r\n" % response.headers["content-type"].encode()
    seen.write(whole(response.content, response.status_code, kind))


async def _halves(seen: Seen, ask: Ask) -> tuple[bytes, bytes]:
    """The model's stream, in two parts."""
    events = (await ask(seen)).content.split(b"\n\n")
    middle = max(1, len(events) // 2)
    return b"\n\n".join(events[:middle]) + b"\n\n", b"\n\n".join(events[middle:])


async def stalls(seen: Seen, ask: Ask) -> None:
    """Silent for eight seconds in mid-stream."""
    first, rest = await _halves(seen, ask)
    seen.write(head(200, SSE), chunk(first))
    await asyncio.sleep(STALL_S)
    seen.write(chunk(rest), chunk(b""))


async def breaks_off(seen: Seen, ask: Ask) -> None:
    """The connection ends in mid-stream."""
    first, _ = await _halves(seen, ask)
    seen.write(head(200, SSE), chunk(first))
    seen.finish()


async def says_an_error(seen: Seen, ask: Ask) -> None:
    """A 200 whose first event is an error."""
    error = b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n'
    seen.write(head(200, SSE), chunk(error), chunk(DONE), chunk(b""))


def _edited(change: Callable[[dict[str, Any]], None]) -> Ill:
    """The model's JSON answer, its only choice changed."""

    async def play(seen: Seen, ask: Ask) -> None:
        document = (await ask(seen)).json()
        change(document["choices"][0])
        seen.write(whole(json.dumps(document).encode()))

    return play


def _message(**members: Any) -> Ill:
    return _edited(lambda choice: choice["message"].update(members))


def _refuses_by_filter(choice: dict[str, Any]) -> None:
    choice["finish_reason"] = "content_filter"
    choice["message"]["content"] = ""


def _broken_tool_call(choice: dict[str, Any]) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "refund", "arguments": '{"city": "Par'}}
    choice["finish_reason"] = "tool_calls"
    choice["message"] |= {"content": None, "tool_calls": [call]}


async def is_cut_off(seen: Seen, ask: Ask) -> None:
    """The model itself, held to one token."""
    await well(seen, ask, max_tokens=1)


def _answers(status: int, message: str, code: str | None = None, fields: bytes = JSON) -> Ill:
    error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}

    async def play(seen: Seen, ask: Ask) -> None:
        seen.write(whole(json.dumps(error).encode(), status, fields))

    return play


async def is_a_web_page(seen: Seen, ask: Ask) -> None:
    seen.write(whole(b"<html><h1>Welcome</h1></html>", 200, b"content-type: text/html\r\n"))


async def fails_at_ten_messages(seen: Seen, ask: Ask) -> None:
    long = len(json.loads(bytes(seen.message.body))["messages"]) >= 10
    await (_answers(400, "too many messages") if long else well)(seen, ask)


@dataclass(frozen=True, kw_only=True)
class Pathology:
    """One way to go wrong: what the candidate does, what the app asks for, and what has to become of it.

    `rules`: one of these acts; none where nothing can be seen. `state`: what the canary's is then.
    """

    what: str
    ill: Ill
    rules: frozenset[str]
    state: str = "rolled_back"
    stream: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    leaves_after_s: float = 120.0
    long_every: int = 0


FAILS = frozenset({"error_rate", "error_rate_vs_baseline"})
SLOW = frozenset({"latency_p95", "latency_vs_baseline"})
PATHOLOGIES: Mapping[str, Pathology] = {
    "hangs": Pathology(what="never answers", ill=hangs, rules=FAILS | SLOW),
    "hangs-and-the-app-leaves": Pathology(
        what="never answers, the app leaves after 3 s",
        ill=hangs,
        rules=SLOW | {"abandoned"},
        leaves_after_s=3.0,
    ),
    "slow": Pathology(what="5× slower", ill=is_slow, rules=SLOW),
    "stalls": Pathology(
        what="silent for 8 s in mid-stream", ill=stalls, rules=SLOW | {"stalled"}, stream=True
    ),
    "breaks-off": Pathology(what="ends in mid-stream", ill=breaks_off, rules=FAILS, stream=True),
    "stream-error": Pathology(
        what="an error as the first event", ill=says_an_error, rules=FAILS, stream=True
    ),
    "empty": Pathology(what="empty answers", ill=_message(content=""), rules=frozenset({"empty"})),
    "refuses-in-words": Pathology(
        what="refuses in words",
        ill=_message(content="I'm sorry, but I can't help with that."),
        rules=frozenset(),
        state="running",
    ),
    "refuses-by-filter": Pathology(
        what="refused by a content filter",
        ill=_edited(_refuses_by_filter),
        rules=frozenset({"refused", "answer_faults"}),
        state="running",
    ),
    "cut-off": Pathology(
        what="cut off", ill=is_cut_off, rules=frozenset({"cut_off", "answer_faults"}), state="running"
    ),
    "tool-json": Pathology(
        what="a tool call's JSON is broken",
        ill=_edited(_broken_tool_call),
        rules=frozenset({"invalid_output"}),
        extra={"tools": [TOOL]},
    ),
    "json": Pathology(
        what="prose where JSON was asked for",
        ill=_message(content="The city is Paris."),
        rules=frozenset({"invalid_output"}),
        extra=WANTS_JSON | {"stop": None, "max_tokens": 24},
    ),
    "400": Pathology(
        what="400", ill=_answers(400, "'user' is not supported", "unsupported_parameter"), rules=FAILS
    ),
    "401": Pathology(
        what="401", ill=_answers(401, "Incorrect API key provided", "invalid_api_key"), rules=FAILS
    ),
    "429": Pathology(
        what="429 for want of money",
        ill=_answers(429, "You exceeded your current quota", "insufficient_quota"),
        rules=FAILS,
    ),
    "500": Pathology(what="500", ill=_answers(500, "The server had an error"), rules=FAILS),
    "web-page": Pathology(what="200 with a web page", ill=is_a_web_page, rules=FAILS),
    "ten-messages": Pathology(
        what="400 from ten messages on, every third request",
        ill=fails_at_ten_messages,
        rules=FAILS,
        long_every=3,
    ),
}


class Users:
    """Ever new users of one canary, who ask once each."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage, self.name, self.pathology = stage, name, PATHOLOGIES[name]
        self.numbers, self.stop = count(), threading.Event()
        self.asked = 0

    def ask(self) -> None:
        """Keep asking until `stop`."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(self._one_by_one) for _ in range(AT_ONCE)]:
                done.result()

    def _one_by_one(self) -> None:
        while not self.stop.is_set() and (number := next(self.numbers)) < MOST_REQUESTS:
            self.once(number)

    def once(self, number: int) -> None:
        """Ask once; whatever comes is what this user gets."""
        pathology, question = self.pathology, {"role": "user", "content": "Name one colour of the sky."}
        long = pathology.long_every and number % pathology.long_every == 0
        body = {
            "model": self.name,
            "user": f"{self.name}-{number}",
            "messages": [question] * (10 if long else 1),
            "max_tokens": 12,
            "stop": [" "],  # a word is enough, and no answer is cut off
            "stream": pathology.stream,
        } | pathology.extra
        self.asked += 1
        try:
            httpx2.post(
                f"{self.stage.server.traffic}/v1/chat/completions",
                json=body,
                headers={"authorization": "Bearer sk-caller"},
                timeout=pathology.leaves_after_s,
                trust_env=False,
            )
        except httpx2.TransportError:
            return


@dataclass
class Scene:
    stage: Stage
    hook: Hook
    table: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        hook = stack.enter_context(listening_hook())
        models = Models(*(stack.enter_context(small_model()) for _ in range(2)))
        config = CONFIG.replace("HOOK", hook.url)
        config = config.replace("CANARIES", "".join(CANARY.replace("NAME", name) for name in PATHOLOGIES))
        folder = tmp_path_factory.mktemp("pathologies")
        stage = stack.enter_context(
            rigged(folder, config, {"model": models.play}, env={"CANARY_SECRET": SECRET})
        )
        found = Scene(stage, hook)
        yield found
        print("\n| the candidate | canary | candidate's requests | of both arms | seconds | told |")
        print("|---|---|---|---|---|---|")
        print("\n".join(found.table))


def acted(scene: Scene, name: str) -> dict[str, Any] | None:
    """The first page about this canary, once what it has to lead to has happened; None before."""
    pages = scene.hook.events(name, "page")
    done = scene.stage.status(name)["state"] == PATHOLOGIES[name].state
    return pages[0] if pages and done else None


@pytest.mark.parametrize("name", PATHOLOGIES)
def test_canary_sees_what_can_be_seen_and_says_what_cannot(scene: Scene, name: str) -> None:
    pathology, users = PATHOLOGIES[name], Users(scene.stage, name)
    asking = threading.Thread(target=users.ask)
    began = time.monotonic()
    asking.start()
    try:
        if pathology.rules:
            eventually(lambda: acted(scene, name) or not asking.is_alive(), MOST_S)
        else:
            eventually(lambda: users.asked >= 60, MOST_S)
        took_s = time.monotonic() - began
        asked, reached = users.asked, sum(seen.model == f"ill-{name}" for seen in scene.stage.provider.log)
    finally:
        users.stop.set()
        asking.join()
    page, status = acted(scene, name), scene.stage.status(name)
    told = page["title"] if page is not None else status.get("not_seen") or "nothing"
    rollbacks = scene.stage.api("GET", f"/api/canaries/{name}/rollbacks").json()
    rules = [each["rule"] for each in rollbacks] or (page["rules"] if page is not None else ["–"])
    does = (
        {"rolled_back": "rolled back", "running": "paged"}[status["state"]]
        if page is not None
        else "not seen"
    )
    scene.table.append(
        f"| {pathology.what} | {does}: `{rules[0]}` | {reached} | {asked} | {took_s:.1f} | {told} |"
    )
    print(f"\n{scene.table[-1]}\n{json.dumps(page)[:1500]}")
    assert status["state"] == pathology.state
    if pathology.rules:
        assert page is not None
        assert rules[0] in pathology.rules
    else:
        assert page is None
        assert "refuses" in status["not_seen"]
