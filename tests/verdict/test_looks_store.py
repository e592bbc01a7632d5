"""Looks from a store: those of the same traffic's log, and never changed once they are stored."""

import csv
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from pages.words.plan import rests_on
from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN
from records.store import Act, FixedRubric, Store, tables
from records.store.reports import LookScope, StoredLook, VerdictLooks
from routing.states import State
from tests.effort import in_more
from tests.verdict.conftest import START, World, exchanges
from tests.verdict.shipping import Shipper
from tests.verdict.simulated_looks import row
from verdict.decision.document import Report
from verdict.decision.plan_course import PlanCourse
from verdict.decision.reports import judged_canary, report_from_csv, report_of, take_looks
from verdict.sample.csv_log import from_csv
from verdict.sample.sample import BadSample
from verdict.statistics.boundaries import boundaries, crossings
from verdict.terms.fixed_terms import judged_by, terms_of
from verdict.terms.judged_canary import JudgedCanary, ReportSettings
from verdict.terms.plan import ARRIVAL_S, DAY_S

WORLD = World(users=420, share=0.5, days=4.4, per_user=4)


TERMS = JudgedCanary(
    name="c",
    criteria=(
        row("error_rate", "< 3%", "< 0.1%"),
        row("cost_per_request", "<= 1.2x baseline", "<= 0.8x baseline"),
        row("latency_p95", "< 2s", "< 0.5s"),
        row("csat", "> 4.1", "> 4.8"),
        row("task_completed", ">= baseline - 5pp", ">= baseline + 3pp"),
    ),
    minimum_days=2,
    planned_days=4,
)
LATER = START + 9 * DAY_S


def _settings(terms: JudgedCanary = TERMS) -> ReportSettings:
    return ReportSettings(canaries={"c": terms}, metrics=BUILT_IN)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.more)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of either kind."""
    url = "sqlite:///canary.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").fresh()
    with closing(Store.open(url, tmp_path)) as opened:
        yield opened


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


def _log(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    columns = [name for name in rows[0] if name not in ("said_at", "share")]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _of_log(path: Path, rows: Sequence[Mapping[str, Any]], *, now: float) -> list[dict[str, Any]]:
    """The looks of a log, as the store would keep them."""
    assert TERMS.plan is not None
    course = PlanCourse(sample=from_csv(_log(path, rows)), canary=TERMS, plan=TERMS.plan, kept={}, now=now)
    found = [look for row in TERMS.criteria for look in course.looks(row)]
    return [
        {"metric": look.metric, "day": look.day, "at": look.at, "units": look.units, "seen": look.seen}
        for look in found
    ]


def _runs(store: Store, state: str = "running", run: int = 1, version: int = 0) -> None:
    """The canary's state."""
    now = State(state=state, share=0.5, run=run, started_at=START, changed_at=START)  # type: ignore[arg-type]
    assert store.swap("c", version, now, Act(at=START, action="start", who="jane", reason="r"))


def _kept(store: Store, terms: JudgedCanary = TERMS, run: int = 1) -> list[StoredLook]:
    return VerdictLooks(store).of(LookScope(canary="c", run=run, rubric_sha256=terms.sha256))


def _numbers(value: Any) -> list[float | None]:
    """Every number of a look's document, in order."""
    if isinstance(value, dict):
        return [number for key in sorted(value) for number in _numbers(value[key])]
    return [value]


def test_the_store_has_the_looks_of_the_log(store: Store, tmp_path: Path) -> None:
    rows = exchanges(WORLD)
    Shipper(store).lines(rows)
    _runs(store)
    log = report_from_csv(
        _settings(replace(TERMS, shares={0: 0.5})), "c", _log(tmp_path / "log.csv", rows), now=LATER
    )
    end = START + WORLD.days * DAY_S
    report = report_of(_settings(), "c", store, now=end)
    assert report.plan == log.plan
    assert report.verdict == log.verdict
    for line, other in zip(report.metrics, log.metrics, strict=True):
        assert line.look is not None
        assert other.look is not None
        assert line.state == other.state
        near = 2e-3 if line.metric == "latency_p95" else 1e-9
        for name in ("low", "high", "p", "boundary", "chance"):
            own, theirs = getattr(line.look, name), getattr(other.look, name)
            assert own == (theirs if theirs is None else pytest.approx(theirs, rel=near, abs=near)), (
                line.metric,
                name,
            )
    assert report.plan is not None
    assert report.plan.looks == (1, 2, 3)


