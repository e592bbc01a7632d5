"""Asks the candidate before any user does: which requests it takes, and which `request:` lines cure the rest.

Each request goes to it once. Of each kind of refusal, requests of different form (their members) are then
asked again with the lines that the refusal suggests, since a provider names one member at a time.
A probe asks both arms of every canary the smallest request of each operation instead.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.errors import NoKey
from bench.preflight.client import ArmClient, ArmReply
from bench.preflight.cure import cure, merged, shape
from bench.preflight.requests import COUNTING, CapturedRequest, minimal_requests, operation_of
from bench.preflight.result import (
    NothingToAsk,
    PreflightNote,
    PreflightResult,
    PromptLook,
    RefusalKind,
    UnansweredRequests,
)
from proxy.attempts.foreign_state import names_state
from proxy.calls.routes import ArmTarget, Routes, Trial
from proxy.providers.arm_texts import ArmTexts
from records.captures.capture import WireRequest
from records.captures.redaction import redacted
from routing.canary import NO_CHANGES, ArmName, RequestChanges

MOST_AT_ONCE = 4
MOST_ROUNDS = 8
"""How often a refused request is asked again, each time with one more line."""

MOST_IDS = 5
"""Request ids of one kind of refusal."""

MOST_SHAPES = 4
"""Requests of different form that are asked again, of each kind of refusal."""

NOT_OFFERED = (400, 404, 405, 422)
"""What providers answer to an operation that a model does not have."""

_VARIES = re.compile(r"\d[\w.-]*|\b\w*(?<=[a-f\d]{12})\b")
"""Numbers and identifiers, which do not make another kind of refusal."""


async def preflight(
    client: ArmClient, requests: Sequence[WireRequest], captured: Mapping[str, int] | None = None
) -> PreflightResult:
    """Ask the candidate each request once; `captured` counts them by source. Raises NothingToAsk."""
    found, notes = _readable(client, await _asked(client, requests))
    operations = Counter(reply.operation for _, reply in found).most_common(1)
    result = await _result(client, found, captured, notes, operations[0][0] if operations else "")
    return replace(result, prompt=prompt_look(client.trial, requests))


async def preflight_of_operations(client: ArmClient) -> PreflightResult:
    """Ask the candidate one minimal request of each operation that the canary can take.

    Without paths in `match`, an operation that it does not take counts if the baseline takes it: a chat model
    has no embeddings. Raises NothingToAsk.
    """
    smallest, notes = _smallest(client), list[PreflightNote]()
    found, main = await _asked(client, list(smallest.values())), next(iter(smallest), "")
    if not client.trial.canary.match.paths:
        found, notes = await _offered(client, found, main)
    return await _result(client, found, {}, notes, main)


async def preflight_of_captured(
    client: ArmClient, captured: Sequence[CapturedRequest], *, most: int
) -> PreflightResult:
    """Ask the candidate at most so many captured requests, or without any one of each operation, and look at
    all of them for the arms' prompts, also where nothing can be asked. Raises NothingToAsk."""
    seen = prompt_look(client.trial, [each.request for each in captured])
    asked = [each for each in captured if client.concerns(each.request)][:most]
    try:
        if not asked:
            return replace(await preflight_of_operations(client), prompt=seen)
        sources = Counter(each.source for each in asked)
        return replace(await preflight(client, [each.request for each in asked], sources), prompt=seen)
    except NothingToAsk as problem:
        if seen is None:
            raise
        return unasked(client.trial, captured, str(problem))


def unasked(trial: Trial, captured: Sequence[CapturedRequest], problem: str) -> PreflightResult:
    """A look for the arms' prompts alone, where the candidate cannot be asked."""
    return PreflightResult(
        canary=trial.canary.name,
        asked=0,
        taken=0,
        captured={},
        unanswered=(UnansweredRequests(operation="", message=problem, count=0),),
        prompt=prompt_look(trial, [each.request for each in captured]),
    )


def prompt_look(trial: Trial, requests: Sequence[WireRequest]) -> PromptLook | None:
    """How many requests have the text in whose place each arm has its own prompt. Captured ones are
    redacted, so they may have it as that leaves it."""
    if not trial.prompts:
        return None
    wanted = [(each, ArmTexts(redacted(each.find, trial.redact))) for each in trial.prompts]
    bodies = [each.body.encode() for each in requests]
    have = sum(all(own.places(body) or left.places(body) for own, left in wanted) for body in bodies)
    return PromptLook(have=have, looked_at=len(bodies))


