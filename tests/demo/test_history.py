"""The three made-up releases: canary's own judgement of drawn users, and never shown as real."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from canary.config import load
from demo.history import DAY_S, PROVIDER, RELEASES, add_to, behaviours, made_up
from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from records.store import Store
from records.store.releases import Releases, past_canaries
from records.store.reports import DailyReports, Evaluations
from tests.serving import ProviderThread
from verdict.archive.releases import all_releases

pytestmark = pytest.mark.timeout(900)  # ten seconds of work, on a machine that has other work
NOW = 1_800_000_000.0
FAILS, SHIPS, GOES_ON = (release.canary for release in RELEASES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a demo, with the past made up."""
    folder = tmp_path_factory.mktemp("demo")
    known = {model: msgspec.convert(each, Behaviour) for model, each in behaviours().items()}
    with ProviderThread(LocalProvider(known, other=None)) as provider:
        added = made_up(folder, folder / "data", provider.url, b"s" * 32, now=NOW)
    (folder / "canary.yaml").write_text(
        'providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}\ncanaries: []'
    )
    add_to(folder / "canary.yaml", added)
    yield folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", folder / "data")) as store:
        yield store


def test_one_is_rolled_back_by_a_guardrail_one_ships_and_one_goes_on(store: Store) -> None:
    states = {name: each.state for name, each in store.states().items()}
    assert states[GOES_ON].state == "running"
    ended = {
        past.name: past for past in past_canaries(store, {name: states[name] for name in (FAILS, SHIPS)})
    }
    assert (ended[FAILS].ending, ended[SHIPS].ending) == ("rolled_back", "promoted")
    rollback = store.rollbacks(FAILS, run=1, limit=1)[0].why
    assert rollback["rule"].startswith("error_rate")
    assert len(rollback["failures"]) >= 3
    assert [each.verdict for each in all_releases(store)][1:] == ["ship", "dont_ship"]


def test_their_days_are_those_of_the_past_month(store: Store) -> None:
    runs = {run.canary: run.at for run in Releases(store).runs()}
    assert round((runs[GOES_ON] - runs[SHIPS]) / DAY_S) == 17
    assert round((runs[SHIPS] - runs[FAILS]) / DAY_S) == 9
    with store.reading() as connection:
        at = [row[0] for row in connection.exec_driver_sql("select first_at from fresh_outcomes")]
    assert runs[FAILS] <= min(at) < max(at) <= runs[GOES_ON] + 5 * DAY_S


def test_each_has_benchmark_reports_and_archive_to_look_at(store: Store) -> None:
    for dossier in all_releases(store):
        assert {name for name, each in dossier.layers.items() if each.state != "NODATA"} >= {
            "synthetic",
            "real",
        }
    assert all(DailyReports(store).entries(name, 20) for name in (FAILS, SHIPS, GOES_ON))
    assert {each["canary"] for each in Evaluations(store).all()} == {FAILS, SHIPS}


def test_whatever_is_shown_of_them_says_that_it_is_made_up(store: Store) -> None:
    known = Releases(store)
    for release in known.all():
        assert release.candidate.startswith(f"{PROVIDER}/") and release.baseline.startswith(f"{PROVIDER}/")
        assert all("Made up" in note.text for note in known.notes(release.id)) and known.notes(release.id)
        assert all(run.canary.startswith("made-up-") for run in known.runs(release.id))


def test_the_server_s_config_goes_on_with_the_last_one(folder: Path) -> None:
    config = load(folder / "canary.yaml", {})
    assert list(config.canaries) == [GOES_ON]
    document: dict[str, Any] = yaml.safe_load((folder / "canary.yaml").read_text())
    assert set(document["providers"]) == {"openai", PROVIDER}
