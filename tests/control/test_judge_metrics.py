"""The judge as Prometheus sees it: what was judged, what it costs, and why it pauses."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from judge.judgements import Judgements, RunJudgements
from judge.runs.metrics import JudgeMetrics, JudgeStatus, read
from judge.terms import Kind
from records.store import Store
from tests.judge.test_judgements import ANSWER, PAIR

Samples = dict[tuple[str, ...], float]
WORKS = JudgeStatus(budget_usd=5.0, paused="")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


def judge(
    store: Store,
    name: str,
    *said: str,
    kind: Kind = "pair",
    arm: str = "candidate",
    run: int = 1,
    words: str = "0",
) -> None:
    """One judgement of now, of which each question costs ten cents."""
    judged = replace(PAIR if kind == "pair" else ANSWER, exchange_id=name, run=run, asked_at=time.time())
    judged = replace(judged, words_sha256=words * 64, kind=kind, arm="" if kind == "pair" else arm)
    turns = dict.fromkeys(range(1, 3 if kind == "pair" else 2), 0.1)
    calls = Judgements(store).begin(judged, turns, budget_usd=9.0, expires_at=time.time() + 60)
    for turn, word in enumerate(said, 1):
        Judgements(store).answered(calls[turn], said=word, reason="", cost_usd=0.1)


def metrics(store: Store, standing: JudgeStatus | None = WORKS, *, leads: bool = True) -> JudgeMetrics:
    return JudgeMetrics(store, lambda: leads, canaries=lambda: {"trial"}, standing=lambda: standing)


def shown(metrics: JudgeMetrics) -> Samples:
    """The samples of a scrape as Prometheus reads them: the family, then the values of its labels by name."""
    registry = CollectorRegistry()
    registry.register(metrics)
    found = text_string_to_metric_families(generate_latest(registry).decode())
    samples = [sample for family in found for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


async def scraped(metrics: JudgeMetrics, wanted: str) -> Samples:
    """The samples once the family is there; the first scrape only asks for it."""
    running = asyncio.create_task(metrics.run())
    try:
        for _ in range(6000):
            found = shown(metrics)
            if any(name == wanted for name, *_ in found):
                return found
            await asyncio.sleep(0.01)
        raise AssertionError("nothing was read within a minute")
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def test_pairs_are_counted_by_result_and_open_ones_are_not(store: Store) -> None:
    for number, said in enumerate([("B", "A"), ("B", "A"), ("A", "B"), ("A", "A"), ("", "A"), ("A",)]):
        judge(store, f"e{number}", *said)
    found = asyncio.run(scraped(metrics(store), "canary_judged_pairs"))
    pairs = {key[2]: value for key, value in found.items() if key[:2] == ("canary_judged_pairs", "trial")}
    assert pairs == {"candidate": 2.0, "baseline": 1.0, "tie": 1.0, "no_mark": 1.0}
    assert not [key for key in found if key[0] in ("canary_judged_answers", "canary_judged_mark")]


def test_answers_are_counted_by_arm_with_their_mean_mark(store: Store) -> None:
    for number, said in enumerate(["2", "5", ""]):
        judge(store, f"e{number}", said, kind="answer")
    judge(store, "e9", "", kind="answer", arm="baseline")
    found = asyncio.run(scraped(metrics(store), "canary_judged_answers"))
    answers = {(key[1], key[3]): value for key, value in found.items() if key[0] == "canary_judged_answers"}
    assert answers == {
        ("candidate", "mark"): 2.0,
        ("candidate", "no_mark"): 1.0,
        ("baseline", "mark"): 0.0,
        ("baseline", "no_mark"): 1.0,
    }
    marks = {key: value for key, value in found.items() if key[0] == "canary_judged_mark"}
    assert marks == {("canary_judged_mark", "candidate", "trial"): 3.5}
    assert not [key for key in found if key[0] == "canary_judged_pairs"]


def test_sessions_have_families_of_their_own(store: Store) -> None:
    for number, said in enumerate(["2 no", "5 yes", ""]):
        judge(store, f"e{number}", said, kind="session")
    judge(store, "e9", "4 yes", kind="session", arm="baseline")
    found = asyncio.run(scraped(metrics(store), "canary_judged_sessions"))
    assert not [key for key in found if key[0] in ("canary_judged_answers", "canary_judged_mark")]
    assert {key: value for key, value in found.items() if "session" in key[0]} == {
        ("canary_judged_sessions", "baseline", "trial", "mark"): 1.0,
        ("canary_judged_sessions", "baseline", "trial", "no_mark"): 0.0,
        ("canary_judged_sessions", "candidate", "trial", "mark"): 2.0,
        ("canary_judged_sessions", "candidate", "trial", "no_mark"): 1.0,
        ("canary_judged_session_mark", "baseline", "trial"): 4.0,
        ("canary_judged_session_mark", "candidate", "trial"): 3.5,
        ("canary_judged_session_done", "baseline", "trial"): 1.0,
        ("canary_judged_session_done", "candidate", "trial"): 0.5,
    }


def test_the_newest_judged_run_counts(store: Store) -> None:
    judge(store, "e1", "B", "A")
    judge(store, "e2", "A", "B", run=2)
    (found,) = read(store)
    assert found.pairs == {"baseline": 1}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_only_what_the_newest_judge_said_with_its_newest_words_counts_as_in_the_report(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sqlite = database == "sqlite"
    url = "sqlite:///canary.db" if sqlite else request.getfixturevalue("postgres").fresh()
    with closing(Store.open(url, tmp_path)) as store:
        judge(store, "e1", "B", "A")
        judge(store, "e2", "1", kind="answer")
        judge(store, "e3", "", kind="answer", arm="baseline")
        judge(store, "e4", "A", "B", words="1")
        judge(store, "e5", "4", kind="answer", words="1")
        judge(store, "e6", "B", words="2")  # in flight
        (found,) = read(store)
        assert found.pairs == {"baseline": 1}
        assert (found.answers, found.marks) == ({("candidate", "mark"): 1}, {"candidate": 4.0})
        judging = RunJudgements(exchanges=Judgements(store).of("trial"))
        assert [each.exchange_id for each in judging.of("pair") + judging.of("answer")] == ["e4", "e5"]


def test_a_canary_that_is_not_in_the_config_is_not_shown(store: Store) -> None:
    judge(store, "e1", "B", "A")
    others = JudgeMetrics(store, lambda: True, canaries=lambda: {"other"}, standing=lambda: WORKS)
    found = asyncio.run(scraped(others, "canary_judge_cost_usd"))
    assert not [key for key in found if key[0] == "canary_judged_pairs"]


def test_the_days_cost_stands_beside_its_budget(store: Store) -> None:
    judge(store, "e1", "B", "A")
    judge(store, "e2", "3", kind="answer")
    found = asyncio.run(scraped(metrics(store), "canary_judge_cost_usd"))
    assert found["canary_judge_cost_usd",] == pytest.approx(0.3)
    assert found["canary_judge_budget_usd",] == 5.0


def test_a_cost_that_was_not_read_is_absent_and_never_zero(store: Store) -> None:
    assert ("canary_judge_cost_usd",) not in shown(metrics(store))


@pytest.mark.parametrize("reason", ["", "budget", "provider", "no_price", "no_credential"])
def test_why_it_pauses_is_1_for_that_reason_and_0_for_the_others(store: Store, reason: str) -> None:
    found = shown(metrics(store, replace(WORKS, paused=reason)))
    paused = {key[1]: value for key, value in found.items() if key[0] == "canary_judge_paused"}
    assert paused == {each: float(each == reason) for each in paused}
    assert len(paused) == 4 and sum(paused.values()) == (1 if reason else 0)


def test_without_a_judge_nothing_is_said_of_one(store: Store) -> None:
    judge(store, "e1", "B", "A")
    found = asyncio.run(scraped(metrics(store, None), "canary_judged_pairs"))
    assert {key[0] for key in found} == {"canary_judged_pairs"}


def test_who_does_not_lead_shows_nothing(store: Store) -> None:
    assert shown(metrics(store, leads=False)) == {}