def test_a_look_that_cannot_be_computed_takes_along_neither_other_rows_nor_later_days(sqlite: Store) -> None:
    rows = [
        {**each, "cost_usd": each["cost_usd"] * (1e-200 if each["at"] < START + 2 * DAY_S else 1)}
        for each in exchanges(WORLD)
    ]
    Shipper(sqlite).lines(rows)
    _runs(sqlite)
    assert take_looks(_settings(), "c", sqlite, now=START + 2.5 * DAY_S) == 5
    early = {look.metric: look.document for look in _kept(sqlite)}
    assert [name for name, document in early.items() if document["seen"] is None] == ["cost_per_request"]
    report = report_of(_settings(), "c", sqlite, now=START + 2.5 * DAY_S)
    assert "its look of day 1 could not be computed" in " ".join(sentences(report))
    later = report_of(_settings(), "c", sqlite, now=LATER)
    assert not [each for each in sentences(later) if "computed" in each]
    (days,) = [[point.day for point in each.points] for each in later.details.looks if "cost" in each.metric]
    assert days == [2, 3, 4]


def test_later_reports_have_the_stored_looks(store: Store) -> None:
    Shipper(store).lines(exchanges(WORLD))
    _runs(store)
    first = report_of(_settings(), "c", store, now=START + WORLD.days * DAY_S)
    kept = _kept(store)
    again = report_of(_settings(), "c", store, now=START + WORLD.days * DAY_S)
    assert again.details.looks == first.details.looks
    assert [line.look for line in again.metrics] == [line.look for line in first.metrics]
    assert _kept(store) == kept
    assert {(look.metric, look.day) for look in kept} == {
        (row.metric, day) for row in TERMS.criteria for day in (1, 2, 3)
    }


def test_what_a_look_saw_of_a_critical_category_is_kept_whatever_comes_later(sqlite: Store) -> None:
    terms = replace(TERMS, critical_categories=frozenset({"billing"}))
    rows = exchanges(replace(WORLD, errors=(0.01, 0.3)))
    shipper = Shipper(sqlite)
    shipper.lines([row for row in rows if float(str(row["at"])) <= START + 2 * DAY_S])
    _runs(sqlite)
    assert report_of(_settings(terms), "c", sqlite, now=START + 2.5 * DAY_S).verdict == "dont_ship"
    kept = [look for look in _kept(sqlite) if look.of_part]
    assert {(look.metric, look.day) for look in kept} == {
        (f"{row.metric}@category:billing", day) for row in TERMS.criteria for day in (1,)
    }
    assert not [look for look in VerdictLooks(sqlite).of_run("c", 1) if look.of_part]
    shipper.lines([row for row in rows if float(str(row["at"])) > START + 2 * DAY_S])
    report = report_of(_settings(terms), "c", sqlite, now=LATER)
    assert [look for look in _kept(sqlite) if look.of_part and look.day == 1] == kept
    (line,) = [each for each in report.categories if (each.value, each.metric) == ("billing", "error_rate")]
    assert (line.state, line.blocks) == ("WORSE", True)
    assert take_looks(_settings(terms), "c", sqlite, now=LATER) == 0


def test_records_that_come_late_change_no_look(sqlite: Store) -> None:
    rows = exchanges(WORLD)
    late = [row for number, row in enumerate(rows) if number % 3 == 0]
    in_time = [row for number, row in enumerate(rows) if number % 3]
    shipper = Shipper(sqlite)
    shipper.lines(in_time)
    _runs(sqlite)
    report_of(_settings(), "c", sqlite, now=START + 3.5 * DAY_S)
    kept = _kept(sqlite)
    shipper.lines(late)
    report = report_of(_settings(), "c", sqlite, now=START + 4.5 * DAY_S)
    assert [look for look in _kept(sqlite) if look.day < 3] == kept
    assert report.units.candidate > kept[0].document["units"]
    (newest,) = [look for look in _kept(sqlite) if look.metric == "error_rate" and look.day == 3]
    (before,) = [look for look in kept if look.metric == "error_rate" and look.day == 2]
    assert newest.document["units"] > before.document["units"]


