"""promptfoo's assertions as tasks of a dataset. What has no scorer is named with the reason.

equals a text                          exact (which ignores case, spacing, punctuation at the ends)
equals an object                       extract
contains, icontains, -any, -all,       regex; those of one test together, each of which must hold,
starts-with, regex, and not-… of them  as promptfoo has them: case counts but in icontains
is-json, with or without a schema      json
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.imported import SourcePlace

_CODE = "it runs code, which an import never does"
_MODEL = "a model judges it: write an example of the task `judge`, with what a good answer says"
_MEASURED = "every benchmark measures it: see the rubric's rows"
_NO_SCORER = "canary has no scorer for it"
_WHY = {
    **dict.fromkeys(("javascript", "python", "ruby", "webhook"), _CODE),
    **dict.fromkeys(
        (
            *("llm-rubric", "factuality", "g-eval", "answer-relevance", "model-graded-closedqa", "pi"),
            *("model-graded-factuality", "select-best", "max-score", "context-recall", "context-relevance"),
            *("context-faithfulness", "conversation-relevance", "search-rubric", "moderation", "guardrails"),
        ),
        _MODEL,
    ),
    **dict.fromkeys(("latency", "cost"), _MEASURED),
}
_PATTERNS = (
    *("contains", "contains-any", "contains-all", "icontains", "icontains-any", "icontains-all"),
    *("starts-with", "regex"),
)
_WITHOUT_SCORER = (
    *("similar", "levenshtein", "rouge-n", "bleu", "gleu", "meteor", "perplexity", "perplexity-score"),
    *("contains-json", "contains-xml", "contains-sql", "contains-html", "is-xml", "is-sql", "is-html"),
    *("is-valid-function-call", "is-valid-openai-function-call", "is-valid-openai-tools-call"),
    *("tool-call-f1", "classifier", "word-count", "finish-reason", "is-refusal"),
)
TYPES = frozenset(("equals", "is-json", *_PATTERNS, *_WHY, *_WITHOUT_SCORER))
"""The types that a cell of a CSV file may begin with. Any other text is what the answer equals."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """One assertion with its values filled in."""

    place: SourcePlace
    type: str
    value: Any


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An assertion that no task can score, and why."""

    what: str
    why: str


def left_out(assertion: Assertion, *, transformed: bool) -> LeftOut | None:
    """Why an assertion cannot be imported; None if it can."""
    kind = assertion.type.removeprefix("not-")
    what = f"assertion `{assertion.type}`"
    if transformed:
        return LeftOut(what, "it transforms the answer first")
    if isinstance(assertion.value, str) and assertion.value.startswith("file://"):
        return LeftOut(what, "its value is in another file")
    if kind in _PATTERNS or (assertion.type == "is-json" and _is_schema(assertion.value)):
        return None
    if assertion.type == "equals":
        return LeftOut(what, "its value is a list") if isinstance(assertion.value, list) else None
    return LeftOut(what, _WHY.get(kind, _NO_SCORER))


def _is_schema(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def expectations(assertions: Sequence[Assertion]) -> Iterator[tuple[str, Any]]:
    """Each task with what it expects: one for all patterns together. Raises BadImport."""
    patterns = [each for each in assertions if each.type.removeprefix("not-") in _PATTERNS]
    if patterns:
        yield "regex", _together(patterns)
    for each in assertions:
        if each.type == "equals":
            yield _equal(each)
        elif each.type == "is-json":
            yield "json", each.value or {}


def _equal(assertion: Assertion) -> tuple[str, Any]:
    value = assertion.value
    if isinstance(value, dict) and value:
        return "extract", value
    return "exact", _text(assertion.place, value)


def _together(assertions: Sequence[Assertion]) -> str:
    """One pattern that matches where every assertion holds."""
    parts = [(each.type.startswith("not-"), pattern) for each in assertions for pattern in _patterns_of(each)]
    if len(parts) == 1 and not parts[0][0]:
        return parts[0][1]
    looks = (f"(?{'!' if negated else '='}(?s:.*?)(?:{pattern}))" for negated, pattern in parts)
    return rf"\A{''.join(looks)}"


def _patterns_of(assertion: Assertion) -> list[str]:
    kind = assertion.type.removeprefix("not-")
    if kind == "regex":
        return [_regex(assertion)]
    texts = [
        _cased(kind, re.escape(each)) for each in _texts(assertion, several=kind.endswith(("-any", "-all")))
    ]
    if kind == "starts-with":
        return [rf"\A{texts[0]}"]
    if not kind.endswith("-all"):
        return [texts[0] if len(texts) == 1 else f"(?:{'|'.join(texts)})"]
    if assertion.type.startswith("not-"):  # not all of them
        return [rf"\A{''.join(f'(?=(?s:.*?){each})' for each in texts)}"]
    return texts


def _cased(kind: str, pattern: str) -> str:
    return f"(?i:{pattern})" if kind.startswith("icontains") else pattern


def _regex(assertion: Assertion) -> str:
    pattern = _text(assertion.place, assertion.value)
    try:
        re.compile(pattern)
    except re.error as problem:
        raise assertion.place.at(".value").problem(
            f"is not a regular expression that Python can read ({problem}); write it as Python's `re` does"
        ) from problem
    return pattern


def _texts(assertion: Assertion, *, several: bool) -> list[str]:
    value = assertion.value
    if not several:
        return [_text(assertion.place, value)]
    values = [each.strip() for each in value.split(",")] if isinstance(value, str) else value
    if not isinstance(values, list) or not values:
        raise assertion.place.at(".value").problem(f"must be a list of texts for `{assertion.type}`")
    return [_text(assertion.place, each) for each in values]


def _text(place: SourcePlace, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str) or not value:
        raise place.at(".value").problem("must be a text that the answer is compared with")
    return value
