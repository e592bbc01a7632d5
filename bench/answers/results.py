"""Asks every model every example, with bounded concurrency, and scores the answers.

Each answer is saved on disk, so that after an interruption none is paid for twice. The file is removed at the
end.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from bench.answers.scorers import (
    ACTION_SCORERS,
    SCORERS,
    example_question,
    is_right,
    label,
    mark_score,
    reason,
)
from bench.dataset.example import Example, prompt
from bench.errors import BenchError, NoAnswers
from bench.models.asker import Answer, Asker
from bench.models.wires import NO_EXTRAS, RequestExtras
from records.captures.capture import CapturedMessage

# Saves a run's answers on disk, so that after an interruption none is paid for twice. Removed at the end.


Row = TypeVar("Row")

FRESH_S = 86400.0
"""Older answers are asked again, because the model may have changed."""

BATCH_FRESH_S = 2 * FRESH_S
"""A batch may itself take a day."""


class SavedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the file: model, question, answer, and time (UTC seconds)."""

    model: str
    question: str
    answer: Answer
    at: float


class SavedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Another form of line: a batch that the model's provider has taken, by the provider's id."""

    model: str
    batch: str
    at: float


class AnswerStore(Protocol):
    """Saves answers during a run."""

    def get(self, model: str, question: str) -> Answer | None: ...
    def put(self, model: str, question: str, answer: Answer) -> None: ...


Saved = AnswerStore | None
"""Where answers are saved; None: nowhere, for a few questions."""


async def ask_once(
    asker: Asker,
    question: str,
    messages: Sequence[CapturedMessage],
    saved: Saved,
    extras: RequestExtras = NO_EXTRAS,
    *,
    logprobs: bool = False,
    keeps: Callable[[str], bool] = lambda text: True,
) -> Answer:
    """The saved answer to a question, or a new one, which is saved if it `keeps` its text."""
    known = None if saved is None else saved.get(asker.target.name, question)
    if known is not None:
        return known
    answer = await asker.ask(messages, extras, logprobs=logprobs)
    if saved is not None and answer.text is not None and keeps(answer.text):
        saved.put(asker.target.name, question, answer)
    return answer


class SavedAnswers:
    """The answers in one file, by model and question, and the batches that were sent.

    Failures are not saved, so they are tried again; nor is what a judge said without a mark. `found` answers
    are of an earlier run, `count` of this one too.
    """

    def __init__(self, path: Path, *, now: float) -> None:
        self.path = path
        self._known: dict[tuple[str, str], Answer] = {}
        for row in _rows(path, SavedAnswer):
            if now - row.at < FRESH_S:
                self._known[row.model, row.question] = row.answer
        self._batches = [row for row in _rows(path, SavedBatch) if now - row.at < BATCH_FRESH_S]
        self.found = len(self._known)
        self.count = self.found

    def get(self, model: str, question: str) -> Answer | None:
        """A saved answer, without its latency, which is not of this run."""
        known = self._known.get((model, question))
        return None if known is None else msgspec.structs.replace(known, latency_s=None)

    def put(self, model: str, question: str, answer: Answer) -> None:
        """Save an answer. It is in the file when this returns."""
        if answer.text is None:
            return
        self._append(SavedAnswer(model=model, question=question, answer=answer, at=time.time()))
        self.count += 1

    def batches(self, model: str) -> list[str]:
        """The ids of the batches that an interrupted run sent to this model, in order."""
        return [row.batch for row in self._batches if row.model == model]

    def put_batch(self, model: str, batch: str) -> None:
        """Save the id of a batch. It is in the file when this returns."""
        self._append(SavedBatch(model=model, batch=batch, at=time.time()))

    def _append(self, row: SavedAnswer | SavedBatch) -> None:
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")

    def delete(self) -> None:
        """Delete the file, after a complete run."""
        self.path.unlink(missing_ok=True)


def _rows(path: Path, form: type[Row]) -> list[Row]:
    """The readable rows of one form. The last line may be incomplete."""
    found: list[Row] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=form))
        except msgspec.DecodeError:
            continue
    return found


AT_ONCE = 4
MOST_UNMARKED = 8
"""A judge that answers none of its first questions will not answer the rest either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleResult:
    """One model's answer to one example. `score` is None if the judge gave no mark, so it is unknown whether
    the answer is right; `no_mark` says why, `judge_failed` that the judge gave no answer at all. A failure is
    never right. `reason` is the judge's, for its mark.

    `took_s` is its share of the run's time: the time from question to answer, waits after a 429 included,
    over the concurrency. None for a saved answer.
    """

    example: Example
    answer: Answer
    score: float | None
    right: bool
    judge_cost_usd: float | None = None
    no_mark: str = ""
    judge_failed: bool = False
    reason: str = ""
    took_s: float | None = None

    @property
    def answered(self) -> bool:
        return self.answer.text is not None

    @property
    def cluster(self) -> str:
        """Results of one cluster are not independent evidence."""
        return self.example.cluster

    @property
    def named(self) -> str | None:
        """The class that the answer names; None for none or several."""
        return label(self.answer.text or "", self.example.classes)


