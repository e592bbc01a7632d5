"""The LLM requests of the last hour that no canary took, by model, or in no lane. For people."""

from collections import Counter
from typing import Any

from control.events import WorkerEvents
from records.unmatched import MOST_MODELS, REST, is_llm_request

MINUTES = 60
MOST_SHOWN = 10

_Minute = tuple[Counter[str], Counter[str]]
"""One minute's requests: those that match a canary, by the canary that took them, "" for no lane; and the
others, by model."""


class UnmatchedTraffic:
    """Counts by minute, in bounded memory."""

    def __init__(self) -> None:
        self._minutes: dict[int, _Minute] = {}

    def take(self, events: WorkerEvents) -> None:
        """Count these events."""
        for each in events.unmatched:
            matched, models = self._minute(each.minute)
            if each.no_lane:
                matched[""] += each.requests
                continue
            known = each.model in models or len(models) < MOST_MODELS
            models[each.model if known else REST] += each.requests
        for group in events.alike:
            one = group[0]
            if one.canary and is_llm_request(one):
                for minute, requests in Counter([int(each.at // 60) for each in group]).items():
                    self._minute(minute)[0][one.canary] += requests

    def document(self, now: float) -> dict[str, Any]:
        """The figures at UTC second `now`. `share` is None without requests; those of `no_lane` are not in
        `requests`, since canaries match them."""
        newest = int(now // 60)
        recent = [each for minute, each in self._minutes.items() if newest - MINUTES < minute <= newest]
        models = sum((each[1] for each in recent), Counter[str]())
        requests = models.total()
        of = requests + sum(each[0].total() for each in recent)
        rest = models.pop(REST, 0)
        shown = models.most_common(MOST_SHOWN)
        return {
            "requests": requests,
            "of": of,
            "share": requests / of if of else None,
            "no_lane": sum(each[0][""] for each in recent),
            "models": [{"model": model, "requests": count} for model, count in shown],
            "rest": rest + models.total() - sum(count for _, count in shown),
        }

    def snapshot(self) -> list[Any]:
        """The counts as JSON types."""
        return [[minute, dict(taken), dict(models)] for minute, (taken, models) in self._minutes.items()]

    def restore(self, document: list[Any]) -> None:
        """Continue from a snapshot."""
        self._minutes = {minute: (Counter(taken), Counter(models)) for minute, taken, models in document}

    def _minute(self, minute: int) -> _Minute:
        found = self._minutes.setdefault(minute, (Counter(), Counter()))
        if len(self._minutes) > MINUTES:
            del self._minutes[next(iter(self._minutes))]
        return found