def test_a_look_keeps_its_day_when_earlier_traffic_comes_late(sqlite: Store) -> None:
    """An agent that was cut off ships the first day at last: every period has another number."""
    rows = exchanges(replace(WORLD, days=3.4))
    shipper = Shipper(sqlite)
    shipper.lines([row for row in rows if float(str(row["at"])) > START + 1.3 * DAY_S])
    _runs(sqlite)
    report_of(_settings(), "c", sqlite, now=START + 4.5 * DAY_S)
    kept = _kept(sqlite)
    assert {look.day for look in kept} == {1, 2}
    shipper.lines([row for row in rows if float(str(row["at"])) <= START + 1.3 * DAY_S])
    report = report_of(_settings(), "c", sqlite, now=START + 5.5 * DAY_S)
    assert [look for look in _kept(sqlite) if look.day <= 2] == kept
    assert report.plan is not None
    assert report.plan.looks == (1, 2, 3, 4)


def test_feedback_after_a_midnight_is_not_in_its_look(store: Store, tmp_path: Path) -> None:
    rows = exchanges(WORLD)
    night = START + 3 * DAY_S
    waiting = [{**row, "said_at": max(float(str(row["at"])), night + 60)} for row in rows]
    Shipper(store).lines(waiting)
    _runs(store)
    report = report_of(_settings(), "c", store, now=START + WORLD.days * DAY_S)
    units = {(look.metric, look.day): look.document["units"] for look in _kept(store)}
    assert {units["csat", day] for day in (1, 2)} == {0}
    assert 0 < units["csat", 3] < 100  # it came two days late, and younger requests have not had the time
    assert units["error_rate", 2] > 100
    # Day 1 is over at the second midnight, because its traffic begins after the first.
    assert {look.day: look.at for look in _kept(store)} == {
        day: START + (day + 1) * DAY_S for day in (1, 2, 3)
    }
    assert not [course for course in report.details.looks if course.metric == "csat"]


