"""R8: the provider sees a caller leave, in every phase; one record says `aborted`, its usage marked so.

That an estimated cost is left out of the statistics is held by tests/verdict/test_report_cohort.py and
tests/alerts/test_means.py.
"""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest

from routing.canary import ArmName
from tests.e2e.stage import Stage
from tests.reliability.answers import SSE, answer, chunk, event, head
from tests.reliability.callers import connected, request, reset_on_close
from tests.reliability.fault_provider import Seen
from tests.reliability.rig import percentile, rigged
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<only>/v1"}
  anthropic: {api: anthropic, base_url: "<only>"}
canaries:
  - name: chat
    match: {models: [chat]}
    baseline: {provider: openai, model: chat-baseline}
    candidate: {provider: openai, model: chat-candidate}
    share: 50%
    guardrails: []
  - name: messages
    match: {models: [claude-sonnet-4-5]}
    baseline: {provider: anthropic, model: claude-sonnet-4-5}
    candidate: {provider: anthropic, model: claude-sonnet-4-6}
    share: 50%
    guardrails: []
"""
ARMS: tuple[ArmName, ...] = ("baseline", "candidate")
PHASES = ("before-headers", "before-first-token", "mid-stream", "document", "messages")
WAYS = ("fin", "rst")
EACH = 5
AT_ONCE = 4
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude"}
USAGE = {"usage": {"input_tokens": 1000, "output_tokens": 1}}
STARTED = {"type": "message_start", "message": MESSAGE | USAGE}
MESSAGES = (
    b"event: message_start\ndata: %b\n\n" % json.dumps(STARTED).encode(),
    b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, '
    b'"delta": {"type": "text_delta", "text": "hel"}}\n\n',
)  # fmt: skip


@dataclass(frozen=True)
class Leaving:
    """One caller who leaves. `text` is in the request and nowhere else."""

    phase: str
    arm: ArmName
    way: str
    number: int

    @property
    def text(self) -> str:
        return f"{self.phase} {self.arm} {self.way} {self.number}."

    @property
    def canary(self) -> str:
        return "messages" if self.phase == "messages" else "chat"


@dataclass(frozen=True)
class Left:
    """`at` is when the caller closed, CLOCK_MONOTONIC seconds."""

    seen: Seen
    at: float
    row: dict[str, Any]


async def play(seen: Seen) -> None:
    """Go as far as the phase says, then say nothing more until the proxy leaves."""
    phase = next((each for each in PHASES if each.encode() in seen.message.body), "")
    if not phase:
        await answer(seen)
        return
    if phase in ("before-first-token", "mid-stream"):
        seen.write(head(200, SSE), chunk(event(seen.model, {"role": "assistant"})))
    if phase == "mid-stream":
        seen.write(*(chunk(event(seen.model, {"content": "word "})) for _ in range(3)))
    if phase == "messages":
        seen.write(head(200, SSE), *map(chunk, MESSAGES))
    await seen.left.wait()


SIGNS = {"before-first-token": b"assistant", "mid-stream": b"word", "messages": b"text_delta"}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[Leaving, Left]:
    """All of them, a few at once."""
    leaving = [Leaving(*each) for each in _each()]
    with rigged(tmp_path_factory.mktemp("r08"), CONFIG, {"only": play}) as stage:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            times = list(pool.map(lambda each: leave(stage, each), leaving))
        eventually(lambda: all(seen.over for seen in stage.provider.log))
        rows = eventually(lambda: found if len(found := stage.outcomes()) == len(leaving) else None)
        by_text = {row["request_id"]: row for row in rows}
        log = {seen.message.first(b"x-text"): seen for seen in stage.provider.log}
        assert len(stage.provider.log) == len(log) == len(by_text) == len(leaving)
    return {
        each: Left(log[each.text.encode()], at, by_text[each.text])
        for each, at in zip(leaving, times, strict=True)
    }


def _each() -> list[tuple[str, ArmName, str, int]]:
    return [(p, a, w, n) for n in range(EACH) for p in PHASES for a in ARMS for w in WAYS]


def leave(stage: Stage, each: Leaving) -> float:
    """Ask, wait for the phase, leave: when that was."""
    model, path = ("chat", "/v1/chat/completions")
    if each.phase == "messages":
        model, path = ("claude-sonnet-4-5", "/v1/messages")
    user = next(islice(stage.users(each.arm, each.canary, 0.5, each.text), 1))
    body = {"model": model, "messages": [{"role": "user", "content": each.text}], "max_tokens": 99}
    body |= {} if each.phase == "document" else {"stream": True}
    headers = {"x-canary-unit": user, "x-canary-request-id": each.text, "x-text": each.text}
    with connected(stage.server.traffic) as line:
        line.sendall(request(stage.server.traffic, body, headers, path=path))
        eventually(
            lambda: any(seen.message.first(b"x-text") == each.text.encode() for seen in stage.provider.log)
        )
        came = b""
        while SIGNS.get(each.phase, b"") not in came:
            came += line.recv(1 << 16)
        if each.way == "rst":
            reset_on_close(line)
        return time.monotonic()


@pytest.mark.parametrize("phase", PHASES)
def test_the_provider_sees_the_close(left: dict[Leaving, Left], phase: str) -> None:
    delays = []
    for each, end in left.items():
        if each.phase == phase:
            assert end.seen.left_at is not None
            delays.append((end.seen.left_at - end.at) * 1e3)
    print(
        f"\nR8 {phase}: {len(delays)} of {len(delays)} callers' leaving seen by the provider, "
        f"p50 {percentile(delays, 0.5):.1f} ms, p99 {percentile(delays, 0.99):.1f} ms (target 250 ms)"
    )


def test_one_record_each_says_aborted_and_whether_its_usage_is_estimated(left: dict[Leaving, Left]) -> None:
    found = Counter(
        (each.arm, end.row["arm"], end.row["outcome"], end.row["error_type"]) for each, end in left.items()
    )
    count = len(PHASES) * len(WAYS) * EACH
    assert found == {(arm, arm, "aborted", "aborted"): count for arm in ARMS}
    for each, end in left.items():
        counted = each.phase == "messages"
        assert (end.row["usage_estimated"], end.row["input_tokens"]) == ((1, 1000) if counted else (0, None))
    print(
        f"\nR8: {len(left)} callers left, {len(left)} records `aborted`, one each; "
        "usage marked estimated where there was any"
    )
