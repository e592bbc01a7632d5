"""`extract`: fields as JSON, scored by F1. Nested objects and lists are fields by path."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bench.example import Example
from bench.scorers.words import bare

_FENCE = re.compile(r"```(?:json)?[^\S\n]*\n(.*?)```", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)
_MONEY = "$€£¥% "


def extract(example: Example, answer: str) -> float:
    """F1 of the answer's fields: 2·right / (fields given + fields expected); 0 without a JSON object.

    A number is right within the example's relative tolerance, also as text ("1,234.50", "$12"). A text is
    right ignoring case, spacing and surrounding punctuation. A null field counts as absent.
    """
    found = json_object(answer)
    if found is None:
        return 0.0
    expected, said = dict(fields(example.expected)), dict(fields(found))
    right = sum(
        same(expected[path], said[path], example.tolerance or 0.0) for path in expected.keys() & said.keys()
    )
    return 2 * right / (len(expected) + len(said)) if expected or said else 1.0


def json_object(answer: str) -> dict[str, Any] | None:
    """The answer's JSON object: the whole answer, a code fence, or the last object in the text."""
    for text in (answer, *reversed(_FENCE.findall(answer))):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return _inside(answer)


def _inside(answer: str) -> dict[str, Any] | None:
    """The last outermost JSON object in a text."""
    decoder, at, last = json.JSONDecoder(), 0, None
    while (at := answer.find("{", at)) >= 0:
        try:
            found, at = decoder.raw_decode(answer, at)
        except (ValueError, RecursionError):
            at += 1
        else:
            last = found
    return last


def fields(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with its path: `total`, `lines[0].sku`. Null is left out."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from fields(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from fields(each, f"{path}[{place}]")
    elif value is not None:
        yield path, value


def same(expected: Any, said: Any, tolerance: float) -> bool:
    """True if two values are equal, a number within `tolerance`."""
    if isinstance(expected, bool) or isinstance(said, bool):
        return str(expected).casefold() == str(said).casefold()
    if isinstance(expected, str) and isinstance(said, str) and bare(expected) == bare(said):
        return True
    wanted, given = number(expected), number(said)
    if wanted is None or given is None:
        return False
    return abs(given - wanted) <= tolerance * abs(wanted) * (1 + 1e-9)


def number(value: Any) -> float | None:
    """The value as a number, also from a text with thousands separators, a currency or a percent sign."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return None
    text = value.strip(_MONEY)
    return float(text.replace(",", "")) if _NUMBER.fullmatch(text) else None
