"""One traffic, once as a log of exchanges and once shipped into a store: the same report of both."""

import csv
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.facts.exchange_id import mint
from records.outcome import Fault, Feedback, Finish, Outcome, OutputCheck
from records.spool.reader import SpoolBatch, SpoolChunk, WriterProcess
from records.store import Store
from tests.verdict.conftest import World, exchanges
from verdict.decision.document import Difference, Report
from verdict.decision.verdict import build, whole_days
from verdict.sample.cohort import from_store
from verdict.sample.csv_log import from_csv
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion, parse_bound

METRICS = ("csat", "task_completed")
WORLD = World(users=2500)


Answer = tuple[Finish | None, tuple[Fault, ...], OutputCheck]


def _answer(row: dict[str, Any], number: int) -> Answer:
    """How a line's answer ended: every tenth of the baseline's is cut off, every third of the candidate's."""
    if row["error_type"] or number % 7 == 0:
        return None, (), ""
    often = 3 if row["arm"] == "candidate" else 10
    checks: tuple[OutputCheck, ...] = ("judged", "judged", "not_judged", "")
    check = checks[number % 4]
    if number % often == 0:
        return "length", ("cut_off", "json_invalid") if check == "judged" else ("cut_off",), check
    return ("refusal", ("refused",), check) if number % 101 == 0 else ("stop", (), check)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's log, with how each answer ended."""
    path = tmp_path_factory.mktemp("log") / "log.csv"
    rows = exchanges(WORLD)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "finish", "faults", "output_check"])
        writer.writeheader()
        for number, row in enumerate(rows):
            finish, faults, check = _answer(row, number)
            answer = {"finish": finish, "faults": ",".join(faults), "output_check": check}
            writer.writerow({**row, **answer})
    return path


def _records(row: dict[str, Any], number: int) -> Sequence[Outcome | Feedback]:
    """A log's line as the proxy would have spooled it."""
    unit = f"{int(row['unit'][1:]):032x}"
    name = mint(
        b"k" * 32, canary="c", run=1, phase=0, arm=row["arm"], unit_hash=unit, at=row["at"],
        serial=number.to_bytes(8),
    )  # fmt: skip
    finish, faults, check = _answer(row, number)
    outcome = Outcome(
        exchange_id=name,
        at=row["at"],
        mono=row["at"],
        outcome="error" if row["error_type"] else "ok",
        error_type=row["error_type"] or None,
        canary="c",
        run=1,
        share=0.1,
        arm=row["arm"],
        reason="cohort",
        unit=unit,
        category=row["category"],
        tags={"region": row["tag_region"]},
        latency_s=float(row["latency_s"]),
        cost_usd=float(row["cost_usd"]),
        finish=finish,
        faults=faults,
        output_check=check,
    )
    said = [
        Feedback(
            key=f"{name}/{metric}", metric=metric, value=float(row[f"metric_{metric}"]), at=row["at"],
            mono=row["at"], exchange_id=name, canary="c", run=1, arm=row["arm"], unit=unit,
        )
        for metric in METRICS
        if row[f"metric_{metric}"] != ""
    ]  # fmt: skip
    return [outcome, *said]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The world's store, written by the shipper's own way in."""
    folder = tmp_path_factory.mktemp("store")
    url = "sqlite:///canary.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").fresh()
    store = Store.open(url, folder)
    request.addfinalizer(store.close)
    records = [each for number, row in enumerate(exchanges(WORLD)) for each in _records(row, number)]
    for first in range(0, len(records), 5000):
        some = records[first : first + 5000]
        store.ship(
            SpoolBatch(
                chunks=[SpoolChunk("f", WriterProcess("w", 0, "b", 1), some)],
                cursors={"f": first + len(some)},
            )
        )
    return store


@pytest.fixture
def judged(criteria: Sequence[Criterion], canary: JudgedCanary) -> JudgedCanary:
    """The contract's rubric, and what else can be measured of a log."""
    more = [("error_rate", "< 5%", "< 1%"), ("cost_total", "< 1", "< 0.1"), ("latency_p50", "< 2s", "< 1s")]
    more += [
        (name, "<= 1.5x baseline", "<= baseline") for name in ("cut_off", "invalid_output", "answer_faults")
    ]
    more += [(name, "< 5%", "< 1%") for name in ("refused", "empty")]
    rows = [
        Criterion(metric=m, acceptable=parse_bound(a), ideal=parse_bound(i), weight=1, question="?")
        for m, a, i in more
    ]
    return dataclasses.replace(canary, criteria=(*criteria, *rows))


def _numbers(report: Report) -> dict[tuple[str, ...], list[float]]:
    """Every number of a report by its place (NaN: unbounded), without those about what is still needed."""

    def of(difference: Difference) -> list[float]:
        return known(difference.low, difference.estimate, difference.high)

    def known(*values: float | None) -> list[float]:
        return [math.nan if value is None else value for value in values]

    found = {
        (line.metric,): [
            *known(line.baseline, line.candidate, *line.candidate_interval),
            *of(line.difference),
        ]
        for line in report.metrics
    }
    found |= {(part.by, part.value, part.metric): of(part.difference) for part in report.segments}
    found |= {(part.value, part.metric): of(part.difference) for part in report.categories}
    return found


def test_the_store_says_what_the_log_says(
    shipped: Store, log: Path, judged: JudgedCanary, now: float
) -> None:
    expected = build(from_csv(log), judged, now=now)
    metrics = [one.metric for one in judged.criteria]
    with shipped.reading() as connection:
        sample = from_store(connection, "c", metrics=metrics, segments=judged.segments)
    found = build(sample, judged, now=now)
    assert (found.verdict, found.units, found.window) == (expected.verdict, expected.units, expected.window)
    assert found.srm == expected.srm
    assert [line.state for line in found.metrics] == [line.state for line in expected.metrics]
    states = {line.metric: line.state for line in found.metrics}
    assert (states["cut_off"], states["answer_faults"], states["invalid_output"]) == ("FAIL",) * 3
    assert (states["refused"], states["empty"]) == ("PASS", "PASS"), "no case in 240 users"
    assert len(sample.unit) < len(from_csv(log).unit) / 3
    exact, read = _numbers(expected), _numbers(found)
    assert list(read) == list(exact)
    for place, numbers in exact.items():
        quantile = place[-1].startswith("latency_")
        within = {"rel": 3e-4, "abs": 3e-4} if quantile else {"rel": 1e-9, "abs": 1e-12}
        assert read[place] == pytest.approx(numbers, **within, nan_ok=True), place


@given(st.lists(st.floats(0, 20 * 86400.0), min_size=1, max_size=60), st.floats(0, 25 * 86400.0))
def test_the_first_and_last_moment_of_each_day_tell_the_whole_days(times: list[float], now: float) -> None:
    by_day: dict[int, list[float]] = {}
    for time in times:
        by_day.setdefault(int(time // 86400), []).append(time)
    ends = [end for day in by_day.values() for end in (min(day), max(day))]
    assert whole_days(np.array(ends), now) == whole_days(np.array(times), now)
