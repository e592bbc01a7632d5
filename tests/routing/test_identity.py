"""The unit and the session that a text names, by the published vector."""

import json
import random
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.identity import LONGEST_AGENT, is_unmistakable, session_of, unit_and_session, unit_of

VECTOR = json.loads((Path(__file__).parents[2] / "docs/units.json").read_text())


@pytest.mark.parametrize("each", VECTOR, ids=lambda each: each["user_id"][:20])
def test_the_published_vector_holds(each: dict[str, str]) -> None:
    assert set(each) == {"user_id", "unit", "session"}
    assert unit_and_session(each["user_id"]) == (each["unit"], each["session"])
    assert unit_of(f" {each['user_id']} ") == unit_of(each["unit"]) == each["unit"]


def test_every_session_of_an_account_has_its_unit() -> None:
    accounts = [each["unit"] for each in VECTOR if "3f2504e0" in each["user_id"]]
    assert len(accounts) == 3
    assert set(accounts) == {"3f2504e0-4f89-41d3-9a0c-0305e82c3301"}


def test_an_agent_that_names_only_its_session_names_no_unit() -> None:
    assert unit_and_session('{"device_id": "", "account_uuid": " ", "session_id": "s-1"}') == ("", "s-1")


@pytest.mark.parametrize(
    "odd",
    [
        '{"device_id": 5, "session_id": "s"}',
        '{"session_id": ["s"]}',
        '{"a": ' * 100_000,
        '{"device_id": "\ud800"}',
        json.dumps({"device_id": "d" * LONGEST_AGENT}),
        "{}",
    ],
)
def test_any_other_text_is_the_unit_as_it_stands(odd: str) -> None:
    assert unit_and_session(odd) == (odd, "")


@given(st.text(max_size=300))
def test_no_text_is_too_odd(text: str) -> None:
    assert unit_and_session(text) == (text, "") or text[:1] == "{"
    session = session_of(text)
    assert session == "" or (len(session) <= 256 and session == text.strip())


@pytest.mark.parametrize(
    "session",
    [
        "3f2504e0-4f89-41d3-9a0c-0305e82c3301",  # Claude Code, Codex, Gemini CLI
        "T-3F2504E0-4F89-41D3-9A0C-0305E82C3301",  # Amp
        "ses_5f8a2c1b9ffeXyZ123abcDEF45",  # OpenCode
        "conv_689667905b048191b4740501625afd940c7533ace33a2dab",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "1790000000000000001",
        "V1StGXR8_Z5jdHi6B-myT",  # nanoid
        "thread:V1StGXR8_Z5jdHi6B-myT/2",
        "sess.9fQ_x2-Lk7Ww_0aB-cT4",
        "dGhyZWFkLTQ3MTE_LWFi+xK9/Q0s8Zg==",  # base64
        "工单-3f2504e04f8941d39a0c0305e82c3301",
    ],
)
def test_an_id_that_nobody_else_can_have_is_one_session_whoever_sends_it(session: str) -> None:
    assert is_unmistakable(session)


@pytest.mark.parametrize(
    "session",
    ["", "1", "42", "chat-7", "default", "support-2026-12-04", "user-session-0001", "a-session-of-everybody",
     "internationalisation", "20261204", "2026-12-04T10:00:00Z", "x" * 256,
     "ticket_4711-of_2026-12-04", "CASE-2026-12-04-0017-EU-WEST-1", "Support-Chat_2026-12-04_17:05:09",
     "org-12/team-34/chat-56/turn-78", "agent-v2-run-2026-12-04T10:00:00.000Z", 
     "User_17-Session_4711-Retry_2",
     "gpt-5.6-terra-eu-west-1-pool-3", "customer_support_2026-12-04",
     "org1-team2-chat3-turn4-v5", "TheUserSessionOfCustomerNumber7", "org-1-team-2-chat-3-turn-4-x-5"],
)  # fmt: skip
def test_an_id_that_others_may_have_is_each_users_own(session: str) -> None:
    assert not is_unmistakable(session)


def test_nearly_all_nanoids_are_one_session_whoever_sends_them() -> None:
    draw, characters = random.Random(1), f"{string.ascii_letters}{string.digits}_-"
    drawn = ["".join(draw.choices(characters, k=21)) for _ in range(20_000)]
    assert sum(map(is_unmistakable, drawn)) >= 0.97 * len(drawn)
