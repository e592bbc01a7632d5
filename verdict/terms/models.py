"""Which models a report compares."""

from dataclasses import dataclass

from routing.canary import Arm, arm_names


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmModel:
    """One arm's provider entry and model; `request` is its request in words where the other arm has the same
    model."""

    provider: str
    model: str
    request: str = ""

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}{f' · {self.request}' if self.request else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmModels:
    """Both arms'."""

    baseline: ArmModel
    candidate: ArmModel


def models_of(baseline: Arm | None, candidate: Arm | None) -> ArmModels | None:
    """The models of these arms; None unless both are known."""
    if baseline is None or candidate is None:
        return None
    names = arm_names(baseline, candidate)
    ours, theirs = (_model(arm, name) for arm, name in zip((baseline, candidate), names, strict=True))
    return ArmModels(baseline=ours, candidate=theirs)


def _model(arm: Arm, name: str) -> ArmModel:
    return ArmModel(provider=arm.provider, model=arm.model, request=name.partition(" · ")[2])


# The vendor family of a model, by how vendors name their models.


_BEGINNINGS = {
    "openai": ("gpt-", "chatgpt", "o1", "o3", "o4", "text-embedding-", "ft:gpt", "davinci"),
    "anthropic": ("claude",),
    "google": ("gemini", "gemma", "palm"),
    "meta": ("llama", "meta-llama"),
    "mistral": ("mistral", "mixtral", "codestral", "ministral", "magistral", "pixtral"),
    "qwen": ("qwen", "qwq"),
    "deepseek": ("deepseek",),
    "xai": ("grok",),
    "cohere": ("command", "c4ai"),
    "amazon": ("nova", "titan"),
    "microsoft": ("phi-",),
}


def vendor(model: str, provider: str) -> str:
    """The vendor family by the model's name (also by the part after a slash, as in `meta-llama/llama-3`),
    else the provider entry's name."""
    name = model.lower()
    for part in (name, name.rpartition("/")[2], name.partition(".")[2]):
        for family, beginnings in _BEGINNINGS.items():
            if part and part.startswith(beginnings):
                return family
    return provider.lower()
