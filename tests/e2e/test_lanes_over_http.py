"""Three candidates for the same requests, side by side, for 20,000 users over HTTP and two workers.

Each user's canary and arm is computed here by the published rules alone: the lane's hash, and the arm's hash
of a canary that knows of no other.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import httpx2
import pytest

from routing.cohort import SPACE, derive_key, in_cohort
from routing.states import lane_place
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

SECRET = "a secret that every run of this test has in common"
NAMES = ("a", "b", "c")
SHARES = {"a": 0.10, "b": 0.20, "c": 0.30, "d": 0.30, "e": 0.10}
USERS = [f"user-{number}" for number in range(4_000)]
SOME = USERS[:300]
CONNECTIONS = 16

HEAD = """
providers:
  openai: {api: openai, base_url: "URL/v1"}
canaries:
"""
CANARY = """
  - name: NAME
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: base-NAME}
    candidate: {provider: openai, model: new-NAME}
    share: SHARE
    settle: 0s
    guardrails: []
"""

Served = tuple[str | None, str | None, str]
"""The canary and the arm as the answer's headers say, and the model that reached the provider."""


def config(names: Sequence[str], url: str) -> str:
    entries = (CANARY.replace("NAME", name).replace("SHARE", f"{SHARES[name]:.0%}") for name in names)
    return HEAD.replace("URL", url) + "".join(entries)


