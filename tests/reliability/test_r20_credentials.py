"""R20: on every error path each provider sees exactly its own credential, and no planted secret comes back.

Beside tests/e2e/test_credentials_stay_apart.py, where providers have manners: here they redirect, echo what
they were sent, set cookies, answer with interim responses and trailers, break the protocol or let go at each
stage; and callers put credentials into every place there is.
"""

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import httpx2
import pytest

from routing.canary import ArmName
from tests.e2e.stage import Stage, chat
from tests.reliability.answers import (
    JSON,
    SSE,
    answer,
    chunk,
    document,
    event,
    hang,
    head,
    reset,
    saying,
    whole,
)
from tests.reliability.callers import Answer, ask, connected, receive, request
from tests.reliability.fault_provider import Seen
from tests.reliability.rig import rigged
from tests.serving import eventually

CONFIG = """
providers:
  passes: {api: openai, base_url: "<passes>/v1", timeout: {first_byte: 300ms, idle: 300ms, total: 600ms}}
  own: {api: openai, base_url: "<own>/v1", api_key: "${OWN_KEY}",
        timeout: {first_byte: 300ms, idle: 300ms, total: 600ms}}
  other: {api: openai, base_url: "<other>/v1", api_key: "${OTHER_KEY}",
          timeout: {first_byte: 300ms, idle: 300ms, total: 600ms}}
  claude: {api: anthropic, base_url: "<claude>", api_key: "${CLAUDE_KEY}"}
  nobody: {api: openai, base_url: "http://127.0.0.1:1/v1", api_key: "${OTHER_KEY}"}
canaries:
"""
CANARY = """
  - name: NAME
    match: {models: [NAME]}
    baseline: {provider: BASELINE, model: NAME-baseline}
    candidate: {provider: CANDIDATE, model: NAME-candidate}
    share: 50%
    guardrails: []
"""
KEYS = {"CALLER": "sk-planted-caller", "OWN_KEY": "sk-planted-own", "OTHER_KEY": "sk-planted-other"}
KEYS |= {"CLAUDE_KEY": "sk-planted-claude"}
CALLER = KEYS["CALLER"]
SENT = {
    "authorization": f"Bearer {CALLER}",
    "x-api-key": CALLER,
    "api-key": CALLER,
    "x-goog-api-key-not": "1",
    "proxy-authorization": f"Basic {CALLER}",
    "cookie": f"session={CALLER}",
    "x-auth-token": CALLER,
    "x-hop": CALLER,
    "connection": "x-hop",
    "x-canary-unit": "planted-unit",
}
WAYS = {"passes": "/v1", "own": "/own/v1"}
ARMS: tuple[ArmName, ...] = ("baseline", "candidate")
AT_ONCE = 16
BREAKER_OPENS_AFTER = 5
FAILS = saying(whole(b"", 503, b"retry-after: 60\r\n"))
"""So that no probe follows."""


async def redirect(seen: Seen) -> None:
    """To another provider's door, which must not be followed."""
    seen.write(head(307, b"location: http://127.0.0.1:9/v1/stolen\r\n" + JSON, length=0))


async def echo(seen: Seen) -> None:
    """An error that repeats the whole request. What a provider tells its own caller is not ours to change."""
    fields = b"".join(b"%b: %b\r\n" % field for field in seen.message.fields)
    seen.write(whole(b"you sent " + fields, 400, b"content-type: text/plain\r\n"))


async def cookie(seen: Seen) -> None:
    """A good answer with a cookie and an interim response."""
    seen.write(b"HTTP/1.1 103 Early Hints\r\nset-cookie: a=planted-hint\r\n\r\n")
    seen.write(whole(document(seen.model), 200, JSON + b"set-cookie: session=planted-provider\r\n"))


async def trailer(seen: Seen) -> None:
    """A key in a trailer."""
    body = chunk(document(seen.model))[:-2] + b"\r\n0\r\nx-api-key: planted-trailer\r\n\r\n"
    seen.write(head(200, JSON) + body)


async def cut(seen: Seen) -> None:
    """A stream that ends in the middle."""
    seen.write(head(200, SSE) + chunk(event(seen.model, {"content": "a"})))
    await seen.flushed()
    seen.reset()


async def stall(seen: Seen) -> None:
    """A stream that stops."""
    seen.write(head(200, SSE) + chunk(event(seen.model, {"content": "a"})))
    await seen.left.wait()


