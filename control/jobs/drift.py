"""Watches the ground: what models call themselves in their answers, and whether they answer as they did.

Names are those that answers had anyway. Probes cost money, so each round's highest price is set aside before
its first call. A change is told once, of the models that canaries use or the config has probed.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from alerts.incidents.notifier import Announcement
from bench.settings import BenchSettings, ProbesSource
from common.clock import every, rfc3339
from common.numbers import set_dollars
from control.jobs.aftermath import Aftermath, AftermathWords, Then
from control.jobs.retirements import Uses, uses_of
from control.settings import ControlSettings
from records.errors import StoreDown
from records.exports.prometheus import gauge
from records.outcome import FINGERPRINT
from records.store import Store
from records.store.drift import AnswersOfDay, DriftStore, ModelChange, ProbesSpent, ServedModel
from records.store.releases import ReleaseNote, Releases, entered
from routing.canary import Arm
from routing.states import State

if TYPE_CHECKING:  # what asks models takes a while to import, and most admin processes probe none
    from bench.drift import DriftStanding, ProbeRound
    from bench.models.prober import ModelProber

log = structlog.get_logger()

LOOK_EVERY_S = 60.0
AGAIN_AFTER_S = 900.0
"""The delay after a round without an answer, or a model that cannot be asked."""

LOOK_AGAIN_S = 3600.0
"""The longest delay until what somebody else probed is seen."""

BEFORE_DAYS = 14
"""The days with which users' answers of today are compared."""

LEAST_ANSWERS, TRIGGER_Z, LENGTH_RATIO = 200, 5.0, 1.25
"""What starts a probe: of so many answers, shares so many standard errors apart, or tokens by this factor."""

SHOWN_FINGERPRINTS = 5
LEAST_BACK = 20
"""A name is back once so many answers have had it and none the present one."""
_DAY_S = 86400
_NEWS_S = 2 * _DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHistory:
    """What is known of one model (`provider/model`): its names with the UTC second of the first answer, in
    order, and the UTC second at which the day of the last one began, None for one of the newest day; the
    changes told; and what the probes since its last drift say, None without any."""

    model: str
    names: tuple[tuple[str, float, float | None], ...]
    changes: tuple[ModelChange, ...]
    probed: "DriftStanding | None" = None


def histories(store: Store) -> list[ModelHistory]:
    """Every model whose answers had a name, or that was probed. May raise StoreDown."""
    drift = DriftStore(store)
    served, changes = drift.served(), drift.changes()
    models = sorted({*(each.model for each in served), *drift.probed(), *(each.model for each in changes)})
    return [
        ModelHistory(
            model=model,
            names=_shown([each for each in served if each.model == model]),
            changes=tuple(each for each in changes if each.model == model),
            probed=_standing(drift, model),
        )
        for model in models
    ]


def _shown(names: Sequence[ServedModel]) -> tuple[tuple[str, float, float | None], ...]:
    """All names of one model, and of the fingerprints the newest."""
    fingerprints = [each.served for each in names if each.served.startswith(FINGERPRINT)]
    hidden = set(fingerprints[:-SHOWN_FINGERPRINTS])
    newest = max((each.last_day for each in names), default=0)
    return tuple(
        (each.served, each.first_at, None if each.last_day == newest else float(each.last_day * _DAY_S))
        for each in names
        if each.served not in hidden
    )


def _by_model(served: Iterable[ServedModel]) -> dict[str, dict[str, float]]:
    """The names of each model with the UTC second of the first answer, in order."""
    found: dict[str, dict[str, float]] = {}
    for each in served:
        found.setdefault(each.model, {})[each.served] = each.first_at
    return found


def _newest_last(name: ServedModel) -> tuple[bool, int, float]:
    """A fingerprint is no name while there is another."""
    return not name.served.startswith(FINGERPRINT), name.last_day, name.first_at


def new_names(model: str, names: Mapping[str, float]) -> list[ModelChange]:
    """The changes of a model's names, given with the UTC second of the first answer. The first name and what
    came at the same moment are no change, and neither is a fingerprint: providers have several systems."""
    own = [(name, at) for name, at in names.items() if not name.startswith(FINGERPRINT)]
    return [
        ModelChange(model=model, kind="model_changed", before=before, now=name, at=at)
        for (before, earlier), (name, at) in pairwise(sorted(own, key=lambda each: each[1]))
        if at > earlier
    ]


