"""The SQL of the GrowthBook page on a real PostgreSQL, joined as GrowthBook does: the report's figures."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import chdb
import psycopg
import pytest
from msgspec.structs import replace

from records.facts.exchange_id import mint
from records.facts.metric import BUILT_IN, Metric
from records.outcome import Feedback, Outcome
from records.spool.writer import SpoolWriter
from records.store import Store, segment_writer
from records.store.shipper import Shipper
from tests.servers.postgres import Postgres
from verdict.decision.document import MetricLine
from verdict.decision.verdict import build
from verdict.sample.cohort import from_store
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion, parse_bound

PAGE = (Path(__file__).parents[2] / "docs/guides/growthbook.md").read_text()
BEGIN = 1_794_528_000.0
"""2026-11-13, midnight UTC."""

USERS, DAYS, DAY_S = 120, 3, 86400.0
DATES = {"{{startDate}}": "2026-11-13 00:00:00", "{{endDate}}": "2026-11-30 00:00:00"}
DECLARED = {
    **BUILT_IN,
    "price": Metric(name="price", kind="amount", question="", cost_per="conversion", higher_is_better=False),
}
METRICS = (
    "cost_per_request",
    "cost_total",
    "csat",
    "revenue",
    *("conversion", "compliance_violation", "price"),
)


def queries(section: str) -> list[str]:
    """The SQL of a section, with the dates that GrowthBook would fill in."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    for name, date in DATES.items():
        found = [each.replace(name, date) for each in found]
    return found


def traffic(user: int, day: int) -> Iterator[Outcome | Feedback]:
    """One user's day: requests that count, one rating, and what a report leaves out."""
    arm, unit = "candidate" if user % 3 == 0 else "baseline", f"{user:032x}"
    for serial in range(1 + user % 4):
        at = BEGIN + day * DAY_S + user * 600 + serial * 30
        name = _name(arm, unit, at, serial)
        failed = (user + serial + day) % (4 if arm == "baseline" else 3) == 0
        outcome = Outcome(
            exchange_id=name,
            at=at,
            mono=at,
            outcome="error" if failed else "ok",
            error_type="provider_5xx" if failed else None,
            canary="support-nov",
            run=1,
            share=0.5,
            arm=arm,
            reason="cohort",
            unit=unit,
            session="" if serial == 3 else f"s{user}",
            category="billing" if user % 2 else "returns",
            latency_s=0.5 + user / 100,
            cost_usd=None if serial == 2 else 0.01 * (1 + user % 5) * (2 if arm == "candidate" else 1),
        )
        yield outcome
        if serial == 0 and user % 5 == 0:
            yield _rating(outcome, "exchange")
        if serial == 1 and user % 5 == 1:
            yield _rating(outcome, "session")
        if serial == 0:
            yield from _events(outcome, user, day)
        if serial == 0 and user % 7 == 0:
            for number, left_out in enumerate(({"mirror": True}, {"reason": "pinned"}, {"outcome": "shed"})):
                at_name = _name(arm, unit, at + 1 + number, 100 + number)
                yield replace(outcome, exchange_id=at_name, at=at + 1 + number, cost_usd=99.0, **left_out)


def _events(outcome: Outcome, user: int, day: int) -> Iterator[Feedback]:
    """What happened to the user on a day, of which nobody says when it does not."""
    about = Feedback(key="", metric="", value=1.0, at=outcome.at + 9, mono=outcome.at)
    if user % (4 if outcome.arm == "candidate" else 5) == 0:
        key = f"session-{outcome.exchange_id}/escalated"
        yield replace(about, key=key, metric="escalated", session=outcome.session)
    if user % 5 == 0 and day > 0:
        key = f"unit-{outcome.exchange_id}/revenue"
        yield replace(about, key=key, metric="revenue", value=10.0 + user, unit=outcome.unit)
    if user % 5 == 0:  # on each day, and yet one user
        key = f"unit-{outcome.exchange_id}/conversion"
        yield replace(about, key=key, metric="conversion", unit=outcome.unit)
    if user % 6 == 1:
        yield _of_exchange(replace(about, metric="conversion", value=float(user % 4 == 1)), outcome)
    if user % 9 < 2:  # said twice, and yet one exchange
        for rater in "ab":
            yield _of_exchange(replace(about, metric="compliance_violation"), outcome, rater)


def _of_exchange(said: Feedback, outcome: Outcome, rater: str = "") -> Feedback:
    return replace(
        said,
        key=f"{outcome.exchange_id}/{said.metric}{rater}",
        exchange_id=outcome.exchange_id,
        canary=outcome.canary,
        run=1,
        arm=outcome.arm,
        unit=outcome.unit,
    )


def _name(arm: Any, unit: str, at: float, serial: int) -> str:
    return mint(
        b"k" * 32, canary="support-nov", run=1, phase=0, arm=arm, unit_hash=unit, at=at,
        serial=(int(at) * 1000 + serial).to_bytes(8),
    )  # fmt: skip


