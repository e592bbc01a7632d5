"""The unit and the session that a text names, by the published vector."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.identity import LONGEST_AGENT, session_of, unit_and_session, unit_of

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
