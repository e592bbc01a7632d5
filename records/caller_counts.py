"""Counts of each caller's requests, by how they ended. The proxy sets a caller's name, from the config."""

from collections.abc import Iterable
from itertools import product
from typing import get_args

import msgspec
from prometheus_client.core import CounterMetricFamily

from records.outcome import Outcome, OutcomeName
from records.tally import Tally
from routing.caller import TAG

MOST_LEFT = 1000
"""Names that left the config whose counts are kept; then the first of them are forgotten."""

_LABELS = ("caller", "outcome")


class CallerCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`requests` of one caller in one batch that ended alike. `refused`: by the proxy itself. `at`: UTC
    seconds of the newest."""

    caller: str
    outcome: OutcomeName
    refused: bool
    requests: int
    at: float


class CallerTally(Tally):
    """Requests by caller and outcome, of names that are or were in the config. Those that left are not
    shown, and are kept, so that a counter does not fall when they come back."""

    def __init__(self) -> None:
        super().__init__("canary_caller_requests_total", "Requests by caller and outcome", _LABELS)
        self._shown: frozenset[str] = frozenset()

    def show(self, callers: frozenset[str]) -> None:
        """Show these callers, from 0 those that are new."""
        self._shown = callers
        gone = list(dict.fromkeys(caller for caller, _ in self.values if caller not in callers))
        for key in product(gone[: max(0, len(gone) - MOST_LEFT)], get_args(OutcomeName)):
            self.values.pop(key, None)
        for key in product(callers, get_args(OutcomeName)):
            self.add(key, 0.0)

    def count(self, counts: Iterable[CallerCount]) -> None:
        """Count requests; those of unknown names are left out."""
        for each in counts:
            if (key := (each.caller, each.outcome)) in self.values:
                self.add(key, each.requests)

    def family(self) -> CounterMetricFamily:
        """As Prometheus shows it."""
        shown = Tally(self.name, self.help_text, self.labels)
        shown.values = {key: value for key, value in self.values.items() if key[0] in self._shown}
        return shown.family()


def callers_in(outcomes: Iterable[Outcome]) -> list[CallerCount]:
    """The counts in one batch, without mirror copies, which nobody sent."""
    found: dict[tuple[str, OutcomeName, bool], list[float]] = {}
    for each in outcomes:
        caller = each.tags.get(TAG) if each.tags else None
        if caller and not each.mirror:
            refused = each.outcome == "caller_error" and not each.attempts
            found.setdefault((caller, each.outcome, refused), []).append(each.at)
    return [CallerCount(*key, len(times), max(times)) for key, times in found.items()]
