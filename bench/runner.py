"""Asks every model every example, so many at once, and scores what comes. What is asked is kept at once."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench import judge
from bench.answer import Answer
from bench.asking import Asker
from bench.errors import NoJudge
from bench.example import Example, fingerprint
from bench.prompt import prompt
from bench.saved_answers import AnswerStore
from bench.scorers import SCORERS, is_right
from records.capture import Said

AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One model's answer to one example. `score` is None where the judge gave no mark: then it is not known
    whether it is right. A failure is never right.

    `took_s` is its part of the run's time: from asked to answered, waits of a throttled model included, over
    so many questions at a time. None for an answer that was kept.
    """

    example: Example
    answer: Answer
    score: float | None
    right: bool
    judge_cost_usd: float | None = None
    took_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Who asks whom: the judge is needed only where an example is of that task."""

    asker: Asker
    judge: Asker | None


async def run(
    models: Sequence[Ask],
    examples: Sequence[Example],
    *,
    kept: AnswerStore,
    at_once: int = AT_ONCE,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[list[Result]]:
    """Each model's results, in the examples' order. The models take turns: they meet the same hour.

    Raises NoJudge before anything is asked.
    """
    for example in examples:
        if example.task == "judge" and any(each.judge is None for each in models):
            raise NoJudge(f"example {example.id} needs a judge: name a model that gives marks")
    found: list[dict[int, Result]] = [{} for _ in models]
    total = len(models) * len(examples)
    lanes = min(at_once, total)
    waiting = _turns(len(models), examples)

    async def work() -> None:
        for place, number, example in waiting:
            found[place][number] = await _result(models[place], example, kept, lanes)
            progress(sum(map(len, found)), total)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(work())
    except ExceptionGroup as problems:  # a full disk, as a rule: one speaks for all
        raise problems.exceptions[0] from None
    return [[answered[number] for number in range(len(examples))] for answered in found]


def _turns(models: int, examples: Sequence[Example]) -> Iterator[tuple[int, int, Example]]:
    for number, example in enumerate(examples):
        for place in range(models):
            yield (place + number) % models, number, example


async def _asked(asker: Asker, question: str, messages: Sequence[Said], kept: AnswerStore) -> Answer:
    """The answer to a question: as it was kept, or else asked for now."""
    known = kept.get(asker.target.name, question)
    if known is not None:
        return known
    answer = await asker.ask(messages)
    kept.put(asker.target.name, question, answer)
    return answer


async def _result(ask: Ask, example: Example, kept: AnswerStore, lanes: int) -> Result:
    began = time.perf_counter()
    answer = await _asked(ask.asker, example.hash, prompt(example), kept)
    took_s = (time.perf_counter() - began) / lanes if answer.latency_s is not None else None
    return replace(await _scored(ask, example, answer, kept), took_s=took_s)


async def _scored(ask: Ask, example: Example, answer: Answer, kept: AnswerStore) -> Result:
    if answer.text is None:
        return Result(example=example, answer=answer, score=0.0, right=False)
    if example.task == "judge" and ask.judge is not None:
        return await _judged(ask.judge, example, answer, answer.text, kept)
    score = SCORERS[example.task](example, answer.text)
    return Result(example=example, answer=answer, score=score, right=is_right(example, score))


async def _judged(by: Asker, example: Example, answer: Answer, text: str, kept: AnswerStore) -> Result:
    said = await _asked(by, fingerprint([example.hash, text]), judge.question(example, text), kept)
    score = None if said.text is None else judge.score(said.text)
    return Result(
        example=example,
        answer=answer,
        score=score,
        right=score is not None and is_right(example, score),
        judge_cost_usd=said.cost_usd,
    )
