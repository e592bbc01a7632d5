"""Hours in which the baseline had an outage count for neither arm, in logs and in the store; those of the
candidate alone count."""

import csv
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN
from records.outcome import Feedback
from records.store import Act, Store
from routing.states import State
from tests.verdict.conftest import DAY_S, START, World, exchanges
from tests.verdict.shipping import Shipper, records
from tests.verdict.simulated_looks import row
from verdict.decision.document import Report
from verdict.decision.reports import report_of
from verdict.decision.verdict import build
from verdict.sample.cohort import from_store
from verdict.sample.csv_log import from_csv
from verdict.sample.outages import Requests, find_outage
from verdict.sample.sample import HOUR_S, DayTotals, Outage, Sample
from verdict.statistics.types import Bools
from verdict.terms.judged_canary import JudgedCanary, ReportSettings

BEGIN = START + 5 * DAY_S + 10 * HOUR_S
"""The outage takes six hours."""

TERMS = JudgedCanary(
    name="c",
    criteria=(
        row("error_rate", "< 3%", "< 0.1%"),
        row("csat", "> 4.1", "> 4.8"),
        row("latency_p95", "< 2s", "< 0.1s"),
        row("cost_per_request", "< 0.1", "< 0.001"),
    ),
    minimum_days=4,
    planned_days=8,
    shares={0: 0.5},
)


def _rows(arms: str) -> list[dict[str, Any]]:
    """Eight days. In the outage nine requests of ten of these arms fail, all take 9 s, and are rated 1."""
    rows: list[dict[str, Any]] = exchanges(World(users=2000, share=0.5, days=8.9))
    for number, each in enumerate(rows):
        if each["arm"] in arms and BEGIN <= each["at"] < BEGIN + 6 * HOUR_S:
            each["error_type"] = "provider_5xx" if number % 10 else ""
            each["latency_s"] = 9.0
            each["metric_csat"] = 1
    return rows


def _log(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.more)])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return "sqlite:///canary.db"
    fresh: str = request.getfixturevalue("postgres").fresh()
    return fresh


def _in_store(folder: Path, rows: list[dict[str, Any]], url: str = "sqlite:///canary.db") -> Store:
    store = Store.open(url, folder)
    Shipper(store).lines(rows)
    state = State(state="running", share=0.5, run=1, started_at=START, changed_at=START)
    assert store.swap("c", 0, state, Act(at=START, action="start", who="jane", reason="r"))
    return store


def _state(report: Report, metric: str) -> str:
    return next(line.state for line in report.metrics if line.metric == metric)


def test_an_outage_of_both_arms_counts_for_neither(tmp_path: Path) -> None:
    settings = ReportSettings(canaries={"c": TERMS}, metrics=BUILT_IN)
    with closing(_in_store(tmp_path, _rows("baseline, candidate"))) as store:
        report = report_of(settings, "c", store, now=START + 9.5 * DAY_S)
    assert report.verdict == "ship_with_caveats"
    said = next(each for each in sentences(report) if "outage" in each)
    assert said.startswith("The baseline had an outage (2026-11-07 10:00 to 2026-11-07 16:00 UTC)")
    assert "in these 6 hours 9" in said
    assert said.endswith("They count for neither arm.")


def test_an_outage_of_the_candidate_alone_counts(tmp_path: Path) -> None:
    sample = from_csv(_log(tmp_path / "log.csv", _rows("candidate")))
    assert sample.outage is None
    report = build(sample, TERMS, now=START + 9.5 * DAY_S)
    assert _state(report, "error_rate") != "PASS"
    assert not any("outage" in each for each in sentences(report))


def test_an_outage_of_the_baseline_alone_gives_the_candidate_nothing(tmp_path: Path) -> None:
    """Its error rate without the outage is the one of the candidate."""
    sample = from_csv(_log(tmp_path / "log.csv", _rows("baseline")))
    assert sample.outage is not None
    assert len(sample.outage.hours) == 6
    assert sample.outage.failed.candidate < 5 < sample.outage.failed.baseline
    errors, theirs = sample.totals["errors"], ~sample.candidate
    assert errors.total[theirs].sum() / errors.count[theirs].sum() == pytest.approx(0.004, abs=0.002)


def _sums(sample: Sample) -> dict[str, float]:
    """What both arms have of everything."""
    found = {}
    for arm, rows in (("baseline", ~sample.candidate), ("candidate", sample.candidate)):
        for name in ("errors", "cost", "exchanges", "session_exchanges"):
            found[f"{arm} {name}"] = sample.totals[name].count[rows].sum()
            found[f"{arm} sum of {name}"] = round(sample.totals[name].total[rows].sum(), 6)
        values, ratings = sample.values["latency"], sample.feedback["csat"]
        found[f"{arm} latency"] = values.size[rows[values.row]].sum()
        found[f"{arm} slow"] = values.at_or_above(np.full(len(values.row), _place(sample)))[
            rows[values.row]
        ].sum()
        found[f"{arm} csat"] = ratings.value[rows[ratings.row]].sum()
    return found


