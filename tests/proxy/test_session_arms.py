"""Whose a session is that two users name: by its id one task, or each user's own."""

from collections.abc import Callable
from typing import Any

import pytest

from routing.cohort import in_cohort, unit_hash
from tests.proxy.raw_provider import RawProvider, playing, pool
from tests.proxy.traffic import ANSWER, KEY, Traffic, chat

Run = Callable[[Any], Any]
SHARE = 0.5
UNIQUE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


def user_of(arm: str) -> str:
    names = (f"user-{number}" for number in range(100))
    return next(each for each in names if in_cohort(KEY, "support", each, SHARE) == (arm == "candidate"))


USERS = [user_of("candidate"), user_of("baseline")]


async def arms_in(session: str, users: list[str]) -> tuple[list[str], list[str]]:
    """The arm of each user's request in this session, one after another, and to whom it counts."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
    says = playing(*[head + ANSWER] * len(users))
    async with RawProvider(says) as provider, pool(limit=2) as upstreams:
        traffic = Traffic(provider.entry(), upstreams)
        traffic.share = SHARE
        async with traffic.served() as http:
            for each in users:
                body = chat("and then?") | {"user": each}
                headers = {"x-session-id": session}
                assert (await http.post("/v1/chat/completions", json=body, headers=headers)).is_success
    return [each.arm for each in traffic.outcomes], [each.unit for each in traffic.outcomes]


@pytest.mark.parametrize("session", ["1", "chat-42", "support-2026-12-04"])
def test_sessions_of_one_name_are_each_users_own(run: Run, session: str) -> None:
    found = run(arms_in(session, USERS * 2))
    assert found == (["candidate", "baseline"] * 2, [unit_hash(KEY, each) for each in USERS] * 2)


@pytest.mark.parametrize("first", [0, 1])
def test_a_session_that_nobody_else_can_name_is_of_who_began_it(run: Run, first: int) -> None:
    began, resumed = USERS[first], USERS[1 - first]
    arms, units = run(arms_in(UNIQUE, [began, resumed, began]))
    assert set(arms) == {("candidate", "baseline")[first]} and set(units) == {unit_hash(KEY, began)}
