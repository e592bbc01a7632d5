"""R10: ambiguous requests, and requests broken at random. Whatever comes, canary answers or closes: no 5xx of
its own, no crash, no answer that is not HTTP, and no request at the provider that canary does not know of.

The provider's log says what each ambiguous request came to, behind canary and behind others;
differences.md gives the reason of each difference.
"""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.e2e.stage import Stage, worker_pids
from tests.reliability.answers import JSON, SSE, chunk, document, events, head, saying, streams, whole
from tests.reliability.callers import connected
from tests.reliability.fault_provider import Seen
from tests.reliability.fronts import ENVOY, NGINX, envoy, nginx, version
from tests.reliability.mutations import mutated, throw
from tests.reliability.rig import crashes, rigged
from tests.reliability.smuggling import CORPUS, SENTINEL, Case
from tests.reliability.strict_http import Ambiguous, Reader
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<canary>/v1"}
  anthropic: {api: anthropic, base_url: "<canary>"}
  gemini: {api: gemini, base_url: "<canary>"}
canaries:
  - name: mutated
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate: {provider: openai, model: gpt-4o-2024-11-20}
    share: 50%
    guardrails: []
"""
SEED = 20261124
MARK = b"x-served: fault-provider\r\n"
QUIET_S = 2.0
DOCUMENT = Path(__file__).with_name("differences.md")
FRONTS = {"nginx": (NGINX, nginx), "envoy": (ENVOY, envoy)}


@dataclass(frozen=True)
class Verdict:
    """What came of a case: the answers' statuses, and the requests that reached the provider."""

    statuses: tuple[int, ...]
    reached: tuple[tuple[bytes, bytes], ...]

    @property
    def refused(self) -> bool:
        """Nothing was served, the sentinel neither."""
        return self.reached == ()

    def __str__(self) -> str:
        if self.refused:
            return f"refused ({' '.join(map(str, self.statuses)) or 'closed'})"
        names = [start.decode("latin-1") + (f" +{len(body)}" if body else "") for start, body in self.reached]
        return ", ".join(name.replace("GET /v1/sentinel", "sentinel") for name in names)


async def play(seen: Seen) -> None:
    """A good answer that says who gave it."""
    model = seen.model
    if streams(seen):
        seen.write(head(200, SSE + MARK) + b"".join(map(chunk, events(model))) + chunk(b""))
    else:
        seen.write(whole(document(model), 200, JSON + MARK))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    doors = {"canary": play} | dict.fromkeys(FRONTS, saying(whole(b"{}")))
    with rigged(tmp_path_factory.mktemp("r10"), CONFIG, doors, keeps_raw=True, crash_free=False) as up:
        yield up


@pytest.fixture(scope="module")
def verdicts(stage: Stage) -> dict[str, Verdict]:
    """Canary's, by the case's name."""
    return {case.name: meet(stage, "canary", stage.server.traffic, case) for case in CORPUS}


def meet(stage: Stage, door: str, address: str, case: Case) -> Verdict:
    """Send a case and its sentinel, read to the connection's end, and ask the provider what it got."""
    before = len(stage.provider.of(door))
    with connected(address) as line:
        statuses = tuple(read(line, case.data + SENTINEL))
    seen = stage.provider.of(door)[before:]
    reached = tuple((each.message.start.rsplit(b" ", 1)[0], bytes(each.message.body)) for each in seen)
    return Verdict(statuses, reached)


def read(line: socket.socket, data: bytes) -> Iterator[int]:
    """The statuses of all final answers. A proxy that waits for more is told that there is none."""
    reader = Reader(responses=True)
    line.settimeout(QUIET_S)
    try:
        line.sendall(data)
        while part := receive(line):
            yield from (each.status for each in reader.feed(part) if each.status >= 200)
    except (ConnectionError, Ambiguous):
        pass
    if reader.under_way is not None and reader.end() is not None:
        yield 200


