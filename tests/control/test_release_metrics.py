"""The releases as Prometheus sees them: bounded, unknown figures absent, read only by the leader."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from control.jobs.release_metrics import MOST, ReleaseFigures, ReleaseMetrics, read, stored_state
from records.store import Act, Store
from records.store.benchmarks import Benchmarks
from records.store.releases import Releases
from records.store.reports import DailyReport, DailyReports, Evaluations, StoredEvaluation
from routing.states import State
from tests.records.samples import a_release
from verdict.decision.document import Verdict

Samples = dict[tuple[str, ...], float]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


def dataset(name: str, right: float | None, *, cost: float | None = 0.5) -> dict[str, Any]:
    return {
        "dataset": name,
        "baseline": side(0.8),
        "candidate": side(right),
        "latency_ratio": {"low": 1.0, "estimate": 1.25, "high": 1.5},
        "cost_ratio": None if cost is None else {"low": cost, "estimate": cost, "high": cost},
    }


def side(right: float | None) -> dict[str, Any]:
    return {"completion": right, "interval": None if right is None else [right, right]}


def add(store: Store, *datasets: dict[str, Any], at: float = 1.0, verdict: str = "ship") -> str:
    """The release of a benchmark with these datasets, the first of which stands for the whole layer."""
    layer = {**datasets[0], "layer": "synthetic", "examples": 60, "verdict": verdict, "datasets": [*datasets]}
    document = {"verdict": verdict, "layers": [layer]}
    Benchmarks(store).add(document, baseline="o/old", candidate="o/new", at=at)
    return a_release(store, "o/new", "o/old", at=at).id


def figures(store: Store) -> list[ReleaseFigures]:
    return read(store, stored_state(store))


def shown(metrics: ReleaseMetrics) -> Samples:
    """The samples of a scrape as Prometheus reads them: the family, the release, the other label's value."""
    registry = CollectorRegistry()
    registry.register(metrics)
    text = generate_latest(registry).decode()
    return {
        (sample.name, sample.labels.pop("release"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scraped(metrics: ReleaseMetrics) -> Samples:
    """The samples once there are any; the first scrape only asks for them."""
    running = asyncio.create_task(metrics.run())
    try:
        for _ in range(6000):
            if found := shown(metrics):
                return found
            await asyncio.sleep(0.01)
        raise AssertionError("nothing was read within a minute")
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def test_a_benchmark_is_shown_by_dataset_as_a_multiple_of_the_current_model(store: Store) -> None:
    release = add(store, dataset("letters", 0.6), dataset("forms", 0.88))
    found = asyncio.run(scraped(ReleaseMetrics(store, lambda: True)))
    assert found["canary_release_info", release, "", "o/new"] == 1.0
    assert found["canary_bench_completion_ratio", release, "letters"] == pytest.approx(0.75)
    assert found["canary_bench_completion_ratio", release, "forms"] == pytest.approx(1.1)
    assert found["canary_bench_cost_ratio", release, "forms"] == 0.5
    assert found["canary_bench_latency_ratio", release, "forms"] == 1.25


def test_the_verdict_and_the_scores_of_the_layers_are_those_of_the_release(store: Store) -> None:
    release = add(store, dataset("letters", 0.6), verdict="dont_ship")
    found = asyncio.run(scraped(ReleaseMetrics(store, lambda: True)))
    verdicts = {key[2]: value for key, value in found.items() if key[0] == "canary_release_verdict"}
    assert verdicts == dict.fromkeys(get_args(Verdict), 0.0) | {"dont_ship": 1.0}
    scores = {key: value for key, value in found.items() if key[0] == "canary_release_score"}
    assert scores == {("canary_release_score", release, "synthetic"): pytest.approx(60.0)}


def test_unknown_figures_are_absent_and_never_zero(store: Store) -> None:
    release = add(store, dataset("letters", None, cost=None))
    noticed = Releases(store).notice("o/newer", at=2.0).id
    found = asyncio.run(scraped(ReleaseMetrics(store, lambda: True)))
    of_release = {key for key in found if release in key and key[0] != "canary_release_verdict"}
    assert of_release == {
        ("canary_release_info", release, "", "o/new"),
        ("canary_bench_latency_ratio", release, "letters"),
    }
    assert {key for key in found if noticed in key} == {("canary_release_info", noticed, "", "o/newer")}


def test_a_model_with_nothing_right_has_no_multiple(store: Store) -> None:
    nothing = {**dataset("letters", 0.6), "baseline": side(0.0)}
    release = add(store, nothing)
    (found,) = figures(store)
    assert found.release == release
    assert "completion" not in found.ratios["letters"]


def test_the_newest_benchmark_counts(store: Store) -> None:
    add(store, dataset("letters", 0.6), at=1.0)
    add(store, dataset("letters", 0.8), at=2.0)
    (found,) = figures(store)
    assert found.ratios["letters"]["completion"] == 1.0


def test_only_the_newest_releases_are_shown(store: Store) -> None:
    for number in range(MOST + 3):
        a_release(store, f"o/new-{number}", "o/old", at=float(number))
    models = [each.model for each in figures(store)]
    assert models == [f"o/new-{number}" for number in range(MOST + 2, 2, -1)]


def test_who_does_not_lead_shows_nothing_and_who_leads_later_does(store: Store) -> None:
    add(store, dataset("letters", 0.6))
    leads = False
    metrics = ReleaseMetrics(store, lambda: leads)
    assert shown(metrics) == {}
    leads = True
    assert asyncio.run(scraped(metrics))
    leads = False
    assert shown(metrics) == {}


def test_nothing_is_read_before_a_scrape(store: Store) -> None:
    asked = []

    def leads() -> bool:
        asked.append(True)
        return True

    async def waited() -> None:
        running = asyncio.create_task(ReleaseMetrics(store, leads).run())
        for _ in range(10):
            await asyncio.sleep(0)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(waited())
    assert asked == []


def test_without_a_benchmark_or_a_report_no_statistics_are_imported(tmp_path: Path) -> None:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        Releases(store).enter_run("trial", 1, "o/new", "o/old", at=1.0)
    program = (
        "import pathlib, sys\n"
        "from control.jobs.release_metrics import read, stored_state\n"
        "from records.store import Store\n"
        f"store = Store.open('sqlite:///canary.db', pathlib.Path({str(tmp_path)!r}))\n"
        "print([each.model for each in read(store, stored_state(store))], 'numpy' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "['o/new'] False\n"


def test_what_is_stored_is_told_apart_whenever_a_figure_may_change(store: Store) -> None:
    states = [stored_state(store)]
    Releases(store).notice("o/newer", at=1.0)
    states.append(stored_state(store))
    add(store, dataset("letters", 0.6))
    states.append(stored_state(store))
    add(store, dataset("letters", 0.7), at=2.0)
    states.append(stored_state(store))
    store.swap("trial", 0, State(), Act(at=1.0, action="start", who="ann", reason=""))
    states.append(stored_state(store))
    Evaluations(store).add([StoredEvaluation(key="k", at=1.0, canary="trial", document={})])
    states.append(stored_state(store))
    daily = DailyReport(canary="trial", run=1, day="2026-11-26", at=1.0, verdict="extend", document={})
    DailyReports(store).add(daily)
    states.append(stored_state(store))
    assert len(set(states)) == len(states)
    assert stored_state(store) == states[-1]


def test_a_document_that_cannot_be_read_ends_no_loop(store: Store) -> None:
    Benchmarks(store).add({"layers": [{}]}, baseline="o/old", candidate="o/new", at=1.0)
    metrics = ReleaseMetrics(store, lambda: True)

    async def told() -> str:
        with capture_logs() as logs:
            running = asyncio.create_task(metrics.run())
            for _ in range(6000):
                shown(metrics)
                if logs or running.done():
                    break
                await asyncio.sleep(0.01)
            assert running.cancel()
        return str(logs[0]["event"])

    assert asyncio.run(told()) == "releases.not_read"
    assert not [key for key in shown(metrics) if key[0] == "canary_release_info"]
