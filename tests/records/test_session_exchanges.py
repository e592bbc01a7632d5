"""What is stored of a session is found by its id, its hash or an exchange in it, fresh or in segments."""

from typing import Any

import pytest

from records.facts.exchange_id import mint
from records.outcome import AttemptRecord, Feedback, Outcome, ProviderError, ToolCall, Usage
from records.store import Act, Store, session_exchanges
from records.store.segment_writer import roll
from records.store.session_exchanges import StoredSession, session_of
from routing.cohort import unit_hash
from routing.states import State
from tests.records.samples import a_batch

KEY, OLD_KEY = b"k" * 32, b"o" * 32
NOW = 20_000 * 86400.0
TALK = unit_hash(KEY, "talk/1")
READ = ToolCall(name="Read", digest=b"12345678")


def an_exchange(serial: int, **changed: Any) -> Outcome:
    fields: dict[str, Any] = {"canary": "trial", "run": 1, "arm": "candidate", "at": NOW + serial}
    fields |= {"outcome": "ok", "reason": "cohort", "session": TALK, "unit": "ab" * 16, **changed}
    about = {"canary": fields["canary"], "run": fields["run"], "phase": 0, "arm": fields["arm"]}
    named = mint(KEY, **about, unit_hash="ab" * 16, at=fields["at"], serial=serial.to_bytes(8, "big"))
    return Outcome(exchange_id=named, mono=1.0, latency_s=0.5, **fields)


def asked(store: Store, named: str, *, now: float = NOW + 100) -> StoredSession:
    return session_of(store, named, ids_keys=[KEY, OLD_KEY], now=now)


def ids(found: StoredSession) -> list[str]:
    return [each.exchange_id for each in found.exchanges]


@pytest.fixture(autouse=True)
def started(store: Store) -> None:
    act = Act(at=NOW, action="start", who="t", reason="")
    assert store.swap("trial", 0, State(state="running", share=0.5, run=2, phase=3), act)


@pytest.mark.parametrize("rolled", [False, True])
def test_an_exchange_has_the_failed_request_beside_the_one_that_answered(store: Store, rolled: bool) -> None:
    tried = AttemptRecord(arm="candidate", provider="azure", model="new", status=400, latency_s=0.1)
    answered = AttemptRecord(arm="baseline", provider="openai", model="old", status=200, latency_s=0.4)
    said = ProviderError(code="bad_schema", message="No items")
    changed: dict[str, Any] = {"outcome": "fallback", "error_type": "candidate_rejects", "model": "old"}
    failed = an_exchange(1, attempts=(tried, answered), provider_error=said, **changed)
    kept_away = an_exchange(2, attempts=(answered,), **changed)
    store.ship(a_batch(failed, kept_away))
    if rolled:
        assert roll(store, now=NOW + 9000)
    first, second = asked(store, TALK).exchanges
    assert first.attempts == (tried, answered)
    assert (first.own, first.provider_error) == (tried, said)
    assert (second.own, second.provider_error) == (None, None)


@pytest.mark.parametrize("rolled", [False, True])
def test_a_session_has_its_exchanges_of_every_batch_and_canary_in_order(store: Store, rolled: bool) -> None:
    first = an_exchange(1, usage=Usage(input_tokens=90, cached_input_tokens=60), tool_calls=(READ,))
    other = an_exchange(2, canary="", run=0, arm="baseline", reason="", model="small")
    last = an_exchange(7200, run=2, arm="baseline", tool_calls=(READ,), faults=("refused",), cost_usd=0.25)
    copy = an_exchange(4, mirror=True)
    stranger = an_exchange(3, session=unit_hash(KEY, "talk/2"))
    store.ship(a_batch(last, copy))
    store.ship(a_batch(other, first, stranger))
    if rolled:
        assert roll(store, now=NOW + 9000)
    for named in (" talk/1 ", TALK, last.exchange_id):
        found = asked(store, named)
        assert ids(found) == [first.exchange_id, other.exchange_id, last.exchange_id]
        assert found.session == TALK
        assert found.runs == [("trial", 1), ("trial", 2)]
        assert [[call.before for call in each.tool_calls] for each in found.exchanges] == [[0], [], [1]]
        totals = found.totals
        assert (totals.input_tokens, totals.cached_input_tokens, totals.cost_usd) == (90, 60, 0.25)
        assert (totals.priced, totals.faulty, totals.length_s, found.missing) == (1, 1, 7199.5, 0)