Play = Callable[[Seen], Awaitable[None]]
PLAYS: dict[str, Play] = {
    "well": answer,
    "error-500": saying(whole(b"no", 500)),
    "limited-429": saying(whole(b"slow down", 429, b"retry-after: 1\r\n")),
    "rejects-400": saying(whole(b'{"error": {}}', 400)),
    "unauthorized-401": saying(whole(b'{"error": {}}', 401, b"www-authenticate: Bearer\r\n" + JSON)),
    "redirect-307": redirect,
    "reset": reset,
    "hang": hang,
    "cut": cut,
    "stall": stall,
    "empty": saying(whole(b"")),
    "html": saying(whole(b"<html></html>", 200, b"content-type: text/html\r\n")),
    "garbage": saying(b"\x16\x03\x01 not HTTP at all\r\n\r\n"),
    "framed-twice": saying(head(200, b"content-length: 1\r\n") + b"0\r\n\r\n"),
    "cookie": cookie,
    "trailer": trailer,
    "echo": echo,
}  # fmt: skip


@dataclass(frozen=True)
class Path:
    """One way through: the play that both arms' providers give, the baseline's provider, who asks."""

    play: str
    baseline: str
    arm: ArmName
    streaming: bool
    leaves: bool = False

    @property
    def canary(self) -> str:
        """The canary of its play and baseline; one each, so that no breaker spares a provider the others."""
        return f"{self.play}-by-{self.baseline}"


REFUSED = [Path("refused", "passes", arm, streaming) for arm in ARMS for streaming in (False, True)]
PATHS = [Path(*each) for each in product(PLAYS, WAYS, ARMS, (False, True))]
LEAVING = [Path("stall", baseline, arm, True, leaves=True) for baseline in WAYS for arm in ARMS]
BREAKER = [Path("breaker", "own", "candidate", False)] * (BREAKER_OPENS_AFTER + 3)
ALL = [*PATHS, *REFUSED, *LEAVING, *BREAKER]


@dataclass
class Gone:
    """After every path was gone through."""

    stage: Stage
    answers: list[tuple[str, Answer]] = field(default_factory=list)


async def play(seen: Seen) -> None:
    """As the model is called."""
    name = seen.model.partition("-by-")[0]
    await {**PLAYS, "refused": answer, "breaker": FAILS}.get(name, answer)(seen)


@pytest.fixture(scope="module")
def gone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gone]:
    doors = dict.fromkeys(("passes", "own", "other", "claude"), play)
    environment = {name: key for name, key in KEYS.items() if name != "CALLER"}
    arms = {(each.canary, each.baseline, "nobody" if each.play == "refused" else "other") for each in ALL}
    canaries = (
        CANARY.replace("NAME", name).replace("BASELINE", baseline).replace("CANDIDATE", candidate)
        for name, baseline, candidate in sorted(arms)
    )
    config = CONFIG + "".join(canaries)
    with rigged(tmp_path_factory.mktemp("r20"), config, doors, env=environment) as stage:
        _start(stage)
        found = Gone(stage)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            told = pool.map(partial(_go, stage), [*PATHS, *REFUSED, *LEAVING])
            found.answers += [(path.play, each) for path, each in zip(ALL, told, strict=False) if each]
        found.answers += [("breaker", each) for path in BREAKER if (each := _go(stage, path))]
        _refused_by_us(found)
        yield found


def _start(stage: Stage) -> None:
    """Start the canaries whose candidates refuse their preflight, and forget the preflights."""
    for each in stage.api("GET", "/api/status").json()["canaries"]:
        if each["state"] == "waiting":
            path = f"/api/canaries/{each['name']}/start"
            assert stage.api("POST", path, {"who": "r20", "reason": "as a test"}).status_code == 200
    stage.provider.log.clear()


def _go(stage: Stage, path: Path) -> Answer | None:
    user = next(stage.users(path.arm, path.canary, 0.5, "planted-unit"))
    body = chat(path.canary, None, stream=path.streaming, text="planted-prompt")
    headers = SENT | {"x-canary-unit": user}
    target = f"{WAYS[path.baseline]}/chat/completions"
    with connected(stage.server.traffic) as line:
        line.sendall(request(stage.server.traffic, body, headers, path=target))
        if not path.leaves:
            return receive(line)
        line.recv(1)
        return None