async def run(
    models: Sequence[Asker],
    examples: Sequence[Example],
    *,
    judge: Asker | None = None,
    saved: Saved,
    at_once: int = AT_ONCE,
    logprobs: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[list[ExampleResult]]:
    """Each model's results, in the examples' order. The models take turns, so they run in the same hour.
    With `logprobs` they are asked how sure they are. `judge` marks the answers to the task `judge`.

    Raises BenchError before the first question, NoAnswers where the judge answers none of the first.
    """
    needing = [example.id for example in examples if example.task == "judge"]
    if needing and judge is None:
        raise BenchError(f"example {needing[0]} needs a judge: set `judge` for its dataset")
    found: list[dict[int, ExampleResult]] = [{} for _ in models]
    judged: list[ExampleResult] = []
    total = len(models) * len(examples)
    workers = min(at_once, total)
    waiting = _turns(len(models), examples)

    async def work() -> None:
        for place, number, example in waiting:
            began = time.perf_counter()
            answer = await ask_once(
                models[place], example.hash, prompt(example), saved, example.extras, logprobs=logprobs
            )
            took_s = (time.perf_counter() - began) / workers if answer.latency_s is not None else None
            result = replace(await _scored(judge, example, answer, saved), took_s=took_s)
            found[place][number] = result
            if judge is not None and example.task == "judge" and result.answered:
                judged.append(result)
                if len(judged) == MOST_UNMARKED and all(each.judge_failed for each in judged):
                    raise NoAnswers(unmarked(judge.target.name, judged))
            progress(sum(map(len, found)), total)

    await together(work() for _ in range(workers))
    return [[answered[number] for number in range(len(examples))] for answered in found]


def unmarked(judge: str, results: Sequence[ExampleResult]) -> str:
    """What is wrong where this judge marked none of these results."""
    return f"the judge {judge} gave no mark; the first time: {results[0].no_mark}"


async def together(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All of them at once, until all have ended, or one fails."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except ExceptionGroup as problems:  # usually a full disk: one error stands for all
        raise problems.exceptions[0] from None


def _turns(models: int, examples: Sequence[Example]) -> Iterator[tuple[int, int, Example]]:
    for number, example in enumerate(examples):
        for place in range(models):
            yield (place + number) % models, number, example


async def _scored(judge: Asker | None, example: Example, answer: Answer, saved: Saved) -> ExampleResult:
    if answer.text is None:
        return ExampleResult(example=example, answer=answer, score=0.0, right=False)
    if example.task == "judge" and judge is not None:
        return await _judged(judge, example, answer, answer.action.written, saved)
    if (of_action := ACTION_SCORERS.get(example.task)) is not None:
        score = of_action(example, answer.action)
    else:
        score = SCORERS[example.task](example, answer.text)
    return ExampleResult(example=example, answer=answer, score=score, right=is_right(example, score))


async def _judged(by: Asker, example: Example, answer: Answer, text: str, saved: Saved) -> ExampleResult:
    question = example_question(example, text)
    mark = await ask_once(by, by.target.key(question), question, saved, keeps=_has_mark)
    score = None if mark.text is None else mark_score(mark.text)
    return ExampleResult(
        example=example,
        answer=answer,
        score=score,
        right=score is not None and is_right(example, score),
        judge_cost_usd=mark.cost_usd,
        judge_failed=mark.text is None,
        no_mark="" if score is not None else f"{mark.failure or 'no line with MARK'} {mark.said}".rstrip(),
        reason="" if mark.text is None else reason(mark.text),
    )


def _has_mark(text: str) -> bool:
    return mark_score(text) is not None