def _smallest(client: ArmClient) -> Mapping[str, WireRequest]:
    """The smallest request of each operation that the canary can take."""
    entry, canary = client.trial.baseline.provider, client.trial.canary
    wanted = {operation_of(entry.api, path) for path in canary.match.paths}
    model = next(iter(sorted(canary.match.models)), canary.baseline.model)
    return {
        name: request
        for name, request in minimal_requests(entry.api, model, entry.kind).items()
        if (not wanted or name in wanted) and client.concerns(request)
    }


_Found = Sequence[tuple[WireRequest, ArmReply]]


async def _asked(client: ArmClient, requests: Sequence[WireRequest]) -> _Found:
    """Each request with the candidate's reply, a few at once. Raises NothingToAsk."""
    if not requests:
        raise NothingToAsk("there is no request to ask; give a file of them with --from")
    try:
        client.need_credential(client.trial.candidate.provider)
    except NoKey as problem:
        raise NothingToAsk(str(problem)) from problem
    room = asyncio.Semaphore(MOST_AT_ONCE)

    async def one(request: WireRequest) -> ArmReply:
        async with room:
            return await client.ask(request, client.trial.candidate)

    return list(zip(requests, await asyncio.gather(*map(one, requests)), strict=True))


def _readable(client: ArmClient, found: _Found) -> tuple[_Found, list[PreflightNote]]:
    """The replies without refusals of state that only the baseline's account can read, and a note of
    those: in traffic the baseline is asked then."""
    if client.trial.shares_state:
        return found, []
    kept = [
        (request, reply)
        for request, reply in found
        if not (reply.refused and names_state(reply.message.encode(), request.body.encode()))
    ]
    left = len(found) - len(kept)
    return kept, [PreflightNote(kind="foreign_state", count=left)] if left else []


async def _offered(client: ArmClient, found: _Found, main: str) -> tuple[_Found, list[PreflightNote]]:
    """The replies without those to operations that the candidate does not take and the baseline refuses too,
    and a note of each. If none were left, all are: then it is not the operation that is refused. No answer to
    the main operation counts in any case."""
    works = any(reply.taken and reply.operation not in COUNTING for _, reply in found)
    counted, notes = [], []
    for request, reply in found:
        note = None
        is_main = reply.operation == main
        unanswered = not (reply.taken or reply.refused or reply.unsent or is_main)
        if reply.status in NOT_OFFERED or unanswered:
            note = await _without_baseline(client, request, reply, works=works, is_main=is_main)
        if note is not None:
            notes.append(note)
        else:
            counted.append((request, reply))
    return (counted, notes) if counted else (found, [])


async def _without_baseline(
    client: ArmClient, request: WireRequest, reply: ArmReply, *, works: bool, is_main: bool
) -> PreflightNote | None:
    """Why an operation that is not taken is none that callers use; None when the baseline takes it, or when
    that cannot be asked about the main operation, and no other one works."""
    operation = reply.operation
    try:
        baseline = await client.ask(request, client.trial.baseline)
    except NoKey:
        if is_main and not works:
            return None
        return PreflightNote(
            kind="others_work" if works else "not_compared", operation=operation, message=reply.message
        )
    note = PreflightNote(kind="both_refuse", operation=operation, message=baseline.message)
    return note if baseline.status in NOT_OFFERED else None


async def _result(
    client: ArmClient,
    found: _Found,
    captured: Mapping[str, int] | None,
    notes: Sequence[PreflightNote],
    main: str,
) -> PreflightResult:
    """What came of the requests, of the main operation first."""
    found = sorted(found, key=lambda each: each[1].operation != main)
    of_main = [reply for _, reply in found if reply.operation == main]
    refused: dict[tuple[object, ...], list[tuple[WireRequest, ArmReply]]] = {}
    broken: dict[tuple[str, str], list[ArmReply]] = {}
    for request, reply in found:
        kind = _VARIES.sub("…", reply.message)
        if reply.refused:
            alike = (reply.operation, reply.status, kind, reply.error.code, reply.error.param)
            refused.setdefault(alike, []).append((request, reply))
        elif not reply.taken:
            broken.setdefault((reply.operation, kind), []).append(reply)
    return PreflightResult(
        canary=client.trial.canary.name,
        asked=len(found),
        taken=sum(reply.taken for _, reply in found),
        captured=captured,
        refusals=tuple([await _explained(client, kind) for kind in refused.values()]),
        unanswered=tuple(
            UnansweredRequests(
                operation=replies[0].operation,
                message=replies[0].message,
                count=len(replies),
                error=replies[0].error,
                unsent=replies[0].unsent,
                request_ids=_ids(replies),
            )
            for replies in broken.values()
        ),
        notes=tuple(notes),
        main_unanswered=bool(of_main) and not any(reply.taken or reply.refused for reply in of_main),
    )


