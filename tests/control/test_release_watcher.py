"""A look at real lists over HTTP tells of retirements once a threshold, of the models of canaries too."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from alerts.incidents.notice import Receiver
from control.jobs.model_news import BenchmarkResult, WatchMemory
from control.jobs.retirements import ModelUse
from control.jobs.watcher import FILE, ReleaseWatcher, WatchesTwice, WatchSettings, _alone
from proxy.providers.provider import Provider
from records.errors import StoreDown
from records.facts.retirement import LastDay
from records.store import Store
from records.store.releases import Releases
from tests.e2e.receivers import Hook, listening_hook

DAY_S = 86_400.0
DAYS = {"old": date(2027, 3, 1), "far": date(2028, 1, 1)}


@pytest.fixture
def hook() -> Iterator[Hook]:
    with listening_hook() as listening:
        yield listening


@contextmanager
def listing(models: Mapping[str, str | None]) -> Iterator[str]:
    """An OpenAI list of models with their shutdown dates."""
    body = json.dumps({"data": [{"id": name, "shutdown_date": on} for name, on in models.items()]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class HandClock:
    """UTC seconds that the test sets, by day."""

    def __init__(self, day: str) -> None:
        self.now = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now


def watcher(folder: Path, url: str, hook: Hook, clock: HandClock, match: str = "*") -> ReleaseWatcher:
    settings = WatchSettings(
        providers=[Provider(name="openai", api="openai", base_url=url, api_key="k")],
        notify=[Receiver(kind="webhook", url=hook.url)],
        retires={"claude-old": LastDay(on=date(2027, 3, 3))},
        uses={
            "openai/gpt-old": [ModelUse(canary="support", part="baseline", owner="anna@b", planned_days=14)],
            "claude/claude-old": [ModelUse(canary="support", part="candidate", owner="anna@b")],
        },
    )
    return ReleaseWatcher(settings=settings, data=folder / "data", environment={}, match=match, utc=clock)


def test_retirements_are_told_from_the_first_look_on_once_a_threshold(tmp_path: Path, hook: Hook) -> None:
    clock, stored = HandClock("2027-02-01"), list[Mapping[str, LastDay]]()
    with listing(
        {"gpt-old": "2027-03-01", "gpt-far": "2028-01-01", "tts-old": "2027-03-01", "gpt": None}
    ) as url:
        looking = watcher(tmp_path, url, hook, clock, match="gpt*")
        looking.store_listed = stored.append
        looking.look()
        assert stored == [{f"openai/gpt-{name}": LastDay(on=day) for name, day in DAYS.items()}]
        looking.look()
        first, second = hook.bodies
        assert first == {
            "event": "model_retires",
            "model": "openai/gpt-old",
            "at": "2027-03-01",
            "days": 28,
            "successor": None,
            "last_start": "2027-02-14",
            "owner": "anna@b",
            "headline": "openai/gpt-old retires on 2027-03-01, in 28 days; it is the baseline of support; "
            "the last day to begin a canary of 14 days is 2027-02-14",
        }
        assert (second["model"], second["days"]) == ("claude/claude-old", 30)
        clock.now += 6 * DAY_S
        looking.look()
        clock.now += 15 * DAY_S
        looking.look()
        clock.now += 30 * DAY_S
        looking.look()
    told = [(each["model"], each["days"]) for each in hook.bodies[2:]]
    assert told == [("openai/gpt-old", 22), ("openai/gpt-old", 7)]


def test_a_retirement_that_nobody_took_is_told_at_the_next_look(tmp_path: Path) -> None:
    clock = HandClock("2027-02-28")
    with listing({"gpt-old": "2027-03-01"}) as url:
        with listening_hook() as away:
            looking = watcher(tmp_path, url, away, clock)
        assert "webhook was not told of openai/gpt-old: ConnectError" in looking.look().troubles
        remembered = (tmp_path / "data" / FILE).read_text()
        assert (away.url in remembered, "webhook-" in remembered) == (False, True)
        assert "webhook was not told of openai/gpt-old: ConnectError" in looking.look().troubles


def test_two_watchers_of_one_folder_do_not_look_at_once(tmp_path: Path, hook: Hook) -> None:
    with listing({}) as url:
        looking = watcher(tmp_path, url, hook, HandClock("2027-02-01"))
        with (
            _alone(tmp_path / "data"),
            pytest.raises(WatchesTwice, match="another `canary watch` is looking"),
        ):
            looking.look()
        looking.look()


def test_the_release_of_a_new_model_is_made_once_the_store_answers(tmp_path: Path, hook: Hook) -> None:
    clock = HandClock("2026-11-26")
    with listing({"gpt-old": None}) as url:
        watcher(tmp_path, url, hook, clock).look()
    with listing({"gpt-old": None, "gpt-new": None}) as url:
        looking = watcher(tmp_path, url, hook, clock)
        looking.notice = _down
        assert "are not stored yet: away" in looking.look().troubles[-1]
        found_at, clock.now = clock.now, clock.now + 3600.0
        with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
            releases = Releases(store)
            looking.notice = partial(_noticed, releases)
            for _ in range(2):
                assert looking.look().troubles == ()
            (release,) = releases.all()
    assert (release.candidate, release.baseline, release.noticed_at) == ("openai/gpt-new", "", found_at)


def _noticed(releases: Releases, models: Mapping[str, float]) -> None:
    for each, at in models.items():
        releases.notice(each, at=at)


def _down(models: Mapping[str, float]) -> None:
    raise StoreDown("away")


class CountingTrial:
    """A trial that finds every model open, and counts."""

    def __init__(self) -> None:
        self.benchmarks: list[str] = []

    def basis(self, model: str) -> Mapping[str, str]:
        return {}

    def benchmark(self, model: str) -> BenchmarkResult:
        self.benchmarks.append(model)
        return BenchmarkResult(says="too few examples", verdict="extend", waits=True)

    def take_up(self, model: str) -> None:
        return None


def test_a_model_is_benchmarked_once_its_provider_answers_and_again_when_somebody_asks(
    tmp_path: Path, hook: Hook
) -> None:
    clock, trial = HandClock("2026-11-26"), CountingTrial()
    new = WatchMemory(known={"openai": {"gpt-new": ""}}, unmeasured=("openai/gpt-new",))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE).write_bytes(msgspec.json.encode(new))
    with listing({"gpt-new": None}) as url:
        away = url
    looking = watcher(tmp_path, away, hook, clock)
    looking.trial = trial
    assert (looking.look().pending, trial.benchmarks) == ({}, [])
    with listing({"gpt-new": None}) as url:
        looking = watcher(tmp_path, url, hook, clock)
        looking.trial = trial
        assert looking.look().pending == {"openai/gpt-new": "too few examples"}
        looking.look()
        assert trial.benchmarks == ["openai/gpt-new"]
        looking.again = "gpt-new"
        looking.look()
        looking.look()
        assert trial.benchmarks == ["openai/gpt-new"] * 2
        looking.match, looking.again = "other*", "gpt-new"
        looking.look()
        assert len(trial.benchmarks) == 3
