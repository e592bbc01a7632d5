"""Known issues in words: which model has one, since when, in which it is cured, or back."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from common.clock import rfc3339
from pages.words.status import day

if TYPE_CHECKING:  # what asks models takes a while to import
    from bench.known_issues import Mode, ModelWithMode


MOST_IDS = 10
_LONGEST_ID, _SHORT = 24, 8


def short_id(name: str) -> str:
    """The id as people read it: one that canary made, of which an exchange's has 98 characters, by its last
    eight, since they begin alike."""
    return name if len(name) <= _LONGEST_ID else f"…{name[-_SHORT:]}"


def example_ids(ids: Sequence[str]) -> str:
    """The first ten examples, and how many more there are: r-17, …0a1b2c3d and 30 more."""
    return f"{', '.join(map(short_id, ids[:MOST_IDS]))}{more_ids(ids)}"


def more_ids(ids: Sequence[str]) -> str:
    """How many there are beside the first ten; "" for none."""
    return f" and {len(ids) - MOST_IDS} more" if len(ids) > MOST_IDS else ""


def example_address(dataset: str, name: str, model: str) -> str:
    """The page that shows an example, and makes it a known issue of what the model does with it."""
    return f"/issues/new?{urlencode({'example': f'{dataset}:{name}', 'since': model})}"


def became(model: "ModelWithMode") -> str:
    """Back since 2026-11-27, cured 2026-11-25."""
    had = "" if model.had_at is None else day(model.had_at)
    cured = "" if model.cured_at is None else day(model.cured_at)
    match model.state:
        case "has":
            return f"has it, since {had}"
        case "back":
            return f"back since {day(model.since)}" + (f", was cured {cured}" if cured else "")
        case "cured":
            return f"cured {day(model.since)}" + (f", had it from {had}" if had else "")
        case "never":
            return f"never had it, asked {day(model.checked_at)}"
        case "unknown":
            return f"unknown, asked {day(model.checked_at)}" + (f", had it from {had}" if had else "")


def first_seen(mode: "Mode") -> str:
    """First seen in gpt-5.6-terra, told by ann on 2026-11-25."""
    first = mode.examples[0]
    seen = f"first seen in {first.since}, " if first.since else ""
    return f"{seen}told by {first.by} on {first.at}"


def mode_lines(mode: "Mode") -> Iterator[str]:
    """The mode in a terminal: its name, its examples, a line for each model."""
    yield f"{mode.name}  ({first_seen(mode)})"
    if mode.description:
        yield f"  {mode.description}"
    yield f"  examples: {example_ids([each.example.id for each in mode.examples])}"
    for model in mode.models:
        yield f"  {model.model}: {became(model)}"


def mode_document(mode: "Mode") -> dict[str, Any]:
    """The mode as JSON types, times in RFC 3339."""
    return {
        "name": mode.name,
        "description": mode.description,
        "examples": [
            {
                "id": each.example.id,
                "task": each.example.task,
                "since": each.since,
                "at": each.at,
                "by": each.by,
            }
            for each in mode.examples
        ],
        "models": [
            {
                "model": each.model,
                "state": each.state,
                "since": rfc3339(each.since),
                "checked": rfc3339(each.checked_at),
                "had": None if each.had_at is None else rfc3339(each.had_at),
                "cured": None if each.cured_at is None else rfc3339(each.cured_at),
            }
            for each in mode.models
        ],
    }
