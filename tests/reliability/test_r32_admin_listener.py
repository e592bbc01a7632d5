"""R32: 1,500 connections that never finish a head, and more that never finish a body, at the admin listener.

It goes on answering, closes them at the traffic listener's deadlines, and without descriptors sheds them.
Rollbacks that are ordered and decided meanwhile are in force within a second.
"""

import asyncio
import re
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

import httpx2
import pytest
import uvloop

from records.store import Store
from records.store.reports import Evaluations
from tests.e2e.stage import Stage, chat
from tests.reliability.answers import document, saying, whole
from tests.reliability.fault_provider import Seen
from tests.reliability.load import Caller
from tests.reliability.rig import rigged
from tests.reliability.test_r22_descriptors import limit
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<model>/v1"}
  bad: {api: openai, base_url: "<bad>/v1", api_key: sk-candidate}
canaries:
  - name: ordered
    match: {models: [one]}
    baseline: {provider: openai, model: baseline}
    candidate: {provider: openai, model: candidate}
    share: 50%
  - name: decided
    match: {models: [two]}
    baseline: {provider: openai, model: baseline}
    candidate: {provider: bad, model: candidate}
    share: 50%
"""
HEAD = b"GET /api/status HTTP/1.1\r\nhost: 127.0.0.1\r\nx: "
BODY = b"POST /login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9000\r\n\r\n"
HEADS, BODIES = 1500, 100
NO_MODULE = re.compile(r"Too many open files: '[^']*\.py")
CLOSED_WITHIN_S = 15.0
IN_FORCE_WITHIN_S = 1.0


@pytest.fixture(autouse=True, scope="module")
def room_for_callers_and_provider() -> Iterator[None]:
    """Both are in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@dataclass
class Siege:
    """What became of those who besiege the listener, and of a person who asks it meanwhile."""

    statuses: Counter[int] = field(default_factory=Counter)
    closed: int = 0
    took_s: list[float] = field(default_factory=list)
    in_force_s: dict[str, float] = field(default_factory=dict)


async def answer(seen: Seen) -> None:
    seen.write(whole(document(seen.model)))


async def besiege(stage: Stage, siege: Siege, asked: list[str]) -> None:
    """Connect them all, ask as a person would, and wait until the deadlines have passed."""
    callers: list[Caller] = []
    person = admin(stage)
    try:
        for first, count in ((HEAD, HEADS), (BODY, BODIES)):
            for _ in range(count):
                callers.append(await Caller.connect(stage.server.admin))
                callers[-1].transport.write(first)
        began = time.monotonic()
        for path in asked:
            before = time.monotonic()
            assert (await asyncio.to_thread(person.get, path)).status_code == 200
            siege.took_s.append(time.monotonic() - before)
        for name in ("ordered", "decided"):
            siege.in_force_s[name] = await asyncio.to_thread(roll_back, stage, person, name)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(
                asyncio.get_running_loop().time() + began - time.monotonic() + CLOSED_WITHIN_S
            ):
                for caller in callers:
                    await caller.ended.wait()
        siege.closed = sum(caller.ended.is_set() for caller in callers)
        siege.statuses = Counter(each.status for caller in callers for each in caller.answers)
    finally:
        person.close()
        for caller in callers:
            caller.leave()
        await asyncio.sleep(0)


def admin(stage: Stage) -> httpx2.Client:
    """A person, with a new connection for each request."""
    return httpx2.Client(
        base_url=stage.server.admin,
        headers={"authorization": f"Bearer {stage.server.token}"},
        limits=httpx2.Limits(max_keepalive_connections=0),
        timeout=60.0,
        trust_env=False,
    )


def roll_back(stage: Stage, person: httpx2.Client, name: str) -> float:
    """Order a rollback, or let the candidate fail until it is decided. Returns for how long the candidate was
    asked after the order's answer, or after the status told the decision."""
    model = {"ordered": "one", "decided": "two"}[name]
    candidates = stage.users("candidate", name, 0.5)
    with httpx2.Client(base_url=stage.server.traffic, trust_env=False) as http:
        if name == "ordered":
            order = {"who": "ann", "reason": "complaints"}
            assert person.post(f"/api/canaries/{name}/rollback", json=order).status_code == 200
            known = time.monotonic()
        else:
            others = stage.users("baseline", name, 0.5)
            while not rolled_back(person, name):
                for user in (*islice(others, 4), *islice(candidates, 1)):
                    http.post("/v1/chat/completions", json=chat(model, user))
            known = time.monotonic()
        asked = (http.post("/v1/chat/completions", json=chat(model, user)) for user in candidates)
        while next(asked).headers["x-canary-arm"] != "baseline":
            assert time.monotonic() < known + 20.0
        return time.monotonic() - known


def lowest_free(process: int) -> int | None:
    """The lowest number that no descriptor of the process has for long; None where one that it keeps back has
    a higher one. It gives those back whenever it reads a file, and takes the lowest numbers again."""
    looks = Counter(tuple(kept_back(process).items()) for _ in range(100))
    held = dict(looks.most_common(1)[0][0])
    free = next(number for number in count() if number not in held)
    return free if all(number < free for number, kept in held.items() if kept) else None


