"""Judgements and labels from a store of either kind, in the report and in the looks that are kept."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from canary.config import parse
from control.jobs.reports import ReportJob
from judge.judgements import JudgedExchange, Judgements, session_id
from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN, parse_bound
from records.store import Act, Store, tables
from records.store.captures import Label, Labels
from records.store.reports import DailyReports, LookScope, VerdictLooks
from routing.states import State
from tests.verdict.conftest import START, World, exchanges
from tests.verdict.judged import answer, drawn, pair, session
from tests.verdict.shipping import Shipper
from verdict.decision.reports import report_of, take_looks
from verdict.rows.looks import from_store
from verdict.sample.judged import ratings_of
from verdict.terms.judged_canary import JudgedCanary, ReportSettings
from verdict.terms.plan import ARRIVAL_S, DAY_S
from verdict.terms.rubric import Criterion

WORLD = World(users=60, share=0.5, days=3.4, per_user=4)
END = START + WORLD.days * DAY_S
CATEGORIES = ("billing", "returns", "other")
TERMS = JudgedCanary(
    name="c",
    criteria=[
        Criterion(
            metric="judged_preference", acceptable=parse_bound(">= 40%"), ideal=parse_bound(">= 80%"),
            weight=1, question="?",
        )
    ],
    minimum_days=1,
    planned_days=3,
)  # fmt: skip
SETTINGS = ReportSettings(canaries={"c": TERMS}, metrics=BUILT_IN)
_COLUMNS = [column.name for column in tables.judgements.columns]
CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
report_job: {at: "00:00"}
canaries:
  - name: c
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o}
    candidate: {provider: openai, model: gpt-5}
    share: 50%
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.more)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Three days of traffic of a running canary."""
    url = "sqlite:///canary.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").fresh()
    with closing(Store.open(url, tmp_path)) as opened:
        Shipper(opened).lines(exchanges(WORLD))
        state = State(state="running", share=0.5, run=1, started_at=START, changed_at=START)
        assert opened.swap("c", 0, state, Act(at=START, action="start", who="jane", reason="r"))
        yield opened


def _won(number: int) -> float:
    """Billing is lost, the others are won twice in three times and once in two."""
    return 0.0 if number % 3 == 0 else float(number % (3 if number % 3 == 1 else 2) != 0)


