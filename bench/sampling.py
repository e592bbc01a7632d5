"""Which of many exchanges, or examples, are taken, and how. Pure: chance comes from their own ids."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.dataset import Dataset
from bench.example import Example, Task
from bench.labelling import LABEL, PROPOSED, accepted, ambiguous, edited
from records.capture import Capture, Said
from records.labels import Label


def sample(captures: Iterable[Capture], size: int, there_are: Iterable[Example] = ()) -> list[Capture]:
    """At most `size` of them, as evenly over their categories as there are enough: a rare category is taken
    whole before a common one gets more. What was asked before, in examples that `there_are` too, is left out,
    and what was cut short.

    The same captures give the same sample.
    """
    groups: dict[str, list[Capture]] = {}
    asked = {_asked(each.messages) for each in there_are}
    for each in sorted(captures, key=_draw):
        text = _asked(each.messages)
        usable = not each.truncated and each.messages and each.messages[-1].role == "user"
        if usable and text not in asked:
            asked.add(text)
            groups.setdefault(each.about.category, []).append(each)
    wanted = shares({name: len(group) for name, group in groups.items()}, size)
    chosen = [each for name, group in groups.items() for each in group[: wanted[name]]]
    return sorted(chosen, key=lambda each: (each.about.category, each.about.at, each.about.exchange_id))


def shares(there_are: Mapping[str, int], size: int) -> dict[str, int]:
    """How many of each category, at most `size` in all: the rarest first, each an even part of the rest."""
    left, found = size, {}
    for place, name in enumerate(sorted(there_are, key=lambda name: (there_are[name], name))):
        found[name] = min(there_are[name], left // (len(there_are) - place))
        left -= found[name]
    return found


def part_of(dataset: Dataset, size: int) -> Dataset:
    """At most `size` scored examples of a dataset, evenly over its categories: the same ones each time."""
    groups: dict[str, list[Example]] = {}
    for each in sorted(dataset.scored, key=lambda each: each.hash):
        groups.setdefault(each.category, []).append(each)
    wanted = shares({name: len(group) for name, group in groups.items()}, size)
    chosen = {each.hash for name, group in groups.items() for each in group[: wanted[name]]}
    return replace(dataset, examples=tuple(each for each in dataset.examples if each.hash in chosen))


def line(
    capture: Capture, task: Task, found: Label | None = None, other: str | None = None
) -> dict[str, Any]:
    """A dataset's line: the exchange's own answer is proposed as what is right, for somebody to look at.

    Where somebody has, at it beside the candidate's answer (`other`), what they `found` is the label.
    Exchanges of a session are one piece of evidence.
    """
    about = capture.about
    proposed: dict[str, Any] = {
        "id": about.exchange_id,
        "task": task,
        "input": [{"role": each.role, "content": each.content} for each in capture.messages],
        "expected": capture.answer,
        "tags": {**about.tags, LABEL: PROPOSED},
    }
    if about.category:
        proposed["category"] = about.category
    if about.session:
        proposed["document"] = about.session
    match found.right if found is not None else None:
        case "baseline" | "both":
            return accepted(proposed)
        case "candidate" if other is not None:
            return edited(proposed, other)
        case "unclear":
            return ambiguous(proposed)
    return proposed


def _asked(messages: Sequence[Said]) -> str:
    return json.dumps([[said.role, said.content] for said in messages])


def _draw(capture: Capture) -> str:
    return hashlib.sha256(capture.about.exchange_id.encode()).hexdigest()
