"""Three made-up releases: one is rolled back on its second day, one ships, one goes on.

Users, answers and ratings are drawn (`demo.past_releases`). The rest is what canary does, given an
earlier time: assignment, records, guardrails and rollback, nightly reports, verdicts, the archive. The
benchmarks are runs against the demo's local provider, stored under an earlier date. Every name says
"made-up".
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from datetime import time as clock
from pathlib import Path
from typing import Any

import yaml

from bench.benchmark.run import read, sources
from bench.models.pair import pair
from canary.commands.bench import measure
from canary.config import Config, load
from canary.config.store import open_store
from control.feed.events import WorkerEvents
from control.jobs.reports import ReportJob
from control.monitor.monitor import Monitor
from control.settings import ControlSettings, DailyTime
from control.states.rollouts import Rollouts
from demo.past_releases import BAD, DAY_S, PROVIDER, RELEASES, PastRelease, PastUsers, write_datasets
from pages.words.reasons import sentences
from records.exports.prometheus import Meters
from records.outcome import Feedback, Outcome
from records.spool.reader import Batch, Chunk, Writer
from records.store import Act, Store
from records.store.benchmarks import Benchmarks
from records.store.decisions import Decision, Decisions
from records.store.releases import ReleaseNote, Releases
from routing import transitions
from routing.states import State, States
from verdict.archive.archivist import Archivist

PERSON = "Ann (made up)"
NOTE = (
    "Made up by `canary demo --open`: users, answers and ratings are drawn at random. "
    "The benchmark asked the demo's local provider."
)
AT_ONCE = 40
"""Records between two looks of the guardrails on the day that a candidate goes bad; else a day's."""
REPORTED_EACH = 3
"""One night in so many has a report: each takes a second, and the next makes up for the looks between."""
SETTLED_S = 60.0
MIDNIGHT = clock()


def made_up(folder: Path, data: Path, provider: str, secret: bytes, *, now: float) -> Mapping[str, Any]:
    """Fill the store in `data` with the three releases, and return what the server's config adds for them.

    The last one goes on until UTC second `now`. Runs benchmarks against `provider`, which must behave as
    `behaviours` says. The server must not run.
    """
    write_datasets(folder)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    for release in RELEASES:
        file = folder / "made-up.yaml"
        file.write_text(release.config(provider))
        config = load(file, {})
        with closing(open_store(config, data)) as store:
            _Past(config, release, store, secret, began=now - release.ago * DAY_S).tell(data)
    added: Mapping[str, Any] = yaml.safe_load(RELEASES[-1].config(provider))
    return added


def add_to(config: Path, added: Mapping[str, Any]) -> None:
    """Add what `made_up` returned to the config file."""
    document = yaml.safe_load(config.read_text())
    for name, part in added.items():
        both = [*document[name], *part] if isinstance(part, list) else {**document.get(name, {}), **part}
        document[name] = both
    config.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


class _Past:
    """One release, told from its beginning."""

    def __init__(
        self, config: Config, release: PastRelease, store: Store, secret: bytes, *, began: float
    ) -> None:
        self._config, self._release, self._store, self._began = config, release, store, began
        self._settings: ControlSettings = replace(config.control, report_job=DailyTime(at=MIDNIGHT))
        self._rollouts = Rollouts(store, _unpublished)
        canary = self._settings.canaries[release.canary].canary
        self._users = PastUsers(canary, {"baseline": release.current, "candidate": release.new}, secret)
        self._shipped = 0

    def tell(self, data: Path) -> None:
        """From the day when the candidate was noticed to its end, or to now."""
        candidate = f"{PROVIDER}/{self._release.candidate}"
        noticed = Releases(self._store).notice(candidate, at=self._began - 2 * DAY_S)
        Releases(self._store).note(
            ReleaseNote(at=noticed.made_at, release=noticed.id, who="canary demo", text=NOTE)
        )
        self._benchmark(data, at=self._began - DAY_S)
        self._rollouts.reconcile(self._settings, self._began)
        self._monitor = Monitor(
            meters=Meters(
                canaries=self._settings.canaries, feedback_metrics=self._settings.metrics, mono=time.monotonic
            ),
            rollouts=self._rollouts,
            settings=self._settings,
        )
        self._report_job = ReportJob(self._store, lambda: self._settings, lambda news: None, sentences)
        for day in range(self._release.days):
            if not self._day(day):
                break
        self._end()

    def _benchmark(self, data: Path, *, at: float) -> None:
        """Measure both models now, and store the result as of UTC second `at`."""
        config, release = self._config, self._release
        models = pair(config.bench, release.candidate, release.baseline)
        found = [(each, read(each, config.folder)) for each in sources(config.bench, [])]
        document, *_ = measure(config.bench, models, found, data=data, at_once=8, progress=lambda *_: None)
        document |= {"at": _moment(at), "issues": None, "sanity": None, "forecast": None}
        names = {"baseline": f"{PROVIDER}/{release.baseline}", "candidate": f"{PROVIDER}/{release.candidate}"}
        Benchmarks(self._store).add(document, at=at, **names)

    def _day(self, day: int) -> bool:
        """One day with its nightly report; False once the candidate is rolled back."""
        if day == self._release.goes_bad:
            self._users.models["candidate"] = BAD
        start = self._began + day * DAY_S
        records = self._users.day(self._state, start)
        at_once = AT_ONCE if day == self._release.goes_bad else len(records)
        for first in range(0, len(records), at_once):
            if not self._take(records[first : first + at_once]):
                return False
        if day % REPORTED_EACH == 0:
            self._report_job.turn(start + DAY_S)
        return True

    def _take(self, records: Sequence[Outcome | Feedback]) -> bool:
        """Store some records, and let the guardrails look at them; False once they have rolled back."""
        self._shipped += len(records)
        chunk = Chunk(PROVIDER, Writer(PROVIDER, 0, PROVIDER, 1), list(records))
        self._store.ship(Batch(chunks=[chunk], cursors={self._release.canary: self._shipped}), PROVIDER)
        now = records[-1].at
        self._monitor.take(WorkerEvents(records=records, heard=len(records)))
        self._monitor.decide(now, now)
        self._rollouts.settle()
        return self._state.state == "running"

    def _end(self) -> None:
        """What a person then decides, and the archive's evaluation."""
        at = self._began + self._release.days * DAY_S
        if self._state.state == "rolled_back":
            at = (self._state.changed_at or at) + 3600.0
            self._refuse(at)
        elif self._release.reason:
            self._promote(at)
        Archivist(self._store, lambda: self._settings.reports, sentences).turn(at + SETTLED_S)

    def _refuse(self, at: float) -> None:
        said = Decision(
            at=at, canary=self._release.canary, run=self._state.run, decision="dont_ship", who=PERSON,
            reason="too many of its answers failed",
        )  # fmt: skip
        Decisions(self._store).record(said, self._state, minutes=20.0)

    def _promote(self, at: float) -> None:
        act = Act(at=at, action="promote", who=PERSON, reason=self._release.reason, minutes=15.0)
        self._rollouts.change(
            self._release.canary, act, lambda before: transitions.promote(before, reason=act.reason, now=at)
        )

    @property
    def _state(self) -> State:
        found = self._rollouts.state(self._release.canary)
        assert found is not None  # noqa: S101 - it was reconciled
        return found


def _moment(at: float) -> str:
    """RFC 3339."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _unpublished(plan: States) -> None:
    """No worker follows the past."""