def _rating(outcome: Outcome, by: str) -> Feedback:
    scale = 5 if outcome.arm == "candidate" else 4
    value, at = 1.0 + int(outcome.unit, 16) // 5 % scale, outcome.at + 5
    key = f"{outcome.exchange_id}/csat"
    said = Feedback(key=key, metric="csat", value=value, at=at, mono=at)
    return replace(said, session=outcome.session) if by == "session" else _of_exchange(said, outcome)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("growthbook")


@pytest.fixture(scope="module")
def url(postgres: Postgres, folder: Path) -> str:
    """A database that the shipper filled, its outcomes rolled into files in `canary-data`."""
    url, data = postgres.fresh(), folder / "canary-data"
    with closing(Store.open(url, data)) as store:
        for day in range(DAYS):
            writer = SpoolWriter(data / f"spool-{day}", worker=0)
            for user in range(USERS):
                for record in traffic(user, day):
                    writer.append(record)
            writer.close()
            assert Shipper(data / f"spool-{day}", store).drain()
        segment_writer.roll(store, BEGIN + DAYS * DAY_S + DAY_S)
    return url


@pytest.fixture(scope="module")
def shown(url: str, folder: Path) -> dict[str, MetricLine]:
    """The report's rows by metric, and its users as `units`."""
    bounds = parse_bound("< 100"), parse_bound("< 1")
    rows = [
        Criterion(metric=m, acceptable=bounds[0], ideal=bounds[1], weight=1, question="?") for m in METRICS
    ]
    judged = JudgedCanary(name="support-nov", criteria=tuple(rows), shares={0: 0.5}, metrics=DECLARED)
    with closing(Store.open(url, folder / "canary-data")) as store, store.reading() as connection:
        sample = from_store(connection, "support-nov", metrics=METRICS, declared=DECLARED)
    report = build(sample, judged, now=BEGIN + 4 * DAY_S)
    assert (report.units.baseline, report.units.candidate) == (80, 40)
    return {line.metric: line for line in report.metrics}


