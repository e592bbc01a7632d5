"""Which models a report compares."""

from dataclasses import dataclass

from routing.canary import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmModel:
    """One arm's provider entry and model."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmModels:
    """Both arms'."""

    baseline: ArmModel
    candidate: ArmModel


def models_of(baseline: Arm | None, candidate: Arm | None) -> ArmModels | None:
    """The models of these arms; None unless both are known."""
    if baseline is None or candidate is None:
        return None
    return ArmModels(baseline=_model(baseline), candidate=_model(candidate))


def _model(arm: Arm) -> ArmModel:
    return ArmModel(provider=arm.provider, model=arm.model)
