"""Known issues: failure modes that a model once had, each with examples to ask every later model.

They are in the store, and in a file beside the config with one example a line. A mode has every example of
its name. A model has the mode while it gets one of them wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import replace as replace_struct

from bench.answers.embeddings import embedder_for, scored
from bench.answers.results import ExampleResult, run
from bench.dataset.example import Example
from bench.dataset.file import parse, read_lines
from bench.dataset.sample import line
from bench.errors import BadDataset, DatasetProblem
from bench.models.asker import Asker, client_for, direct
from bench.models.pair import NamedModel
from bench.settings import ISSUES_FILE, BenchSettings
from common.groups import grouped
from records.captures.capture import Capture
from records.store import Store
from records.store.benchmarks import IssueCheck, IssueState, StoredIssue, StoredIssues
from records.store.captures import CaptureStore
from records.store.releases import Releases
from records.store.session_exchanges import exchange_of


class IssueLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the file: the example as in a dataset, the mode's name (`what`) and description, the first
    model with it, the date, the reporter."""

    example: dict[str, Any]
    what: str
    since: str
    at: str
    by: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One example of a known issue, whose name is `mode`.

    `at` is a date. `since` is the model with which it was first seen, "" if nobody said. A model that fails
    with `error` has the issue too.
    """

    example: Example
    mode: str
    since: str
    at: str
    by: str
    description: str = ""
    error: str = ""


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
    for number, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        try:
            issue = _issue(_decode(written))
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
    return Issue(
        example=_example(line.example),
        mode=line.what,
        since=line.since,
        at=line.at,
        by=line.by,
        description=line.description,
    )


def _example(line: Mapping[str, Any]) -> Example:
    if line.get("expected") is None:
        raise BadDataset([DatasetProblem(1, "expected is missing")])
    (example,) = parse(msgspec.json.encode(line).decode()).examples
    return example


def checked(issues: Sequence[Issue], results: Mapping[str, ExampleResult]) -> list[CheckedIssue]:
    """Each issue's state, from a model's results by example hash."""
    found = [(issue, results.get(issue.example.hash)) for issue in issues]
    return [CheckedIssue(issue=each, state=_state(each, result), result=result) for each, result in found]


def _state(issue: Issue, result: ExampleResult | None) -> IssueState:
    if result is not None and issue.error and result.answer.failure == issue.error:
        return "still_there"
    if result is None or result.answer.failure is not None or result.score is None:
        return "unknown"
    return "gone" if result.right else "still_there"


AT_ONCE = 4


def file_of(config_file: Path) -> Path:
    """The path of the known issues."""
    return config_file.parent / ISSUES_FILE


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
            return Asker(
                client, direct(named.provider, named.model, prices, environment, named.request, named.texts)
            )

        asked = await asker(model)
        by = await asker(judge) if judge is not None else None
        examples = [issue.example for issue in issues if judge is not None or issue.example.task != "judge"]
        similar = await embedder_for(settings, examples, prices, environment, clients)
        results = await run([asked], examples, judge=by, saved=None, at_once=AT_ONCE)
        (found,) = results if similar is None else await scored(results, similar)
    return checked(issues, {result.example.hash: result for result in found})


def judge_of(settings: BenchSettings) -> str | None:
    """Who marks answers to known issues: the judge of the first dataset that has one, else the config's."""
    of_datasets = [each.judge for each in settings.datasets if each.judge is not None]
    own = [settings.judge.name] if settings.judge is not None else []
    return next(iter([*of_datasets, *own]), None)


_WORST: Mapping[IssueState, int] = {"still_there": 0, "unknown": 1, "gone": 2}


def worst(states: Iterable[IssueState]) -> IssueState:
    """A mode's state by those of its examples, of which there is at least one."""
    return min(states, key=_WORST.__getitem__)