def _judge(store: Store, pairs: Sequence[JudgedExchange]) -> None:
    """Store the pairs with what was said, as if they had been asked about one by one."""
    rows = [{name: getattr(each, name) for name in _COLUMNS} for each in pairs]
    calls = [
        {
            **asdict(call),
            "exchange_id": each.exchange_id,
            "day": int(each.asked_at // DAY_S),
            "at": each.asked_at,
            "expires_at": END + 30 * DAY_S,
        }
        for each in pairs
        for call in each.calls
    ]
    with store.writing() as connection:
        connection.execute(tables.judgements.insert(), rows)
        connection.execute(tables.judge_calls.insert(), calls)


def _pairs(count: int, *, run: int = 1, first: int = 0) -> list[JudgedExchange]:
    return [
        replace(
            pair(number, _won(number), unit=f"{number:032x}", category=CATEGORIES[number % 3]),
            run=run,
            at=START + number * 600.0,
            asked_at=START + number * 600.0 + 20,
        )
        for number in range(first, first + count)
    ]


def test_the_report_has_the_judge_weighted_by_the_stores_traffic(store: Store) -> None:
    _judge(store, [*_pairs(300), *_pairs(30, run=2, first=1000)])
    report = report_of(SETTINGS, "c", store, now=END)
    judge = report.judge
    assert judge is not None
    assert (judge.pairs, judge.no_mark, judge.provider) == (300, 0, "anthropic")
    assert judge.cost_usd == report.details.evaluation.judge_usd == pytest.approx(300 * 2 * 0.01)
    traffic = Counter(str(row["category"]) for row in exchanges(WORLD))
    by_hand = {
        value: sum(_won(number) for number in range(300) if CATEGORIES[number % 3] == value) / 100
        for value in CATEGORIES
    }
    expected = sum(traffic[value] * by_hand[value] for value in CATEGORIES) / sum(traffic.values())
    assert judge.judged_preference is not None
    assert judge.judged_preference.estimate == pytest.approx(expected, abs=1e-5)
    assert report.metrics[0].candidate is None
    assert judge.lost[0].reason == "turn 1"


def test_a_row_waits_for_fifty_labels_in_the_store(store: Store) -> None:
    _judge(store, _pairs(300))
    (row,) = report_of(SETTINGS, "c", store, now=START + 1.5 * DAY_S).metrics
    assert row.state == "INCONCLUSIVE"
    results = {each.exchange_id: each.result for each in Judgements(store).of("c", 1)}
    for number, each in enumerate(drawn(_pairs(300), 240)):
        right = "baseline" if results[each.exchange_id] == "baseline" else "candidate"
        at = START + 1.5 * DAY_S + number  # the next look sees it, not the one before
        Labels(store).add(Label(at=at, canary="c", exchange_id=each.exchange_id, right=right, who="ann"))  # type: ignore[arg-type]
    report = report_of(SETTINGS, "c", store, now=END)
    assert report.judge is not None
    assert report.judge.agreement.labels == 240
    assert report.judge.drawn == 240
    assert report.metrics[0].state == "PASS"


def test_a_look_sees_what_the_judge_had_been_asked_before_it(store: Store) -> None:
    _judge(store, _pairs(300))
    for each in drawn(_pairs(300), 120):
        Labels(store).add(Label(at=START, canary="c", exchange_id=each.exchange_id, right="both", who="ann"))
    now = END + ARRIVAL_S
    assert take_looks(SETTINGS, "c", store, now=now) == 2
    kept = from_store(VerdictLooks(store).of(LookScope(canary="c", run=1, rubric_sha256=TERMS.sha256)))
    assert {day: look.units for (_, day), look in kept.items()} == {1: 288, 2: 300}
    report = report_of(SETTINGS, "c", store, now=now)
    assert [point.units for point in report.details.looks[0].points] == [288, 300]
    _judge(store, _pairs(100, first=300))
    assert report_of(SETTINGS, "c", store, now=now).details.looks == report.details.looks


def test_a_store_without_judgements_has_no_judge(store: Store) -> None:
    report = report_of(SETTINGS, "c", store, now=END)
    assert report.judge is None
    assert report.metrics[0].state == "NODATA"


def test_reports_of_the_day_are_stored_without_reasons(store: Store) -> None:
    _judge(store, _pairs(120))
    settings = parse(CONFIG, "canary.yaml", {}).control
    assert ReportJob(store, lambda: settings, lambda news: None, sentences).turn(END)
    made = DailyReports(store).newest("c", run=1)
    assert made is not None
    assert len(made.document["judge"]["lost"]) == 5
    assert {each["reason"] for each in made.document["judge"]["lost"]} == {""}


def test_ratings_of_what_was_marked_are_read_by_exchange_and_by_session(store: Store) -> None:
    marked = [
        answer(1, 4, arm="candidate"),
        answer(2, 2, arm="baseline"),
        replace(session(3, 4, arm="candidate", unit="u"), exchange_id=session_id("c", 1, "s3")),
    ]
    given = [("csat", 5.0, "e1", "", 1), ("csat", 1.0, "e9", "", 1), ("csat", 1.0, "e2", "", 2)]
    given += [("task_completed", 1.0, "", "s3", 1), ("thumbs_up", 0.0, "e2", "", 1)]
    usual = {
        "unit": "u",
        "canary": "c",
        "phase": 0,
        "arm": "candidate",
        "category": "",
        "comment": "",
        "day": 0,
    }
    with store.writing() as connection:
        for n, (metric, value, exchange_id, named, run) in enumerate(given):
            row = {"metric": metric, "value": value, "exchange_id": exchange_id, "session": named, "run": run}
            connection.execute(tables.feedback.insert().values(key=f"k{n}", at=float(n), **row, **usual))
    with store.reading() as connection:
        found = ratings_of(connection, "c", 1, marked)
    assert [(each.exchange_id, each.metric, each.value) for each in found] == [
        ("e1", "csat", 5.0),
        ("c/1/s3", "task_completed", 1.0),
    ]
