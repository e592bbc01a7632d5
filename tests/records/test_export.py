"""Records as a table, page by page, from both databases."""

import json
from dataclasses import replace as replace_judged
from typing import Any

import pytest
from msgspec.structs import replace

from judge.judgements import Judgements
from records.exports import files
from records.exports.files import What, export_columns, export_pages
from records.outcome import ProviderError, ToolCall
from records.store import Store
from records.store.segments.columns import tool_calls_of
from tests.judge.test_judgements import NOON, PAIR
from tests.records.samples import DAY, a_batch, an_outcome, some_feedback

ALWAYS = {"since": 0.0, "until": float("inf")}


def rows(
    store: Store, what: What = "outcomes", canary: str | None = None, **between: float
) -> list[dict[str, Any]]:
    """Every row, by the columns' names."""
    names = export_columns(what)
    found = export_pages(store, what, canary=canary, **{**ALWAYS, **between})
    return [dict(zip(names, row, strict=True)) for page in found for row in page]


def test_an_outcome_is_a_row_of_all_that_is_known_and_json_is_text(store: Store) -> None:
    store.ship(a_batch(an_outcome(1)))
    (row,) = rows(store)
    assert row.keys() == export_columns("outcomes").keys()
    assert row["exchange_id"] == "exchange-1"
    assert (row["arm"], row["served_by"], row["stream"], row["mirror"]) == (
        "candidate",
        "baseline",
        True,
        False,
    )
    assert (row["latency_s"], row["ttft_s"], row["cached_input_tokens"]) == (0.25, None, 0)
    assert (row["at"], row["tags"]) == (20_000 * DAY, '{"region":"eu"}')
    assert '"provider_timeout"' in row["attempts"]


def test_what_was_wrong_with_an_answer_and_what_the_provider_said_are_columns(store: Store) -> None:
    said = ProviderError(code="unsupported_value", type="invalid_request_error", param="temperature")
    refused = replace(an_outcome(1), provider_error=said)
    answer = replace(
        an_outcome(2), finish="length", faults=("cut_off", "json_invalid"), output_check="judged"
    )
    store.ship(a_batch(refused, answer))
    first, second = rows(store)
    assert [first[f"provider_error_{name}"] for name in ("code", "type", "param", "message")] == [
        "unsupported_value",
        "invalid_request_error",
        "temperature",
        "",
    ]
    assert (first["finish"], first["faults"], first["output_check"]) == (None, "", "")
    assert (second["finish"], second["faults"], second["output_check"]) == (
        "length",
        "cut_off,json_invalid",
        "judged",
    )
    assert second["provider_error_code"] is None


def test_whether_a_request_was_adapted_is_a_column(store: Store) -> None:
    store.ship(a_batch(an_outcome(1), replace(an_outcome(2), adapted=True)))
    assert {row["exchange_id"]: row["adapted"] for row in rows(store)} == {
        "exchange-1": False,
        "exchange-2": True,
    }
    assert export_columns("outcomes")["adapted"] == "truth"


def test_tool_calls_are_a_column_and_come_back_from_it(store: Store) -> None:
    calls = (ToolCall("search", b"12345678"), ToolCall("read\0", bytes(8)))
    store.ship(a_batch(an_outcome(1), replace(an_outcome(2), tool_calls=calls)))
    none, both = (row["tool_calls"] for row in rows(store))
    assert (none, tool_calls_of(none)) == ("[]", ())
    assert json.loads(both)[0] == {"name": "search", "digest": "3132333435363738"}
    assert tool_calls_of(both) == (calls[0], ToolCall("read\ufffd", bytes(8)))


def test_what_a_column_holds_is_said_of_each() -> None:
    kinds = export_columns("outcomes")
    wanted = {"at": "time", "latency_s": "number", "input_tokens": "count", "mirror": "truth", "tags": "text"}
    assert {name: kinds[name] for name in wanted} == wanted
    assert list(export_columns("feedback"))[:4] == ["key", "metric", "value", "at"]
    assert not {"day", "fingerprint"} & (kinds.keys() | export_columns("feedback").keys())


