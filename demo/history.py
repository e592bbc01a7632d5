"""Three made-up releases: one is rolled back on its second day, one ships, one goes on.

Users, answers and ratings are drawn. The rest is what canary does, given an earlier time: assignment,
records, guardrails and rollback, nightly reports, verdicts, the archive. The benchmarks are runs against the
demo's local provider, stored under an earlier date. Every name says "made-up".
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import time as clock
from pathlib import Path
from random import Random
from typing import Any

import yaml

from bench.benchmark.run import read, sources
from bench.models.pair import pair
from canary.commands.bench import measure
from canary.config import Config, load
from common.clock import Utc, rfc3339
from control.feed.events import WorkerEvents
from control.jobs.reports import ReportJob
from control.monitor.monitor import Monitor
from control.settings import ControlSettings, DailyTime
from control.states.rollouts import Rollouts
from pages.words.reasons import sentences
from records.exports.prometheus import Meters
from records.facts.exchange_id import mint
from records.outcome import Feedback, Outcome, ProviderError, Usage
from records.spool.reader import SpoolBatch, SpoolChunk, WriterProcess
from records.store import Act, Store
from records.store.benchmarks import Benchmarks
from records.store.decisions import Decision, Decisions
from records.store.leader import COURSES, Checkpoints, StoredCheckpoint
from records.store.releases import ReleaseNote, Releases
from routing import transitions
from routing.assign import assign
from routing.canary import Arm, ArmName, Canary
from routing.cohort import derive_key, unit_hash
from routing.states import State, States
from verdict.archive.archivist import Archivist

# The made-up releases of `canary demo --open`, as values, and their users.


DAY_S = 86_400.0
USERS = 2_500
ASKED_A_DAY = 700
RATED = 0.4
"""How many of the answers are rated."""
RATED_AFTER_S = 300.0
CATEGORIES = ("delivery", "billing", "account", "refund")
OVERLOADED = ProviderError(type="server_error", message="Made up: the model is overloaded.")
PLANS = ("free", "pro")


@dataclass(frozen=True, slots=True, kw_only=True)
class PastModel:
    """How a model does. `fails`, `completes` and `delights` are shares in [0, 1]: of requests that fail, of
    tasks that get done, of ratings that are the best. `latency_s` is a median."""

    fails: float
    latency_s: float
    cost_usd: float
    completes: float
    delights: float


class PastUsers:
    """The users of one canary, drawn from a fixed seed. `secret` is the server's."""

    def __init__(self, canary: Canary, models: Mapping[ArmName, PastModel], secret: bytes) -> None:
        self.models = dict(models)
        self._canary = canary
        self._assignment, self._ids = (derive_key(secret, purpose) for purpose in ("assignment", "ids"))
        self._random = Random(canary.name)  # noqa: S311 - made-up users

    def day(self, state: State, start: float) -> Sequence[Outcome | Feedback]:
        """The outcomes and ratings of the 24 hours from UTC second `start`, in order of time."""
        return sorted(self._records(state, start), key=lambda record: record.at)

    def _records(self, state: State, start: float) -> Iterator[Outcome | Feedback]:
        """Each outcome, followed by its ratings."""
        draws = self._random
        for at in sorted(start + (DAY_S - RATED_AFTER_S) * draws.random() for _ in range(ASKED_A_DAY)):
            outcome = self._outcome(state, f"past-user-{draws.randrange(USERS)}", at)
            yield outcome
            if draws.random() < RATED:
                yield from self._ratings(outcome)

    def _outcome(self, state: State, user: str, at: float) -> Outcome:
        given = assign(self._canary, state, key=self._assignment, unit=user)
        unit, arm = unit_hash(self._ids, user), self._arm(given.arm)
        return Outcome(
            exchange_id=self._exchange_id(state, given.arm, unit, at),
            at=at,
            mono=at,
            canary=self._canary.name,
            run=given.run,
            phase=given.phase,
            share=given.share,
            arm=given.arm,
            reason=given.reason,
            unit=unit,
            category=self._random.choice(CATEGORIES),
            tags={"plan": PLANS[int(unit, 16) % len(PLANS)]},
            provider=arm.provider,
            api="openai",
            operation="chat",
            model_requested=self._canary.baseline.model,
            model=arm.model,
            overhead_s=0.0002,
            **self._ending(given.arm),
        )

    def _ending(self, arm: ArmName) -> dict[str, Any]:
        """How an exchange of this arm ends: well, or with a failure, which a baseline's caller sees."""
        model, draws = self.models[arm], self._random
        latency_s = model.latency_s * draws.lognormvariate(0.0, 0.4)
        times = {"latency_s": latency_s, "ttfb_s": latency_s}
        if draws.random() < model.fails:
            covered = {"outcome": "fallback", "served_by": "baseline", "status": 200}
            seen = {"outcome": "error", "status": 500}
            failure = {"error_type": "provider_5xx", "provider_error": OVERLOADED}
            return {**times, **failure, **(covered if arm == "candidate" else seen)}
        return {
            **times, "outcome": "ok", "served_by": arm, "status": 200, "finish": "stop",
            "usage": Usage(input_tokens=draws.randint(200, 900), output_tokens=draws.randint(40, 300)),
            "cost_usd": model.cost_usd * draws.lognormvariate(0.0, 0.3),
        }  # fmt: skip

    def _arm(self, name: ArmName) -> Arm:
        return self._canary.candidate if name == "candidate" else self._canary.baseline

    def _exchange_id(self, state: State, arm: ArmName, unit: str, at: float) -> str:
        return mint(
            self._ids, canary=self._canary.name, run=state.run, phase=state.phase, arm=arm, unit_hash=unit,
            at=at, serial=self._random.randbytes(8),
        )  # fmt: skip

    def _ratings(self, outcome: Outcome) -> Iterator[Feedback]:
        model, draws = self.models[outcome.arm], self._random
        done = draws.random() < model.completes and not outcome.failed
        stars = (5.0,) if draws.random() < model.delights else (3.0, 4.0, 4.0)
        yield _feedback(outcome, "task_completed", float(done))
        yield _feedback(outcome, "csat", draws.choice(stars if done else (1.0, 2.0, 3.0)))


