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
