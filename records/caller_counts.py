"""Counts of each caller's requests, by how they ended. The proxy sets a caller's name, from the config."""

from collections.abc import Iterable

import msgspec

from records.outcome import Outcome, OutcomeName
from routing.caller import TAG


class CallerCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`requests` of one caller in one batch that ended alike. `refused`: by the proxy itself. `at`: UTC
    seconds of the newest."""

    caller: str
    outcome: OutcomeName
    refused: bool
    requests: int
    at: float


def callers_in(outcomes: Iterable[Outcome]) -> list[CallerCount]:
    """The counts in one batch, without mirror copies, which nobody sent."""
    found: dict[tuple[str, OutcomeName, bool], list[float]] = {}
    for each in outcomes:
        caller = each.tags.get(TAG) if each.tags else None
        if caller and not each.mirror:
            refused = each.outcome == "caller_error" and not each.attempts
            found.setdefault((caller, each.outcome, refused), []).append(each.at)
    return [CallerCount(*key, len(times), max(times)) for key, times in found.items()]
