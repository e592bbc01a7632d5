"""The wrong answers of benchmarks in either database: redacted, and gone when captures would be."""

from pathlib import Path

from records.captures.capture import CaptureRule, strictest
from records.store import Store
from records.store.benchmarks import BenchFailures, Benchmarks, FailureRow
from records.store.captures import CaptureStore

NOW = 1_795_000_000.0
DAY_S = 86400.0
KEPT = strictest(())
ROW: FailureRow = {
    "id": "4111 1111 1111 1111",
    "new": "yes",
    "asked": "I am ann@example.org, order AB-77\0",
    "candidate_score": 0.25,
    "baseline_failure": None,
}


def test_texts_are_redacted_by_the_configs_and_every_canarys_patterns_and_names_are_not(store: Store) -> None:
    rules = [CaptureRule(rate=0.1), CaptureRule(rate=0.1, redact=(r"AB-\d+",))]
    BenchFailures(store).add(7, [ROW], strictest(rules, ["order"]), now=NOW)
    (found,) = BenchFailures(store).of(7, now=NOW) or []
    assert found == {**ROW, "asked": "I am [email], [redacted] [redacted]"}


def test_the_configs_own_patterns_need_no_capture(store: Store) -> None:
    BenchFailures(store).add(7, [ROW], strictest((), [r"AB-\d+"]), now=NOW)
    (found,) = BenchFailures(store).of(7, now=NOW) or []
    assert found == {**ROW, "asked": "I am [email], order [redacted]"}


def test_they_expire_with_the_shortest_lived_captures(store: Store) -> None:
    failures = BenchFailures(store)
    rules = [CaptureRule(rate=0.1, expires_after_s=9 * DAY_S), CaptureRule(rate=0.1, expires_after_s=DAY_S)]
    failures.add(1, [ROW], strictest(rules), now=NOW)
    failures.add(2, [], KEPT, now=NOW)
    assert failures.of(1, now=NOW + DAY_S) is None
    assert CaptureStore(store).expire(NOW + DAY_S - 1) == 0
    assert CaptureStore(store).expire(NOW + DAY_S) == 1
    assert (failures.of(1, now=NOW), failures.of(2, now=NOW)) == (None, [])
    assert failures.of(2, now=NOW + 30 * DAY_S) is None


def test_those_of_the_newest_benchmark_of_two_models_are_found(store: Store) -> None:
    failures = BenchFailures(store)
    for at, baseline in ((1.0, "o/old"), (3.0, "o/old"), (2.0, "o/old"), (4.0, "o/other")):
        benchmark = Benchmarks(store).add({}, baseline=baseline, candidate="o/new", at=at)
        failures.add(benchmark, [{"id": str(at)}], KEPT, now=NOW)
    assert failures.latest("o/new", "o/old", now=NOW) == [{"id": "3.0"}]
    assert failures.latest("o/unheard-of", "o/old", now=NOW) is None


def test_those_of_a_drift_come_in_parts_and_none_twice(store: Store) -> None:
    failures, drifted = BenchFailures(store), "o/bot@2026-11-30"
    rows = [{"dataset": "d", "id": each, "new": new} for each, new in (("a", "no"), ("b", "yes"))]
    for part in ([rows[0]], rows, []):
        failures.add(drifted, part, KEPT, now=NOW)
    assert failures.latest(drifted, "o/bot", now=NOW) == [rows[1], rows[0]]
    assert failures.newest(now=NOW) == {}
    Benchmarks(store).add({}, baseline="o/bot", candidate=drifted, at=NOW)
    assert failures.newest(now=NOW) == {drifted: [rows[1], rows[0]]}


def test_what_sqlite_deletes_is_overwritten(sqlite_store: Store, tmp_path: Path) -> None:
    BenchFailures(sqlite_store).add(1, [{"asked": "the quick brown fox " * 500}] * 20, KEPT, now=NOW)
    CaptureStore(sqlite_store).expire(NOW + 31 * DAY_S)
    sqlite_store.close()
    assert b"brown fox" not in b"".join(path.read_bytes() for path in tmp_path.glob("canary.db*"))
