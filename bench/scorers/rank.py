"""`rank`: an order of texts against the expected order."""

import json
import re
from collections.abc import Iterator
from itertools import combinations

from bench.example import LETTERS, Example
from bench.scorers.words import bare

_MARK = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):]|\(?[A-Z][.)]\s)\s*")


def rank(example: Example, answer: str) -> float:
    """The share of pairs in the expected order, from 0 (reversed) to 1.

    The answer lists the texts one per line, as a JSON list, or separated by commas or ">"; with choices, also
    by letter. Missing texts come last and tie with each other; a tied pair is not in order.
    """
    place = {text: number for number, text in reversed(list(enumerate(order(example, answer))))}
    pairs = list(combinations(example.expected, 2))
    end = len(example.expected)
    return sum(place.get(first, end) < place.get(second, end) for first, second in pairs) / len(pairs)


def order(example: Example, answer: str) -> list[str]:
    """The expected texts that the answer names, in its order."""
    names = {bare(text): text for text in example.expected}
    names |= {
        letter.casefold(): choice
        for letter, choice in zip(LETTERS, example.choices, strict=False)
        if letter.casefold() not in names
    }
    best: list[str] = []
    for parts in _splits(answer):
        found = [names[said] for part in parts if (said := bare(part)) in names]
        if len(found) > len(best):
            best = found
    return best


def _splits(answer: str) -> Iterator[list[str]]:
    start, end = answer.find("["), answer.rfind("]")
    if 0 <= start < end:
        try:
            listed = json.loads(answer[start : end + 1])
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list):
            yield [str(item) for item in listed]
    lines = [_MARK.sub("", line) for line in answer.splitlines()]
    yield lines
    for line in [*lines, answer]:
        for mark in (",", ">", ";", "→"):
            yield line.split(mark)