def kept_back(process: int) -> dict[int, bool]:
    """Each open descriptor, and whether it is one that is kept back."""
    found = {}
    for each in sorted(Path(f"/proc/{process}/fd").iterdir(), key=lambda path: int(path.name)):
        with suppress(FileNotFoundError):
            found[int(each.name)] = str(each.readlink()) == "/"
    return found


def rolled_back(person: httpx2.Client, name: str) -> bool:
    canaries = person.get("/api/status").json()["canaries"]
    return any(each["name"] == name and each["state"] == "rolled_back" for each in canaries)


def besieged(stage: Stage) -> Siege:
    siege = Siege()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(besiege(stage, siege, ["/healthz", "/api/status", "/metrics", "/readyz"] * 5))
    return siege


@pytest.mark.alone
@pytest.mark.more
@pytest.mark.parametrize("most", [None, 256])
def test_r32_half_heads_at_the_admin_listener_hold_up_no_order(tmp_path: Path, most: int | None) -> None:
    plays = {"model": answer, "bad": saying(whole(b'{"error": {"message": "no"}}', 500))}
    wrapper = limit(most, most) if most is not None else ()
    with rigged(tmp_path, CONFIG, plays, wrapper=wrapper) as stage:
        children = stage.server.children()
        siege = besieged(stage)
        assert stage.server.children() == children, "nobody died"
        assert eventually(lambda: stage.api("GET", "/healthz").status_code == 200)
    print(
        f"\nR32: {HEADS} half heads, {BODIES} half bodies, descriptors {most or 'as many as there are'}: "
        f"{siege.closed} closed within {CLOSED_WITHIN_S:g} s {dict(siege.statuses)}; "
        f"{len(siege.took_s)} admin requests, the slowest {max(siege.took_s) * 1e3:.0f} ms; "
        f"in force after {', '.join(f'{took_s:.2f} s ({name})' for name, took_s in siege.in_force_s.items())}"
    )
    assert siege.closed == HEADS + BODIES
    assert set(siege.statuses) <= {408}
    assert max(siege.in_force_s.values()) <= IN_FORCE_WITHIN_S


@pytest.mark.alone
@pytest.mark.more
def test_r32_without_a_free_descriptor_the_admin_process_lives_and_a_rollback_is_in_force(
    tmp_path: Path,
) -> None:
    plays = {"model": answer, "bad": saying(whole(b'{"error": {"message": "no"}}', 500))}
    with rigged(tmp_path, CONFIG, plays, crash_free=False) as stage:
        children = stage.server.children()
        (admin_process,) = stage.server.children_of("canary.programs.controller")
        with httpx2.Client(base_url=stage.server.traffic, trust_env=False) as http:
            candidates, others = (stage.users(arm, "decided", 0.5) for arm in ("candidate", "baseline"))

            def failed_and_rolled_back() -> bool:
                for user in (*islice(others, 4), *islice(candidates, 1)):
                    http.post("/v1/chat/completions", json=chat("two", user))
                asked = http.post("/v1/chat/completions", json=chat("two", next(candidates)))
                return asked.headers["x-canary-arm"] == "baseline"

            free = eventually(lambda: lowest_free(admin_process))
            resource.prlimit(admin_process, resource.RLIMIT_NOFILE, (free, free + 4000))
            began = time.monotonic()
            eventually(failed_and_rolled_back)
            took_s = time.monotonic() - began
        # The run is archived five seconds later, by modules that cannot be loaded now.
        eventually(lambda: NO_MODULE.search(stage.server.log_file.read_text()))
        assert stage.server.children() == children, "nobody died"
        resource.prlimit(admin_process, resource.RLIMIT_NOFILE, (4000, free + 4000))
        assert eventually(lambda: stage.api("GET", "/healthz").status_code == 200)
        with closing(Store.at("sqlite:///canary.db", stage.server.data)) as store:
            assert eventually(lambda: Evaluations(store).all("decided")), "its evaluation has waited"
    put_off = stage.server.log_file.read_text().count('"descriptors.none"')
    print(f"\nR32: no descriptor free: in force {took_s:.2f} s after the first failure; put off: {put_off}")


async def hammer(stage: Stage) -> None:
    """Order something and leave before the answer."""
    order = b'{"who": "ann", "reason": "complaints"}'
    caller = await Caller.connect(stage.server.admin)
    caller.transport.write(
        b"POST /api/canaries/ordered/rollback HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer "
        + stage.server.token.encode()
        + b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(order), order)
    )
    await asyncio.sleep(0)
    caller.transport.close()
    await caller.ended.wait()


def test_r32_an_order_whose_caller_leaves_is_carried_out(tmp_path: Path) -> None:
    with rigged(tmp_path, CONFIG, {"model": answer, "bad": answer}) as stage:
        asyncio.run(hammer(stage))
        with admin(stage) as person:
            assert eventually(lambda: rolled_back(person, "ordered"))