@dataclass(slots=True)
class NameLook:
    """What the last look saw of one model's names: how many answers had each, and how many had another than
    the present one since the present one's last, from `since` on."""

    answered: Mapping[str, int]
    others: Counter[str]
    since: float

    def back(self, present: str, answered: Mapping[str, int], now: float) -> ModelChange | None:
        """The change to a name that has come back by UTC second `now`: so many answers in a row had it, over
        whole looks. Where a provider serves two names at once, neither has so many in a row for long."""
        more = Counter({name: count - self.answered.get(name, count) for name, count in answered.items()})
        self.answered = answered
        if more[present] > 0 or not self.others.total():
            self.others, self.since = Counter(), now
        if more[present] <= 0:
            self.others += more
        name, count = next(iter(self.others.most_common(1)), ("", 0))
        if count < LEAST_BACK:
            return None
        self.others = Counter()
        again = {"again": True}
        return ModelChange(
            model="", kind="model_changed", before=present, now=name, at=self.since, document=again
        )


def present_name(names: Sequence[ServedModel], changes: Sequence[ModelChange]) -> str:
    """The name of a model that was told last, else its first one; "" without names."""
    own = [each.served for each in names if not each.served.startswith(FINGERPRINT)]
    told = [each.now for each in changes if each.kind == "model_changed"]
    return told[-1] if told else own[0] if own else ""


def _standing(drift: DriftStore, model: str) -> "DriftStanding | None":
    from bench.drift import assess

    rounds = since_drift(drift, model)
    return assess(rounds) if rounds else None


def since_drift(drift: DriftStore, model: str) -> "list[ProbeRound]":
    """The rounds with an answer after the model's last drift, which began a new reference."""
    from bench.drift import ProbeRound

    drifts = [each.at for each in drift.changes(model) if each.kind == "model_drifted"]
    since = max(drifts, default=float("-inf"))
    rounds = (msgspec.convert(each, ProbeRound) for each in drift.rounds(model) if each)
    return [each for each in rounds if each.at > since]


async def probe(
    drift: DriftStore, prober: "ModelProber", form: int, now: float, *, budget_usd: float
) -> bool:
    """Ask one round in the first form from `form` on that suits, and store it; False if nothing was answered.
    Raises ProbesSpent. May raise StoreDown."""
    model = prober.target.name
    for each in range(form, prober.forms):
        reserve = prober.highest_price(each)
        begun = await asyncio.to_thread(
            drift.begin_round, model, now, reserve_usd=reserve, budget_usd=budget_usd
        )
        if each + 1 < prober.forms and not await prober.suits(each):
            await asyncio.to_thread(drift.end_round, begun, {}, cost_usd=None)
            continue
        found, cost = await prober.round(each, now)
        answers: dict[str, Any] = msgspec.to_builtins(found) if found.answers else {}
        await asyncio.to_thread(drift.end_round, begun, answers, cost_usd=cost, names=found.names)
        return bool(found.answers)
    return False


