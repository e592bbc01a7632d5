"""A preflight's result as text for a terminal or a page."""

from collections.abc import Iterator

from bench.preflight.result import Preflight, RefusalKind
from routing.request_changes import RequestChanges


def text(result: Preflight) -> str:
    """The whole result."""
    return "\n".join([headline(result), *_details(result)])


def headline(result: Preflight) -> str:
    """The result in one line, with what was asked."""
    counts = f"{result.taken} of {result.asked} requests taken, {result.refused} refused"
    failed = result.asked - result.taken - result.refused
    says = f"{result.canary}: {counts}" + (f", {failed} not answered" if failed else "")
    return f"{says}; {result.source}" if result.source else says


def _details(result: Preflight) -> Iterator[str]:
    for refusal in result.refusals:
        yield f"✗ {refusal.count} × {refusal.sentence}"
        yield from (f"    {line}" for line in _cure(refusal))
    for each in result.unanswered:
        yield f"! {each.count} × {each.operation}: {each.words}"
    yield from (f"  {note}" for note in result.notes)


def _cure(refusal: RefusalKind) -> Iterator[str]:
    """The lines that would cure a refusal, and what came when it was asked again with them."""
    if not refusal.request:
        yield "the refusal names no member of the request that `request:` could rename or remove"
        return
    yield "the candidate needs:"
    yield "request:"
    yield from (f"  {line}" for line in yaml_lines(refusal.request))
    for said in refusal.then:
        yield f"asked again with the lines before, it said: {said}"
    yield "asked again with these lines: " + ("taken" if refusal.cured else "still not taken")


def yaml_lines(changes: RequestChanges) -> Iterator[str]:
    """The lines below `request:` in the config."""
    if changes.rename:
        pairs = ", ".join(f"{old}: {new}" for old, new in changes.rename)
        yield f"rename: {{{pairs}}}"
    if changes.remove:
        yield f"remove: [{', '.join(changes.remove)}]"
