"""promptfoo's assertions as tasks of a dataset. What has no scorer is named with the reason.

equals a text                          exact (which ignores case, spacing, punctuation at the ends)
equals an object                       extract
contains, icontains, -any, -all,       regex; those of one test together, each of which must hold,
starts-with, regex, and not-… of them  as promptfoo has them: case counts but in icontains. A `regex`
                                       with groups or flags is an example of its own
is-json, with or without a schema      json
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.dataset.imports.imported import SourcePlace, texts_in

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
SCORED = frozenset(("equals", "is-json", *_PATTERNS))
TYPES = SCORED | {*_WHY, *_WITHOUT_SCORER}
"""The types that a cell of a CSV file may begin with. Any other text is what the answer equals."""


_FLAGS = re.compile(r"\(\?([aiLmsux]+)\)")


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A pattern for `re`. One that is `alone` would mean something else within another: it has groups with
    numbers and perhaps names, or flags for the whole of it."""

    text: str
    negated: bool
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Assertion:
    """One assertion with its values filled in."""

    place: SourcePlace
    type: str
    value: Any


@dataclass(frozen=True, slots=True)
class LeftOutAssertion:
    """An assertion that no task can score, and why."""

    what: str
    why: str


def left_out(assertion: Assertion, *, transformed: bool) -> LeftOutAssertion | None:
    """Why an assertion cannot be imported; None if it can."""
    kind = assertion.type.removeprefix("not-")
    what = f"assertion `{assertion.type}`"
    if transformed:
        return LeftOutAssertion(what, "it transforms the answer first")
    if any(each.startswith("file://") for each in texts_in(assertion.value)):
        return LeftOutAssertion(what, "its value is in another file")
    if kind in _PATTERNS:
        return None
    if assertion.type == "is-json":
        return None if _is_schema(assertion.value) else LeftOutAssertion(what, "its schema is not a mapping")
    if assertion.type == "equals":
        return LeftOutAssertion(what, "its value is a list") if isinstance(assertion.value, list) else None
    return LeftOutAssertion(what, _WHY.get(kind, _NO_SCORER))


def _is_schema(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def expectations(assertions: Sequence[Assertion]) -> Iterator[tuple[str, Any]]:
    """Each task with what it expects: one for all patterns that can be joined. Raises BadImport."""
    patterns = [pattern for each in assertions for pattern in _patterns_of(each)]
    alone = [each for each in patterns if each.alone]
    for one in alone:
        yield "regex", _together([one])
    if together := [each for each in patterns if not each.alone]:
        yield "regex", _together(together)
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


def _together(patterns: Sequence[_Pattern]) -> str:
    """One pattern that matches where each of these does, or does not if it is negated."""
    if len(patterns) == 1 and not patterns[0].negated:
        return patterns[0].text
    looks = (f"(?{'!' if each.negated else '='}(?s:.*?)(?:{each.text}))" for each in patterns)
    return rf"\A{''.join(looks)}"


def _patterns_of(assertion: Assertion) -> list[_Pattern]:
    negated, kind = assertion.type.startswith("not-"), assertion.type.removeprefix("not-")
    if kind not in _PATTERNS:
        return []
    if kind == "regex":
        return [_regex(assertion, negated=negated)]
    return [_Pattern(text, negated) for text in _pattern_texts(assertion, kind, negated=negated)]


def _pattern_texts(assertion: Assertion, kind: str, *, negated: bool) -> list[str]:
    texts = [
        _cased(kind, re.escape(each)) for each in _texts(assertion, several=kind.endswith(("-any", "-all")))
    ]
    if kind == "starts-with":
        return [rf"\A{texts[0]}"]
    if not kind.endswith("-all"):
        return [texts[0] if len(texts) == 1 else f"(?:{'|'.join(texts)})"]
    if negated:  # not all of them
        return [rf"\A{''.join(f'(?=(?s:.*?){each})' for each in texts)}"]
    return texts


def _cased(kind: str, pattern: str) -> str:
    return f"(?i:{pattern})" if kind.startswith("icontains") else pattern


def _regex(assertion: Assertion, *, negated: bool) -> _Pattern:
    text, at = _text(assertion.place, assertion.value), assertion.place.at(".value")
    try:
        groups = re.compile(text).groups
    except (re.error, RecursionError, OverflowError) as problem:
        raise at.problem(
            f"is not a regular expression that Python can read ({problem}); write it as Python's `re` does"
        ) from problem
    flags = _FLAGS.match(text)
    if flags and negated:
        raise at.problem(f"begins with {flags[0]}; write (?{flags[1]}:…) around what follows it")
    return _Pattern(text, negated, alone=bool(groups or flags))


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