class DriftJob(Collector):
    """The watch over one database's models. Belongs to the event loop's thread.

    `states` are the canaries' states; `bench` is the config's part that knows the probes and their providers;
    `works` is True while this process is the one to watch; `words` say what came after a drift.
    """

    def __init__(
        self,
        store: Store,
        *,
        settings: Callable[[], ControlSettings],
        states: Callable[[], Mapping[str, State]],
        bench: Callable[[], BenchSettings] | None,
        announce: Callable[[Announcement], None],
        works: Callable[[], bool],
        environment: Mapping[str, str],
        words: AftermathWords,
    ) -> None:
        self._store, self._drift = store, DriftStore(store)
        self._aftermath = Aftermath(store, words, environment)
        self._settings, self._states = settings, states
        self._bench, self._announce = bench, announce
        self._works, self._environment = works, environment
        self._again_at: dict[str, float] = {}
        self._after_at: dict[str, float] = {}
        self._troubles: dict[str, str] = {}
        self._standings: dict[str, DriftStanding] = {}
        self._told: Counter[tuple[str, str]] = Counter()
        self._names: dict[str, str] = {}
        self._looks: dict[str, NameLook] = {}
        self._spending: tuple[float, float] | None = None
        self._triggered: dict[str, int] = {}

    def collect(self) -> Iterator[Family]:
        """Every family, for prometheus-client, as of the last look. Only the process that watches has any."""
        if self._works():
            yield from families(dict(self._standings), self._told, self._names, self._spending)

    async def run(self) -> None:
        """Look once a minute, forever."""
        await every(LOOK_EVERY_S, self._try)

    @property
    def troubles(self) -> list[str]:
        """The models that cannot be probed at the moment, and why."""
        return [f"probes: {model}: {why}" for model, why in sorted(self._troubles.items()) if why]

    async def _try(self) -> None:
        """What goes wrong here ends no server."""
        if not self._works():
            return
        try:
            await self.turn(time.time())
        except StoreDown as problem:
            log.error("drift.not_looked", problem=str(problem))
        except Exception as problem:
            log.error("drift.failed", problem=f"{type(problem).__name__}: {problem}")

    async def turn(self, now: float) -> None:
        """Tell of new names, and probe what is due at UTC second `now`. May raise StoreDown."""
        bench = self._bench() if self._bench is not None else None
        probes = bench.probes if bench is not None else None
        settings = self._settings()
        uses = uses_of(settings.canaries, settings.standing)
        given = probes.models if probes is not None else ()
        wanted = dict.fromkeys(followed(given, in_force(settings, self._states()), uses))
        changed = await asyncio.to_thread(self._new_names, uses, now)
        self._troubles = {
            name: why for name, why in self._troubles.items() if name.partition(" ")[0] in wanted
        }
        if bench is None or probes is None:
            self._spending = None
            return
        for name in wanted:
            if self._again_at.get(name, now) <= now:
                await self._noted(name, self._watch(bench, probes, name, uses, changed, now))
            if self._after_at.get(name, now) <= now:
                await self._noted(f"{name} after its drift", self._follow(bench, name, uses, now))
        self._spending = await asyncio.to_thread(self._drift.spent, now), probes.daily_budget_usd

    async def _noted(self, what: str, work: Coroutine[Any, Any, str]) -> None:
        """Do it, and note what went wrong, in words, until nothing does."""
        from bench.errors import BenchError

        try:
            self._troubles[what] = await work
        except (BenchError, OSError) as problem:
            self._troubles[what] = str(problem)

    def _new_names(self, uses: Uses, now: float) -> set[str]:
        """Note the names that are new, tell of those that came of late, and return their models: a model that
        is used for the first time may have changed long ago."""
        watched = {*uses, *self._drift.probed()}
        served = [each for each in self._drift.served() if each.model in watched]
        found = [change for model, names in _by_model(served).items() for change in new_names(model, names)]
        told = self._drift.changes()
        known = {(each.model, each.now) for each in told if each.kind == "model_changed"}
        new = [
            each for each in found if (each.model, each.now) not in known and self._drift.note_change(each)
        ]
        new += [each for each in self._came_back(served, [*told, *new], now) if self._drift.note_change(each)]
        self._names = {each.model: each.served for each in sorted(served, key=_newest_last)}
        self._names |= {each.model: each.now for each in (*told, *new) if each.kind == "model_changed"}
        self._told = Counter((each.model, each.kind) for each in (*told, *new))
        late = [each for each in new if now - each.at < _NEWS_S]
        for each in late:
            self._tell(each, uses)
        return {each.model for each in late}

    def _came_back(
        self, served: Sequence[ServedModel], told: Sequence[ModelChange], now: float
    ) -> Iterator[ModelChange]:
        """The changes to a name that answers had before the present one."""
        for model in dict.fromkeys(each.model for each in served):
            names = [each for each in served if each.model == model]
            present = present_name(names, [each for each in told if each.model == model])
            answered = {
                each.served: each.answered for each in names if not each.served.startswith(FINGERPRINT)
            }
            look = self._looks.setdefault(model, NameLook(answered, Counter(), now))
            if present and (change := look.back(present, answered, now)) is not None:
                yield replace(change, model=model)

    async def _follow(self, bench: BenchSettings, name: str, uses: Uses, now: float) -> str:
        """Ask what is due after a model's drift, and tell what came of it. Raises BenchError, OSError."""
        from bench.models.pair import named

        self._after_at[name] = now + AGAIN_AFTER_S
        change = await asyncio.to_thread(self._aftermath.open_drift, named(bench, name).name)
        if change is not None:
            then = await self._aftermath.turn(bench, change, now)
            if then.get("ended_at") and then["of"]:
                self._tell_aftermath(change, then, uses)
        return ""

    def _tell_aftermath(self, change: ModelChange, then: Then, uses: Uses) -> None:
        says = self._aftermath.words.says(then)
        release = Releases(self._store).of_model(change.now)
        for each in release[:1]:
            note = ReleaseNote(at=then["ended_at"], release=each.id, who="canary", text=says)
            Releases(self._store).note(note)
        about = {"model": change.now, "verdict": then.get("verdict")}
        self._announce_of(change, uses, "benchmark_finished", about, f"{change.now}: {says}")

    async def _watch(
        self,
        bench: BenchSettings,
        probes: ProbesSource,
        name: str,
        uses: Uses,
        changed: set[str],
        now: float,
    ) -> str:
        """Probe a model once if it is due, or has another name, and tell of its drift; what went wrong, in
        words. Raises BenchError."""
        from bench.models.pair import named
        from bench.models.prober import ModelProber

        self._again_at[name] = now + AGAIN_AFTER_S
        model = named(bench, name).name
        rounds, due = await asyncio.to_thread(self._look, model, uses, now)
        triggered = model in changed or await asyncio.to_thread(self._is_triggered, model, uses, now)
        if now >= due or triggered:
            prober = await asyncio.to_thread(ModelProber.of, bench, name, self._environment)
            try:
                form, budget = rounds[-1].form if rounds else 0, probes.daily_budget_usd
                if (needed := prober.highest_price(form)) > budget:
                    aside = set_dollars(needed)
                    return f"daily_budget is too small for a round, for which {aside} is set aside"
                if not await probe(self._drift, prober, form, now, budget_usd=budget):
                    return "no prompt was answered"
            except ProbesSpent:
                self._again_at[name] = (now // _DAY_S + 1) * _DAY_S
                return "" if rounds else "not probed so far: the day's budget has no room for a round"
            finally:
                await prober.close()
            _, due = await asyncio.to_thread(self._look, model, uses, now)
        self._again_at[name] = min(due, now + LOOK_AGAIN_S)
        return ""

    def _is_triggered(self, model: str, uses: Uses, now: float) -> bool:
        """True once a day where users' answers are not those of the days before: traffic drifts too, so this
        only starts a probe."""
        today = int(now // _DAY_S)
        if self._triggered.get(model) == today:
            return False
        for use in uses.get(model, ()):
            days = self._drift.answers(use.canary, use.part, since=today - BEFORE_DAYS)
            if why := unlike_before(days, today):
                self._triggered[model] = today
                log.info("drift.triggered", model=model, canary=use.canary, why=why)
                return True
        return False

    def _look(self, model: str, uses: Uses, now: float) -> "tuple[list[ProbeRound], float]":
        """The model's rounds since its last drift, and when the next is due. A drift is told."""
        from bench.drift import assess, due_at

        rounds = since_drift(self._drift, model)
        standing = self._standings[model] = assess(rounds)
        if standing.state != "drifted":
            return rounds, due_at(standing, rounds)
        change = _drift(model, standing, now)
        if self._drift.note_change(change):
            self._enter_release(change)
            self._tell(change, uses)
        return [], now

    def _enter_release(self, change: ModelChange) -> None:
        """What a model has become is a release of its own, against what it was."""
        with self._store.writing() as connection:
            release = entered(connection, change.now, change.model, at=change.at)
        says = self._aftermath.words.tells(change)
        Releases(self._store).note(ReleaseNote(at=change.at, release=release.id, who="canary", text=says))

    def _tell(self, change: ModelChange, uses: Uses) -> None:
        log.warning(
            "model.changed", kind=change.kind, model=change.model, before=change.before, now=change.now
        )
        about = {"model": change.model, "before": change.before, "now": change.now}
        headline = self._aftermath.words.tells(change)
        used = " and ".join(f"the {each.part} of {each.canary}" for each in uses.get(change.model, ()))
        self._announce_of(change, uses, change.kind, about, f"{headline}; it is {used}" if used else headline)

    def _announce_of(
        self, change: ModelChange, uses: Uses, kind: str, about: Mapping[str, Any], headline: str
    ) -> None:
        owners = dict.fromkeys(each.owner for each in uses.get(change.model, ()) if each.owner)
        self._announce(
            Announcement(kind=kind, about=about, headline=headline, at=time.time(), owners=tuple(owners))
        )


@dataclass(frozen=True, slots=True)
class Promoted:
    """The model that the config names as a canary's baseline, and the one that users have in its place.
    `kept`: some users have the first one still."""

    canary: str
    before: str
    now: str
    kept: bool = False


def in_force(settings: ControlSettings, states: Mapping[str, State]) -> list[Promoted]:
    """The baselines that a promotion replaced."""
    trials = {trial for each in settings.standing.values() for trial in each.begun.trials}
    standing = [
        Promoted(name, f"{each.in_file.get('provider')}/{each.in_file.get('model')}", _name(baseline))
        for name, each in settings.standing.items()
        for baseline in [each.terms.canary.baseline]
    ]
    plain = [
        Promoted(name, _name(each.canary.baseline), _name(each.canary.candidate), kept=state.holds_back)
        for name, each in settings.canaries.items()
        if name not in trials and (state := states.get(name)) is not None and state.state == "promoted"
    ]
    return [each for each in (*standing, *plain) if each.before != each.now]


def followed(models: Iterable[str], promoted: Sequence[Promoted], uses: Uses) -> list[str]:
    """The models to probe: those that the config names, and where it names a baseline that a promotion
    replaced, the one in force instead; also the first one while another canary, or users who are held back,
    have it still."""
    left = {(each.canary, each.before) for each in promoted if not each.kept}
    still = [name for name, by in uses.items() if any((use.canary, name) not in left for use in by)]
    found = []
    for text in models:
        newer = [each.now for each in promoted if _is(text, each.before) and not _is(text, each.now)]
        used = any(_is(text, name) for name in still)
        found += [*([text] if used or not newer else []), *newer]
    return found


def _name(arm: Arm) -> str:
    return f"{arm.provider}/{arm.model}"


def _is(text: str, name: str) -> bool:
    """True if MODEL or PROVIDER/MODEL is this `provider/model`."""
    return text in (name, name.partition("/")[2])


def unlike_before(days: Sequence[AnswersOfDay], today: int) -> str:
    """In what users' answers of `today`, a UTC day number, are unlike those of the days before in a category,
    in words; "" if in nothing, or if either has too few."""
    for category in dict.fromkeys(each.category for each in days):
        mine = [each for each in days if each.category == category]
        now, before = ([each for each in mine if (each.day == today) is is_now] for is_now in (True, False))
        for name in ("refused", "cut_off", "answer_faults"):
            found = [
                (sum(getattr(each, name) for each in side), sum(each.finished for each in side))
                for side in (now, before)
            ]
            if _shares_differ(*found):
                return f"{name} in category {category!r}"
        lengths = [
            (sum(each.tokens_sum for each in side), sum(each.tokens_n for each in side))
            for side in (now, before)
        ]
        if min(of for _, of in lengths) >= LEAST_ANSWERS:
            (tokens, of), (tokens_before, of_before) = lengths
            ratio = (tokens / of) / (tokens_before / of_before) if tokens_before else 1.0
            if not 1 / LENGTH_RATIO <= ratio <= LENGTH_RATIO:
                return f"tokens in category {category!r}"
    return ""


def _shares_differ(now: tuple[int, int], before: tuple[int, int]) -> bool:
    (found, of), (found_before, of_before) = now, before
    if min(of, of_before) < LEAST_ANSWERS:
        return False
    pooled = (found + found_before) / (of + of_before)
    error = math.sqrt(pooled * (1 - pooled) * (1 / of + 1 / of_before))
    return error > 0 and abs(found / of - found_before / of_before) > TRIGGER_Z * error


def families(
    standings: "Mapping[str, DriftStanding]",
    told: Mapping[tuple[str, str], int],
    names: Mapping[str, str],
    spending: tuple[float, float] | None,
) -> Iterator[Family]:
    """The families of the models probed, of the changes told by model and kind, of the newest name of each
    model, and of the day's dollars and budget."""
    model, found = ("model",), standings.items()
    newest = [(name, each, each.findings[-1]) for name, each in found if each.findings]
    named, changes = ((each, 1.0) for each in names.items()), "Changes of a model that were told"
    asked = (((name,), each.pinned + len(each.findings)) for name, each in found)
    strays = (((name,), len(last.outside) / last.of) for name, _, last in newest if last.of)
    yield gauge("canary_model_info", "1; what answers call the model", named, (*model, "name"))
    yield gauge("canary_model_changes", changes, told.items(), (*model, "kind"))
    yield gauge("canary_probes_rounds", "Rounds since the reference began", asked, model)
    says = "Of the newest round, the share that strays from the reference"
    yield gauge("canary_probes_outside_ratio", says, strays, model)
    evidence, says = (
        (((name,), each.evidence) for name, each, _ in newest),
        "The evidence that a model answers",
    )
    yield gauge("canary_probes_evidence", f"{says} otherwise", evidence, model)
    dollars = {"cost": "Dollars of this UTC day", "budget": "Dollars that a UTC day may cost"}
    for place, (what, says) in enumerate(dollars.items()):
        values = [] if spending is None else [((), spending[place])]
        yield gauge(f"canary_probes_{what}_usd", says, values)


def _drift(model: str, standing: "DriftStanding", now: float) -> ModelChange:
    last = standing.findings[-1]
    since = datetime.fromtimestamp((standing.since or 0) * 86400.0, UTC).date().isoformat()
    return ModelChange(
        model=model,
        kind="model_drifted",
        before=rfc3339(standing.pinned_at or 0.0),
        now=f"{model}@{since}",
        at=max(now, last.at),
        document={
            "since": since,
            "outside": list(last.outside),
            "asked": last.of,
            "evidence": min(standing.evidence, 1e300),
        },
    )