def _refused_by_us(gone: Gone) -> None:
    """What the proxy answers itself, with keys wherever a caller may put one."""
    traffic = gone.stage.server.traffic
    for path in (
        f"/nothing/here?key={CALLER}",
        f"/v1/../{CALLER}",
        f"/nobody-known/v1/models?access_token={CALLER}",
        f"/v1beta/models/gemini:generateContent?key={CALLER}",
    ):
        gone.answers.append((path, ask(traffic, b"{}", headers=SENT, path=path)))
    pin = {"x-canary-pin": "candidate", "x-canary-pin-token": CALLER}
    gone.answers.append(
        ("pin", ask(traffic, chat("well-by-own", None), headers=SENT | pin, path="/own/v1/chat/completions"))
    )
    for line in (f"GET /{CALLER} HTTP/9.9\r\nhost: a\r\n\r\n", f"GET / HTTP/1.1\r\nhost: {CALLER}/x\r\n\r\n"):
        with connected(traffic) as caller:
            caller.sendall(line.encode())
            gone.answers.append((line, Answer(0, (), caller.recv(1 << 16), "cut")))
    own = ask(
        traffic, b'{"model": "claude", "messages": [], "max_tokens": 1}', headers=SENT, path="/v1/messages"
    )
    gone.answers.append(("claude", own))


def test_each_provider_sees_exactly_its_own_credential(gone: Gone) -> None:
    expected = {
        "passes": {"CALLER"},
        "own": {"OWN_KEY"},
        "other": {"OTHER_KEY"},
        "claude": {"CLAUDE_KEY"},
    }
    for door, keys in expected.items():
        seen = gone.stage.provider.of(door)
        assert len(seen) >= (1 if door == "claude" else 2 * len(PLAYS))
        for each in seen:
            carried = b"\n".join(value for _, value in each.message.fields) + each.message.target
            assert {name for name, key in KEYS.items() if key.encode() in carried} == keys
            names = {name for name, _ in each.message.fields}
            assert not names & {b"proxy-authorization", b"x-hop", b"connection", b"x-canary-unit"}
            if door not in ("passes", "claude"):
                assert (
                    each.message.first(b"authorization") == f"Bearer {KEYS[door.upper() + '_KEY']}".encode()
                )
    assert gone.stage.provider.violations == []
    to_candidates = [path for path in [*PATHS, *LEAVING] if path.arm == "candidate"]
    assert len(gone.stage.provider.of("other")) == len(to_candidates) + BREAKER_OPENS_AFTER
    reached = {door: len(gone.stage.provider.of(door)) for door in expected}
    print(f"\nR20: {reached} upstream requests over {len(PLAYS)} plays; each with its own credential only")


def test_no_answer_holds_a_secret_but_what_its_provider_wrote(gone: Gone) -> None:
    for name, told in gone.answers:
        text = told.body + b"\n".join(b": ".join(each) for each in told.fields)
        if name == "echo":
            continue
        assert b"planted" not in text.replace(b"planted-prompt", b""), name
    echoed = [told for name, told in gone.answers if name == "echo"]
    assert any(
        CALLER.encode() in told.body for told in echoed
    )  # its provider's own words, and the caller's key
    for told in echoed:
        assert KEYS["OTHER_KEY"].encode() not in told.body  # a candidate's refusal is the baseline's to tell
        assert b"planted" not in b"".join(value for _, value in told.fields)


def test_no_secret_stands_in_anything_kept_or_shown(gone: Gone) -> None:
    stage = gone.stage
    eventually(lambda: len([row for row in stage.outcomes() if row["canary"]]) == len(ALL) + 1)
    said = {
        "metrics": httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).content,
        "status": stage.api("GET", "/api/status").content,
        "audit": stage.api("GET", "/api/audit").content,
        "page": stage.api("GET", "/").content,
        "log": stage.server.log_file.read_bytes(),
    }
    kept = [path for path in stage.server.data.rglob("*") if path.is_file()]
    for path in kept:
        with suppress(FileNotFoundError):
            said[str(path.relative_to(stage.server.data))] = path.read_bytes()
    assert all(said[place] for place in ("metrics", "status", "page", "canary.db"))
    found = [place for place, text in said.items() if b"planted" in text]
    print(
        f"\nR20: {sum(map(len, said.values()))} bytes in {len(said)} places searched, "
        f"planted text in {len(found)}"
    )
    assert found == []
