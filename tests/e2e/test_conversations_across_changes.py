"""Conversations that carry their maker's state, across ten changes of arm: none breaks, no arm is blamed."""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from tests.e2e.conversations import CANARY_OF, CONFIG, FORMS, Conversation
from tests.e2e.stage import Stage, on_stage
from tests.serving import WAIT_S, eventually

pytestmark = pytest.mark.more  # ten changes of what other tests hold

CANARIES = tuple(sorted({*CANARY_OF.values()}))
CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ramp", {"share": 0.3}),
    ("ramp", {"share": 0.6}),  # a step of the ramp
    ("ramp", {"share": 0.2}),
    ("pause", {}),
    ("resume", {}),
    ("rollback", {}),
    ("resume", {}),
    ("ramp", {"share": 0.5}),
    ("promote", {"against_verdict": True}),
    ("rollback", {}),
)
AT_ONCE = 8


def thinker() -> LocalProvider:
    return LocalProvider(other=Behaviour(words=6, reasoning_tokens=5), log_limit=1000)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with on_stage(tmp_path, CONFIG, provider=thinker(), workers=2) as started:
        yield started


def order(stage: Stage, order: str, fields: dict[str, Any]) -> None:
    """One change of every canary, followed by every worker."""
    document = {"who": "test", "reason": "a change of arm", **fields}
    for name in CANARIES:
        assert stage.api("POST", f"/api/canaries/{name}/{order}", document).status_code == 200
    followed = {"alive": 2, "confirmed": 2}
    eventually(lambda: stage.api("GET", "/api/status").json()["workers"] == followed)


def conversation(number: int) -> Conversation:
    """The forms in turn, every second time as a stream."""
    form = FORMS[number % len(FORMS)]
    return Conversation(form, f"user-{number}", stream=number // len(FORMS) % 2 == 1)


def ask_all(stage: Stage, conversations: Iterable[Conversation]) -> None:
    """One more turn of each conversation."""

    def some(mine: list[Conversation]) -> None:
        with httpx2.Client(base_url=stage.server.traffic, trust_env=False, timeout=WAIT_S) as http:
            for each in mine:
                each.turn(http)

    everyone = list(conversations)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(some, everyone[start::AT_ONCE]) for start in range(AT_ONCE)]:
            done.result()


@pytest.mark.parametrize("total", [110, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_conversation_breaks_over_ten_changes_of_arm(stage: Stage, total: int) -> None:
    stages = len(CHANGES) + 1
    begun: list[Conversation] = []
    broken: list[tuple[str, Conversation]] = []
    for number, (change, fields) in enumerate((("", {}), *CHANGES), 1):
        if change:
            order(stage, change, fields)
        begun += [conversation(nth) for nth in range(len(begun), total * number // stages)]
        asked = [each for each in begun if not each.broken]
        ask_all(stage, asked)
        broken += [(f"{number - 1} {change}", each) for each in asked if each.broken]
    turns = sum(len(each.answers) for each in begun)
    stored = eventually(lambda: rows if len(rows := stage.outcomes()) == turns else None)
    told = Counter((row["outcome"], row["error_type"], row["reason"]) for row in stored)
    print(f"\n{len(begun)} conversations, {turns} turns, {len(broken)} broken")
    print("broken by change:", Counter(change for change, _ in broken))
    print("broken by form:", Counter(each.form for _, each in broken))
    for key, count in told.most_common():
        print(count, *key)
    assert len(begun) == total
    assert broken == []
    assert {(outcome, error_type) for outcome, error_type, _ in told} == {("ok", None)}
    assert told["ok", None, "foreign_state"] > 0


def test_no_conversation_breaks_when_the_ramp_takes_its_next_step_by_itself(tmp_path: Path) -> None:
    begun = [conversation(nth) for nth in range(10 * len(FORMS))]
    with on_stage(tmp_path, CONFIG.replace("for: 1h", "for: 5s"), provider=thinker(), workers=2) as stage:
        ask_all(stage, begun)
        followed = {"alive": 2, "confirmed": 2}

        def stepped() -> bool:
            told = stage.api("GET", "/api/status").json()
            return all(each["share"] == 0.6 for each in told["canaries"]) and told["workers"] == followed

        eventually(stepped)
        ask_all(stage, begun)
        stored = eventually(lambda: rows if len(rows := stage.outcomes()) == 2 * len(begun) else None)
    assert [each for each in begun if each.broken] == []
    assert {(row["outcome"], row["error_type"]) for row in stored} == {("ok", None)}
    assert "foreign_state" in {row["reason"] for row in stored}
