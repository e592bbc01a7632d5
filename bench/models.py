"""Finds the two models of a benchmark from the command line and the config."""

from dataclasses import dataclass

from bench.settings import BenchSettings
from proxy.provider import Provider
from routing.canary import Arm, Canary


class UnknownModel(Exception):
    """The current model is ambiguous; the message says what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """A model at a configured provider."""

    provider: Provider
    model: str

    @property
    def name(self) -> str:
        return f"{self.provider.name}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The current model and the candidate (None: only the current model), and the canary whose arms they are,
    if any."""

    baseline: NamedModel
    candidate: NamedModel | None
    canary: Canary | None = None


def pair(settings: BenchSettings, model: str | None, against: str | None) -> Pair:
    """The models of `canary bench MODEL --against CURRENT`; without MODEL only the current model.

    CURRENT defaults to the baseline of the canary that tries MODEL, else to the baseline that all canaries
    share. Raises UnknownModel.
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
    """Parse PROVIDER/MODEL or MODEL. MODEL alone is at the provider `at`, else at the provider of an arm with
    that model, else at the first provider."""
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
    """The canary with this candidate, the last one in the file."""
    for canary in reversed(settings.canaries):
        candidate = canary.candidate
        if model in (candidate.model, f"{candidate.provider}/{candidate.model}"):
            return canary
    return None


def _current(settings: BenchSettings) -> NamedModel:
    baselines = {_arm(settings, canary.baseline).name for canary in settings.canaries}
    if len(baselines) != 1:
        names = ", ".join(sorted(baselines)) or "the config has no canary"
        raise UnknownModel(f"name the current model with --against ({names})")
    return named(settings, baselines.pop())


def _arms(settings: BenchSettings) -> list[Arm]:
    return [arm for canary in settings.canaries for arm in (canary.baseline, canary.candidate)]


def _arm(settings: BenchSettings, arm: Arm) -> NamedModel:
    return NamedModel(provider=settings.providers[arm.provider], model=arm.model)