async def _explained(client: ArmClient, kind: _Found) -> RefusalKind:
    """One kind of refusal, after asking again with the lines that its words suggest."""
    first = kind[0][1]
    changes, then = NO_CHANGES, list[str]()
    cured: bool | None = None
    for request, reply in _of_each_shape(kind):
        changes, last, more = await _again(client, request, reply, changes)
        then += more
        if last is not None:
            cured = last.taken and cured is not False
    return RefusalKind(
        operation=first.operation,
        status=first.status or 0,
        message=first.message,
        count=len(kind),
        error=first.error,
        request=changes,
        then=tuple(dict.fromkeys(then)),
        cured=cured,
        request_ids=_ids([reply for _, reply in kind]),
    )


def _ids(replies: Sequence[ArmReply]) -> tuple[str, ...]:
    """The provider's ids of the first requests."""
    return tuple([reply.request_id for reply in replies if reply.request_id][:MOST_IDS])


def _of_each_shape(kind: _Found) -> _Found:
    by_shape = {shape(request.body): (request, reply) for request, reply in kind}
    return list(by_shape.values())[:MOST_SHAPES]


async def _again(
    client: ArmClient, request: WireRequest, reply: ArmReply, changes: RequestChanges
) -> tuple[RequestChanges, ArmReply | None, list[str]]:
    """Ask a refused request again, with one more line each time. Returns all lines, the last reply (None: it
    was not asked again) and the refusals on the way."""
    candidate = client.trial.candidate
    last: ArmReply | None = None
    said: list[str] = []
    for _ in range(MOST_ROUNDS):
        more = merged(changes, cure(reply.said, reply.sent, merged(candidate.request, changes)))
        if more == changes and (last is not None or not changes):
            break
        changes = more
        target = replace(candidate, request=merged(candidate.request, changes))
        last = reply = await client.ask(request, target)
        if not reply.refused:
            break
        said.append(reply.message)
    return changes, last, said


# Sends each arm one minimal request of each operation, and says whether its provider takes it.


PROBE_WITHIN_S = 30.0


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


async def probe(routes: Routes, environment: Mapping[str, str]) -> list[ProbedArm]:
    """Ask both arms of every canary. An arm that several canaries share is asked once.

    The paths of `match` are needed of both arms. Without paths, what one arm takes the other needs; an
    operation that both refuse is none that callers use (a chat model has no embeddings).
    """
    known: dict[object, _Replies] = {}
    found = []
    for trial in routes.trials.values():
        async with ArmClient(routes, trial, environment, within_s=PROBE_WITHIN_S) as client:
            requests, route = _smallest(client), trial.baseline.provider.name
            arms = [
                ((route, each.provider.name, each.model, repr(each.request), each.texts, *requests), each)
                for each in (trial.baseline, trial.candidate)
            ]
            new = {alike: each for alike, each in arms if alike not in known}
            asked = (_replies(client, each, requests.values()) for each in new.values())
            known |= zip(new, await asyncio.gather(*asked), strict=True)
        baseline, candidate = (known[alike] for alike, _ in arms)
        found.append(_probed(trial, trial.baseline, baseline, candidate))
        found.append(_probed(trial, trial.candidate, candidate, baseline))
    return found


async def _replies(client: ArmClient, target: ArmTarget, requests: Iterable[WireRequest]) -> _Replies:
    try:
        replies = await asyncio.gather(*(client.ask(request, target) for request in requests))
    except NoKey as problem:
        return problem
    return {reply.operation: reply for reply in replies}


def _probed(trial: Trial, target: ArmTarget, replies: _Replies, others: _Replies) -> ProbedArm:
    name = f"{target.provider.name}/{target.model}"
    if isinstance(replies, NoKey):
        return ProbedArm(canary=trial.canary.name, arm=target.arm, model=name, no_key=str(replies))
    works = any(each.taken for each in replies.values() if each.operation not in COUNTING)
    main = next(iter(replies.values()), None)
    hangs = main is not None and not (main.taken or main.refused)
    strict = bool(trial.canary.match.paths) or not (works or hangs)
    theirs = {} if isinstance(others, NoKey) else others
    taken = {name for name, each in theirs.items() if each.taken}
    lacking = {name for name, each in theirs.items() if each.status in NOT_OFFERED}
    return ProbedArm(
        canary=trial.canary.name,
        arm=target.arm,
        model=name,
        answers=tuple(
            ProbeAnswer(
                reply=reply,
                needed=strict
                or operation in taken
                or not (reply.status in NOT_OFFERED or operation in lacking),
            )
            for operation, reply in replies.items()
        ),
    )
