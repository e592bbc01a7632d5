"""Captured exchanges of the current model as a dataset's lines, evenly over categories.

The ids are the source of randomness, so the same captures give the same sample.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from bench.dataset.example import PATHS, Example, Task
from bench.dataset.file import Dataset
from bench.dataset.kinds import KIND, Kind, Kinds
from bench.dataset.labels import accepted, ambiguous, edited, proposed
from bench.dataset.weights import shares
from records.captures.capture import Capture, CapturedMessage, WireRequest, source_of
from records.store import Store
from records.store.captures import CaptureStore, Label, Labels

_WRITTEN = frozenset(
    {"model", "messages", "system", "input", "instructions", "contents", "systemInstruction"}
) | {"system_instruction"}
"""The benchmark writes these itself: the model that it asks, and the example's own messages."""
_STREAMED = frozenset({"stream", "stream_options"})
"""The benchmark reads whole answers."""
_STORED = frozenset({"previous_response_id", "conversation", "container", "cachedContent", "cached_content"})
"""State that only the account which made it can read, and only for a while."""
_CHATS = ("/chat/completions", "/messages", ":generateContent", ":streamGenerateContent")
"""How the paths of the APIs' own chats end."""


def sample(captures: Iterable[Capture], size: int, existing: Iterable[Example] = ()) -> list[Capture]:
    """At most `size` captures, as evenly over categories as possible: a rare category is taken whole before a
    common one gets more. Leaves out truncated captures and repeated questions, also those of `existing`
    examples.

    The same captures give the same sample.
    """
    groups: dict[str, list[Capture]] = {}
    asked = {_text(example.messages) for example in existing}
    for capture in sorted(captures, key=_draw):
        text = _text(capture.messages)
        usable = not capture.truncated and capture.messages and capture.messages[-1].role == "user"
        if usable and text not in asked:
            asked.add(text)
            groups.setdefault(capture.about.category, []).append(capture)
    sizes = even_sizes({name: len(group) for name, group in groups.items()}, size)
    chosen = [capture for name, group in groups.items() for capture in group[: sizes[name]]]
    return sorted(
        chosen,
        key=lambda capture: (capture.about.category, capture.about.at, capture.about.exchange_id),
    )


def even_sizes(available: Mapping[str, int], size: int) -> dict[str, int]:
    """The number to take per category, at most `size` in all: rarest first, each an even part of the rest."""
    left, sizes = size, {}
    for place, name in enumerate(sorted(available, key=lambda name: (available[name], name))):
        sizes[name] = min(available[name], left // (len(available) - place))
        left -= sizes[name]
    return sizes


def part_of(dataset: Dataset, size: int) -> Dataset:
    """At most `size` scored examples of a dataset, evenly over categories, the same ones each time."""
    groups: dict[str, list[Example]] = {}
    for example in sorted(dataset.scored, key=lambda example: example.hash):
        groups.setdefault(example.category, []).append(example)
    sizes = even_sizes({name: len(group) for name, group in groups.items()}, size)
    chosen = {example.hash for name, group in groups.items() for example in group[: sizes[name]]}
    part = tuple(each for each in dataset.examples if each.hash in chosen)
    return replace(dataset, examples=part, whole=len(dataset.scored))


def line(
    capture: Capture,
    task: Task,
    found: Label | None = None,
    other: str | None = None,
    kind: Kind | None = None,
) -> dict[str, Any]:
    """A dataset's line, with the exchange's own answer as the proposed label.

    If a person has compared it with the candidate's answer (`other`), their label (`found`) is used. The
    exchanges of a session form one cluster. The app's own tag `kind` is kept. What else the request had, the
    benchmark asks with.
    """
    about = capture.about
    tags = {**({KIND: kind} if kind else {}), **about.tags}
    by = f"{about.provider}/{about.model}" if about.provider else about.model
    bare: dict[str, Any] = {
        "id": about.exchange_id,
        "task": task,
        "input": [{"role": message.role, "content": message.content} for message in capture.messages],
        "expected": capture.answer,
        "tags": tags,
        **_request(capture.request),
    }
    if about.category:
        bare["category"] = about.category
    if about.session:
        bare["document"] = about.session
    return _reviewed(proposed(bare, capture.answer, by=by, at=about.at), found, other)


def _request(request: WireRequest | None) -> dict[str, Any]:
    """The line's `parameters`, `headers` and `path`, so that the benchmark asks as the app did. Nothing of a
    request to an operation that benchmarks do not ask."""
    path = request.path.partition("?")[0] if request is not None else ""
    if request is None or not (path in PATHS or path.endswith(_CHATS)):
        return {}
    body: dict[str, Any] = msgspec.json.decode(request.body)
    left = _WRITTEN | _STREAMED | _STORED
    members = {name: value for name, value in body.items() if name not in left}
    found = {
        "parameters": members,
        "headers": dict(request.headers),
        "path": path if path in PATHS else "",
    }
    return {name: value for name, value in found.items() if value}


def _reviewed(line: dict[str, Any], found: Label | None, other: str | None) -> dict[str, Any]:
    """The line with the label that a person gave its pair, if that says what is right."""
    if found is None:
        return line
    match found.right:
        case "baseline" | "both":
            return accepted(line, by=found.who, at=found.at)
        case "candidate" if other is not None:
            return edited(line, other, by=found.who, at=found.at)
        case "unclear":
            return ambiguous(line, by=found.who, at=found.at)
    return line


def _text(messages: Sequence[CapturedMessage]) -> str:
    return json.dumps([[message.role, message.content] for message in messages])


def _draw(capture: Capture) -> str:
    return hashlib.sha256(capture.about.exchange_id.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """An exchange, its label, and the candidate's answer to its mirror copy."""

    capture: Capture
    label: Label | None
    other: str | None

    def line(self, task: Task, kind: Kind | None = None) -> dict[str, Any]:
        """The exchange as a line of a dataset."""
        return line(self.capture, task, self.label, self.other, kind)


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
    for source in () if canaries else (source_of("", name), *states):
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
    chosen = sample(captures, size, existing)
    sampled = {"sampled": datetime.fromtimestamp(at, UTC).date().isoformat()}
    return [exchanges[each.about.exchange_id].line(task, kinds.of(each)) | sampled for each in chosen]


def _of(store: Store, canary: str, since: float) -> Iterator[Captured]:
    captures, labels = CaptureStore(store), Labels(store).of(canary)
    pairs = captures.pairs(canary, since=since) if labels else iter(())
    others = {real.about.exchange_id: copy.answer for real, copy in pairs}
    for capture in captures.read(canary, since=since):
        id_ = capture.about.exchange_id
        yield Captured(capture=capture, label=labels.get(id_), other=others.get(id_))
