"""Builds the proxy's routes from a config."""

from collections.abc import Mapping
from dataclasses import replace

from alerts.rules.rule import DEFAULT_RULES
from canary.config import Config
from control.settings import CanarySettings
from proxy.answers.quota import QuotaMeter
from proxy.calls.routes import ArmTarget, Routes, StandingRoute, Trial
from proxy.network.upstream.breaker import CandidateBreaker
from proxy.providers.arm_texts import texts_of
from routing.canary import NO_CHANGES, ArmName, definition

ARMS: tuple[ArmName, ...] = ("baseline", "candidate")
_OF_REPEATS = ("session_repeats", "repeat_question")
"""The metrics that count repeated questions."""


def routes(config: Config, before: Mapping[str, Trial]) -> Routes:
    """The proxy's routes. A canary that existed before keeps its breaker, and what is known of its quota."""
    trials = [_trial(config, each, before.get(each.canary.name)) for each in config.canaries.values()]
    standing = [
        StandingRoute(
            name=name,
            arm=each.terms.canary.baseline,
            trials=tuple(each.begun.open),
            match=each.terms.canary.match,
            baseline=replace(_target(config, each.terms, "baseline"), standing=name),
            capture=each.terms.capture,
        )
        for name, each in config.standing.items()
    ]
    return Routes(config.providers, trials, config.tags, config.captures, standing, config.texts)


def _trial(config: Config, settings: CanarySettings, before: Trial | None) -> Trial:
    canary = settings.canary
    baseline, candidate = (_target(config, settings, arm) for arm in ARMS)
    if canary.baseline.text_parts == canary.candidate.text_parts:  # one look at a request for both
        candidate = replace(candidate, texts=baseline.texts)
    texts = dict.fromkeys((baseline.texts, candidate.texts))
    return Trial(
        canary=canary,
        definition=definition(canary),
        baseline=baseline,
        candidate=candidate,
        prompts=tuple(each for each in texts if each is not None and each.find),
        mirror=settings.mirror,
        capture=settings.capture,
        redact=config.redact if settings.capture is None else settings.capture.redact,
        counts_repeats=_counts_repeats(settings),
        breaker=CandidateBreaker() if before is None else before.breaker,
        quota=QuotaMeter() if before is None else before.quota,
    )


def _counts_repeats(settings: CanarySettings) -> bool:
    """True when a row of the rubric or a list of guardrails asks for it: each question's hash is stored."""
    default = settings.guardrails[: len(DEFAULT_RULES)] == DEFAULT_RULES  # those of critical parts follow
    listed = () if default else settings.guardrails
    names = {row.metric for row in settings.judged.criteria} | {rule.rule for rule in listed}
    return not names.isdisjoint(_OF_REPEATS)


def _target(config: Config, settings: CanarySettings, name: ArmName) -> ArmTarget:
    canary = settings.canary
    arm = canary.arm(name)
    provider = config.providers[arm.provider]
    return ArmTarget(
        arm=name,
        provider=provider,
        model=arm.model,
        request=arm.request or NO_CHANGES,
        texts=texts_of(arm, config.texts),
        timeout=config.arm_timeouts.get((canary.name, name), provider.timeout),
        key=f"{canary.name}/{name}",
        patience_s=config.patience.get(canary.name) if name == "candidate" else None,
    )
