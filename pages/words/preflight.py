"""A preflight's result in words: one line, or all of it for a terminal or a page."""

from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from bench.preflight.result import PreflightNote, PreflightResult, RefusalKind, UnansweredRequests, named
from routing.canary import RequestChanges


def sentence(result: PreflightResult, *, failed: bool) -> str:
    """What came of it in one line. `failed`: the canary must not start by itself."""
    if result.unsent:
        return f"preflight_failed: {result.unsent}"
    if result.prompt is not None and result.prompt.too_few:
        return f"preflight_failed: {_prompt(result)}"
    if result.refused_share is None:
        why = _message(result.unanswered[0]) if result.unanswered else "nothing was asked"
        return "; ".join(filter(None, (f"not preflighted: {why}", _prompt(result))))
    if not failed:
        return f"preflight: {_headline(result)}"
    counts = f"{result.refused} of {result.asked} requests refused"
    says = [f"{counts}: {_refusal(result.refusals[0])}"] if result.refusals else []
    if result.main_unanswered:
        says.insert(0, f"{result.unanswered[0].operation}: {_message(result.unanswered[0])}")
    return f"preflight_failed: {'; '.join(filter(None, (*says, _source(result))))}"


def text(result: PreflightResult) -> str:
    """The whole result."""
    return "\n".join([_headline(result), *_details(result)])


def _headline(result: PreflightResult) -> str:
    """The result in one line, with what was asked."""
    if not result.asked:
        return "; ".join(filter(None, (f"{result.canary}: nothing was asked", _prompt(result))))
    counts = f"{result.taken} of {result.asked} requests taken, {result.refused} refused"
    failed = result.asked - result.taken - result.refused
    says = f"{result.canary}: {counts}" + (f", {failed} not answered" if failed else "")
    return "; ".join(filter(None, (says, _source(result), _prompt(result))))


def _prompt(result: PreflightResult) -> str:
    """How many requests have the text of the arms' prompts; "" where no arm has its own."""
    found = result.prompt
    if found is None:
        return ""
    if not found.looked_at:
        return "no request is captured, so nobody could look whether they have the text of `prompt.find`"
    kind = "requests" if result.captured is None else "captured requests"
    return f"{found.have} of {found.looked_at} {kind} have the text of `prompt.find`"


def _details(result: PreflightResult) -> Iterator[str]:
    """Each trouble: the main operation's first."""
    refused, unanswered = _refusals(result.refusals), _unanswered(result.unanswered)
    yield from (*unanswered, *refused) if result.main_unanswered else (*refused, *unanswered)
    yield from (f"  {_note(note)}" for note in result.notes)


def _refusals(found: Sequence[RefusalKind]) -> Iterator[str]:
    for refusal in found:
        yield f"✗ {refusal.count} × {_refusal(refusal)}"
        yield from (f"    {line}" for line in _cure(refusal))
        yield from _ids(refusal)


def _unanswered(found: Sequence[UnansweredRequests]) -> Iterator[str]:
    for each in found:
        what = f"{each.count} × {each.operation}: " if each.count else ""
        yield f"! {what}{_message(each)}"
        yield from _ids(each)


def _ids(found: RefusalKind | UnansweredRequests) -> Iterator[str]:
    if found.request_ids:
        yield f"    the provider's request ids: {', '.join(found.request_ids)}"


def _refusal(found: RefusalKind) -> str:
    """`/chat/completions: 400 Unsupported parameter: 'seed' (code unsupported_parameter, param seed)`."""
    return f"{found.operation}: {found.status} {_message(found)}"


def _message(found: RefusalKind | UnansweredRequests) -> str:
    """The provider's message, with its code, type and param."""
    details = ", ".join(f"{name} {value}" for name, value in named(found.error).items() if value)
    return f"{found.message} ({details})" if details else found.message


def _cure(refusal: RefusalKind) -> Iterator[str]:
    """The lines that would cure a refusal, and what came when it was asked again with them."""
    if not refusal.request:
        yield "the refusal names no member of the request that `request:` could rename or remove"
        return
    yield "the candidate needs:"
    yield "request:"
    yield from (f"  {line}" for line in _yaml(refusal.request))
    for said in refusal.then:
        yield f"asked again with the lines before, it said: {said}"
    yield "asked again with these lines: " + ("taken" if refusal.cured else "still not taken")


def _yaml(changes: RequestChanges) -> Iterator[str]:
    """The lines below `request:` in the config."""
    if changes.rename:
        pairs = ", ".join(f"{old}: {new}" for old, new in changes.rename)
        yield f"rename: {{{pairs}}}"
    if changes.remove:
        yield f"remove: [{', '.join(changes.remove)}]"


def _source(result: PreflightResult) -> str:
    """Which requests were asked; "" for a person's own file."""
    if result.captured is None:
        return ""
    if not result.captured:
        return "no captured request to ask, so one minimal request of each operation was asked"
    whose = ", ".join(f"{count} of {name}" for name, count in result.captured.items())
    asked = sum(result.captured.values())
    return f"the {asked} newest captured requests were asked, redacted: {whose}"


def _note(found: PreflightNote) -> str:
    match found.kind:
        case "foreign_state":
            return f"{found.count} that carry state of the baseline's account do not count"
        case "both_refuse":
            return f"{found.operation} does not count: the baseline refuses it too ({found.message})"
        case "others_work":
            return f"{found.operation} does not count: not taken ({found.message}), and others work"
        case "not_compared":
            said = f"not taken ({found.message}), and the baseline cannot be asked"
            return f"{found.operation} does not count: {said}"
    assert_never(found.kind)


def document(result: PreflightResult) -> dict[str, Any]:
    """The contract's JSON. `source`, `failed` and `notes` only stand there when there is something to say."""
    document: dict[str, Any] = {
        "canary": result.canary,
        "asked": result.asked,
        "taken": result.taken,
        "refused": result.refused,
        "refusals": [_refused(each) for each in result.refusals],
    }
    if result.unanswered:
        document["failed"] = [
            {
                "operation": each.operation,
                **named(each.error),
                "message": each.message,
                "count": each.count,
                **({"request_ids": list(each.request_ids)} if each.request_ids else {}),
            }
            for each in result.unanswered
        ]
    if result.prompt is not None:
        document["prompt"] = {"have": result.prompt.have, "looked_at": result.prompt.looked_at}
    if source := _source(result):
        document["source"] = source
    return document | ({"notes": list(map(_note, result.notes))} if result.notes else {})


def _refused(refusal: RefusalKind) -> dict[str, Any]:
    document = {
        "operation": refusal.operation,
        "status": refusal.status,
        **named(refusal.error),
        "message": refusal.message,
        "count": refusal.count,
        "request": {"rename": dict(refusal.request.rename), "remove": list(refusal.request.remove)},
    }
    if refusal.request_ids:
        document["request_ids"] = list(refusal.request_ids)
    if refusal.cured is not None:
        document["asked_again"] = {"taken": refusal.cured, "refused": list(refusal.then)}
    return document