def _feedback(outcome: Outcome, metric: str, value: float) -> Feedback:
    at = outcome.at + RATED_AFTER_S
    return Feedback(
        key=f"{outcome.exchange_id}/{metric}", metric=metric, value=value, at=at, mono=at,
        exchange_id=outcome.exchange_id, canary=outcome.canary, run=outcome.run, phase=outcome.phase,
        arm=outcome.arm, unit=outcome.unit, category=outcome.category,
    )  # fmt: skip


PROVIDER = "made-up"
CONFIG = """\
providers:
  made-up: {{api: openai, base_url: "{provider}/v1", api_key: none}}
prices:
  assistant-1: {{input: 2, output: 8}}
  assistant-2: {{input: 1, output: 4}}
  assistant-3: {{input: 1, output: 4}}
  assistant-4: {{input: 0.9, output: 3.6}}
datasets:
  made-up-sums: {{file: made-up-sums.jsonl, layer: synthetic, floor: 70%}}
  made-up-letters: {{file: made-up-letters.jsonl, layer: real, floor: 70%}}
canaries:
  - name: {canary}
    match: {{models: [{baseline}]}}
    baseline:  {{provider: made-up, model: {baseline}}}
    candidate: {{provider: made-up, model: {candidate}}}
    share: 20%
    segments: [plan]
    minimum_days: 7
    planned_days: 14
    rubric:
      - {{metric: task_completed,   acceptable: ">= baseline - 5%",  ideal: ">= baseline",      weight: 40,
         question: "Do users get done what they came for?"}}
      - {{metric: csat,             acceptable: ">= baseline - 5%",  ideal: ">= baseline",      weight: 30,
         question: "Are users satisfied?"}}
      - {{metric: error_rate,       acceptable: "< 3%",              ideal: "< 1%",             weight: 15,
         question: "Do answers arrive?"}}
      - {{metric: cost_per_request, acceptable: "<= 1.1x baseline",  ideal: "<= 0.8x baseline", weight: 15,
         question: "What does an answer cost us?"}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRelease:
    """One candidate against one baseline: begun `ago` days ago, with users for so many `days`.

    The candidate does as `new` says, from the start of day `goes_bad` on as BAD. With a `reason` a person
    promotes it at the end.
    """

    canary: str
    baseline: str
    candidate: str
    ago: int
    days: int
    current: PastModel
    new: PastModel
    goes_bad: int | None = None
    reason: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether it has no end."""
        return self.goes_bad is None and not self.reason

    def config(self, provider: str) -> str:
        """The config file of its days. `provider` is the local provider's address."""
        return CONFIG.format(
            provider=provider, canary=self.canary, baseline=self.baseline, candidate=self.candidate
        )


FIRST = PastModel(fails=0.004, latency_s=0.9, cost_usd=0.001, completes=0.9, delights=0.45)
BAD = replace(FIRST, cost_usd=0.0005, fails=0.25)
BETTER = PastModel(fails=0.004, latency_s=0.7, cost_usd=0.0006, completes=0.93, delights=0.52)
RELEASES = (
    PastRelease(
        canary="made-up-fails", baseline="assistant-1", candidate="assistant-2", ago=31, days=3, goes_bad=1,
        current=FIRST, new=replace(FIRST, cost_usd=0.0005),
    ),
    PastRelease(
        canary="made-up-ships", baseline="assistant-1", candidate="assistant-3", ago=22, days=14,
        current=FIRST, new=BETTER, reason="the report of day 13: no worse, at less cost",
    ),
    PastRelease(
        canary="made-up-goes-on", baseline="assistant-3", candidate="assistant-4", ago=5, days=5,
        current=BETTER, new=replace(BETTER, cost_usd=0.00055, completes=0.935, delights=0.54),
    ),
)  # fmt: skip
QUESTIONS = {"sums": "{} + 1 = ?", "letters": "Which number follows {} in the letter?"}
EXAMPLES = 60
KNOWN = {"assistant-1": 54, "assistant-2": 50, "assistant-3": 57, "assistant-4": 59}
"""How many of the examples each model answers rightly."""


