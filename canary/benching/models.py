"""Which two models a benchmark compares, by what a person wrote and what the config says."""

from dataclasses import dataclass

from canary.config import CanaryConfig, Config
from proxy.provider import Provider
from routing.canary import Arm


class UnknownModel(Exception):
    """What was asked for cannot be told from the config; the message says what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A model at an entry of the config."""

    provider: Provider
    model: str

    @property
    def name(self) -> str:
        return f"{self.provider.name}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The current model and the candidate (None: the current one alone), and the canary whose arms they are,
    if there is one."""

    baseline: Named
    candidate: Named | None
    canary: CanaryConfig | None = None


def pair(config: Config, model: str | None, against: str | None) -> Pair:
    """The models that `canary bench MODEL --against CURRENT` means; without MODEL the current one alone.

    Without CURRENT it is the baseline of the canary that tries MODEL, or of all canaries if they have the
    same. Raises UnknownModel.
    """
    canary = _trying(config, model)
    if against is not None:
        baseline = named(config, against)
    elif canary is not None:
        baseline = _arm(config, canary.canary.baseline)
    else:
        baseline = _current(config)
    if model is None:
        return Pair(baseline=baseline, candidate=None)
    if canary is None:
        return Pair(baseline=baseline, candidate=named(config, model, at=baseline.provider))
    candidate = _arm(config, canary.canary.candidate)
    same = baseline == _arm(config, canary.canary.baseline)
    return Pair(baseline=baseline, candidate=candidate, canary=canary if same else None)


def named(config: Config, text: str, at: Provider | None = None) -> Named:
    """A model as a person writes it: PROVIDER/MODEL, or MODEL alone at the entry `at`, else at that of an arm
    which has it, else at the first."""
    provider, slash, model = text.partition("/")
    if slash and provider in config.providers:
        return Named(provider=config.providers[provider], model=model)
    if at is not None:
        return Named(provider=at, model=text)
    for arm in _arms(config):
        if arm.model == text:
            return _arm(config, arm)
    return Named(provider=next(iter(config.providers.values())), model=text)


def _trying(config: Config, model: str | None) -> CanaryConfig | None:
    """The canary whose candidate this is; the last in the file is the newest."""
    for canary in reversed(list(config.canaries.values())):
        candidate = canary.canary.candidate
        if model in (candidate.model, f"{candidate.provider}/{candidate.model}"):
            return canary
    return None


def _current(config: Config) -> Named:
    baselines = {_arm(config, each.canary.baseline).name for each in config.canaries.values()}
    if len(baselines) != 1:
        there_are = ", ".join(sorted(baselines)) or "no canary has one"
        raise UnknownModel(f"name the current model with --against ({there_are})")
    return named(config, baselines.pop())


def _arms(config: Config) -> list[Arm]:
    return [arm for each in config.canaries.values() for arm in (each.canary.baseline, each.canary.candidate)]


def _arm(config: Config, arm: Arm) -> Named:
    return Named(provider=config.providers[arm.provider], model=arm.model)
