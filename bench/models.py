"""Which two models a benchmark compares, by what a person wrote and what the config says."""

from dataclasses import dataclass

from bench.settings import BenchSettings
from proxy.provider import Provider
from routing.canary import Arm, Canary


class UnknownModel(Exception):
    """What was asked for cannot be told from the config; the message says what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """A model at an entry of the settings."""

    provider: Provider
    model: str

    @property
    def name(self) -> str:
        return f"{self.provider.name}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The current model and the candidate (None: the current one alone), and the canary whose arms they are,
    if there is one."""

    baseline: NamedModel
    candidate: NamedModel | None
    canary: Canary | None = None


def pair(settings: BenchSettings, model: str | None, against: str | None) -> Pair:
    """The models that `canary bench MODEL --against CURRENT` means; without MODEL the current one alone.

    Without CURRENT it is the baseline of the canary that tries MODEL, or of all canaries if they have the
    same. Raises UnknownModel.
    """
    canary = _trying(settings, model)
    if against is not None:
        baseline = named(settings, against)
    elif canary is not None:
        baseline = _arm(settings, canary.baseline)
    else:
        baseline = _current(settings)
    if model is None:
        return Pair(baseline=baseline, candidate=None)
    if canary is None:
        return Pair(baseline=baseline, candidate=named(settings, model, at=baseline.provider))
    candidate = _arm(settings, canary.candidate)
    same = baseline == _arm(settings, canary.baseline)
    return Pair(baseline=baseline, candidate=candidate, canary=canary if same else None)


def named(settings: BenchSettings, text: str, at: Provider | None = None) -> NamedModel:
    """A model as a person writes it: PROVIDER/MODEL, or MODEL alone at the entry `at`, else at that of an arm
    which has it, else at the first."""
    provider, slash, model = text.partition("/")
    if slash and provider in settings.providers:
        return NamedModel(provider=settings.providers[provider], model=model)
    if at is not None:
        return NamedModel(provider=at, model=text)
    for arm in _arms(settings):
        if arm.model == text:
            return _arm(settings, arm)
    return NamedModel(provider=next(iter(settings.providers.values())), model=text)


def _trying(settings: BenchSettings, model: str | None) -> Canary | None:
    """The canary whose candidate this is; the last in the file is the newest."""
    for canary in reversed(settings.canaries):
        candidate = canary.candidate
        if model in (candidate.model, f"{candidate.provider}/{candidate.model}"):
            return canary
    return None


def _current(settings: BenchSettings) -> NamedModel:
    baselines = {_arm(settings, each.baseline).name for each in settings.canaries}
    if len(baselines) != 1:
        there_are = ", ".join(sorted(baselines)) or "no canary has one"
        raise UnknownModel(f"name the current model with --against ({there_are})")
    return named(settings, baselines.pop())


def _arms(settings: BenchSettings) -> list[Arm]:
    return [arm for each in settings.canaries for arm in (each.baseline, each.candidate)]


def _arm(settings: BenchSettings, arm: Arm) -> NamedModel:
    return NamedModel(provider=settings.providers[arm.provider], model=arm.model)
