"""`canary doctor --probe`: the findings about the requests that it sends to each arm."""

import asyncio
from collections.abc import Mapping

from bench.probe import ProbeAnswer, ProbedArm, probe
from canary.commands.doctor_findings import Check, Diagnosis, broken, fine, warning
from canary.config import Config

WITHIN_S = 120.0


def probes(config: Config, environment: Mapping[str, str]) -> dict[str, Check]:
    """A check for each canary, which asks its providers."""
    return {f"probe {name}": _probing(config, name, environment) for name in config.canaries}


def _probing(config: Config, name: str, environment: Mapping[str, str]) -> Check:
    def check() -> list[Diagnosis]:
        arms = asyncio.run(probe(config.bench, config.canaries[name].canary, environment))
        return [each for arm in arms for each in _findings(f"probe {name} {arm.arm}", arm)]

    return check


def _findings(check: str, arm: ProbedArm) -> list[Diagnosis]:
    if arm.no_key:
        return [warning(check, f"{arm.model} cannot be probed", arm.no_key)]
    return [_finding(check, arm.model, each) for each in arm.answers]


def _finding(check: str, model: str, answer: ProbeAnswer) -> Diagnosis:
    says = f"{model} {answer.operation}: {answer.status or ''} {answer.said}".replace("  ", " ").rstrip()
    if answer.accepted:
        return fine(check, f"{says} ({answer.took_s * 1e3:.0f} ms)")
    if not answer.needed:
        return fine(check, f"{says}; the candidate is not asked, because the baseline refuses it")
    return broken(check, says, "fix the arm's model, or its provider's base_url, api_key or account")