def behaviours(known: Mapping[str, int] = KNOWN) -> Mapping[str, Mapping[str, Any]]:
    """How the provider behaves, by model."""
    return {model: {"words": 6, "says": _says(right)} for model, right in known.items()}


def _says(known: int) -> Mapping[str, str]:
    """Questions with more digits come first: "12 + 1" ends with "2 + 1"."""
    return {each.format(n): str(n + 1) for each in QUESTIONS.values() for n in reversed(range(known))}


def write_datasets(folder: Path) -> None:
    """The files that the configs name."""
    for name, question in QUESTIONS.items():
        lines = [
            json.dumps(
                {"id": f"{name}-{n}", "task": "exact", "input": question.format(n), "expected": str(n + 1)}
            )
            for n in range(EXAMPLES)
        ]
        (folder / f"made-up-{name}.jsonl").write_text("\n".join(lines))


PERSON = "Ann (made up)"
NOTE = (
    "Made up by `canary demo --open`: users, answers and ratings are drawn at random. "
    "The benchmark asked the demo's local provider."
)
AT_ONCE = 40
"""Records between two looks of the guardrails on the day that a candidate goes bad; else a day's."""
REPORTED_EACH = 3
"""One night in so many has a report, and the last: each takes a second, and the next makes up for the looks
between."""
SETTLED_S = 60.0
MIDNIGHT = clock()


def made_up(
    folder: Path,
    data: Path,
    provider: str,
    secret: bytes,
    *,
    now: float,
    releases: Sequence[PastRelease] = RELEASES,
) -> Mapping[str, Any]:
    """Fill the store in `data` with the releases, and return what the server's config adds for them.

    Those that go on do so until UTC second `now`. Runs benchmarks against `provider`, which must behave as
    `behaviours` says. The server must not run.
    """
    write_datasets(folder)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    going_on: Mapping[str, Any] = {}
    for release in releases:
        added = _merged(going_on, yaml.safe_load(release.config(provider)))
        file = folder / "made-up.yaml"
        file.write_text(yaml.safe_dump(added))
        config = load(file, {})
        with closing(config.open_store(data)) as store:
            _Past(config, release, store, secret, began=now - release.ago * DAY_S).tell(data)
        going_on = added if release.goes_on else going_on
    return going_on


def add_to(config: Path, added: Mapping[str, Any]) -> None:
    """Add what `made_up` returned to the config file."""
    both = _merged(yaml.safe_load(config.read_text()), added)
    config.write_text(yaml.safe_dump(both, sort_keys=False, allow_unicode=True))


def _merged(document: Mapping[str, Any], added: Mapping[str, Any]) -> Mapping[str, Any]:
    both = dict(document)
    for name, part in added.items():
        both[name] = (
            [*both.get(name, []), *part] if isinstance(part, list) else {**both.get(name, {}), **part}
        )
    return both


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
        document |= {"at": rfc3339(at), "issues": None, "sanity": None, "forecast": None}
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
        if day % REPORTED_EACH == 0 or day == self._release.days - 1:
            while self._report_job.turn(start + DAY_S):
                pass
        return True

    def _take(self, records: Sequence[Outcome | Feedback]) -> bool:
        """Store some records, and let the guardrails look at them; False once they have rolled back."""
        self._shipped += len(records)
        chunk = SpoolChunk(PROVIDER, WriterProcess(PROVIDER, 0, PROVIDER, 1), list(records))
        self._store.ship(SpoolBatch(chunks=[chunk], cursors={self._release.canary: self._shipped}), PROVIDER)
        now = records[-1].at
        self._monitor.take(WorkerEvents(records=records, heard=len(records)))
        self._monitor.decide(Utc(now), now)
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
        else:
            self._keep_charts(at)
        Archivist(self._store, lambda: self._settings.reports, sentences).turn(at + SETTLED_S)

    def _refuse(self, at: float) -> None:
        said = Decision(
            at=at, canary=self._release.canary, run=self._state.run, decision="dont_ship", who=PERSON,
            reason="too many of its answers failed",
        )  # fmt: skip
        Decisions(self._store).record(said, self._state, minutes=20.0)

    def _keep_charts(self, at: float) -> None:
        """Let the server go on with the charts, beside those of others that go on."""
        kept = Checkpoints(self._store, COURSES)
        self._monitor.take_courses(kept.load().document)
        kept.save(StoredCheckpoint(0, self._monitor.courses()), at)

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


def _unpublished(plan: States) -> None:
    """No worker follows the past."""
