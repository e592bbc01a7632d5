"""Asks every model every example, with bounded concurrency, and scores the answers. Each answer is saved."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.answers import marks
from bench.answers.saved import AnswerStore, ask_once
from bench.answers.scorers import SCORERS, is_right, label
from bench.dataset.example import Example, prompt
from bench.errors import NoAnswers, NoJudge
from bench.models.asker import Answer, Asker

AT_ONCE = 4
MOST_UNMARKED = 8
"""A judge that answers none of its first questions will not answer the rest either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A model to ask, and its judge, needed only for examples of the task `judge`."""

    asker: Asker
    judge: Asker | None


async def run(
    models: Sequence[Ask],
    examples: Sequence[Example],
    *,
    saved: AnswerStore,
    at_once: int = AT_ONCE,
    logprobs: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[list[Result]]:
    """Each model's results, in the examples' order. The models take turns, so they run in the same hour.
    With `logprobs` they are asked how sure they are.

    Raises NoJudge before the first question, NoAnswers where the judge answers none of the first.
    """
    for example in examples:
        if example.task == "judge" and any(model.judge is None for model in models):
            raise NoJudge(f"example {example.id} needs a judge: set `judge` for its dataset")
    found: list[dict[int, Result]] = [{} for _ in models]
    judged: list[Result] = []
    judge = next((each.judge.target.name for each in models if each.judge is not None), "")
    total = len(models) * len(examples)
    workers = min(at_once, total)
    waiting = _turns(len(models), examples)

    async def work() -> None:
        for place, number, example in waiting:
            result = await _result(models[place], example, saved, workers, logprobs)
            found[place][number] = result
            if example.task == "judge" and result.answer.text is not None and len(judged) < MOST_UNMARKED:
                judged.append(result)
                _must_judge(judge, judged)
            progress(sum(map(len, found)), total)

    await at_work(work, workers)
    return [[answered[number] for number in range(len(examples))] for answered in found]


def _must_judge(judge: str, judged: Sequence[Result]) -> None:
    if len(judged) == MOST_UNMARKED and all(each.judge_failed for each in judged):
        raise NoAnswers(unmarked(judge, judged))


def unmarked(judge: str, results: Sequence[Result]) -> str:
    """What is wrong where this judge marked none of these results."""
    return f"the judge {judge} gave no mark; the first time: {results[0].no_mark}"


async def at_work(work: Callable[[], Coroutine[Any, Any, None]], workers: int) -> None:
    """So many workers at once, until all have ended, or one fails."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(work())
    except ExceptionGroup as problems:  # usually a full disk: one error stands for all
        raise problems.exceptions[0] from None


def _turns(models: int, examples: Sequence[Example]) -> Iterator[tuple[int, int, Example]]:
    for number, example in enumerate(examples):
        for place in range(models):
            yield (place + number) % models, number, example


async def _result(ask: Ask, example: Example, saved: AnswerStore, workers: int, logprobs: bool) -> Result:
    began = time.perf_counter()
    answer = await ask_once(
        ask.asker, example.hash, prompt(example), saved, example.extras, logprobs=logprobs
    )
    took_s = (time.perf_counter() - began) / workers if answer.latency_s is not None else None
    return replace(await _scored(ask, example, answer, saved), took_s=took_s)


async def _scored(ask: Ask, example: Example, answer: Answer, saved: AnswerStore) -> Result:
    if answer.text is None:
        return Result(example=example, answer=answer, score=0.0, right=False)
    if example.task == "judge" and ask.judge is not None:
        return await _judged(ask.judge, example, answer, answer.text, saved)
    score = SCORERS[example.task](example, answer.text)
    return Result(example=example, answer=answer, score=score, right=is_right(example, score))


async def _judged(by: Asker, example: Example, answer: Answer, text: str, saved: AnswerStore) -> Result:
    question = marks.example_question(example, text)
    mark = await ask_once(by, by.target.key(question), question, saved, keeps=_has_mark)
    score = None if mark.text is None else marks.score(mark.text)
    return Result(
        example=example,
        answer=answer,
        score=score,
        right=score is not None and is_right(example, score),
        judge_cost_usd=mark.cost_usd,
        judge_failed=mark.text is None,
        no_mark="" if score is not None else f"{mark.failure or 'no line with MARK'} {mark.said}".rstrip(),
        reason="" if mark.text is None else marks.reason(mark.text),
    )


def _has_mark(text: str) -> bool:
    return marks.score(text) is not None