def document(model: str, found: Sequence[CheckedIssue]) -> dict[str, Any]:
    """The result as JSON types, by mode; those that are still there come first."""
    modes = grouped(found, lambda check: check.issue.mode)
    states: dict[str, IssueState] = {
        mode: worst(check.state for check in checks) for mode, checks in modes.items()
    }
    return {
        "model": model,
        **{state: sum(each == state for each in states.values()) for state in _WORST},
        "issues": [
            {
                "mode": mode,
                "state": states[mode],
                "since": modes[mode][0].issue.since,
                "examples": [_checked(check) for check in sorted(modes[mode], key=lambda c: _WORST[c.state])],
            }
            for mode in sorted(modes, key=lambda mode: _WORST[states[mode]])
        ],
    }


def _checked(check: CheckedIssue) -> dict[str, Any]:
    answer = None if check.result is None else check.result.answer
    return {
        "id": check.issue.example.id,
        "issue": check.issue.example.hash,
        "state": check.state,
        "answer": None if answer is None else answer.text,
        "failure": None if answer is None else answer.failure,
    }


# What became of each mode, model by model.


ModeState = Literal["has", "back", "cured", "never", "unknown"]
"""`back`: it has the mode that it, or the model before it, was free of. `never`: so was the model before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWithMode:
    """What became of a mode in one model (`provider/model`).

    `state` is as of the newest check.
    `since`: the UTC second of the check that first found it so.
    `checked_at`: the UTC second of the newest check.
    `had_at`: that of the first check that found the mode; None if none did.
    `cured_at`: that of the newest check that found it gone; None if none did.
    """

    model: str
    state: ModeState
    since: float
    checked_at: float
    had_at: float | None
    cured_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A failure mode, its examples, the oldest first, and the models, in the order of their first checks."""

    name: str
    description: str
    examples: Sequence[Issue]
    models: Sequence[ModelWithMode]


def modes_of(issues: Sequence[Issue], checks: Sequence[IssueCheck]) -> list[Mode]:
    """The modes, the one with the oldest example first; from checks that are oldest first. The newest
    description counts."""
    named = grouped(sorted(issues, key=lambda each: each.at), lambda each: each.mode)
    hashes = {name: {each.example.hash for each in found} for name, found in named.items()}
    return [
        Mode(
            name=name,
            description=next((each.description for each in reversed(found) if each.description), ""),
            examples=found,
            models=_models([each for each in checks if each.issue in hashes[name]]),
        )
        for name, found in named.items()
    ]


_Course = list[tuple[float, IssueState]]
"""When a model's state of a mode was found to be another one."""


def _models(checks: Sequence[IssueCheck]) -> list[ModelWithMode]:
    examples: dict[str, dict[str, IssueState]] = {}
    courses: dict[str, _Course] = {}
    newest: dict[str, float] = {}
    for check in checks:
        states, course = examples.setdefault(check.model, {}), courses.setdefault(check.model, [])
        states[check.issue], newest[check.model] = check.state, check.at
        if course and course[-1][0] == check.at:  # a recheck asks all examples at once
            course.pop()
        state = worst(states.values())
        if not course or course[-1][1] != state:
            course.append((check.at, state))
    found: list[ModelWithMode] = []
    earlier: _Course = []
    for model, course in courses.items():
        before: list[IssueState] = [
            state for at, state in earlier if at <= course[0][0] and state != "unknown"
        ]
        # some model had the mode, or nobody would know it
        found.append(_model(model, course, before[-1] if before else "still_there", newest[model]))
        earlier = course
    return found


def _model(model: str, course: _Course, before: IssueState, checked_at: float) -> ModelWithMode:
    since, newest = course[-1]
    seen = [before, *(state for _, state in course)]
    state: ModeState = "unknown"
    if newest == "still_there":
        state = "back" if "gone" in seen else "has"
    elif newest == "gone":
        state = "cured" if "still_there" in seen else "never"
    return ModelWithMode(
        model=model,
        state=state,
        since=since,
        checked_at=checked_at,
        had_at=next((at for at, each in course if each == "still_there"), None),
        cured_at=next((at for at, each in reversed(course) if each == "gone"), None),
    )


# Where an example comes from: an exchange whose texts are stored, or a dataset.


class NoExample(Exception):
    """Nothing can be asked again. The message says why."""


ANSWERED = r"\S"
"""What the answer to a request must match that a model failed to answer."""