def receive(line: socket.socket) -> bytes:
    """What comes next; b"" at the end."""
    try:
        return line.recv(1 << 16)
    except TimeoutError:
        line.shutdown(socket.SHUT_WR)
        return line.recv(1 << 16)


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_a_case_is_served_as_its_bytes_say_or_refused(verdicts: dict[str, Verdict], case: Case) -> None:
    verdict = verdicts[case.name]
    assert verdict.reached == case.reached
    if case.served is None:
        assert verdict.statuses in ((400,), (405,), (505,)), verdict


def test_nothing_was_smuggled(stage: Stage, verdicts: dict[str, Verdict]) -> None:
    assert len(CORPUS) == len(verdicts) >= 60  # the names are unique
    assert stage.provider.violations == []
    smuggled = [seen for seen in stage.provider.of("canary") if b"smuggled" in seen.message.target]
    own = [(name, verdict.statuses) for name, verdict in verdicts.items() if max(verdict.statuses) >= 500]
    assert {statuses for _, statuses in own} <= {(505,)}, own
    print(
        f"\nR10: {len(CORPUS)} cases, {sum(v.refused for v in verdicts.values())} refused, "
        f"{len(smuggled)} smuggled, {len(own)} answers of 505 for an HTTP version that is not spoken"
    )
    assert smuggled == []


@pytest.mark.parametrize("count", [1_500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_broken_request_breaks_nothing(stage: Stage, count: int) -> None:
    draws = Random(SEED + count)
    workers = worker_pids(stage.server)
    course = asyncio.run(throw(stage.server.traffic, [mutated(draws) for _ in range(count)]))
    assert course.own_5xx == []
    assert course.ambiguous == []
    assert worker_pids(stage.server) == workers
    assert stage.provider.violations == []

    def known() -> int:
        return sum(len(json.loads(row["attempts"])) for row in stage.outcomes())

    reached = len(stage.provider.of("canary"))
    eventually(lambda: known() >= reached)
    assert not [seen for seen in stage.provider.of("canary") if b"/smuggled" in seen.message.start]
    print(
        f"\nR10: {count} mutated requests: {sum(course.statuses.values())} answers "
        f"{dict(sorted(course.statuses.items()))}, {course.closed} closed without one; 0 own 5xx, "
        f"{reached} requests at the provider, each known to canary"
    )


def test_nothing_crashed(stage: Stage, verdicts: dict[str, Verdict]) -> None:
    assert crashes(stage) == []


@pytest.mark.parametrize("front", FRONTS)
def test_each_difference_from_another_proxy_has_its_reason(
    stage: Stage, verdicts: dict[str, Verdict], front: str, tmp_path: Path
) -> None:
    program, start = FRONTS[front]
    if program is None:
        pytest.skip(f"{front} is not installed")
    if (told := documented(front)).version not in version(program):
        pytest.skip(f"{front} is not the {told.version} that differences.md tells of")
    with start(tmp_path, stage.provider.url(front)) as address:
        theirs = {case.name: meet(stage, front, address, case) for case in CORPUS}
    found = {name for name, verdict in theirs.items() if verdict.reached != verdicts[name].reached}
    print(f"\nR10: {len(found)} of {len(CORPUS)} verdicts differ from {front}'s")
    for name in sorted(found):
        print(f"  {name}: canary {verdicts[name]}; {front} {theirs[name]}")
    assert found == told.cases


@dataclass(frozen=True)
class Documented:
    """What differences.md says of a front: its version, and the cases that it decides differently."""

    version: str
    cases: set[str]


def documented(front: str) -> Documented:
    part = DOCUMENT.read_text().partition(f"## Differences from {front}")[2].partition("\n#")[0]
    (number,) = re.findall(r"^\w+ ([0-9.]+[0-9])\.$", part, re.MULTILINE)
    rows = re.findall(r"^\| (.+?) \|", part, re.MULTILINE)
    return Documented(number, {name for row in rows for name in re.findall(r"`(.+?)`", row)})
