"""Unit totals and sessions: what they hold after any way of shipping the same outcomes, on both databases."""

import threading
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import Table, select

from records.outcome import ErrorType, Outcome, OutcomeName, ToolCall, Usage
from records.store import Store, sums, tables
from records.store.database import canary_asked, canary_seen
from records.store.ingest import CELL_CAP_BYTES
from records.store.sums import unpack
from tests.records.samples import DAY, a_batch, an_outcome

KEYS = ("canary", "run", "phase", "arm", "mirror", "unit", "day", "category", "tags")


def rows(store: Store, table: Table) -> list[dict[str, Any]]:
    """All rows in the order of their keys."""
    query = select(table).order_by(*table.primary_key.columns)
    with store.reading() as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def the_cell(store: Store) -> dict[str, Any]:
    (cell,) = rows(store, tables.unit_days)
    return cell


def ended(serial: int, outcome: OutcomeName, **rest: Any) -> Outcome:
    plain = {"error_type": None, "cost_usd": 0.5, "ttft_s": 0.1} | rest
    return replace(an_outcome(serial), outcome=outcome, **plain)


def test_a_cell_adds_up_its_units_day(store: Store) -> None:
    store.ship(a_batch(ended(1, "ok", latency_s=1.0), ended(2, "fallback", error_type="provider_5xx")))
    store.ship(a_batch(ended(3, "error", error_type="candidate_rejects", at=20_000 * DAY + 60, share=0.1)))
    cell = the_cell(store)
    assert tuple(cell[name] for name in KEYS) == (
        "support-nov",
        1,
        2,
        "candidate",
        False,
        "ab" * 16,
        20_000,
        "",
        '{"region":"eu"}',
    )
    assert (cell["share"], cell["first_at"], cell["last_at"]) == (0.1, 20_000 * DAY, 20_000 * DAY + 60)
    assert (cell["exchanges"], cell["counted"], cell["failed"]) == (3, 3, 2)
    assert (cell["latency_n"], cell["latency_sum"], cell["ttft_n"], cell["cost_n"]) == (3, 1.5, 3, 3)
    assert (cell["cost_sum"], cell["tokens_n"], cell["tokens_sum"]) == (1.5, 3, 90.0)
    assert sorted(unpack(cell["latency"])) == pytest.approx([0.25, 0.25, 1.0], rel=2e-4)
    assert unpack(cell["ttft"]) == pytest.approx([0.1] * 3, rel=2e-4)


def test_what_the_caller_spoilt_is_exposure_and_no_measurement(store: Store) -> None:
    store.ship(a_batch(ended(1, "caller_error"), ended(2, "aborted"), ended(3, "ok")))
    cell = the_cell(store)
    assert (cell["exchanges"], cell["counted"], cell["latency_n"], cell["cost_n"]) == (3, 1, 1, 1)


@pytest.mark.parametrize("why", ["proxy_no_credential", "proxy_full", "proxy_no_descriptors"])
@pytest.mark.parametrize("end", ["fallback", "error"])
def test_what_never_reached_the_arm_is_exposure_and_no_measurement(
    store: Store, why: ErrorType, end: OutcomeName
) -> None:
    missed = ended(1, end, error_type=why, finish="stop", session="s1")
    store.ship(a_batch(missed, ended(2, "fallback", error_type="breaker_open")))
    cell = the_cell(store)
    assert (cell["exchanges"], cell["counted"], cell["failed"], cell["ended"]) == (2, 1, 1, 1)
    assert (cell["latency_n"], cell["cost_n"], cell["tokens_n"], cell["finished"]) == (1, 1, 1, 0)
    assert "s1" not in {row["session"] for row in rows(store, tables.sessions)}


def test_an_estimated_or_unknown_cost_is_left_out(store: Store) -> None:
    store.ship(
        a_batch(
            ended(1, "ok", usage=Usage(input_tokens=5, output_tokens=6, estimated=True)),
            ended(2, "ok", cost_usd=None, usage=Usage(input_tokens=5)),
        )
    )
    cell = the_cell(store)
    assert (cell["cost_n"], cell["tokens_n"], cell["tokens_sum"]) == (0, 1, 11.0)


def test_answers_are_counted_with_what_was_wrong_with_them(store: Store) -> None:
    answers: list[dict[str, Any]] = [
        {"finish": "stop"},
        {"finish": "length", "faults": ("cut_off", "json_invalid"), "output_check": "judged"},
        {"finish": "tool_calls", "faults": ("tool_unknown",), "output_check": "judged"},
        {"finish": "refusal", "faults": ("refused",), "output_check": "not_judged"},
        {"finish": "stop", "faults": ("empty",), "output_check": "judged"},
        {"finish": None, "outcome": "fallback", "error_type": "provider_5xx"},
    ]
    for serial, answer in enumerate(answers):  # one batch each, so that the database adds them up
        store.ship(a_batch(ended(serial, **{"outcome": "ok", **answer})))
    cell = the_cell(store)
    assert (cell["finished"], cell["refused"], cell["cut_off"], cell["empty"]) == (5, 1, 1, 1)
    assert (cell["answer_faults"], cell["output_judged"], cell["invalid_output"]) == (4, 3, 2)


