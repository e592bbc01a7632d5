"""A standing canary: the baselines that were promoted, and the trials that were begun; and the file that
carries them to the processes of a machine (`trials.json`).

Arms are mappings as in the config file. `records.store.standing` changes them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

ArmDocument = Mapping[str, Any]

FILE = "trials.json"
"""In the data folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Who took a baseline back, when (UTC seconds) and why."""

    at: float
    who: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedBaseline:
    """A baseline: the candidate of this run of a trial, promoted at UTC second `at`."""

    arm: ArmDocument
    canary: str
    run: int
    at: float
    who: str
    withdrawn: Withdrawal | None = None


OVER = ("rolled_back", "promoted", "ended")
"""The states of a trial that frees its place."""

TERMS = ("match", "unit", "session", "no_unit", "assignment", "lane")
"""The keys of a standing entry that say which requests a trial takes, and how it splits them. A trial keeps
those with which it began: an edit is for what comes after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunTrial:
    """A trial: its arms since UTC second `at`, and TERMS as its entry had them then; empty for a trial that
    an earlier version began. `by_hand`: a person must start it, whatever the entry says. `left_at`: when it
    left, None while it is there."""

    baseline: ArmDocument
    candidate: ArmDocument
    at: float
    who: str
    by_hand: bool = False
    left_at: float | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)

    def changed(self, entry: Mapping[str, Any]) -> tuple[str, ...]:
        """The TERMS that this entry has now and the trial not, since they changed after it began."""
        return tuple(key for key in TERMS if self.terms and self.terms.get(key) != entry.get(key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One standing canary: its baselines, oldest first, and its trials by name."""

    history: Sequence[PromotedBaseline] = ()
    trials: Mapping[str, BegunTrial] = field(default_factory=dict)

    @property
    def baseline(self) -> PromotedBaseline | None:
        """The promoted baseline in force; None: that before the first promotion."""
        return next(self._in_force(), None)

    @property
    def arm(self) -> ArmDocument | None:
        """The arm that is the baseline in force; None: the config's own, as nothing was ever promoted."""
        newest = self.baseline
        return self._first if newest is None else newest.arm

    @property
    def former(self) -> ArmDocument | None:
        """The arm that was the baseline before the one in force; likewise."""
        before = next(islice(self._in_force(), 1, None), None)
        return self._first if before is None else before.arm

    @property
    def _first(self) -> ArmDocument | None:
        """The baseline before the first promotion: from then on the config's own counts no more."""
        first = self.trials.get(self.history[0].canary) if self.history else None
        return None if first is None else first.baseline

    @property
    def taken_back(self) -> PromotedBaseline | None:
        """The baseline that was taken back last; None if another one was promoted since."""
        if not self.history or self.history[-1].withdrawn is None:
            return None
        withdrawn = [(each.withdrawn.at, each) for each in self.history if each.withdrawn is not None]
        return max(withdrawn, key=lambda each: each[0])[1]

    def _in_force(self) -> Iterator[PromotedBaseline]:
        return (each for each in reversed(self.history) if each.withdrawn is None)

    @property
    def open(self) -> Mapping[str, BegunTrial]:
        """The trials that are there."""
        return {name: each for name, each in self.trials.items() if each.left_at is None}

    @property
    def kept(self) -> frozenset[str]:
        """The canaries whose states stay: the trials, and whose candidate is the baseline."""
        newest = self.baseline
        return frozenset(self.open) | ({newest.canary} if newest is not None else frozenset())

    @property
    def based(self) -> Mapping[str, BegunTrial]:
        """The trials that are there with the promoted baseline in force as theirs: they end when it is taken
        back."""
        newest = self.baseline
        return {
            name: each
            for name, each in self.open.items()
            if newest is not None and name != newest.canary and each.baseline == newest.arm
        }

    def leaving(self, states: Mapping[str, str]) -> list[str]:
        """The trials that leave in these states: those that have ended, and those that are over and would
        leave their users another arm than the baseline that was promoted last."""
        return [
            name for name in self.open if (state := states.get(name)) in OVER and self._leaves(name, state)
        ]

    def _leaves(self, name: str, state: str | None) -> bool:
        newest = self.baseline
        if state == "ended" or newest is None or name == newest.canary:
            return state == "ended"
        return state == "promoted" or self.trials[name].baseline != newest.arm

    def without(self, names: Sequence[str], at: float) -> "Standing":
        """After these trials have left."""
        left = {name: replace(self.trials[name], left_at=at) for name in names}
        return replace(self, trials={**self.trials, **left})

    def withdrawn(self, canary: str, run: int, withdrawal: Withdrawal) -> "Standing":
        """After the baseline that this run brought was taken back."""
        history = [
            replace(each, withdrawn=withdrawal)
            if (each.canary, each.run) == (canary, run) and each.withdrawn is None
            else each
            for each in self.history
        ]
        return replace(self, history=history)

    def forgetting(self, before: float) -> "Standing":
        """After the texts of arms that nobody can go back to since this UTC second: of trials that left, and
        of baselines that were taken back. Their files' names stay. `revert` reaches the first baseline."""
        first = self.history[0].canary if self.history else None
        trials = {
            name: replace(
                each,
                baseline=each.baseline if name == first else _named(each.baseline),
                candidate=_named(each.candidate),
            )
            if each.left_at is not None and each.left_at < before
            else each
            for name, each in self.trials.items()
        }
        history = [
            replace(each, arm=_named(each.arm))
            if each.withdrawn is not None and each.withdrawn.at < before
            else each
            for each in self.history
        ]
        return replace(self, trials=trials, history=history)


def _named(arm: ArmDocument) -> ArmDocument:
    """The arm with its files' names in place of their texts."""
    return {**arm, **{key: _files(arm[key]) for key in ("prompt", "tools") if arm.get(key)}}


def _files(texts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: each["file"] if isinstance(each, Mapping) else each for key, each in texts.items()}


_TAKEN_OVER = ("request", "prompt", "tools")


def taken_over(baseline: ArmDocument, own: ArmDocument) -> ArmDocument:
    """What the next candidate has of the baseline in force, beside its `own` keys, so that only the model
    differs: the texts, the request at the same provider entry, and the name where it is all as the baseline
    has it."""
    found = {key: baseline[key] for key in _TAKEN_OVER if baseline.get(key) and key not in own}
    if own.get("provider") != baseline.get("provider"):
        found.pop("request", None)
    is_whole = found.keys() == {key for key in _TAKEN_OVER if baseline.get(key) or key in own}
    if found and is_whole and "name" in baseline and "name" not in own:
        found["name"] = baseline["name"]
    return found


def in_its_place(name: str, trials: Iterable[str]) -> str:
    """What to say to who names a standing canary where one with a candidate is meant."""
    known = ", ".join(trials)
    instead = f"name its trial ({known})" if known else f"begin one: canary begin {name} --model MODEL"
    return f"{name} is standing, and only its trials have a candidate: {instead}"