def test_many_pages_have_each_row_once_whatever_the_days(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PAGE", 7)
    outcomes = [an_outcome(n, at=(20_000 + n % 5) * DAY + n) for n in range(100)]
    store.ship(a_batch(*outcomes))
    found = list(export_pages(store, "outcomes", canary=None, **ALWAYS))
    assert [len(page) for page in found] == [7] * 14 + [2]
    names = [row[0] for page in found for row in page]
    assert len(names) == 100 and set(names) == {each.exchange_id for each in outcomes}


def test_a_canary_and_a_time_narrow_it(store: Store) -> None:
    early, late = an_outcome(1), an_outcome(2, at=20_001 * DAY)
    store.ship(a_batch(early, late, replace(an_outcome(3), canary="other")))
    assert [row["exchange_id"] for row in rows(store, canary="support-nov")] == ["exchange-1", "exchange-2"]
    assert [row["exchange_id"] for row in rows(store, since=20_001 * DAY)] == ["exchange-2"]
    assert [row["exchange_id"] for row in rows(store, canary="support-nov", until=20_001 * DAY)] == [
        "exchange-1"
    ]
    assert rows(store, canary="nobody") == rows(store, since=5.0, until=6.0) == []


def test_feedback_is_a_table_of_its_own(store: Store) -> None:
    store.ship(a_batch(some_feedback(4.0), some_feedback(2.0, key="k2", at=200.0)))
    assert [(row["key"], row["value"], row["comment"]) for row in rows(store, "feedback")] == [
        ("k", 4.0, "so so"),
        ("k2", 2.0, "so so"),
    ]
    assert len(rows(store, "feedback", since=150.0)) == 1


def test_a_session_is_a_row_of_the_time_at_which_it_began(store: Store) -> None:
    begun = replace(an_outcome(1), session="s1", outcome="ok", cost_usd=0.5)
    goes_on = replace(an_outcome(2, at=20_000 * DAY + 90), session="s1", outcome="aborted")
    store.ship(a_batch(begun, goes_on, replace(an_outcome(3, at=20_001 * DAY), session="s2")))
    first, second = rows(store, "sessions")
    assert (first["session"], first["exchanges"], first["cost_sum"], first["abandoned"]) == (
        "s1",
        2,
        0.5,
        True,
    )
    assert (first["first_at"], first["last_at"]) == (20_000 * DAY, 20_000 * DAY + 90)
    assert rows(store, "sessions", since=20_000 * DAY + 60) == [second]
    assert export_columns("sessions")["last_at"] == "time" and "asked" not in first


def test_a_judgement_is_a_row_with_its_cost_and_without_what_the_judge_wrote(store: Store) -> None:
    judgements = Judgements(store)
    for number in (1, 2):
        judged = replace_judged(PAIR, exchange_id=f"e{number}", at=NOON + number)
        calls = judgements.begin(judged, {1: 0.25, 2: 0.25}, budget_usd=1.0, expires_at=NOON + 100)
        judgements.answered(calls[1], said="B", reason="Anna got her money.", cost_usd=0.1)
    judgements.answered(calls[2], said="A", reason="Friendlier.", cost_usd=None)
    first, second = rows(store, "judgements", canary="trial")
    assert (first["result"], first["cost_usd"]) == ("", pytest.approx(0.35))
    assert (second["result"], second["cost_usd"], second["mark"]) == ("candidate", pytest.approx(0.35), None)
    assert (second["judge"], second["words_sha256"]) == ("anthropic/claude-opus-5", "0" * 64)
    assert (second["baseline_length"], second["candidate_length"]) == (10, 20)
    kinds = export_columns("judgements")
    assert (kinds["asked_at"], kinds["at"], kinds["cost_usd"]) == ("time", "time", "number")
    assert "reason" not in kinds
    assert [row["exchange_id"] for row in rows(store, "judgements", since=NOON + 2)] == ["e2"]