def lane(user: str) -> str:
    """The first, second or last third of the places."""
    key = derive_key(SECRET.encode(), "assignment")
    return NAMES[lane_place(key, user) * 3 // SPACE]


def alone(canary: str, user: str) -> Served:
    """What the user gets from this canary, as if there were no other."""
    key = derive_key(SECRET.encode(), "assignment")
    if in_cohort(key, canary, user, SHARES[canary]):
        return canary, "candidate", f"new-{canary}"
    return canary, "baseline", f"base-{canary}"


async def _ask(address: tuple[str, int], users: Sequence[str]) -> dict[str, tuple[str | None, str | None]]:
    """Canary and arm of each user, asked one after the other on one connection."""
    reader, writer = await asyncio.open_connection(*address)
    found = {}
    for user in users:
        body = json.dumps(chat("gpt-4o", user)).encode()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: canary\r\nauthorization: Bearer sk-caller\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status, *lines = head.rstrip().split("\r\n")
        assert " 200 " in status
        headers = dict(line.split(": ", 1) for line in lines)
        await reader.readexactly(int(headers["content-length"]))
        assert "x-canary-exchange" in headers
        found[user] = headers.get("x-canary-name"), headers.get("x-canary-arm")
    writer.close()
    return found


def served(stage: Stage, users: Sequence[str]) -> dict[str, Served]:
    """Who serves each of these users, each asking once."""
    url = urlsplit(stage.server.traffic)
    address = url.hostname or "", url.port or 0
    stage.provider.log.clear()

    async def everybody() -> list[dict[str, tuple[str | None, str | None]]]:
        parts = (users[first::CONNECTIONS] for first in range(CONNECTIONS))
        return await asyncio.gather(*(_ask(address, part) for part in parts))

    told = {user: each for part in asyncio.run(everybody()) for user, each in part.items()}
    models = {str(entry.json["user"]): entry.model for entry in stage.provider.log.entries}
    assert models.keys() == told.keys()
    return {user: (*each, models[user]) for user, each in told.items()}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("lanes")
    text = config(NAMES, "{url}").replace("{", "{{").replace("}", "}}").replace("{{url}}", "{url}")
    with on_stage(folder, text, workers=2, env={"CANARY_SECRET": SECRET}) as up:
        eventually(lambda: all(up.status(name)["state"] == "running" for name in NAMES))
        yield up


def reload(stage: Stage, names: Sequence[str], states: Mapping[str, str]) -> None:
    """Write these canaries into canary.yaml, and wait until they have these states and every worker knows."""
    stage.configure(config(names, stage.provider.url))

    def known() -> dict[str, str]:
        found = stage.api("GET", "/api/status").json()
        shown = {each["name"]: each["state"] for each in found["canaries"]}
        done = found["workers"]["confirmed"] == found["workers"]["alive"] == 2
        return shown if done else {}

    eventually(lambda: known() == states)


@pytest.mark.timeout(900)  # a minute on a machine of its own
def test_three_candidates_beside_each_other(stage: Stage) -> None:
    lanes = {user: lane(user) for user in USERS}
    expected = {user: alone(lanes[user], user) for user in USERS}

    first = served(stage, USERS)
    assert first == expected
    sizes = {name: count / len(USERS) for name, count in sorted(Counter(lanes.values()).items())}
    cohorts = Counter(name for name, arm, _ in first.values() if arm == "candidate")
    parts = {name: cohorts[name] / len(USERS) for name in NAMES}
    print(f"\nlanes: {sizes}; candidates' parts of all: {parts}")
    for name in NAMES:
        assert stage.status(name)["lane"] == pytest.approx(1 / 3, abs=1e-6)
        assert sizes[name] == pytest.approx(1 / 3, abs=0.02)  # of these 4,000 users under this secret
        assert parts[name] == pytest.approx(SHARES[name] / 3, abs=0.02)
    assert served(stage, SOME) == {user: expected[user] for user in SOME}  # sticky

    reload(stage, ["a", "b"], {"a": "running", "b": "running"})
    ended: Served = (None, None, "base-c")
    eventually(lambda: served(stage, SOME[:200]) == after(expected, lanes, SOME[:200], ended))
    assert served(stage, USERS) == after(expected, lanes, USERS, ended)

    reload(stage, ["a", "b", "d"], {"a": "running", "b": "running", "d": "running"})
    with_d = {user: alone("d", user) if lanes[user] == "c" else expected[user] for user in SOME}
    eventually(lambda: served(stage, SOME[:200]) == {user: with_d[user] for user in SOME[:200]})
    assert served(stage, SOME) == with_d

    reload(stage, ["a", "b", "d", "e"], {"a": "running", "b": "running", "d": "running", "e": "waiting"})
    why = "canary 'e' gets no lane: the canaries that started before it have all units of these requests"
    assert why in stage.status("e")["refused"]
    assert why in httpx2.get(f"{stage.server.admin}/readyz", trust_env=False).text
    # until the new canary has a state, the answer is to try again
    refused = eventually(
        lambda: said if "try again" not in (said := stage.canary("start", "e")).stderr else None
    )
    assert refused.returncode == 1
    assert f"start is refused: {why}" in refused.stderr
    assert served(stage, SOME) == with_d
    _explain_and_records_say_the_same(stage)


def after(
    expected: Mapping[str, Served], lanes: Mapping[str, str], users: Sequence[str], ended: Served
) -> dict[str, Served]:
    """As before, but for the users of the lane that has ended."""
    return {user: ended if lanes[user] == "c" else expected[user] for user in users}


def _explain_and_records_say_the_same(stage: Stage) -> None:
    """The canaries are a, b and d, and e waits without a lane."""
    user = SOME[0]
    told = json.loads(stage.canary("explain", user, "-o", "json").stdout)["canaries"]
    (mine,) = [each for each in told if each["lane"] is not None and each["lane"]["mine"]]
    others = [each["sentence"] for each in told if each["lane"] is not None and not each["lane"]["mine"]]
    assert others == [f"not its lane: the unit is in the lane of canary {mine['canary']!r}"] * 2
    assert served(stage, [user])[user][:2] == (mine["canary"], mine["arm"])
    metrics = httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).text
    assert 'canary_lane_ratio{canary="c"} 0.0' in metrics

    def outside() -> list[dict[str, object]]:
        return [row for row in stage.outcomes() if row["reason"] == "no_lane"]

    rows = eventually(outside)
    assert {(row["canary"], row["arm"], row["model"]) for row in rows} == {("", "baseline", "base-c")}
    traffic = stage.api("GET", "/api/status").json()["unmatched"]
    assert traffic["requests"] == 0
    assert 0 < traffic["no_lane"] < traffic["of"]
