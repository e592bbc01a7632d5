"""Captured exchanges of the current model, as material for datasets."""

from collections.abc import Collection, Iterable, Iterator
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


def newest_requests(store: Store, canary: Canary, api: Api, *, limit: int) -> list[tuple[WireRequest, bool]]:
    """A canary's newest captured requests, and whether each is whole. Those of earlier versions only have
    their messages. Raises StoreDown."""
    return [
        (each.request or _of_messages(each, api, canary.baseline.model), each.request is not None)
        for each in CaptureStore(store).newest(canary.name, limit)
    ]


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
