"""The LLM requests that do no canary any good: those that match none, are in no lane, name no user, or that
the provider refuses from everybody. Guardrails see none of them. For people.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import msgspec

from alerts.incidents.notice import utc_text
from alerts.pulse import Pulse
from control.feed.events import WorkerEvents
from control.settings import CanarySettings
from records.facts.counts import (
    MOST_LEFT,
    MOST_MODELS,
    OUTSIDE,
    REFUSALS,
    REST,
    Alike,
    is_llm_request,
    troubles_in,
)
from records.facts.metric import Metric
from routing.caller import Caller
from routing.states import State

MINUTES = 60
MOST_SHOWN = 10
RECENT = 10
"""Minutes in which requests are looked at for what is wrong with most of them."""
_BY_NAME, _UNJOINED = "feedback_by_name", "feedback_unjoined"
MANY_VALUES = 20
FEWEST, MOST = 3, 0.5
"""Fewer requests, or a smaller share of them, are not worth a word."""
MANY_MISSED, MOST_MISSED = 100, 0.05
"""From so many requests of an hour on, somebody is told when a larger share misses its prompt."""


AstrayKind = Literal[
    "no_unit",
    "stateful",
    "prompt_missed",
    "caller_not_found",
    "caller_unauthorized",
    "caller_rejected",
    "provider_throttled",
    "unmatched",
    "unjoined",
    "one_sided",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AstrayTraffic:
    """Requests that do a canary no good. `kind`: a reason of `OUTSIDE`, an error type of `REFUSALS`, or
    `unmatched`; or `unjoined`: feedback values about sessions and users of no exchange; or `one_sided`: the
    values of a metric. Doctor says what would help against each.

    `canary` is "" for requests that match none, and for feedback. `entry` is the provider entry that refuses
    them, "" if more than one may. `said` is what the provider says, or which models were asked for: words of
    others, which are not in the sentence.
    """

    kind: AstrayKind
    canary: str
    requests: int
    of: int
    sentence: str
    entry: str = ""
    said: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """As `traffic` of the status has it."""
        return asdict(self)


@dataclass(slots=True)
class _Minute:
    """One minute's requests: those that match a canary, by the canary that took them, "" for no lane; the
    others, by model; and by canary ("" for none) those with each trouble."""

    matched: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    troubles: dict[str, Counter[str]] = field(default_factory=dict)

    def note(self, canary: str, trouble: str, requests: int) -> None:
        self.troubles.setdefault(canary, Counter())[trouble] += requests


class UnmatchedTraffic:
    """Counts by minute, in bounded memory."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives UTC seconds."""
        self._clock = clock
        self._minutes: dict[int, _Minute] = {}
        self._said: dict[str, str] = {}
        """By canary, what its provider said in its newest refusal."""

    def take(self, events: WorkerEvents) -> None:
        """Count these events."""
        for each in events.unmatched:
            minute = self._minute(each.minute)
            for trouble, requests in each.refused.items():
                minute.note("", trouble, requests)
            if each.no_lane:
                minute.matched[""] += each.requests
                continue
            known = each.model in minute.models or len(minute.models) < MOST_MODELS
            minute.models[each.model if known else REST] += each.requests
        for group in events.alike:
            one = group[0]
            if one.canary and is_llm_request(one):
                for at, requests in Counter([int(outcome.at // 60) for outcome in group]).items():
                    self._minute(at).matched[one.canary] += requests
                if one.error_type in REFUSALS or one.reason in OUTSIDE:
                    self._note(group)
        if by_name := sum(not value.exchange_id for value in events.feedback):
            minute = self._minute(int(self._clock() // 60))
            minute.note("", _BY_NAME, by_name)
            minute.note("", _UNJOINED, events.strangers)

    def document(self, now: float) -> dict[str, Any]:
        """The figures at UTC second `now`. `share` is None without requests; those of `no_lane` are not in
        `requests`, since canaries match them."""
        recent = self._since(now, MINUTES)
        models = sum((each.models for each in recent), Counter[str]())
        requests = models.total()
        of = requests + sum(each.matched.total() for each in recent)
        rest = models.pop(REST, 0)
        shown = models.most_common(MOST_SHOWN)
        return {
            "requests": requests,
            "of": of,
            "share": requests / of if of else None,
            "no_lane": sum(each.matched[""] for each in recent),
            "models": [{"model": model, "requests": count} for model, count in shown],
            "rest": rest + models.total() - sum(count for _, count in shown),
        }

    def astray(
        self, now: float, canaries: Mapping[str, CanarySettings], states: Mapping[str, State | None]
    ) -> list[AstrayTraffic]:
        """What is wrong with most requests, of each canary and of those that match none."""
        recent, hour = self._since(now, RECENT), self._since(now, MINUTES)
        found = list(self._refused("", sum(each.models.total() for each in recent), _sum(recent, ""), ""))
        found += self._unjoined(_sum(hour, ""))
        troubled = {name for each in hour for name in each.troubles}
        for name, wanted in canaries.items():
            if name in troubled:
                of, counts = sum(each.matched[name] for each in recent), _sum(recent, name)
                found += self._outside(name, of, counts)
                found += self.prompt_missed(name, now)
                found += self._refused(name, of, counts, wanted.canary.baseline.provider)
            found += self._without_traffic(wanted, states.get(name), now)
        return found

    def _outside(self, name: str, of: int, counts: Counter[str]) -> Iterable[AstrayTraffic]:
        for kind, words in _OUTSIDE.items():
            found = counts[kind]
            if _worth_saying(found, of):
                yield AstrayTraffic(
                    kind=kind,
                    canary=name,
                    requests=found,
                    of=of,
                    sentence=f"{_of(found, of)} {words}",
                )

    def prompt_missed(self, canary: str, now: float) -> list[AstrayTraffic]:
        """That more than one in twenty requests of the last hour had not the text of a prompt."""
        recent = self._since(now, MINUTES)
        of = sum(each.matched[canary] for each in recent)
        found = _sum(recent, canary)["prompt_missed"]
        if of < MANY_MISSED or found <= MOST_MISSED * of:
            return []
        sentence = (
            f"{found:,} of {max(found, of):,} requests of the last hour have not the text of `prompt.find`, "
            "so they go as they came, outside the canary: write the file as your app sends it, line ends "
            "too (docs/arms.md)"
        )
        return [AstrayTraffic(kind="prompt_missed", canary=canary, requests=found, of=of, sentence=sentence)]

    def _unjoined(self, counts: Counter[str]) -> Iterable[AstrayTraffic]:
        found, of = counts[_UNJOINED], counts[_BY_NAME]
        if found:
            yield AstrayTraffic(
                kind="unjoined",
                canary="",
                requests=found,
                of=of,
                sentence=f"{found:,} of {of:,} feedback values by session or user of the last hour have "
                "an id that no exchange had: send the ids that the requests have in x-canary-session or as "
                "the unit (docs/feedback.md)",
            )

    def _refused(self, canary: str, of: int, counts: Counter[str], entry: str) -> Iterable[AstrayTraffic]:
        by = f"provider entry {entry}" if entry else "their provider"
        whose = " that match no canary" if not canary else ""
        for kind, words in _REFUSED.items():
            if _worth_saying(counts[kind], of):
                yield AstrayTraffic(
                    kind=kind,
                    canary=canary,
                    requests=counts[kind],
                    of=of,
                    sentence=f"{_of(counts[kind], of, whose)} {words.format(by=by)}",
                    entry=entry,
                    said=self._said.get(canary, ""),
                )

    def _without_traffic(
        self, wanted: CanarySettings, state: State | None, now: float
    ) -> Iterable[AstrayTraffic]:
        """That a canary that wants users got no request since it began, or for an hour, while others came."""
        if state is None or not state.effective_share or state.started_at is None:
            return
        canary = wanted.canary
        minutes = max(1, min(MINUTES, int((now - state.started_at) // 60)))
        recent = self._since(now, int(now // 60) - int(state.started_at // 60) + 1)  # as clocks count them
        if any(canary.name in each.matched for each in recent):
            return
        models = sum((each.models for each in recent), Counter[str]())
        if models.total() < FEWEST:
            return
        asked = ", ".join(f"{model or 'no model'} ({count:,})" for model, count in models.most_common(3))
        takes = ", ".join(sorted(canary.match.models | canary.match.paths)) or "every model"
        at = f" at the base URL http(s)://HOST:PORT{wanted.base_path}" if wanted.base_path else ""
        long = "a minute" if minutes == 1 else f"{minutes} minutes"
        yield AstrayTraffic(
            kind="unmatched",
            canary=canary.name,
            requests=models.total(),
            of=models.total(),
            sentence=f"no request has reached the canary for {long}, while {models.total():,} matched no "
            f"canary; it takes {takes}{at}",
            said=asked,
        )

    def snapshot(self) -> list[Any]:
        """The counts as JSON types."""
        return [
            [
                minute,
                dict(each.matched),
                dict(each.models),
                {name: dict(at) for name, at in each.troubles.items()},
            ]
            for minute, each in self._minutes.items()
        ]

    def restore(self, document: list[Any]) -> None:
        """Continue from a snapshot."""
        self._minutes = {
            minute: _Minute(
                Counter(matched), Counter(models), {name: Counter(each) for name, each in troubles.items()}
            )
            for minute, matched, models, troubles in document
        }

    def _note(self, group: Alike) -> None:
        for outcome in group:
            for trouble in troubles_in(outcome):
                self._minute(int(outcome.at // 60)).note(outcome.canary, trouble, 1)
                if trouble in REFUSALS and outcome.provider_error is not None:
                    self._said[outcome.canary] = outcome.provider_error.message

    def _since(self, now: float, minutes: int) -> list[_Minute]:
        newest = int(now // 60)
        return [each for minute, each in self._minutes.items() if newest - minutes < minute <= newest]

    def _minute(self, minute: int) -> _Minute:
        found = self._minutes.setdefault(minute, _Minute())
        if len(self._minutes) > MINUTES:
            del self._minutes[next(iter(self._minutes))]
        return found


_OUTSIDE: Mapping[AstrayKind, str] = {
    "no_unit": "name no user, so the baseline serves them, outside the canary: "
    "send the header x-canary-unit, or `user` in the body (docs/sdks.md)",
    "stateful": "name or create state at the baseline's provider entry, so the baseline serves them, outside "
    "the canary: send `store: false` and the conversation itself, or give both arms one entry (docs/sdks.md)",
}

_REFUSED: Mapping[AstrayKind, str] = {
    "caller_not_found": "got 404 from {by}: check how its `base_url` ends (/v1, for instance), and the "
    "models' names",
    "caller_unauthorized": "got 401 or 403 from {by}: check the entry's `api_key`, without one the app's own "
    "key, and what that key may do",
    "caller_rejected": "were refused as invalid by {by}",
    "provider_throttled": "got 429 from {by}: its rate or quota is used up",
}


def _sum(minutes: Iterable[_Minute], canary: str) -> Counter[str]:
    found = Counter[str]()
    for each in minutes:
        found.update(each.troubles.get(canary, {}))
    return found


def _worth_saying(found: int, of: int) -> bool:
    return found >= FEWEST and found > MOST * of


def _of(found: int, of: int, whose: str = "") -> str:
    return f"{found:,} of {max(found, of):,} requests of the last ten minutes{whose}"


def one_sided(canary: str, pulse: Pulse, metrics: Mapping[str, Metric]) -> Iterable[AstrayTraffic]:
    """The opinions of yes or no of which a canary's users have only ever sent one, from the 20th on."""
    for name, metric in metrics.items():
        arms = [arm.ratings[name] for arm in pulse.arms.values() if name in arm.ratings]
        count, yes = sum(each.count for each in arms), sum(each.total for each in arms)
        only = {float(count): "true"} if metric.higher_is_better else {float(count): "true", 0.0: "false"}
        if metric.kind == "bool" and not metric.is_event and count >= MANY_VALUES and yes in only:
            yield AstrayTraffic(
                kind="one_sided",
                canary=canary,
                requests=count,
                of=count,
                sentence=f"only {only[yes]} was ever sent of {name} ({count:,} values): "
                "say `per: user` or `per: session` if your app reports only when it happens",
            )


class CallerFigures(msgspec.Struct):
    """One caller's requests, those of them that the proxy refused, and UTC seconds of the newest; `since`
    when the counting began, that is when the caller came into the config."""

    since: float
    requests: int = 0
    refused: int = 0
    last_seen: float | None = None


class CallerTraffic:
    """Counts by caller, of names that are or were in the config. Who comes back goes on with its counts.

    `clock` gives UTC seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._names: Sequence[str] = ()
        self._figures: dict[str, CallerFigures] = {}

    def configure(self, callers: Sequence[Caller]) -> None:
        """Count for these callers, and keep what was counted for the others."""
        self._names = [each.name for each in callers]
        self._follow(self._figures)

    def take(self, events: WorkerEvents) -> None:
        """Count these events."""
        for each in events.callers:
            if (figures := self._figures.get(each.caller)) is not None:
                figures.requests += each.requests
                figures.refused += each.requests if each.refused else 0
                figures.last_seen = max(figures.last_seen or 0.0, each.at)

    def document(self, callers: Sequence[Caller]) -> dict[str, Any]:
        """Each caller of the config with its figures, in the file's order. `last_seen` is None for one that
        has not been seen."""
        return {"callers": [self._one(each) for each in callers]}

    def snapshot(self) -> dict[str, Any]:
        """The figures as JSON types."""
        return {"by_name": self._figures}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Continue from a snapshot, with the callers of the present config."""
        known = msgspec.convert(document.get("by_name", {}), dict[str, CallerFigures])
        self._follow(self._figures | known)

    def _follow(self, known: Mapping[str, CallerFigures]) -> None:
        """Keep the names of the config. Of the others those that were seen are kept, the newest last."""
        left = [name for name, each in known.items() if name not in self._names and each.requests]
        self._figures = {name: known[name] for name in left[-MOST_LEFT:]}
        self._figures |= {name: known.get(name) or CallerFigures(since=self._clock()) for name in self._names}

    def _one(self, caller: Caller) -> dict[str, Any]:
        figures = self._figures.get(caller.name) or CallerFigures(since=self._clock())
        return {
            "name": caller.name,
            "keys": len(caller.key_sha256),
            "providers": caller.providers and list(caller.providers),
            "models": caller.models and list(caller.models),
            "requests_per_minute": caller.requests_per_minute,
            "requests": figures.requests,
            "refused": figures.refused,
            "since": utc_text(figures.since),
            "last_seen": None if figures.last_seen is None else utc_text(figures.last_seen),
        }
