"""Imports a dataset of OpenAI Evals: JSON lines of `input` and `ideal`, or the Evals API's `item` with both.

A file does not say how its eval compares an answer with `ideal`, so the caller does:

    starts     the answer starts with it        Evals' `Match`
    contains   the answer contains it           Evals' `Includes`
    equals     the answer is it, but for case, spacing and punctuation at its ends
"""

import json
import re
from typing import Any, Literal

from bench.dataset.imports.imported import BadImport, ImportedExamples, SourcePlace

Ideal = Literal["starts", "contains", "equals"]

_INPUT = 'must be a text, or messages: [{"role": "user", "content": "…"}]'


def openai_evals(text: str, name: str, stem: str, ideal: Ideal) -> ImportedExamples:
    """The examples of a file's text; ids are `STEM-LINE`. Raises BadImport with every bad line."""
    found, problems = ImportedExamples(), list[str]()
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.strip():
            try:
                _add(found, SourcePlace(file=name, line=number), line, f"{stem}-{number}", ideal)
            except BadImport as problem:
                problems += problem.problems
    if problems:
        raise BadImport(problems)
    return found


def _add(found: ImportedExamples, place: SourcePlace, line: str, id_: str, ideal: Ideal) -> None:
    sample, place = _sample(place, line)
    accepted = _accepted(place, sample)
    task, expected = _expectation(accepted, ideal)
    found.add(place, id=id_, task=task, input=_input(place, sample), expected=expected)


def _sample(place: SourcePlace, line: str) -> tuple[dict[str, Any], SourcePlace]:
    try:
        sample = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise place.problem(f"is not JSON: {problem}") from problem
    if isinstance(sample, dict) and "input" not in sample and isinstance(sample.get("item"), dict):
        sample, place = sample["item"], place.at("item")
    if not isinstance(sample, dict) or "input" not in sample:
        raise place.problem('has no `input`; a line is {"input": …, "ideal": …}, or {"item": {the same}}')
    return sample, place


def _input(place: SourcePlace, sample: dict[str, Any]) -> Any:
    given, place = sample["input"], place.at(".input")
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise place.problem(_INPUT)
    return [_message(place.at(f"[{number}]"), each) for number, each in enumerate(given)]


def _message(place: SourcePlace, given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or not all(isinstance(given.get(key), str) for key in ("role", "content")):
        raise place.problem('must be {"role": "…", "content": "a text"}; images and tools cannot be imported')
    return {"role": given["role"], "content": given["content"]}


def _accepted(place: SourcePlace, sample: dict[str, Any]) -> list[str]:
    ideal = sample.get("ideal")
    given = ideal if isinstance(ideal, list) else [ideal]
    accepted = [each for each in given if isinstance(each, str) and each.strip()]
    if not accepted or len(accepted) < len(given):
        fault = "is missing" if "ideal" not in sample else f"is {json.dumps(ideal)[:60]}"
        raise place.at(".ideal").problem(f"{fault}; it must be a text, or a list of accepted texts")
    return accepted


def _expectation(accepted: list[str], ideal: Ideal) -> tuple[str, Any]:
    if ideal == "equals":
        return "exact", accepted[0] if len(accepted) == 1 else accepted
    one_of = "|".join(map(re.escape, accepted))
    pattern = one_of if len(accepted) == 1 else f"(?:{one_of})"
    return "regex", rf"\A{pattern}" if ideal == "starts" else pattern
