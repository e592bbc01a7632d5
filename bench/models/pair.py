"""Finds the two models of a benchmark from the command line and the config."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from bench.errors import BenchError
from bench.settings import BenchRubric, BenchSettings, joined
from proxy.providers.arm_texts import ArmTexts, texts_of
from proxy.providers.provider import Provider
from routing.canary import Arm, Canary, RequestChanges, arm_names


class AmbiguousModel(BenchError):
    """A model's name is ambiguous; the message says what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """A model at a configured provider. `arm`: what it is as a canary's arm, by default the model alone, with
    its `texts`, None without any."""

    provider: Provider
    model: str
    as_arm: Arm | None = None
    texts: ArmTexts | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return f"{self.provider.name}/{self.model}"

    @property
    def arm(self) -> Arm:
        return self.as_arm or Arm(provider=self.provider.name, model=self.model)

    @property
    def request(self) -> RequestChanges:
        """How its requests differ."""
        return self.arm.request

    @property
    def differs(self) -> list[object]:
        """How its requests differ as an arm; a model without texts of its own has its changes alone."""
        return [self.request.document(), *([str(self.arm.text_parts)] if self.arm.text_parts else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPair:
    """The current model and the candidate (None: only the current model), and the canary whose arms they are,
    if any."""

    baseline: NamedModel
    candidate: NamedModel | None
    canary: Canary | None = None

    @property
    def names(self) -> tuple[str, str | None]:
        """The baseline's and the candidate's, as releases have them."""
        if self.candidate is None:
            return self.baseline.name, None
        return arm_names(*(each.arm for each in (self.baseline, self.candidate)))


def pair(settings: BenchSettings, model: str | None, against: str | None) -> ModelPair:
    """The models of `canary bench MODEL --against CURRENT`; without MODEL only the current model.

    CURRENT defaults to the baseline of the canary that tries MODEL, else to the model that the users of all
    canaries have now: the baseline, or what was promoted. Raises AmbiguousModel.
    """
    trying = _trying(settings, model)
    if against is not None:
        baseline = named(settings, against)
    else:
        arms = [canary.baseline for canary in trying] or [_now(settings, each) for each in settings.canaries]
        baseline = _current(settings, arms)
    if model is None:
        return ModelPair(baseline=baseline, candidate=None)
    if not trying:
        return ModelPair(baseline=baseline, candidate=_next(settings, model, baseline))
    candidates = {canary.candidate.provider: _arm(settings, canary.candidate) for canary in trying}
    if len(candidates) > 1:
        raise _ambiguous(model, candidates)
    for canary in reversed(trying):
        current = _arm(settings, canary.baseline)
        if current.name == baseline.name:
            return ModelPair(baseline=current, candidate=_arm(settings, canary.candidate), canary=canary)
    return ModelPair(baseline=baseline, candidate=candidates.popitem()[1])


def _next(settings: BenchSettings, model: str, baseline: NamedModel) -> NamedModel:
    """A model that no canary tries: as the standing canary with this baseline would begin it, or alone."""
    alone = named(settings, model, at=baseline.provider)
    terms = [
        each.candidate
        for each in settings.canaries
        if not each.candidate.model
        and each.candidate.provider == alone.provider.name
        and _arm(settings, each.baseline).name == baseline.name
    ]
    return _arm(settings, replace(terms[-1], model=alone.model)) if terms and not alone.arm.words else alone


def terms_of(settings: BenchSettings, pair: ModelPair) -> BenchRubric:
    """The terms of the candidate's own canary; without one, of all canaries whose users have that baseline,
    or had it; without any in the file, of those that promoted it and have left the file."""
    if pair.candidate is None:
        return joined(())
    trying = [
        each for each in settings.canaries if _arm(settings, each.candidate).name == pair.candidate.name
    ]
    same = [each for each in trying or settings.canaries if _is_baseline(settings, each, pair)]
    chosen = (same or trying)[-1:] if trying else same
    if not chosen:
        named_so = (pair.baseline.provider.name, pair.baseline.model)
        left = (
            each for each in settings.promoted.values() if (each.arm.provider, each.arm.model) == named_so
        )
        return joined(each.terms for each in left)
    return joined(settings.terms[each.name] for each in chosen if each.name in settings.terms)


def without_terms(settings: BenchSettings, pair: ModelPair) -> str:
    """That the config's rubrics are of other current models, so none is judged by; "" if one is."""
    stated = any(each.decides for each in settings.terms.values())
    if pair.candidate is None or not stated or terms_of(settings, pair).decides:
        return ""
    return f"no canary has {pair.baseline.name} as its current model: no rubric, no critical category judged"


def _is_baseline(settings: BenchSettings, canary: Canary, pair: ModelPair) -> bool:
    arms = (canary.baseline, _now(settings, canary))
    return pair.baseline.name in (_arm(settings, arm).name for arm in arms)


def _now(settings: BenchSettings, canary: Canary) -> Arm:
    """What the canary's users have once no candidate is tried."""
    return canary.candidate if canary.name in settings.promoted else canary.baseline


def named(settings: BenchSettings, text: str, at: Provider | None = None) -> NamedModel:
    """Parse PROVIDER/MODEL or MODEL. An arm's model is asked as the last canary with that arm asks it, as a
    baseline if it is one. MODEL alone is at the provider `at`, and at those of the arms with that model;
    without any of these, at any provider. Raises AmbiguousModel if these are several."""
    provider, slash, model = text.partition("/")
    if slash and provider in settings.providers:
        return _at(settings, provider, model)
    places = [arm.provider for arm in _arms(settings) if arm.model == text]
    places += [at.name] if at is not None else []
    found = list(dict.fromkeys(places)) or list(settings.providers)
    if len(found) > 1:
        raise _ambiguous(text, found)
    return _at(settings, found[0], text)


def _at(settings: BenchSettings, provider: str, model: str) -> NamedModel:
    same = [arm for arm in _arms(settings) if (arm.provider, arm.model) == (provider, model)]
    return _arm(settings, same[-1] if same else Arm(provider=provider, model=model))


def _ambiguous(model: str, providers: Iterable[str]) -> AmbiguousModel:
    return AmbiguousModel(
        f"{model} is ambiguous; write {' or '.join(f'{name}/{model}' for name in providers)}"
    )


def _trying(settings: BenchSettings, model: str | None) -> list[Canary]:
    """The canaries with this candidate."""
    return [
        canary
        for canary in settings.canaries
        if model in (canary.candidate.model, f"{canary.candidate.provider}/{canary.candidate.model}")
    ]


def _current(settings: BenchSettings, arms: Sequence[Arm]) -> NamedModel:
    """The model that all these arms have."""
    baselines = {_arm(settings, arm).name for arm in arms}
    if len(baselines) != 1:
        names = ", ".join(sorted(baselines)) or "the config has no canary"
        raise AmbiguousModel(f"name the current model with --against ({names})")
    return named(settings, baselines.pop())


def _arms(settings: BenchSettings) -> list[Arm]:
    """All arms, the baselines last: a model alone is what users have."""
    candidates = [canary.candidate for canary in settings.canaries]
    both = [*candidates, *(canary.baseline for canary in settings.canaries)]
    return [arm for arm in both if arm.model]  # a standing canary's candidate has none yet


def _arm(settings: BenchSettings, arm: Arm) -> NamedModel:
    texts = texts_of(arm, settings.texts)
    return NamedModel(provider=settings.providers[arm.provider], model=arm.model, as_arm=arm, texts=texts)
