"""Known issues: what some model once got wrong, as an example to ask every later one. A file, one a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from bench.dataset import parse
from bench.errors import BadDataset, DatasetProblem
from bench.example import Example
from bench.runner import Result

State = Literal["still_there", "gone", "unknown"]


class IssueLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line: the example as a dataset has it, what went wrong, with which model first, and who noticed."""

    example: dict[str, Any]
    what: str
    since: str
    at: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One known issue. `at` is a date, `since` the model that it was first seen with."""

    example: Example
    what: str
    since: str
    at: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An issue, and whether a model has it: unknown where it was not asked, or there was no
    answer, or no mark."""

    issue: Issue
    state: State
    result: Result | None


_decode = msgspec.json.Decoder(IssueLine).decode


def parse_issues(text: str) -> list[Issue]:
    """A file's issues. Raises BadDataset with every line that is wrong."""
    found, wrong = [], []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            issue = _issue(_decode(line))
        except BadDataset as problem:
            wrong += [DatasetProblem(number, f"example: {each.message}") for each in problem.problems]
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as problem:
            wrong.append(DatasetProblem(number, str(problem)))
        else:
            first = seen.setdefault(issue.example.hash, number)
            if first != number:
                wrong.append(DatasetProblem(number, f"repeats line {first}"))
            found.append(issue)
    if wrong:
        raise BadDataset(wrong)
    return found


def _issue(line: IssueLine) -> Issue:
    if line.example.get("expected") is None:
        raise BadDataset([DatasetProblem(1, "expected must say what is right")])
    (example,) = parse(msgspec.json.encode(line.example).decode()).examples
    return Issue(example=example, what=line.what, since=line.since, at=line.at, by=line.by)


def checked(issues: Sequence[Issue], results: Mapping[str, Result]) -> list[Checked]:
    """Each issue with what a model's results, by their examples' hashes, say of it."""
    found = [(issue, results.get(issue.example.hash)) for issue in issues]
    return [Checked(issue=issue, state=_state(result), result=result) for issue, result in found]


def _state(result: Result | None) -> State:
    if result is None or result.answer.failure is not None or result.score is None:
        return "unknown"
    return "gone" if result.right else "still_there"