def known_issues(store: Store | None, file: Path) -> list[Issue]:
    """The issues of the file, if there is one, and of the store. Raises BadDataset, OSError, StoreDown."""
    found = parse_issues(file.read_text(encoding="utf-8")) if file.exists() else []
    known = {each.example.hash for each in found}
    stored = StoredIssues(store).all() if store is not None else []
    return [*found, *(_stored(each) for each in stored if each.hash not in known)]


def _stored(issue: StoredIssue) -> Issue:
    return Issue(
        example=_example(issue.example),
        mode=issue.mode,
        since=issue.since,
        at=datetime.fromtimestamp(issue.at, UTC).date().isoformat(),
        by=issue.who,
        description=issue.description,
        error=issue.error,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedExchange:
    """An exchange to make a known issue of: its texts, the model that failed, and the failure where that
    model gave no answer, else ""."""

    capture: Capture
    model: str
    error: str


def failed_exchange(store: Store, exchange_id: str) -> FailedExchange:
    """The exchange, or mirror copy, with this id. Raises NoExample, StoreDown."""
    captures = CaptureStore(store)
    found = captures.one(exchange_id)
    if found is None:
        raise NoExample(
            f"no text of exchange {exchange_id} is stored: `capture` keeps a sample of the answered ones"
        )
    about = found.about
    if about.copy_of:
        real = captures.one(about.copy_of)
        found = replace_struct(found, request=None if real is None else real.request)
    if about.served_by in (None, about.arm):
        return FailedExchange(capture=found, model=f"{about.provider}/{about.model}", error="")
    with store.reading() as connection:
        outcome = exchange_of(connection, exchange_id)
    tried = Releases(store).of_run(about.canary, about.run)
    error = outcome.error_type if outcome is not None else None
    return FailedExchange(
        capture=found, model=tried.candidate if tried is not None else "", error=error or ""
    )


def issue_of_exchange(
    failed: FailedExchange, mode: str, description: str, *, who: str, at: float
) -> tuple[StoredIssue, IssueCheck | None]:
    """An exchange as an example of a mode, with the check that its model had it then. Raises BadDataset.

    A judge marks whether an answer is without the fault. Where the model failed, any answer is right.
    """
    told = line(failed.capture, "judge")
    asked = {name: told[name] for name in _ASKED if name in told}
    right = f"The conversation is answered without this fault: {mode}. {description}".rstrip()
    task = {"task": "regex", "expected": ANSWERED} if failed.error else {"task": "judge", "expected": right}
    source = failed.capture.about.exchange_id
    return _new(asked | task, source, mode, description, who=who, at=at, model=failed.model, failed=failed)


def issue_of_example(
    example: Mapping[str, Any],
    source: str,
    mode: str,
    description: str,
    *,
    who: str,
    at: float,
    since: str = "",
) -> tuple[StoredIssue, IssueCheck | None]:
    """A dataset's line (`source` is `DATASET:ID`) as an example of a mode that the model `since` had, "" if
    nobody said. Raises BadDataset."""
    return _new(example, source, mode, description, who=who, at=at, model=since)


_ASKED = ("id", "input", "category", "parameters", "headers", "path", "api", "tools")
"""What an example has of an exchange."""


def _new(
    example: Mapping[str, Any],
    source: str,
    mode: str,
    description: str,
    *,
    who: str,
    at: float,
    model: str,
    failed: FailedExchange | None = None,
) -> tuple[StoredIssue, IssueCheck | None]:
    issue = StoredIssue(
        hash=_example(example).hash,
        at=at,
        who=who,
        mode=mode,
        source=source,
        description=description,
        since=model,
        error="" if failed is None else failed.error,
        example=example,
    )
    then = at if failed is None else failed.capture.about.at
    had = IssueCheck(at=then, model=model, issue=issue.hash, state="still_there") if "/" in model else None
    return issue, had


def line_of(file: Path, id_: str) -> dict[str, Any]:
    """The line of a dataset with this id. Raises NoExample, BadDataset, OSError."""
    found = [each for each in read_lines(file) if each["id"] == id_]
    if len(found) != 1:
        raise NoExample(f"{file} has {len(found)} examples with the id {id_!r}; it must have exactly one")
    return found[0]
