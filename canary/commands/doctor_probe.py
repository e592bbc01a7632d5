"""`canary doctor --probe`: the findings about the requests that it sends to each arm."""

from collections.abc import Mapping
from contextlib import closing

import uvloop

from bench.preflight.run import ProbeAnswer, ProbedArm, probe
from canary.commands.doctor_findings import Check, Diagnosis, broken, fine, warning
from canary.config import Config
from canary.programs.wiring import routes
from proxy.providers.credentials import Credentials

WITHIN_S = 120.0


def probes(config: Config, environment: Mapping[str, str]) -> dict[str, Check]:
    """The check that asks the providers of all canaries."""

    def check() -> list[Diagnosis]:
        with closing(Credentials.ready(config.providers.values())) as credentials:
            arms = uvloop.run(probe(routes(config, {}), credentials, environment))
        return [each for arm in arms for each in _findings(arm)]

    return {"probe": check} if config.canaries else {}


def _findings(arm: ProbedArm) -> list[Diagnosis]:
    check = f"probe {arm.canary} {arm.arm}"
    if arm.no_key:
        return [warning(check, f"{arm.model} cannot be probed", arm.no_key)]
    return [_finding(check, arm.model, each) for each in arm.answers]


def _finding(check: str, model: str, answer: ProbeAnswer) -> Diagnosis:
    reply = answer.reply
    status = f" {reply.status}" if reply.status is not None else ""
    says = f"{model} {reply.operation}:{status} {reply.message}".rstrip()
    if reply.taken:
        return fine(check, f"{says} ({reply.took_s * 1e3:.0f} ms)")
    if not answer.needed:
        return fine(check, f"{says}; no fault, because the other arm does not take it either")
    return broken(
        check, says, "fix the arm's model or `request:`, or its provider's base_url, api_key or account"
    )