def test_two_reports_at_once_store_each_look_once(store: Store) -> None:
    Shipper(store).lines(exchanges(WORLD))
    _runs(store)
    now, found = START + WORLD.days * DAY_S, list[Report]()
    together = threading.Barrier(2)

    def report() -> None:
        together.wait(60)
        found.append(report_of(_settings(), "c", store, now=now))

    threads = [threading.Thread(target=report) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    one, other = found
    assert one.details.looks == other.details.looks
    with store.asking() as connection:
        assert connection.execute(select(func.count()).select_from(tables.looks)).scalar_one() == 15


def test_a_look_is_stored_when_its_records_had_time_to_come(sqlite: Store) -> None:
    Shipper(sqlite).lines(exchanges(WORLD))
    _runs(sqlite)
    midnight = START + 3 * DAY_S
    report = report_of(_settings(), "c", sqlite, now=midnight + 5)
    assert report.plan is not None
    assert report.plan.looks == (1, 2)
    assert {look.day for look in _kept(sqlite)} == {1}
    assert take_looks(_settings(), "c", sqlite, now=midnight + ARRIVAL_S - 1) == 0
    assert take_looks(_settings(), "c", sqlite, now=midnight + ARRIVAL_S) == 5
    assert {look.day for look in _kept(sqlite)} == {1, 2}


@pytest.mark.parametrize(("last", "looks"), [("22:50", (1, 2)), ("23:10", (1, 2, 3))])
def test_a_logs_last_day_is_over_with_an_exchange_in_its_last_hour(
    last: str, looks: tuple[int, ...], tmp_path: Path
) -> None:
    hour, minute = map(int, last.split(":"))
    end = START + 3 * DAY_S + hour * 3600.0 + minute * 60.0
    rows = [row for row in exchanges(WORLD) if float(str(row["at"])) < end]
    rows.append({**rows[-1], "at": end})
    report = report_from_csv(_settings(), "c", _log(tmp_path / "log.csv", rows), now=LATER)
    assert report.plan is not None
    assert report.plan.looks == looks
    said = [reason for reason in sentences(report) if "The log ends" in reason]
    left_out = "The log ends on 5 Nov at 22:50 UTC: the look of day 3 needs an exchange from 23:00 on."
    assert said == ([left_out] if last == "22:50" else [])


def test_days_without_traffic_do_not_count(store: Store) -> None:
    rows = [
        row for row in exchanges(WORLD) if not START + 1 * DAY_S < float(str(row["at"])) < START + 2.2 * DAY_S
    ]
    Shipper(store).lines(rows)
    _runs(store)
    report = report_of(_settings(), "c", store, now=START + 4.6 * DAY_S)
    assert {look.day: look.at for look in _kept(store)} == {
        1: START + 2 * DAY_S,
        2: START + 4 * DAY_S,
    }
    assert report.window.whole_days == 3, "the third is over, its midnight is to come"


def test_a_unit_that_moves_arms_in_a_ramp_is_the_same_in_log_and_store(store: Store, tmp_path: Path) -> None:
    """From the second day on, users with an odd number go to the candidate too."""
    rows: list[dict[str, Any]] = []
    for each in exchanges(replace(WORLD, share=0.3)):
        moved = float(str(each["at"])) > START + 1.6 * DAY_S
        to_candidate = moved and int(str(each["unit"])[1:]) % 2 == 1
        arm = "candidate" if to_candidate else each["arm"]
        rows.append({**each, "phase": int(moved), "share": 0.65 if moved else 0.3, "arm": arm})
    Shipper(store).lines(rows)
    _runs(store)
    take_looks(_settings(), "c", store, now=START + WORLD.days * DAY_S)
    wanted = {
        (each["metric"], each["day"]): each
        for each in _of_log(tmp_path / "log.csv", rows, now=START + WORLD.days * DAY_S)
    }
    kept = _kept(store)
    assert {(look.metric, look.day) for look in kept} == set(wanted)
    for look in kept:
        expected = wanted[look.metric, look.day]
        assert look.document["units"] == expected["units"]
        seen = look.document["seen"]
        assert (seen is None) == (expected["seen"] is None)
        if seen is not None and look.metric != "latency_p95":
            assert seen["information"] == pytest.approx(expected["seen"].information, rel=1e-9)
            assert seen["acceptable"]["estimate"] == pytest.approx(
                expected["seen"].acceptable.estimate, rel=1e-9, abs=1e-12
            )


def test_a_second_run_has_its_own_looks(sqlite: Store) -> None:
    rows = exchanges(replace(WORLD, days=2.4))
    shipper = Shipper(sqlite)
    shipper.lines(rows)
    _runs(sqlite)
    report_of(_settings(), "c", sqlite, now=START + 3.5 * DAY_S)
    _runs(sqlite, run=2, version=1)
    shipper.lines([{**row, "at": float(str(row["at"])) + 4 * DAY_S} for row in rows], run=2)
    report = report_of(_settings(), "c", sqlite, now=START + 6.5 * DAY_S)
    assert {look.day for look in _kept(sqlite, run=1)} == {1, 2}
    assert {(look.day, look.at) for look in _kept(sqlite, run=2)} == {(1, START + 6 * DAY_S)}
    assert report.plan is not None
    assert report.plan.looks == (1,)
    first = TERMS.plan
    assert first is not None
    assert report.plan.spent_before == pytest.approx(first.spent("ship", 2, 1.0))
    assert "of earlier runs spent 11 % of that risk, so this run has 89 % of it." in rests_on(report)
    before = report_of(_settings(), "c", sqlite, now=LATER, run=1)
    assert before.plan is not None
    assert (before.plan.looks, before.plan.spent_before) == ((1, 2), 0.0)


@pytest.mark.parametrize(("rolled_back_on", "ship"), [(5, 0.05), (10, 0.05), (14, 0.055)])
def test_three_tries_at_the_bound_ship_hardly_more_often_than_one(rolled_back_on: int, ship: float) -> None:
    """Each run has a look a day until it is rolled back, the third goes on to the extension's end."""
    spent, shipped = 0.0, 0.0
    for run in (1, 2, 3):
        plan = replace(TERMS, minimum_days=7, planned_days=14, spent_before=min(spent, 1.0)).plan
        assert plan is not None
        days = [day for day in plan.looks("ship") if run == 3 or day <= rolled_back_on]
        told = [float(day) for day in days]
        bounds = boundaries([plan.spent("ship", day, plan.risk) for day in days], told)
        shipped += sum(crossings(bounds, told, 0.0))
        spent += plan.spent("ship", max(days), 1.0) if days else 0.0  # of what was left
    assert shipped == pytest.approx(ship, abs=0.002)


@pytest.mark.parametrize("state", ["rolled_back", *map(in_more, ("ended", "promoted"))])
def test_a_run_that_is_over_keeps_its_looks_and_gets_no_later_ones(sqlite: Store, state: str) -> None:
    Shipper(sqlite).lines(exchanges(replace(WORLD, days=2.6)))
    _runs(sqlite)
    report_of(_settings(), "c", sqlite, now=START + 2.6 * DAY_S)
    assert {look.day for look in _kept(sqlite)} == {1}
    _runs(sqlite, state=state, version=1)
    report = report_of(_settings(), "c", sqlite, now=LATER)
    assert report.plan is not None
    assert (report.plan.looks, report.plan.next_look) == ((1,), None)
    assert {look.day for look in _kept(sqlite)} == {1}
    assert take_looks(_settings(), "c", sqlite, now=LATER) == 0


def test_another_rubric_afterwards_takes_all_looks_anew_and_stores_none(sqlite: Store) -> None:
    Shipper(sqlite).lines(exchanges(WORLD))
    _runs(sqlite)
    now = START + WORLD.days * DAY_S
    planned = report_of(_settings(), "c", sqlite, now=now)
    kept = _kept(sqlite)
    retro = [row("error_rate", "< 10%", "< 5%")]
    report = report_of(_settings(), "c", sqlite, now=now, retro=retro)
    assert report.plan == planned.plan
    assert [line.metric for line in report.metrics] == ["error_rate"]
    with sqlite.asking() as connection:
        assert connection.execute(select(func.count()).select_from(tables.looks)).scalar_one() == len(kept)


def test_terms_with_a_plan_are_read_as_they_were_stored(sqlite: Store) -> None:
    terms = replace(TERMS, risk=0.2, criteria=(replace(TERMS.criteria[0], risk=0.025), *TERMS.criteria[1:]))
    sqlite.fix_rubric("c", FixedRubric(sha256=terms.sha256, document=terms_of(terms), fixed_at=START))
    fixed = sqlite.rubric("c")
    assert fixed is not None
    stored = judged_by("c", fixed)
    assert stored.sha256 == terms.sha256
    assert stored.plan == terms.plan
    assert judged_canary(_settings(terms), "c", sqlite).plan == terms.plan


_NO_IDEAL = replace(TERMS, criteria=(TERMS.criteria[2],))
"""A rubric that both arms keep with room."""


@pytest.mark.parametrize(
    ("days", "action", "who", "caveat"),
    [
        (3.5, "ramp", "jane", True),
        (3.5, "configure", "config", True),
        (1.5, "ramp", "jane", False),
        (3.5, "ramp", "ramp", False),
        (3.5, "pause", "jane", False),
    ],
)
def test_a_share_changed_by_hand_after_the_first_look_that_ships_is_a_caveat(
    *, sqlite: Store, days: float, action: str, who: str, caveat: bool
) -> None:
    Shipper(sqlite).lines(exchanges(WORLD))
    _runs(sqlite)
    lower = State(state="running", share=0.5 if action == "pause" else 0.1, started_at=START, phase=1)
    assert sqlite.swap("c", 1, lower, Act(at=START + days * DAY_S, action=action, who=who, reason="r"))
    report = report_of(_settings(_NO_IDEAL), "c", sqlite, now=START + WORLD.days * DAY_S)
    told = [reason for reason in sentences(report) if "changed the share from 50 % to 10 % by hand" in reason]
    assert bool(told) == caveat
    assert report.verdict == ("ship_with_caveats" if caveat else "ship")


def test_looks_outlive_the_records_of_their_days(sqlite: Store) -> None:
    Shipper(sqlite).lines(exchanges(WORLD))
    _runs(sqlite)
    now = START + WORLD.days * DAY_S
    report_of(_settings(), "c", sqlite, now=now)
    kept = _kept(sqlite)
    sqlite.expire(START + 3 * DAY_S)
    report = report_of(_settings(), "c", sqlite, now=now)
    assert _kept(sqlite) == kept
    assert report.plan is not None
    assert report.plan.looks == (1, 2, 3)


def test_looks_leave_out_whom_a_flag_system_gave_both_arms(sqlite: Store) -> None:
    first, *rest = exchanges(WORLD)
    other = "baseline" if first["arm"] == "candidate" else "candidate"
    Shipper(sqlite).lines([first, {**first, "arm": other}, *rest])
    _runs(sqlite)
    now = START + 3 * DAY_S + ARRIVAL_S
    with pytest.raises(BadSample, match="is in both arms"):
        take_looks(_settings(), "c", sqlite, now=now)
    assert take_looks(_settings(replace(TERMS, assigned_outside=True)), "c", sqlite, now=now) == 10
