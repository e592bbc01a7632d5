"""What the config says of canaries, as the control room takes it. Only `canary/config` knows the file."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from alerts.incidents.notice import Receiver
from alerts.rules.rule import Rule
from bench.settings import ISSUES_FILE, DatasetSource
from judge.terms import JudgedRun, JudgeTerms
from records.captures.capture import CaptureRule
from records.facts.metric import Metric
from records.facts.retirement import LastDay
from records.facts.standing import TERMS, ArmDocument, Standing, taken_over
from routing.caller import Caller
from routing.canary import Canary, arm_names
from routing.lanes import part_of
from routing.states import State
from verdict.terms.judged_canary import JudgedCanary, ReportSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyTime:
    """A wall clock's time: once each day of its calendar, whatever its clocks do. `timezone` is a name of the
    IANA database."""

    at: time
    timezone: str = "UTC"

    def today(self, now: float) -> tuple[str, float]:
        """The day of UTC second `now` in the zone (ISO), and the UTC second of the time on it.

        A time that the clocks skip counts as if they had not; of one that comes twice, the first counts.
        """
        zone = ZoneInfo(self.timezone)
        day = datetime.fromtimestamp(now, zone).date()
        return day.isoformat(), datetime.combine(day, self.at, zone).astimezone(UTC).timestamp()


PromotedBy = Literal["one_person", "two_people"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySettings:
    """One canary: who gets which arm, how it is watched, how it is judged.

    `mirror` is a share in [0, 1]. Without `capture` no text is kept, without `judge` no
    answer judged. `promoted_by`: how many people a promotion wants. `owner`: who decides about it, "" if
    nobody said. `texts` has the digest of each file of its arms, as it is in force, and `changed_texts` the
    files that have changed since the start. `base_path` is the path of the only base
    URL whose requests reach the canary, None where plain paths do.
    """

    canary: Canary
    judged: JudgedCanary
    guardrails: tuple[Rule, ...]
    mirror: float = 0.0
    capture: CaptureRule | None = None
    judge: JudgeTerms | None = None
    promoted_by: PromotedBy = "one_person"
    owner: str = ""
    base_path: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    changed_texts: tuple[str, ...] = ()

    def judged_run(self, run: int) -> JudgedRun | None:
        """How a run of it is judged by the model; None if no answer is."""
        if self.judge is None:
            return None
        redact = self.capture.redact if self.capture is not None else ()
        return JudgedRun.of(self.canary.name, run, self.judge, redact)


def held_back(canary: Canary, state: State | None) -> dict[str, Any] | None:
    """Who keeps the former baseline of a promoted canary, as JSON types: which `share` of its users, `until`
    when (UTC seconds) and with which `baseline`; None for nobody."""
    held = state.holdback if state is not None and state.holds_back else None
    if state is None or held is None:
        return None
    baseline, _ = arm_names(canary.baseline, canary.candidate)
    share = 1.0 - state.effective_share
    return {"canary": canary.name, "share": share, "until": held.until, "baseline": baseline}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingCanary:
    """A standing canary: the terms of every next candidate, whose model is "" in them, and what was begun.

    `entry` is its entry in the config file. The terms have the baseline in force, which may be newer.
    """

    terms: CanarySettings
    begun: Standing = field(default_factory=Standing)
    entry: Mapping[str, Any] = field(default_factory=dict)

    @property
    def in_file(self) -> ArmDocument:
        """The baseline that the config file names."""
        found: ArmDocument = self.entry.get("baseline", {})
        return found

    def taken_over(self, order: ArmDocument) -> ArmDocument:
        """What the candidate of an order with these keys has of the baseline in force."""
        return taken_over(self.baseline, {**self.entry.get("candidate", {}), **order})

    def candidate(self, order: ArmDocument) -> ArmDocument:
        """The candidate of an order with these keys: with the config file's, and what it takes over."""
        return {**self.entry.get("candidate", {}), **order, **self.taken_over(order)}

    @property
    def fixed(self) -> Mapping[str, Any]:
        """What the next trial keeps of the entry, whatever becomes of that."""
        return {key: self.entry[key] for key in TERMS if key in self.entry}

    @property
    def baseline(self) -> ArmDocument:
        """The baseline in force, as the file would have it."""
        arm = self.begun.arm
        return self.in_file if arm is None else arm

    def kept(self, lane: Callable[[str], float | None]) -> list[dict[str, Any]]:
        """The trials that are there with another baseline than that in force, as JSON types: with that
        baseline, and the `lane` of whose users have it."""
        newest, named = self.begun.baseline, ("provider", "model", "name", "request")
        return [
            {
                "canary": name,
                "lane": lane(name),
                **{key: each.baseline[key] for key in named if key in each.baseline},
            }
            for name, each in self.begun.open.items()
            if (newest is None or name != newest.canary) and each.baseline != self.baseline
        ]

    def held_back(
        self, canaries: Mapping[str, CanarySettings], state: Callable[[str], State | None]
    ) -> dict[str, Any] | None:
        """Who keeps the former baseline by a hold-back, as `held_back` says it of all users of its
        requests; None for nobody."""
        newest = self.begun.baseline
        if newest is None or newest.canary not in canaries:
            return None
        now = state(newest.canary)
        found = held_back(canaries[newest.canary].canary, now)
        return found if found is None or now is None else {**found, "share": found["share"] * part_of(now)}

    def others(self, canaries: Mapping[str, CanarySettings], state: Callable[[str], State | None]) -> float:
        """The part of the users of its requests who get another arm than the baseline in force: a candidate,
        their trial's own baseline, or the former one that they are held back on."""
        newest, held = self.begun.baseline, self.held_back(canaries, state)
        found = 0.0 if held is None else float(held["share"])
        for name, trial in self.begun.open.items():
            now = state(name)
            if now is not None and (newest is None or name != newest.canary):
                found += part_of(now) * (1.0 if trial.baseline != self.baseline else now.effective_share)
        return found

    def told(self, name: str, by_canary: Mapping[str, str]) -> str:
        """What of that is about the baseline in force: of this standing canary, by its name, or of the trial
        that was promoted; "" for nothing."""
        newest = self.begun.baseline
        return by_canary.get(name, "") or ("" if newest is None else by_canary.get(newest.canary, ""))

    @property
    def taken_back(self) -> dict[str, Any] | None:
        """Who took a baseline back last (`who`), when (`at`) and why, and its `canary`, as JSON types; None
        where another one was promoted since."""
        last = self.begun.taken_back
        if last is None or last.withdrawn is None:
            return None
        return {"canary": last.canary, **asdict(last.withdrawn)}

    @property
    def former(self) -> ArmDocument:
        """The baseline before the one in force; the file's where nothing was ever promoted."""
        arm = self.begun.former
        return self.in_file if arm is None else arm


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBaseline:
    """What everybody has by a promotion of `canary`, as provider and model, whose entry `name` is not in the
    config any more: a standing one, or the canary's own. `who` promoted it, "" if that is not known here.
    `taken_by`: the canaries of the config that take the requests of that entry."""

    name: str
    canary: str
    arm: tuple[str, str]
    who: str
    taken_by: tuple[Canary, ...]

    @property
    def words(self) -> str:
        """Which it is, and by whom."""
        return "/".join(self.arm) + (f" ({self.who} promoted {self.canary})" if self.who else "")

    @property
    def sentence(self) -> str:
        """That nobody gets it, for an entry whose requests no canary takes."""
        return (
            f"{self.name} is not in the config any more: its promoted baseline {self.words} is not in force, "
            "and its requests go to the models that apps ask for"
        )

    def is_in_force(self, states: Mapping[str, State]) -> bool:
        """True while the config without its entry has not been taken."""
        known = states.get(self.canary)
        return known is not None and known.state == "promoted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """All canaries by name, the standing ones beside them, the feedback metrics, who is paged, who may call
    (nobody named: everybody), and for how long records are kept.

    `admin_url` is where people reach the page, None where nobody said. `report_job` is when each canary's
    daily report is made, None for no such reports. `retires` is when models retire, as the config says. The
    files of `datasets` are absolute, and so is that of known issues. `texts` are all arms', by digest.
    """

    canaries: Mapping[str, CanarySettings]
    metrics: Mapping[str, Metric]
    standing: Mapping[str, StandingCanary] = field(default_factory=dict)
    notify: tuple[Receiver, ...] = ()
    callers: tuple[Caller, ...] = ()
    admin_url: str | None = None
    retention_s: float = 90 * 86400.0
    report_job: DailyTime | None = None
    retires: Mapping[str, LastDay] = field(default_factory=dict)
    datasets: tuple[DatasetSource, ...] = ()
    issues_file: Path = Path(ISSUES_FILE)
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)

    def owner(self, name: str) -> str:
        """Who decides about a canary, standing or not; "" if nobody said."""
        standing = self.standing.get(name)
        known = self.canaries.get(name) if standing is None else standing.terms
        return "" if known is None else known.owner

    def canary(self, name: str) -> Canary | None:
        """A canary of the config; None for none of this name."""
        wanted = self.canaries.get(name)
        return None if wanted is None else wanted.canary

    def left(
        self, begun: Mapping[str, Standing], before: "ControlSettings | None" = None
    ) -> Iterator[LeftBaseline]:
        """The promoted baselines of standing canaries that are not in the config, and the candidates of the
        other canaries that are in the one `before` only, promoted or not."""
        known = [*(each.terms.canary for each in self.standing.values())]
        known += [each.canary for each in self.canaries.values()]
        for name, standing in begun.items():
            if (promoted := standing.baseline) is not None and name not in self.standing:
                match = standing.trials[promoted.canary].terms.get("match", {})
                models = frozenset(match.get("models", ()))
                yield LeftBaseline(
                    name=name,
                    canary=promoted.canary,
                    arm=(promoted.arm["provider"], promoted.arm["model"]),
                    who=promoted.who,
                    taken_by=tuple(each for each in known if _asked_alike(models, each.match.models)),
                )
        trials = {trial for standing in begun.values() for trial in standing.trials}
        for name, settings in ({} if before is None else before.canaries).items():
            if name not in self.canaries and name not in trials:
                arm = settings.canary.candidate
                yield LeftBaseline(
                    name=name,
                    canary=name,
                    arm=(arm.provider, arm.model),
                    who="",
                    taken_by=tuple(each for each in known if each.meets(settings.canary)),
                )

    @property
    def reports(self) -> ReportSettings:
        """What reports take of it."""
        return ReportSettings(
            canaries={name: each.judged for name, each in self.canaries.items()}, metrics=self.metrics
        )


def _asked_alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """True where apps ask for the same models, or neither entry names one."""
    return bool(one & other) or not (one or other)
