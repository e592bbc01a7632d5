"""Captured exchanges in the database, on both."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from msgspec.structs import replace

from records.captures.capture import (
    Capture,
    CapturedMessage,
    CapturedToolCall,
    CaptureInfo,
    unstored,
    write_captures,
)
from records.errors import StoreDown
from records.store import Store
from records.store.captures import PAGE, CaptureShipper, CaptureStore
from tests.records.conftest import OpenStore

NOW = 1_795_000_000.0
DAY_S = 86400.0


def a_capture(name: str, *, answer: str = "It is blue.", truncated: bool = False, **about: Any) -> Capture:
    said = {
        "exchange_id": name,
        "at": NOW - 60,
        "expires_at": NOW + DAY_S,
        "canary": "support",
        "run": 1,
        "phase": 0,
        "arm": "baseline",
        "kept": "rate",
        "tags": {"region": "eu"},
    } | about
    return Capture(
        about=CaptureInfo(**said),
        messages=(
            CapturedMessage("system", "Be brief."),
            CapturedMessage("assistant", "", (CapturedToolCall("c1", "look_up", '{"q":"sky"}'),)),
            CapturedMessage("tool", "blue", tool_call_id="c1"),
            CapturedMessage("user", "Wärum?"),
        ),
        answer=answer,
        answer_calls=(CapturedToolCall("c2", "paint", "{}"),),
        tools='[{"type":"function","function":{"name":"paint"}}]',
        truncated=truncated,
    )


@pytest.fixture
def captures(store: Store) -> CaptureStore:
    return CaptureStore(store)


def names(found: Sequence[Capture]) -> list[str]:
    return [each.about.exchange_id for each in found]


def test_what_is_kept_is_read_as_it_was_by_time(captures: CaptureStore) -> None:
    late, early = a_capture("a", truncated=True, category="billing"), a_capture("b", at=NOW - 120)
    assert captures.add([late, early], now=NOW) == 2
    assert list(captures.read("support")) == [early, late]
    assert list(captures.read("support", category="billing")) == [late]
    assert list(captures.read("support", since=NOW - 60)) == [late]
    assert list(captures.read("support", until=NOW - 60)) == [early]
    assert list(captures.read("other")) == []


def test_storing_again_changes_nothing(captures: CaptureStore) -> None:
    assert captures.add([a_capture("a")], now=NOW) == 1
    assert captures.add([a_capture("a", answer="other"), a_capture("b")], now=NOW) == 1
    assert {each.answer for each in captures.read("support")} == {"It is blue."}


def test_many_are_read_page_by_page_each_once(captures: CaptureStore) -> None:
    everything = [a_capture(f"e-{n:04}", at=NOW - 60 - n % 7) for n in range(2 * PAGE + 10)]
    captures.add(everything, now=NOW)
    found = names(list(captures.read("support")))
    assert len(found) == len(everything) and set(found) == set(names(everything))


def test_what_real_exchanges_are_about_is_read_without_texts_and_then_some_of_them(
    captures: CaptureStore,
) -> None:
    everything = [a_capture(f"e-{n:04}", session=f"s{n % 3}") for n in range(PAGE + 10)]
    captures.add([*everything, a_capture("copy", copy_of="e-0001")], now=NOW)
    assert list(captures.abouts()) == [each.about for each in everything]
    wanted = [each.about.exchange_id for each in everything[5:]]
    assert list(captures.several([*wanted, "gone"])) == everything[5:]


def test_a_category_has_its_quota_a_day_however_many_workers_sent_some(captures: CaptureStore) -> None:
    def some(worker: int, category: str, day: int = 0) -> list[Capture]:
        about = {"kept": "category", "per_category": 3, "category": category, "at": NOW - day * DAY_S}
        return [a_capture(f"{category}-{day}-{worker}-{n}", **about) for n in range(2)]

    for worker in range(3):
        captures.add([*some(worker, "rare"), *some(worker, "other"), *some(worker, "rare", day=1)], now=NOW)
    captures.add([a_capture("drawn", category="rare")], now=NOW)
    assert len(list(captures.read("support", category="rare"))) == 3 + 3 + 1
    assert len(list(captures.read("support", category="other"))) == 3


def test_a_categorys_quota_holds_where_workers_store_at_the_same_time(open_store: OpenStore) -> None:
    stores = [CaptureStore(open_store()) for _ in range(4)]
    at_once = Barrier(len(stores), timeout=30.0)

    def store_some(worker: int) -> None:
        for n in range(20):
            about = {"kept": "category", "per_category": 3, "category": f"rare-{n}"}
            at_once.wait()
            stores[worker].add([a_capture(f"{n}-{worker}-{i}", **about) for i in range(2)], now=NOW)

    with ThreadPoolExecutor(len(stores)) as workers:
        list(workers.map(store_some, range(len(stores))))
    kept = [len(list(stores[0].read("support", category=f"rare-{n}"))) for n in range(20)]
    assert kept == [3] * 20


def test_two_answers_to_one_request_stand_side_by_side(captures: CaptureStore) -> None:
    copy = a_capture("copy", copy_of="real", arm="candidate", answer="It is azure.")
    captures.add([copy, a_capture("real"), a_capture("alone"), a_capture("orphan", copy_of="gone")], now=NOW)
    ((real, other),) = captures.pairs("support")
    assert (real.answer, other.answer, other.about.arm) == ("It is blue.", "It is azure.", "candidate")
    assert names(list(captures.read("support"))) == ["alone", "real"]
    assert captures.pair("support", "real") == (real, other)
    assert [captures.pair("support", each) for each in ("alone", "copy", "gone", "")] == [None] * 4
    assert captures.pair("other", "real") is None


def test_the_pairs_are_listed_by_time_without_their_texts(captures: CaptureStore) -> None:
    for name, at, category in (("b", NOW - 9, "refund"), ("a", NOW - 9, ""), ("c", NOW - 60, "refund")):
        copy = a_capture(f"copy of {name}", copy_of=name, at=at, category=category)
        captures.add([a_capture(name, at=at, category=category), copy], now=NOW)
    captures.add([a_capture("alone")], now=NOW)
    assert [each.exchange_id for each in captures.pairs_known("support")] == ["c", "a", "b"]
    assert [each.exchange_id for each in captures.pairs_known("support", "refund")] == ["c", "b"]
    assert captures.pairs_known("other") == []
    assert captures.messages(["a", "gone"]) == [a_capture("a").messages]


def test_what_has_expired_goes_and_does_not_come_in(captures: CaptureStore) -> None:
    captures.add([a_capture("short", expires_at=NOW + 10), a_capture("long")], now=NOW)
    assert captures.add([a_capture("late", expires_at=NOW)], now=NOW) == 0
    assert captures.expire(NOW + 9.9) == 0
    assert captures.expire(NOW + 10) == 1
    assert names(list(captures.read("support"))) == ["long"]


def test_what_sqlite_deletes_is_overwritten(sqlite_store: Store, tmp_path: Path) -> None:
    captures = CaptureStore(sqlite_store)
    text = "the quick brown fox " * 500
    captures.add([a_capture(f"e-{n}", answer=text) for n in range(20)], now=NOW)
    captures.expire(NOW + 2 * DAY_S)
    sqlite_store.close()
    assert b"brown fox" not in b"".join(path.read_bytes() for path in tmp_path.glob("canary.db*"))


def test_files_are_stored_and_deleted(captures: CaptureStore, tmp_path: Path) -> None:
    folder = tmp_path / "captures"
    shipper = CaptureShipper(folder, captures)
    assert shipper.turn(NOW) == 0
    write_captures(folder, [a_capture("a"), a_capture("b")])
    write_captures(folder, [a_capture("b"), a_capture("expired", expires_at=NOW - 1)])
    (folder / "damaged.capture").write_bytes(b"{")
    assert shipper.turn(NOW) == 3
    assert list(folder.iterdir()) == []
    assert names(list(captures.read("support"))) == ["a", "b"]


def test_what_the_database_refuses_costs_nothing_else(captures: CaptureStore, tmp_path: Path) -> None:
    folder = tmp_path / "captures"
    refused = replace(a_capture("x"), about=replace(a_capture("x").about, at=9e300))
    write_captures(folder, [a_capture("a"), refused, a_capture("b")])
    CaptureShipper(folder, captures).turn(NOW)
    assert names(list(captures.read("support")))[:2] == ["a", "b"]
    assert list(folder.iterdir()) == []


class Down(CaptureStore):
    """A database that does not answer."""

    def add(self, captures: Sequence[Capture], *, now: float) -> int:
        raise StoreDown("down")

    def expire(self, now: float) -> int:
        raise StoreDown("down")


def test_while_the_database_is_down_files_wait_and_still_expire(sqlite_store: Store, tmp_path: Path) -> None:
    folder, down = tmp_path / "captures", Down(sqlite_store)
    write_captures(folder, [a_capture("a")])
    write_captures(folder, [a_capture("b", expires_at=NOW + 1)])
    assert CaptureShipper(folder, down).turn(NOW) == 0
    CaptureShipper(folder, down).expire(NOW + 1)
    assert [names(file.captures) for file in unstored(folder)] == [["a"]]
    assert CaptureShipper(folder, CaptureStore(sqlite_store)).turn(NOW) == 1


def test_models_without_a_canary_have_captures_and_quotas_of_their_own(captures: CaptureStore) -> None:
    of_model = {"canary": "", "kept": "category", "per_category": 1}
    found = [
        a_capture(f"{model}-{number}", model=model, **of_model) for model in ("a", "b") for number in range(2)
    ]
    assert captures.add(found, now=NOW) == 2
    assert names([*captures.read("model:a")]) == ["a-0"]
    assert names([*captures.read("")]) == []
