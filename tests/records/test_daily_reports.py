"""Daily reports are stored once a day of each run, and never changed."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Executable, delete, update

from records.errors import Unstorable
from records.store import Store
from records.store.reports import DailyReport, DailyReports
from records.store.tables import reports

FIRST = DailyReport(
    canary="c", run=1, day="2026-11-26", at=10.0, verdict="extend", document={"verdict": "extend"}
)
SECOND = replace(FIRST, day="2026-11-27", at=20.0, verdict="ship", document={"verdict": "ship"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


def test_the_newest_comes_first_and_a_day_is_stored_once(store: Store) -> None:
    kept = DailyReports(store)
    assert kept.newest("c") is None
    assert [kept.add(each) for each in (FIRST, SECOND, replace(SECOND, verdict="dont_ship"))] == [
        True,
        True,
        False,
    ]
    assert [(each.day, each.verdict) for each in kept.entries("c", 100)] == [
        ("2026-11-27", "ship"),
        ("2026-11-26", "extend"),
    ]
    assert [each.day for each in kept.entries("c", 1)] == ["2026-11-27"]
    assert kept.newest("c") == SECOND
    assert kept.newest("c", day="2026-11-26") == FIRST
    assert kept.newest("c", run=2) is None
    assert kept.entries("other", 100) == []


@pytest.mark.parametrize("statement", [update(reports).values(verdict="ship"), delete(reports)])
def test_no_report_is_changed_or_deleted(store: Store, statement: Executable) -> None:
    DailyReports(store).add(FIRST)
    with pytest.raises(Unstorable, match="reports is append-only"), store.writing() as connection:
        connection.execute(statement)
