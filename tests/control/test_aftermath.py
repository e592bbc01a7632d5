"""What follows a drift by itself: known issues and examples are asked again within the probes' budget."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.drift import CONFIRM_EVERY_S
from bench.known_issues import parse_issues
from canary.cli import app
from canary.config import load
from demo.provider.behaviour import Behaviour
from pages.words.drift import change_words
from records.store import Store
from records.store.benchmarks import BenchFailures, Benchmarks, IssueCheck, IssueHistory
from records.store.drift import DriftStore
from tests.control.test_drift import CONFIG_TEXT, DAY_S, MODEL, Watch, reference
from tests.serving import ProviderThread

PLACES = [f"City{number:02d}" for number in range(60)]
KNOWN = {f"Where is {place}?": place for place in PLACES}
REFUND = {"How long may I return it?": "30 days", "": "as ever"}
AS_EVER = Behaviour(says=KNOWN | REFUND)
OTHERWISE = Behaviour(
    says=KNOWN | {f"Where is {place}?": "nowhere" for place in PLACES[:12]} | {"": "60 days"}
)
DATASETS = "datasets: {cities: {file: cities.jsonl, layer: synthetic}}\n"
DAY = "1970-01-05"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


def prepared(
    folder: Path,
    store: Store,
    provider: ProviderThread,
    *,
    budget: float = 1.0,
    by_bench: bool = True,
    more: str = "",
) -> Watch:
    """A watch over a model with a reference, a known issue that it is free of, and a dataset that it was
    benchmarked on, if `by_bench`, before it is another one."""
    text = CONFIG_TEXT.format(url=provider.url, budget=budget) + DATASETS
    (folder / "canary.yaml").write_text(text)
    lines = [
        {"id": place, "task": "exact", "input": f"Where is {place}?{more}", "expected": place}
        for place in PLACES
    ]
    (folder / "cities.jsonl").write_text("\n".join(map(json.dumps, lines)))
    example = {"id": "r", "task": "regex", "input": "How long may I return it?", "expected": "30"}
    issue = {"example": example, "what": "invents refund policy", "since": "", "at": "1970-01-01", "by": "a"}
    (folder / "known-issues.jsonl").write_text(json.dumps(issue))
    provider.behave("assistant-1", AS_EVER)
    config = load(folder / "canary.yaml", {}, folder)
    if by_bench:
        canary(folder, "bench", "--dry", "--against", "assistant-1")
        with store.writing() as connection:
            connection.exec_driver_sql("UPDATE bench_marks SET at = 1")
    (known,) = parse_issues((folder / "known-issues.jsonl").read_text())
    free = IssueCheck(at=1.0, model=MODEL, issue=known.example.hash, state="gone")
    IssueHistory(store).add([free])
    reference(store, "as ever")
    provider.behave("assistant-1", OTHERWISE)
    return Watch(store, config)


def asked(provider: ProviderThread) -> list[int]:
    """How often each example was asked."""
    texts = [json.loads(each.body)["messages"][-1]["content"] for each in provider.log.entries]
    return [sum(each.startswith(question) for each in texts) for question in KNOWN]


def canary(folder: Path, *words: str) -> str:
    """What the command prints."""
    files = ("--config", str(folder / "canary.yaml"), "--data", str(folder))
    done = CliRunner().invoke(app, [*words, *files], catch_exceptions=False)
    assert done.exit_code in (0, 3), done.stderr
    return done.stdout


def found(watch: Watch) -> None:
    watch.turn(4 * DAY_S, 4 * DAY_S + CONFIRM_EVERY_S)


def test_a_drift_is_followed_by_its_known_issues_and_a_benchmark_against_its_stored_answers(
    tmp_path: Path, provider: ProviderThread, store: Store
) -> None:
    watch = prepared(tmp_path, store, provider)
    found(watch)
    drift, after = watch.told
    assert (drift.kind, after.kind) == ("model_drifted", "benchmark_finished")
    assert (after.about, after.owners) == (
        {"model": f"{MODEL}@{DAY}", "verdict": "dont_ship"},
        ("anna@example.com",),
    )
    assert "known issues asked again: 1 still there (back: invents refund policy)" in after.headline
    assert "60 examples asked again: worse than before (" in after.headline
    (change,) = DriftStore(store).changes(MODEL)
    assert after.headline.endswith(change_words(change).split("; ", 1)[1])
    (document,) = Benchmarks(store).all_of(f"{MODEL}@{DAY}", MODEL)
    (dataset,) = document["layers"][0]["datasets"]
    assert (dataset["baseline"]["correct"], dataset["candidate"]["correct"]) == (60, 48)
    watch.turn(4 * DAY_S + 2 * CONFIRM_EVERY_S)
    assert all(times == 2 for times in asked(provider))
    wrong = BenchFailures(store).newest(now=4 * DAY_S)[f"{MODEL}@{DAY}"]
    assert [each["id"] for each in wrong] == PLACES[:12]
    with store.writing() as connection:  # the command's clock is today's
        connection.exec_driver_sql("UPDATE bench_failures SET expires_at = 9e9")
    shown = canary(tmp_path, "release", "show", f"{MODEL}@{DAY}")
    assert shown.startswith(f"Worse than before: {MODEL}@{DAY} against {MODEL}")
    assert "1 known issue still there" in shown
    assert "12 examples that the candidate got wrong, redacted" in shown
    row = re.search(r"cities: City00 \(new\).*", shown)
    assert row is not None
    assert row[0].split()[3:] == ["Where", "is", "City00?", "City00", "–", "nowhere"]
    assert "Users have had it since that day" in shown


def test_what_todays_budget_does_not_pay_for_is_asked_on_the_next_days(
    tmp_path: Path, provider: ProviderThread, store: Store
) -> None:
    watch = prepared(tmp_path, store, provider, budget=0.06, more=" please" * 1000)
    found(watch)
    (change,) = DriftStore(store).changes(MODEL)
    first = change.document["then"]
    assert 0 < first["asked"] < first["of"] == 61
    assert [each.state for each in IssueHistory(store).all(f"{MODEL}@{DAY}")] == ["still_there"]
    assert f"{first['asked']} of 61 known issues and examples asked again so far" in change_words(change)
    watch.turn(*(day * DAY_S for day in range(5, 12)))
    (change,) = DriftStore(store).changes(MODEL)
    assert (change.document["then"]["asked"], change.document["then"]["verdict"]) == (61, "dont_ship")
    assert max(DriftStore(store).spent(day * DAY_S) for day in range(12)) <= 0.06
    assert all(times == 2 for times in asked(provider))


def test_without_a_stored_answer_only_known_issues_are_asked_again(
    tmp_path: Path, provider: ProviderThread, store: Store
) -> None:
    watch = prepared(tmp_path, store, provider, by_bench=False)
    found(watch)
    (change,) = DriftStore(store).changes(MODEL)
    assert change.document["then"]["examples"] == 0
    assert watch.told[-1].about == {"model": f"{MODEL}@{DAY}", "verdict": None}
    assert [each.state for each in IssueHistory(store).all(f"{MODEL}@{DAY}")] == ["still_there"]


def test_an_example_that_costs_more_than_a_days_half_is_said_and_so_is_a_dataset_that_is_not_here(
    tmp_path: Path, provider: ProviderThread, store: Store
) -> None:
    watch = prepared(tmp_path, store, provider, budget=0.012, more=" please" * 1000)
    found(watch)
    (trouble,) = watch.job.troubles
    assert "daily_budget is too small for City00: $0.009" in trouble
    (tmp_path / "cities.jsonl").unlink()
    watch.turn(4 * DAY_S + 2 * CONFIRM_EVERY_S, 5 * DAY_S, 5 * DAY_S + 2 * CONFIRM_EVERY_S)
    assert watch.job.troubles == []
    assert DriftStore(store).changes(MODEL)[0].document["then"]["examples"] == 0
