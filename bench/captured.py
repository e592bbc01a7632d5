"""Captured exchanges of the current model, as material for datasets."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from bench import sampling
from bench.example import Example, Task
from bench.kinds import Kind, Kinds
from bench.minimal import chat_path
from bench.weights import shares
from bench.wires import WIRES
from proxy.provider import Api
from records.capture import Capture, WireRequest
from records.capture import source as capture_source
from records.capture_store import CaptureStore
from records.labels import Label, Labels
from records.store import Store
from routing.canary import Canary

MOST_LOOKED_AT = 200
"""Captures of other canaries and models that are looked at for requests which a canary would take."""

_IN_PATH = re.compile(r"/models?/([^/:]+)")
"""Where Gemini and Bedrock have the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """An exchange, its label, and the candidate's answer to its mirror copy."""

    capture: Capture
    label: Label | None
    other: str | None

    def line(self, task: Task, kind: Kind | None = None) -> dict[str, Any]:
        """The exchange as a line of a dataset."""
        return sampling.line(self.capture, task, self.label, self.other, kind)


def captured(store: Store, name: str, *, since: float) -> Iterator[Captured]:
    """The current model's exchanges since `since` (UTC seconds), of the canary `name`, else of all canaries
    NAME-…, else of the model `name`. After a promotion the candidate is the current model. Raises StoreDown.
    """
    states = {canary: known.state.state for canary, known in store.states().items()}
    canaries = canaries_of(name, states)
    for canary in canaries or [name]:
        current = "candidate" if states.get(canary) == "promoted" else "baseline"
        for each in _of(store, canary, since):
            if (each.capture.about.served_by or each.capture.about.arm) == current:
                yield each
    for source in () if canaries else (capture_source("", name), *states):
        yield from (each for each in _of(store, source, since) if each.capture.about.model == name)


def canaries_of(name: str, canaries: Collection[str]) -> list[str]:
    """The canary of that name, or else all canaries NAME-…."""
    return [name] if name in canaries else [each for each in canaries if each.startswith(f"{name}-")]


def lines_of(
    found: Iterable[Captured], size: int, task: Task, existing: Iterable[Example] = (), *, at: float
) -> list[dict[str, Any]]:
    """A sample of at most `size` of these exchanges as a dataset's lines, each with its kind of input and the
    day (UTC) on which it was sampled; `at` in UTC seconds."""
    exchanges = {each.capture.about.exchange_id: each for each in found}
    captures = [each.capture for each in exchanges.values()]
    kinds = Kinds(captures, shares(captures))
    chosen = sampling.sample(captures, size, existing)
    sampled = {"sampled": datetime.fromtimestamp(at, UTC).date().isoformat()}
    return [exchanges[each.about.exchange_id].line(task, kinds.of(each)) | sampled for each in chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedRequest:
    """A captured request that can be sent again. `source`: of which canary, or model without one, it was.
    `whole`: False for a capture of an earlier version, which only has its messages."""

    request: WireRequest
    source: str
    whole: bool = True


def newest_requests(store: Store, canary: Canary, api: Api, *, limit: int) -> list[CapturedRequest]:
    """The newest captured requests of a canary; if they are fewer than `limit`, also others that it would
    take: those of earlier canaries, and of models without one. Raises StoreDown."""
    captures = CaptureStore(store)
    found = captures.newest([canary.name], limit)
    if len(found) < limit:
        others = captures.newest([each for each in captures.sources() if each != canary.name], MOST_LOOKED_AT)
        found += [each for each in others if _takes(canary, each)][: limit - len(found)]
    return [
        CapturedRequest(
            request=each.request or _of_messages(each, api, canary.baseline.model),
            source=each.about.canary or f"{each.about.model} without a canary",
            whole=each.request is not None,
        )
        for each in found
    ]


def described(asked: Sequence[CapturedRequest]) -> str:
    """Which requests these are: `the 3 newest captured requests were asked, redacted: 2 of trial, 1 of …`."""
    counts = Counter(each.source for each in asked)
    whose = ", ".join(f"{count} of {name}" for name, count in counts.items())
    return f"the {len(asked)} newest captured requests were asked, redacted: {whose}"


def _takes(canary: Canary, capture: Capture) -> bool:
    """True for a request of another canary, or of none, that this canary would take. What its headers were is
    not known, so a canary that matches by headers takes none."""
    request, about = capture.request, capture.about
    if request is None or about.provider != canary.baseline.provider:
        return False
    path = request.path.partition("?")[0]
    named = _IN_PATH.search(path)
    model = named[1] if named is not None else msgspec.json.decode(request.body).get("model")
    return canary.match.accepts(model=str(model), path=path, headers={}, tags=about.tags)


def _of_messages(capture: Capture, api: Api, model: str) -> WireRequest:
    _, body = WIRES[api].asks(model, capture.messages, {})
    return WireRequest(path=chat_path(api, model), body=msgspec.json.encode(body).decode())


def _of(store: Store, canary: str, since: float) -> Iterator[Captured]:
    captures, labels = CaptureStore(store), Labels(store).of(canary)
    pairs = captures.pairs(canary, since=since) if labels else iter(())
    others = {real.about.exchange_id: copy.answer for real, copy in pairs}
    for capture in captures.read(canary, since=since):
        id_ = capture.about.exchange_id
        yield Captured(capture=capture, label=labels.get(id_), other=others.get(id_))
