"""A preflight's result in words: one line, or all of it for a terminal or a page."""

from collections.abc import Iterator

from bench.preflight.result import PreflightResult, RefusalKind, UnansweredRequests, named
from routing.canary import RequestChanges


def sentence(result: PreflightResult, *, failed: bool) -> str:
    """What came of it in one line. `failed`: the canary must not start by itself."""
    if result.unsent:
        return f"preflight_failed: {result.unsent}"
    if result.refused_share is None:
        why = _message(result.unanswered[0]) if result.unanswered else "nothing was asked"
        return f"not preflighted: {why}"
    if not failed:
        return f"preflight: {_headline(result)}"
    counts = f"{result.refused} of {result.asked} requests refused"
    says = f"preflight_failed: {counts}: {_refusal(result.refusals[0])}"
    return f"{says}; {result.source}" if result.source else says


def text(result: PreflightResult) -> str:
    """The whole result."""
    return "\n".join([_headline(result), *_details(result)])


def _headline(result: PreflightResult) -> str:
    """The result in one line, with what was asked."""
    counts = f"{result.taken} of {result.asked} requests taken, {result.refused} refused"
    failed = result.asked - result.taken - result.refused
    says = f"{result.canary}: {counts}" + (f", {failed} not answered" if failed else "")
    return f"{says}; {result.source}" if result.source else says


def _details(result: PreflightResult) -> Iterator[str]:
    for refusal in result.refusals:
        yield f"✗ {refusal.count} × {_refusal(refusal)}"
        yield from (f"    {line}" for line in _cure(refusal))
    for each in result.unanswered:
        yield f"! {each.count} × {each.operation}: {_message(each)}"
    yield from (f"  {note}" for note in result.notes)


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