def test_its_feedback_is_about_it_or_an_exchange_in_it(store: Store) -> None:
    mine, other = an_exchange(1), an_exchange(2, session="")
    store.ship(a_batch(mine, other))
    value = {"at": NOW + 5, "mono": 1.0}
    said = [
        Feedback(key=f"{TALK}/metric/helped", metric="helped", value=1.0, session=TALK, **value),
        Feedback(
            key=f"{mine.exchange_id}/id/7", metric="csat", value=4.0, exchange_id=mine.exchange_id, **value
        ),
        Feedback(key=f"{other.exchange_id}/metric/csat", metric="csat", value=1.0, **value),
        Feedback(key=f"{TALK}x/metric/csat", metric="csat", value=2.0, session=f"{TALK}x", **value),
    ]
    store.ship(a_batch(*said))
    found = asked(store, "talk/1").feedback
    assert sorted((each.metric, each.value, each.exchange_id) for each in found) == [
        ("csat", 4.0, mine.exchange_id),
        ("helped", 1.0, ""),
    ]


def test_an_exchange_without_a_session_stands_alone(store: Store) -> None:
    alone = an_exchange(1, session="")
    store.ship(a_batch(alone, an_exchange(2, session="")))
    found = asked(store, alone.exchange_id)
    assert (found.session, ids(found)) == ("", [alone.exchange_id])


def test_a_session_under_the_secret_before_is_found(store: Store) -> None:
    before = an_exchange(1, session=unit_hash(OLD_KEY, "talk/1"))
    store.ship(a_batch(before))
    assert ids(asked(store, "talk/1")) == [before.exchange_id]


def test_a_session_that_no_canary_counted_is_looked_for_in_the_newest_day(store: Store) -> None:
    uncounted = an_exchange(1, canary="", run=0, reason="")
    store.ship(a_batch(uncounted))
    found = asked(store, "talk/1")
    assert (ids(found), found.searched_since) == ([uncounted.exchange_id], NOW + 100 - 86400)
    late = asked(store, "talk/1", now=NOW + 2 * 86400)
    assert (ids(late), late.counted) == ([], ())


def test_what_is_counted_and_not_stored_any_more_is_told(store: Store) -> None:
    store.ship(a_batch(an_exchange(1), an_exchange(2)))
    store.ship(a_batch(an_exchange(2 * 86400)))
    with store.writing() as connection:
        connection.exec_driver_sql("delete from fresh_outcomes where last_at < 1728000050")
    found = asked(store, "talk/1")
    assert (len(found.exchanges), found.missing, found.more) == (1, 2, False)


def test_of_more_exchanges_than_anybody_reads_the_newest_are_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_exchanges, "MOST_EXCHANGES", 3)
    every = [an_exchange(serial) for serial in range(8)]
    store.ship(a_batch(*every[4:]))
    store.ship(a_batch(*every[:4]))
    found = asked(store, "talk/1")
    assert ids(found) == [each.exchange_id for each in every[5:]]
    assert (found.more, found.missing) == (True, 5)


def test_nothing_is_found_of_nobody(store: Store) -> None:
    store.ship(a_batch(an_exchange(1)))
    for named in ("nobody", "0" * 32, an_exchange(9).exchange_id):
        found = asked(store, named)
        assert (found.exchanges, found.counted, found.feedback) == ((), (), ())