def test_who_leaves_before_the_answer_has_abandoned_it(store: Store) -> None:
    store.ship(
        a_batch(
            ended(1, "aborted", ttfb_s=None),
            ended(2, "aborted", ttfb_s=0.2),
            ended(3, "aborted", stream=False, ttfb_s=0.2),
            ended(4, "ok"),
            ended(5, "caller_error"),
        )
    )
    cell = the_cell(store)
    assert (cell["exchanges"], cell["ended"], cell["abandoned"]) == (5, 4, 2)


@pytest.mark.parametrize(
    "left_out", [{"canary": ""}, {"reason": "pin"}, {"outcome": "shed"}, {"reason": "draw"}], ids=str
)
def test_only_what_the_hash_assigned_counts(sqlite_store: Store, left_out: dict[str, Any]) -> None:
    sqlite_store.ship(a_batch(replace(an_outcome(1), session="s", **left_out)))
    assert rows(sqlite_store, tables.unit_days) == rows(sqlite_store, tables.sessions) == []


def test_mirror_copies_have_cells_of_their_own_and_no_session(store: Store) -> None:
    copy = replace(ended(1, "ok"), mirror=True, reason="mirror", session="s")
    store.ship(a_batch(copy, replace(ended(2, "ok"), session="s")))
    assert [(cell["mirror"], cell["exchanges"]) for cell in rows(store, tables.unit_days)] == [
        (False, 1),
        (True, 1),
    ]
    assert [session["exchanges"] for session in rows(store, tables.sessions)] == [1]


def test_tags_are_one_key_whatever_their_order(store: Store) -> None:
    first = replace(an_outcome(1), tags={"tier": "pro", "region": "eu"})
    store.ship(a_batch(first, replace(an_outcome(2), tags={"region": "eu", "tier": "pro"})))
    assert the_cell(store)["tags"] == '{"region":"eu","tier":"pro"}'


def test_a_replay_adds_nothing(store: Store) -> None:
    outcomes = [replace(ended(n, "ok"), session=f"s{n % 3}", fingerprint=f"f{n % 4}") for n in range(20)]
    batch = a_batch(*outcomes[:12], cursors={"a.spool": 12})
    shipped = store.ship(batch)
    before = rows(store, tables.unit_days), rows(store, tables.sessions)
    assert store.ship(batch) == shipped
    assert (rows(store, tables.unit_days), rows(store, tables.sessions)) == before
    store.ship(a_batch(*outcomes[12:], cursors={"a.spool": 20}))
    assert the_cell(store)["exchanges"] == 20
    assert sum(session["exchanges"] for session in rows(store, tables.sessions)) == 20


def test_a_giant_cell_stops_growing_and_goes_on_counting(store: Store) -> None:
    each = CELL_CAP_BYTES // 2 // 2
    for batch in range(4):
        store.ship(a_batch(*(ended(batch * each + n, "ok") for n in range(each))))
    cell = the_cell(store)
    assert (cell["latency_n"], len(cell["latency"])) == (4 * each, CELL_CAP_BYTES + 2 * each)


def test_a_session_counts_what_is_asked_again(store: Store) -> None:
    def asked(serial: int, fingerprint: str, **rest: Any) -> Outcome:
        at = 20_000 * DAY + serial
        return replace(an_outcome(serial, at=at), session="s", fingerprint=fingerprint, **rest)

    store.ship(a_batch(asked(1, "a"), asked(2, "b"), asked(3, "a")))
    store.ship(a_batch(asked(4, "b"), asked(5, "c", category="billing"), asked(6, "", category="billing")))
    (session,) = rows(store, tables.sessions)
    assert (session["exchanges"], session["repeats"], session["asked"]) == (6, 2, "a b c")
    assert (session["category"], session["tags"], session["unit"]) == (
        "billing",
        '{"region":"eu"}',
        "ab" * 16,
    )
    assert (session["first_at"], session["last_at"]) == (20_000 * DAY + 1, 20_000 * DAY + 6)


