"""Known issues: examples that a model once got wrong, to ask every later model. A file with one per line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.dataset import parse
from bench.errors import BadDataset, DatasetProblem
from bench.example import Example
from bench.runner import Result
from records.issue_checks import IssueState


class IssueLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line: the example as in a dataset, the fault, the first model with it, the date, the reporter."""

    example: dict[str, Any]
    what: str
    since: str
    at: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One known issue. `at` is a date. `since` is the model with which it was first seen."""

    example: Example
    what: str
    since: str
    at: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An issue, and whether a model has it. `unknown`: not asked, no answer, or no mark."""

    issue: Issue
    state: IssueState
    result: Result | None


_decode = msgspec.json.Decoder(IssueLine).decode


def parse_issues(text: str) -> list[Issue]:
    """Parse a file of issues. Raises BadDataset with every bad line."""
    found, wrong = [], []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            issue = _issue(_decode(line))
        except BadDataset as problem:
            wrong += [DatasetProblem(number, f"example: {bad.message}") for bad in problem.problems]
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
        raise BadDataset([DatasetProblem(1, "expected is missing")])
    (example,) = parse(msgspec.json.encode(line.example).decode()).examples
    return Issue(example=example, what=line.what, since=line.since, at=line.at, by=line.by)


def checked(issues: Sequence[Issue], results: Mapping[str, Result]) -> list[Checked]:
    """Each issue's state, from a model's results by example hash."""
    found = [(issue, results.get(issue.example.hash)) for issue in issues]
    return [Checked(issue=issue, state=_state(result), result=result) for issue, result in found]


def _state(result: Result | None) -> IssueState:
    if result is None or result.answer.failure is not None or result.score is None:
        return "unknown"
    return "gone" if result.right else "still_there"
