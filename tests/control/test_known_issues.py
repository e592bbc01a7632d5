"""What people report as a known issue: a wrong answer, a failing exchange, an example of a dataset."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.settings import DatasetSource
from control.operator import issues
from control.operator.issues import Wanted
from control.operator.orders import BadOrder
from control.settings import ControlSettings
from records.captures.capture import Capture, CapturedMessage, CaptureInfo, strictest
from records.outcome import Outcome
from records.store import Store
from records.store.benchmarks import BenchFailures, Benchmarks, IssueHistory, StoredIssues
from records.store.captures import CaptureStore
from records.store.releases import Releases
from tests.records.samples import a_batch
from tests.records.test_session_exchanges import NOW, an_exchange

TEXT = "May I send it back after 40 days?"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


@pytest.fixture
def settings(tmp_path: Path) -> ControlSettings:
    line = {"id": "r-17", "task": "exact", "input": TEXT, "expected": "no"}
    (tmp_path / "support.jsonl").write_text(json.dumps(line))
    source = DatasetSource(name="support", file=str(tmp_path / "support.jsonl"), layer="real")
    return ControlSettings(
        canaries={}, metrics={}, datasets=(source,), issues_file=tmp_path / "known-issues.jsonl"
    )


def keep(store: Store, outcome: Outcome, answer: str, *, copy_of: str = "") -> str:
    """Store a captured exchange."""
    about = CaptureInfo(
        exchange_id=outcome.exchange_id,
        at=outcome.at,
        expires_at=outcome.at + 1e6,
        canary="trial",
        run=1,
        phase=0,
        arm=outcome.arm,
        served_by=outcome.served_by,
        copy_of=copy_of,
        kept="rate",
        provider="openai",
        model=outcome.model,
    )
    store.ship(a_batch(outcome))
    captured = Capture(about=about, messages=(CapturedMessage("user", TEXT),), answer=answer)
    CaptureStore(store).add([captured], now=NOW)
    return outcome.exchange_id


def test_a_wrong_answer_is_judged_by_the_issues_own_words(store: Store, settings: ControlSettings) -> None:
    asked = keep(store, an_exchange(1, arm="baseline", model="old"), "No.")
    copy = keep(store, an_exchange(2, model="new", mirror=True), "Sure, 60 days.", copy_of=asked)
    shown = issues.source_of(store, settings, Wanted(exchange=copy))
    assert (shown.messages[0].content, shown.model, shown.answer) == (TEXT, "openai/new", "Sure, 60 days.")

    def add(description: str) -> None:
        wanted = Wanted(exchange=copy)
        issues.add_issue(store, settings, wanted, "invents", description, who="ann", at=NOW + 9)

    add("It is 30 days.")
    with pytest.raises(BadOrder, match="an example of a known issue already"):
        add("Another description.")
    (mode,) = issues.modes(store, settings.issues_file)
    (found,) = mode.examples
    assert (found.example.task, found.example.messages[0].content) == ("judge", TEXT)
    assert found.example.expected.endswith("without this fault: invents. It is 30 days.")
    (had,) = mode.models
    assert (had.model, had.state, had.had_at) == ("openai/new", "has", NOW + 2)


def test_what_the_candidate_failed_to_answer_must_be_answered(
    store: Store, settings: ControlSettings
) -> None:
    Releases(store).enter_run("trial", 1, "openai/new", "openai/old", at=NOW)
    ended = {"outcome": "fallback", "served_by": "baseline", "error_type": "provider_5xx"}
    failed = keep(store, an_exchange(3, model="old", **ended), "No.")
    shown = issues.source_of(store, settings, Wanted(exchange=failed))
    assert (shown.model, shown.answer, shown.error) == ("openai/new", "", "provider_5xx")
    issues.add_issue(store, settings, Wanted(exchange=failed), "overloaded", "", who="ann", at=NOW + 9)
    (kept,) = StoredIssues(store).all()
    assert (kept.since, kept.error, kept.example["task"]) == ("openai/new", "provider_5xx", "regex")
    with pytest.raises(BadOrder, match="no text of exchange LOST is stored") as refused:
        issues.source_of(store, settings, Wanted(exchange="LOST"))
    assert refused.value.status == 404


def test_an_example_that_a_benchmark_found_wrong_is_asked_as_it_is(
    store: Store, settings: ControlSettings
) -> None:
    for at, rows in ((1.0, [{"id": "x"}]), (2.0, [{"dataset": "support", "id": "r-17"}])):
        run = Benchmarks(store).add({}, baseline="openai/old", candidate="openai/new", at=at)
        BenchFailures(store).add(run, rows, strictest(()), now=NOW)
    assert BenchFailures(store).newest(now=NOW) == {"openai/new": [{"dataset": "support", "id": "r-17"}]}
    wanted = Wanted(example="support:r-17", since="openai/new")
    issues.add_issue(store, settings, wanted, "invents", "", who="ann", at=NOW)
    (kept,) = StoredIssues(store).all()
    assert (kept.source, kept.example["expected"]) == ("support:r-17", "no")
    assert [each.model for each in IssueHistory(store).all()] == ["openai/new"]
    with pytest.raises(BadOrder, match="no dataset 'other'"):
        issues.source_of(store, settings, Wanted(example="other:r-17"))
