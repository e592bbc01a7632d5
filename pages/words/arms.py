"""How two arms' texts differ: as lines for a terminal, and side by side for pages and reports."""

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher, unified_diff
from typing import Any

from common.numbers import count
from pages.words.figures import joined
from records.facts.arm_texts import TextChange

UNKNOWN = "as the app sends it"
"""Stands for a text of the baseline that only the app has."""

_MOST_LINES, _AROUND = 4000, 3
_LEFT_OUT = "⋯"

SideRow = tuple[str, str, str]
"""A line of the baseline's text, "" for none, one of the candidate's, and `same`, `changed` or `left_out`."""


def taken_over(keys: Sequence[str]) -> str:
    """What the next candidate has of a standing baseline, as a sentence's end; "" for nothing."""
    taken = [key for key in keys if key != "name"]
    return f", with the {joined(taken)} of the baseline" if taken else ""


def next_candidate(candidate: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    """What the next candidate of a standing canary has beside its model, and what of it is `taken` over from
    the baseline in force."""
    kept = [_part(key, value) for key, value in taken.items()]
    own = [_part(key, value) for key, value in candidate.items() if key not in ("model", *taken)]
    from_baseline = f"takes over from the baseline in force {joined(kept)}" if kept else "takes over nothing"
    return f"The candidate {from_baseline}; the config gives it {joined(own) or 'nothing else'}."


def in_file(arm: Mapping[str, Any]) -> str:
    """An arm as the config file has it, in words: openai/bot · prompt v8; openai/bot · its prompt."""
    own = [_part(key, arm[key]) for key in ("request", "prompt", "tools") if arm.get(key)]
    differs = arm.get("name") or joined(own)
    return f"{arm['provider']}/{arm['model']}{f' · {differs}' if differs else ''}"


def _part(key: str, value: Any) -> str:
    """its prompt; its request {"temperature": 0.2}; its tools get_order; the name “prompt v8”."""
    if key == "prompt":
        return "its prompt"
    if key == "request":
        return f"its request {json.dumps(value, ensure_ascii=False)}"
    return f"its tools {joined([*value])}" if key == "tools" else f"the {key} “{value}”"


def heading(change: TextChange) -> str:
    """The prompt: 3 lines → 5 lines."""
    before = count(_lines(change.before), "line") if change.before else UNKNOWN
    return f"{change.what[:1].upper()}{change.what[1:]}: {before} → {count(_lines(change.after), 'line')}"


def lines(change: TextChange, before: str, after: str) -> list[str]:
    """The difference as `diff -u` has it, under the names of both texts."""
    if _is_long(change):
        return [_too_long(change)]
    texts = (change.before.splitlines(), change.after.splitlines())
    return list(unified_diff(*texts, before, after, lineterm="", n=_AROUND))


def side_by_side(change: TextChange) -> list[SideRow]:
    """The lines of both texts; of a long run of lines that are the same only its ends."""
    if _is_long(change):
        return [(_too_long(change), "", "left_out")]
    if not change.before:
        return [
            (UNKNOWN if place == 0 else "", line, "changed")
            for place, line in enumerate(change.after.splitlines())
        ]
    before, after = change.before.splitlines(), change.after.splitlines()
    found: list[SideRow] = []
    for kind, left, left_end, right, right_end in SequenceMatcher(None, before, after, False).get_opcodes():
        if kind == "equal":
            found += _same(before[left:left_end], first=left == 0, last=left_end == len(before))
        else:
            found += _changed(before[left:left_end], after[right:right_end])
    return found


def _same(run: Sequence[str], *, first: bool, last: bool) -> Iterator[SideRow]:
    head, tail = 0 if first else _AROUND, 0 if last else _AROUND
    if len(run) <= head + tail + 1:
        head, tail = len(run), 0
    yield from ((line, line, "same") for line in run[:head])
    if left := len(run) - head - tail:
        yield f"{_LEFT_OUT} {count(left, 'line')} alike", "", "left_out"
    yield from ((line, line, "same") for line in run[len(run) - tail :])


def _changed(before: Sequence[str], after: Sequence[str]) -> Iterator[SideRow]:
    for place in range(max(len(before), len(after))):
        left = before[place] if place < len(before) else ""
        yield left, after[place] if place < len(after) else "", "changed"


def _lines(text: str) -> int:
    return len(text.splitlines())


def _is_long(change: TextChange) -> bool:
    return max(_lines(change.before), _lines(change.after)) > _MOST_LINES


def _too_long(change: TextChange) -> str:
    sizes = (f"{len(text):,}" for text in (change.before, change.after))
    return f"too long to compare: {' and '.join(sizes)} characters"
