"""Samples exchanges and examples evenly over categories. Pure: the ids are the source of randomness."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from bench.dataset import Dataset
from bench.example import PATHS, Example, Task
from bench.kinds import KIND, Kind
from bench.labelling import accepted, ambiguous, edited, proposed
from records.capture import Capture, CapturedMessage, WireRequest
from records.labels import Label

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
    request to an operation that benchmarks do not ask, nor of an earlier version's capture."""
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
