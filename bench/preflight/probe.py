"""Sends each arm one minimal request of each operation, and says whether its provider takes it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.models.targets import NoKey
from bench.preflight.client import ArmClient, ArmReply
from bench.preflight.requests import COUNTING, minimal_requests, operation_of
from bench.preflight.run import NOT_OFFERED
from proxy.calls.routes import ArmTarget, Routes, Trial
from proxy.providers.credentials.entries import Credentials
from records.captures.capture import WireRequest
from routing.canary import ArmName

WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """What came to one request. `needed`: a refusal is a fault."""

    reply: ArmReply
    needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedArm:
    """One arm of a canary, and the answers; without a key there are none, and `no_key` says so."""

    canary: str
    arm: ArmName
    model: str
    answers: tuple[ProbeAnswer, ...] = ()
    no_key: str = ""


_Replies = Mapping[str, ArmReply] | NoKey
"""An arm's replies by operation, or why it cannot be asked."""


async def probe(routes: Routes, credentials: Credentials, environment: Mapping[str, str]) -> list[ProbedArm]:
    """Ask both arms of every canary. An arm that several canaries share is asked once.

    The paths of `match` are needed of both arms. Without paths, what one arm takes the other needs; an
    operation that both refuse is none that callers use (a chat model has no embeddings).
    """
    known: dict[object, asyncio.Task[_Replies]] = {}
    found = []
    for trial in routes.trials.values():
        async with ArmClient(routes, trial, credentials, environment) as client:
            requests = {name: each for name, each in _requests(trial).items() if client.concerns(each)}
            tasks = [_once(known, client, target, requests) for target in (trial.baseline, trial.candidate)]
            baseline, candidate = await asyncio.gather(*tasks)
        strict = bool(trial.canary.match.paths)
        found.append(_probed(trial, trial.baseline, baseline, candidate, strict=strict))
        found.append(_probed(trial, trial.candidate, candidate, baseline, strict=strict))
    return found


def _requests(trial: Trial) -> Mapping[str, WireRequest]:
    entry, match = trial.baseline.provider, trial.canary.match
    wanted = {operation_of(entry.api, path) for path in match.paths}
    model = next(iter(sorted(match.models)), trial.canary.baseline.model)
    known = minimal_requests(entry.api, model, entry.kind)
    return {name: request for name, request in known.items() if not wanted or name in wanted}


def _once(
    known: dict[object, asyncio.Task[_Replies]],
    client: ArmClient,
    target: ArmTarget,
    requests: Mapping[str, WireRequest],
) -> asyncio.Task[_Replies]:
    entry, route = target.provider.name, client.trial.baseline.provider.name
    arm = (route, entry, target.model, repr(target.request), tuple(requests))
    if arm not in known:
        known[arm] = asyncio.ensure_future(_replies(client, target, list(requests.values())))
    return known[arm]


async def _replies(client: ArmClient, target: ArmTarget, requests: Sequence[WireRequest]) -> _Replies:
    try:
        replies = await asyncio.gather(
            *(client.ask(request, target, within_s=WITHIN_S) for request in requests)
        )
    except NoKey as problem:
        return problem
    return {reply.operation: reply for reply in replies}


def _probed(
    trial: Trial, target: ArmTarget, replies: _Replies, others: _Replies, *, strict: bool
) -> ProbedArm:
    name = f"{target.provider.name}/{target.model}"
    if isinstance(replies, NoKey):
        return ProbedArm(canary=trial.canary.name, arm=target.arm, model=name, no_key=str(replies))
    works = any(each.taken for each in replies.values() if each.operation not in COUNTING)
    taken = () if isinstance(others, NoKey) else {name for name, each in others.items() if each.taken}
    return ProbedArm(
        canary=trial.canary.name,
        arm=target.arm,
        model=name,
        answers=tuple(
            ProbeAnswer(
                reply=reply,
                needed=strict or not works or reply.status not in NOT_OFFERED or operation in taken,
            )
            for operation, reply in replies.items()
        ),
    )