def test_a_session_adds_up_what_its_steps_cost_and_how_it_ended(store: Store) -> None:
    def step(serial: int, outcome: OutcomeName = "ok", **rest: Any) -> Outcome:
        calls = (ToolCall(name="read", digest=b"12345678"),) * serial
        usage = Usage(input_tokens=100, cached_input_tokens=10 * serial, output_tokens=5)
        about = {"session": "s", "usage": usage, "tool_calls": calls, "cost_usd": 0.25, "error_type": None}
        return replace(an_outcome(serial, at=20_000 * DAY + serial), outcome=outcome, **{**about, **rest})

    store.ship(a_batch(step(1), step(3, "aborted", cost_usd=None)))
    store.ship(a_batch(step(2, faults=("empty",), finish="stop", cost_usd=0.5)))
    (session,) = rows(store, tables.sessions)
    assert (session["cost_n"], session["cost_sum"], session["tokens_n"], session["tokens_sum"]) == (
        2,
        0.75,
        2,
        210,
    )
    assert (session["input_tokens"], session["cached_tokens"]) == (200, 30)
    assert (session["tool_calls"], session["faulty"], session["abandoned"]) == (6, 1, True)
    store.ship(a_batch(step(4), step(5, "error", session=""), step(6, session="", faults=("refused",))))
    (session,) = rows(store, tables.sessions)
    assert (session["cost_sum"], session["abandoned"]) == (1.0, False)
    cell = the_cell(store)
    alone = [cell[name] for name in cell if name.startswith("sessionless")]
    assert alone == [2, 1, 0.25, 1, 105.0, 11, 1, 1]
    assert (cell["input_tokens"], cell["cached_tokens"]) == (400, 130)


def test_a_session_remembers_its_last_sixteen(store: Store) -> None:
    for n in range(20):
        store.ship(a_batch(replace(an_outcome(n), session="s", fingerprint=f"f{n}")))
    store.ship(a_batch(replace(an_outcome(20), session="s", fingerprint="f0")))
    store.ship(a_batch(replace(an_outcome(21), session="s", fingerprint="f10")))
    (session,) = rows(store, tables.sessions)
    assert (session["repeats"], len(session["asked"].split())) == (1, 16)
    assert session["asked"].endswith(" f19 f0 f10")


@given(st.lists(st.sampled_from("abcde")), st.lists(st.sampled_from("abcdefg")))
def test_what_was_asked_keeps_each_once_and_counts_what_is_known(before: list[str], again: list[str]) -> None:
    asked = canary_asked(" ".join(before), " ".join(again)).split()
    assert set(asked) == {*before, *again} and len(asked) == len({*before, *again})
    assert not again or asked[-1] == again[-1]
    assert canary_seen(" ".join(before), " ".join(again)) == sum(each in before for each in again)


def some(count: int) -> list[Outcome]:
    """Outcomes of few units, sessions, days and ends."""
    dice = Random(7)
    ends: tuple[OutcomeName, ...] = ("ok", "fallback", "error", "caller_error", "aborted", "shed")
    return [
        replace(
            an_outcome(n, at=(20_000 + dice.randrange(2)) * DAY + n),
            outcome=dice.choice(ends),
            unit=f"unit-{dice.randrange(6)}",
            session=dice.choice(("", f"session-{dice.randrange(6)}")),
            category=dice.choice(("", "billing")),
            latency_s=dice.lognormvariate(0, 1),
            cost_usd=dice.choice((None, 0.25)),
            fingerprint=dice.choice(("", f"f{dice.randrange(9)}")),
            stream=dice.choice((True, False)),
            finish=dice.choice((None, "stop")),
            faults=dice.choice(((), ("cut_off", "json_invalid"), ("empty",))),
            output_check=dice.choice(("", "judged")),
        )
        for n in range(count)
    ]


NAMES = list(tables.unit_days.columns.keys())
CODES = ("latency", "ttft")


def in_the_long_run(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """The cells of all outcomes added up in one go."""
    return [dict(zip(NAMES, row, strict=True)) for row in sums.unit_days(outcomes)]


def test_several_agents_at_once_add_up_to_the_same(store: Store, open_store: Callable[[], Store]) -> None:
    outcomes = some(600)
    failures: list[BaseException] = []
    begin = threading.Barrier(4)

    def agent(number: int) -> None:
        mine = outcomes[number::4]
        begin.wait()
        try:
            for start in range(0, len(mine), 15):
                # Each batch comes twice, as after a commit whose answer got lost.
                for _ in range(2):
                    batch = a_batch(*mine[start : start + 15], cursors={"a.spool": start})
                    stores[number].ship(batch, f"spool-{number}")
        except BaseException as failure:
            failures.append(failure)

    stores = [open_store() for _ in range(4)]
    threads = [threading.Thread(target=agent, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = rows(store, tables.unit_days)
    for one, other in zip(found, in_the_long_run(outcomes), strict=True):
        assert [one[name] for name in KEYS] == [other[name] for name in KEYS]
        added = [name for name in NAMES if name not in (*KEYS, *CODES)]  # the order of the codes is free
        assert np.allclose([one[name] for name in added], [other[name] for name in added])
    assert all(len(row["latency"]) == 2 * row["latency_n"] for row in found)
    assert sum(row["invalid_output"] for row in found) > 0 < sum(row["abandoned"] for row in found)
    sessions = {each["session"]: each["exchanges"] for each in rows(store, tables.sessions)}
    assert sessions == {row[2]: row[10] for row in sums.sessions(outcomes)}
    assert (store.totals().stored, store.totals("spool-1").stored) == (600, 150)