def _place(sample: Sample) -> int:
    return int(np.searchsorted(sample.values["latency"].scale, 5.0))


def test_sums_of_the_store_are_those_of_the_log(tmp_path: Path, url: str) -> None:
    rows = _rows("baseline, candidate")
    log = from_csv(_log(tmp_path / "log.csv", rows))
    metrics = ("error_rate", "csat", "latency_p95", "cost_per_request", "session_exchanges")
    with closing(_in_store(tmp_path, rows, url)) as store, store.reading() as connection:
        stored = from_store(connection, "c", 1, metrics=metrics)
        cut = from_store(connection, "c", 1, metrics=metrics, cuts=lambda _: [START + 6 * DAY_S])
    assert stored.outage == log.outage
    assert _sums(stored) == _sums(log) == _sums(cut)
    assert _sums(log)["candidate slow"] == 0
    days = stored.by_day["errors"]
    assert days.count.sum() == log.totals["errors"].count.sum()
    assert days.total.sum() == log.totals["errors"].total.sum()
    above = stored.values_by_day["latency"].above(5.0, 5.0)
    assert (above.count.sum(), above.total.sum()) == (log.values["latency"].size.sum(), 0)


def test_what_is_said_later_of_a_session_that_ended_in_it_counts_for_neither_arm(tmp_path: Path) -> None:
    rows, later = _rows("baseline"), START + 9 * DAY_S
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        asked = [structs.replace(records(line, n)[0], session=f"s{n}") for n, line in enumerate(rows)]
        said = [
            Feedback(key=f"k{n}", metric="escalated", value=1.0, at=later, mono=0.0, session=f"s{n}")
            for n in range(len(rows))
        ]
        Shipper(store).ship([*asked, *said])
        with store.reading() as connection:
            sample = from_store(connection, "c", 1, metrics=("error_rate", "escalated"))
    assert sample.outage is not None
    inside = sample.outage.covers(np.array([line["at"] for line in rows]))
    assert len(sample.feedback["escalated"].row) == len(rows) - inside.sum()


def _days(hours: int = 24 * 7, n: int = 50, usual: float = 0.01) -> tuple[DayTotals, Requests]:
    """A baseline with so many users an hour."""
    rng = np.random.default_rng(1)
    at = np.repeat(np.arange(hours), n) * HOUR_S + rng.random(hours * n) * HOUR_S
    unit = np.arange(hours * n)
    requests = Requests(
        at=at,
        unit=unit,
        candidate=np.zeros(hours * n, dtype=np.bool_),
        failed=rng.random(hours * n) < usual,
    )
    return _by_day(requests), requests


def _by_day(requests: Requests) -> DayTotals:
    day = np.floor(requests.at / DAY_S).astype(np.int64)
    count = np.bincount(day).astype(np.float64)
    return DayTotals(
        day=np.arange(len(count)),
        candidate=np.zeros(len(count), dtype=np.bool_),
        count=count,
        total=np.bincount(day, weights=requests.failed),
    )


def _found(change: Callable[[Requests], Bools], usual: float = 0.01) -> Outage | None:
    _, requests = _days(usual=usual)
    failing = Requests(
        at=requests.at,
        unit=requests.unit,
        candidate=requests.candidate,
        failed=requests.failed | change(requests),
    )
    return find_outage(_by_day(failing), lambda _: failing)


def test_an_hour_is_an_outage_from_five_times_the_usual_on() -> None:
    some = np.random.default_rng(2).random(24 * 7 * 50)
    assert _found(lambda each: (each.hour == 30) & (some < 0.05)) is None
    found = _found(lambda each: np.isin(each.hour, (30, 31, 34)) & (some < 0.6))
    assert found is not None
    assert (found.hours, len(found.spans)) == ((30, 31, 34), 2)
    assert found.usual == pytest.approx(0.01, abs=0.005)
    assert _found(lambda each: (each.hour == 30) & (some < 0.6), usual=0.2) is None


def test_outages_on_many_days_are_usual_and_count() -> None:
    assert _found(lambda each: np.isin(each.hour, (30, 60))) is None
    assert _found(lambda each: np.isin(each.hour, (30, 31))) is not None


def test_one_user_who_always_fails_is_no_outage() -> None:
    """Of each user only the first request of an hour counts."""
    _, requests = _days()
    hers = (requests.hour == 30) & (np.arange(len(requests.at)) % 2 == 0)
    robot = Requests(
        at=requests.at,
        unit=np.where(hers, -1, requests.unit) + 1,
        candidate=requests.candidate,
        failed=requests.failed | hers,
    )
    assert find_outage(_by_day(robot), lambda _: robot) is None


def test_hours_as_usual_are_hardly_ever_told() -> None:
    found = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        _, requests = _days(n=20)
        failed = rng.random(len(requests.at)) < rng.beta(0.05, 0.95, size=len(requests.at))
        each = Requests(at=requests.at, unit=requests.unit, candidate=requests.candidate, failed=failed)
        found += find_outage(_by_day(each), lambda _, each=each: each) is not None  # type: ignore[misc]
    assert found == 0