@pytest.fixture
def growthbook(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection with the rights that the page gives, and no others. Nothing it does is kept."""
    with psycopg.connect(url) as connection:
        for statement in queries("A role that reads")[0].split(";"):
            if statement.strip():
                connection.execute(statement.encode())
        connection.execute("SET ROLE growthbook")
        yield connection
        connection.rollback()


def joined(connection: psycopg.Connection[Any], fact: str, value: str, where: str) -> dict[str, float]:
    """A value by variation, of each user's facts since the first exposure, as GrowthBook has it."""
    (assignment,), (facts,) = queries("Assignments"), queries(fact)
    sql = f"""
        WITH exposed AS (
          SELECT unit, min(timestamp) AS since,
            CASE WHEN count(DISTINCT variation_id) > 1 THEN 'both' ELSE max(variation_id) END AS variation
          FROM ({assignment}) AS a WHERE experiment_id = 'support-nov/1' GROUP BY unit
        )
        SELECT variation, {value} FROM exposed
        LEFT JOIN ({facts}) AS f ON f.unit = exposed.unit AND f.timestamp >= exposed.since AND {where}
        GROUP BY variation"""
    return {variation: float(found) for variation, found in connection.execute(sql.encode())}


OURS = "experiment = 'support-nov/1'"
FIGURES = [
    ("cost_per_request", "Totals", "sum(cost_sum) / sum(cost_n)", OURS),
    ("cost_total", "Totals", "sum(cost_sum) / count(DISTINCT exposed.unit)", OURS),
    ("csat", "Opinions", "sum(value) / count(value)", "metric = 'csat'"),
    ("revenue", "Events", "sum(value) / count(DISTINCT exposed.unit)", "metric = 'revenue'"),
]


@pytest.mark.parametrize(("metric", "fact", "value", "where"), FIGURES, ids=[each[0] for each in FIGURES])
def test_a_metric_of_each_variation_is_the_reports(
    growthbook: psycopg.Connection[Any],
    shown: dict[str, MetricLine],
    metric: str,
    fact: str,
    value: str,
    where: str,
) -> None:
    line = shown[metric]
    assert line.baseline is not None and line.baseline != line.candidate
    found = joined(growthbook, fact, value, where)
    assert found == pytest.approx({"0": line.baseline, "1": line.candidate}, rel=1e-9)


CONVERTED = ("Events", "count(DISTINCT f.unit)", "metric = 'conversion' AND value > 0")
VIOLATIONS = ("Events", "count(DISTINCT exchange_id)", "metric = 'compliance_violation' AND value > 0")
RATIOS = {
    "conversion": (CONVERTED, ("Totals", "count(DISTINCT exposed.unit)", OURS)),
    "price": (("Totals", "sum(cost_sum)", OURS), CONVERTED),
}


@pytest.mark.parametrize("metric", RATIOS)
def test_an_event_or_its_cost_is_the_reports(
    growthbook: psycopg.Connection[Any], shown: dict[str, MetricLine], metric: str
) -> None:
    over, under = (joined(growthbook, *each) for each in RATIOS[metric])
    line = shown[metric]
    assert line.baseline is not None and line.baseline != line.candidate
    found = {name: over[name] / under[name] for name in under}
    assert found == pytest.approx({"0": line.baseline, "1": line.candidate}, rel=1e-9)


def test_an_event_per_session_is_a_share_of_all_sessions(growthbook: psycopg.Connection[Any]) -> None:
    sent = [each for user in range(USERS) for day in range(DAYS) for each in traffic(user, day)]
    counted = [each for each in sent if isinstance(each, Outcome) and each.cost_usd != 99.0]
    to_people = {each.session for each in sent if isinstance(each, Feedback) and each.metric == "escalated"}
    wanted = {}
    for variation, arm in (("0", "baseline"), ("1", "candidate")):
        # A request without a session is a session of its own.
        named = {each.session or each.exchange_id for each in counted if each.arm == arm}
        wanted[variation] = len(named & to_people) / len(named)
    assert 0 < wanted["0"] != wanted["1"]
    where = "metric = 'escalated' AND value > 0 AND session <> ''"
    happened = joined(growthbook, "Events", "count(DISTINCT session)", where)
    every = joined(growthbook, "Sessions", "sum(sessions)", OURS)
    assert {name: happened[name] / every[name] for name in every} == pytest.approx(wanted, rel=1e-9)


def test_the_shares_of_requests_are_those_of_the_requests(growthbook: psycopg.Connection[Any]) -> None:
    sent = [each for user in range(USERS) for day in range(DAYS) for each in traffic(user, day)]
    counted = [each for each in sent if isinstance(each, Outcome) and each.cost_usd != 99.0]
    said = [each for each in sent if isinstance(each, Feedback) and each.metric == "compliance_violation"]
    failed, violated = {}, {}
    for variation, arm in (("0", "baseline"), ("1", "candidate")):
        own = [each for each in counted if each.arm == arm]
        failed[variation] = sum(each.failed for each in own) / len(own)
        violated[variation] = len({each.exchange_id for each in said if each.arm == arm}) / len(own)
    assert failed["0"] != failed["1"] and 0 < violated["0"] != violated["1"]
    found = joined(growthbook, "Totals", "sum(failed)::float / sum(counted)", OURS)
    assert found == pytest.approx(failed, rel=1e-9)
    over, under = joined(growthbook, *VIOLATIONS), joined(growthbook, "Totals", "sum(exchanges)", OURS)
    assert {name: over[name] / under[name] for name in under} == pytest.approx(violated, rel=1e-9)


def test_each_variation_has_the_reports_users(growthbook: psycopg.Connection[Any]) -> None:
    found = joined(growthbook, "Totals", "count(DISTINCT exposed.unit)", OURS)
    assert found == {"0": 80, "1": 40}


def test_the_assignments_have_the_columns_that_growthbook_asks_for(
    growthbook: psycopg.Connection[Any],
) -> None:
    cursor = growthbook.execute(queries("Assignments")[0].encode())
    assert [each.name for each in cursor.description or ()] == [
        "unit",
        "timestamp",
        "experiment_id",
        "variation_id",
        "category",
    ]


@pytest.mark.parametrize("table", ["captures", "audit", "fresh_outcomes", "judge_calls"])
def test_the_role_reads_nothing_else(growthbook: psycopg.Connection[Any], table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        growthbook.execute(f"SELECT * FROM {table}".encode())


def test_the_role_does_not_read_comments(growthbook: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        growthbook.execute("SELECT comment FROM feedback")


def test_clickhouse_finds_the_same_users_and_costs_in_the_files(
    url: str, folder: Path, shown: dict[str, MetricLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    assignments, facts, _ = queries("Raw outcomes")
    monkeypatch.chdir(folder)
    counted = f"SELECT variation_id, uniqExact(unit) FROM ({assignments}) GROUP BY 1 ORDER BY 1"
    assert str(chdb.query(counted, "CSV")).split() == ['"0",80', '"1",40']
    cost = f"""
        SELECT variation, avg(cost_usd) FROM ({facts}) AS f
        JOIN (SELECT DISTINCT unit, variation_id AS variation FROM ({assignments})) AS a USING (unit)
        GROUP BY 1 ORDER BY 1"""
    found = [float(line.split(",")[1]) for line in str(chdb.query(cost, "CSV")).split()]
    line = shown["cost_per_request"]
    assert found == pytest.approx([line.baseline, line.candidate], rel=1e-9)
