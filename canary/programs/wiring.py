"""Turns a config into what the rooms take. The only place that knows both sides."""

from collections.abc import Mapping

from canary.config import CanaryConfig, Config
from proxy.breaker import Breaker
from proxy.provider import Provider, Timeout
from proxy.routes import Lane, Routes, Trial
from routing.canary import ArmName, definition

_OF_REPEATS = ("session_repeats", "repeat_question")
"""The metrics that need to know when a question is asked again."""


def routes(config: Config, breakers: Mapping[str, Breaker]) -> Routes:
    """The proxy's routes; a canary that was there before keeps its breaker."""
    trials = [_trial(each, config.providers, breakers) for each in config.canaries.values()]
    return Routes(config.providers, trials, config.tags)


def _trial(config: CanaryConfig, providers: Mapping[str, Provider], breakers: Mapping[str, Breaker]) -> Trial:
    canary = config.canary
    return Trial(
        canary=canary,
        definition=definition(canary),
        baseline=_lane(config, "baseline", providers, config.baseline_timeout),
        candidate=_lane(config, "candidate", providers, config.candidate_timeout),
        mirror=config.mirror,
        capture=config.capture,
        counts_repeats=any(row.metric in _OF_REPEATS for row in config.rubric),
        breaker=breakers.get(canary.name) or Breaker(),
    )


def _lane(
    config: CanaryConfig, name: ArmName, providers: Mapping[str, Provider], timeout: Timeout | None
) -> Lane:
    arm = config.canary.arm(name)
    provider = providers[arm.provider]
    return Lane(
        arm=name,
        provider=provider,
        model=arm.model,
        timeout=timeout or provider.timeout,
        key=f"{config.canary.name}/{name}",
    )
