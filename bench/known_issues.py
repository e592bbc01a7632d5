"""Known issues: examples that a model once got wrong, to ask every later model. A file with one per line."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.answers.embeddings import embedder_for, scored
from bench.answers.results import ExampleResult, run
from bench.dataset.example import Example
from bench.dataset.file import parse
from bench.errors import BadDataset, DatasetProblem
from bench.models.asker import Asker, client_for, direct
from bench.models.pair import NamedModel
from bench.settings import BenchSettings
from records.store.benchmarks import IssueState


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
class CheckedIssue:
    """An issue, and whether a model has it. `unknown`: not asked, no answer, or no mark."""

    issue: Issue
    state: IssueState
    result: ExampleResult | None


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


def checked(issues: Sequence[Issue], results: Mapping[str, ExampleResult]) -> list[CheckedIssue]:
    """Each issue's state, from a model's results by example hash."""
    found = [(issue, results.get(issue.example.hash)) for issue in issues]
    return [CheckedIssue(issue=issue, state=_state(result), result=result) for issue, result in found]


def _state(result: ExampleResult | None) -> IssueState:
    if result is None or result.answer.failure is not None or result.score is None:
        return "unknown"
    return "gone" if result.right else "still_there"


FILE = "known-issues.jsonl"
"""The file name, in the config's folder."""

AT_ONCE = 4


def file_of(config_file: Path) -> Path:
    """The path of the known issues."""
    return config_file.parent / FILE


async def recheck(
    settings: BenchSettings,
    model: NamedModel,
    issues: Sequence[Issue],
    environment: Mapping[str, str],
    *,
    judge: NamedModel | None,
) -> list[CheckedIssue]:
    """Ask a model all issues, directly at its provider. Without a judge, issues that need one are skipped.
    Raises BenchError, NoKey."""
    prices = settings.known_prices()
    async with AsyncExitStack() as clients:

        async def asker(named: NamedModel) -> Asker:
            client = await clients.enter_async_context(client_for(named.provider, at_once=AT_ONCE))
            return Asker(client, direct(named.provider, named.model, prices, environment, named.request))

        asked = await asker(model)
        by = await asker(judge) if judge is not None else None
        examples = [issue.example for issue in issues if judge is not None or issue.example.task != "judge"]
        similar = await embedder_for(settings, examples, prices, environment, clients)
        results = await run([asked], examples, judge=by, saved=None, at_once=AT_ONCE)
        (found,) = results if similar is None else await scored(results, similar)
    return checked(issues, {result.example.hash: result for result in found})


def document(model: str, found: Sequence[CheckedIssue]) -> dict[str, Any]:
    """The result as JSON types; issues that are still there come first."""
    order = {"still_there": 0, "unknown": 1, "gone": 2}
    return {
        "model": model,
        "still_there": sum(check.state == "still_there" for check in found),
        "unknown": sum(check.state == "unknown" for check in found),
        "gone": sum(check.state == "gone" for check in found),
        "issues": [
            {
                "id": check.issue.example.id,
                "issue": check.issue.example.hash,
                "state": check.state,
                "what": check.issue.what,
                "since": check.issue.since,
                "answer": None if check.result is None else check.result.answer.text,
                "failure": None if check.result is None else check.result.answer.failure,
            }
            for check in sorted(found, key=lambda check: order[check.state])
        ],
    }
