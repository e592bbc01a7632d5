"""Asks models all their questions by batch, at the batch price. No batch is sent twice."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from bench.answers.batch_wires import BatchHttp, BatchQuestion, BatchResult, BatchState, BatchWire
from bench.answers.saved import AnswerStore, SavedAnswers
from bench.dataset.example import Example, prompt
from bench.errors import NoBatch
from bench.models.asker import Answer, Asker, Target, refuses_logprobs
from records.outcome import Usage

PRICE_FACTOR = 0.5
"""What OpenAI and Anthropic bill for a batch, of the list price. genai-prices has no batch prices."""

MOST_QUESTIONS = 50_000
"""OpenAI's bound; Anthropic's is 100,000."""

_FIRST_WAIT_S, _LONGEST_WAIT_S, _SLOWER = 1.0, 60.0, 1.5
_MOST_MISSED = 10
_NO_RESULT = Answer(failure="provider_malformed", said="the batch has no result for this question")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """The batches of one run. `saved` keeps their ids and the answers of an interrupted run; `progress` gets
    a model's name with the questions done and all; `tell` gets lines for the person who waits."""

    saved: SavedAnswers
    progress: Callable[[str, int, int], None]
    tell: Callable[[str], None]
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def ask(
        self,
        models: Sequence[tuple[Asker, BatchWire]],
        examples: Sequence[Example],
        logprobs: frozenset[str] = frozenset(),
    ) -> "BatchAnswers":
        """Ask each model all examples, at the same time; those of the hashes `logprobs` with the model's
        confidence. Raises NoBatch."""
        found: dict[str, dict[str, Answer]] = {}

        async def one(asker: Asker, wire: BatchWire) -> None:
            batch = _ModelBatch(run=self, wire=wire, target=at_batch_price(asker.target), asker=asker)
            found[asker.target.name] = await batch.answers(examples, logprobs)

        try:
            async with asyncio.TaskGroup() as group:
                for asker, wire in {asker.target.name: (asker, wire) for asker, wire in models}.values():
                    group.create_task(one(asker, wire))
        except ExceptionGroup as problems:
            raise problems.exceptions[0] from None
        return BatchAnswers(found, self.saved)


class BatchAnswers:
    """The results of batches as saved answers, failures included; other answers are in `saved`."""

    def __init__(self, found: Mapping[str, Mapping[str, Answer]], saved: AnswerStore) -> None:
        self._found = found
        self._saved = saved

    def get(self, model: str, question: str) -> Answer | None:
        """What the batch or an interrupted run has for a question."""
        return self._found.get(model, {}).get(question) or self._saved.get(model, question)

    def put(self, model: str, question: str, answer: Answer) -> None:
        """Save an answer that no batch has: a judge's."""
        self._saved.put(model, question, answer)


def at_batch_price(target: Target) -> Target:
    """The same model, whose answers cost what they do in a batch. A cost that the provider states stays."""

    def cost(usage: Usage) -> float | None:
        listed = target.cost(usage)
        return listed if listed is None or listed == usage.stated_usd else listed * PRICE_FACTOR

    return replace(target, cost=cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModelBatch:
    """One model's part of a run."""

    run: Batches
    wire: BatchWire
    target: Target
    asker: Asker

    async def answers(self, examples: Sequence[Example], logprobs: frozenset[str]) -> dict[str, Answer]:
        """What came of every question that no answer was saved for, by the example's hash. What a model
        refuses for its log probabilities is asked again without."""
        questions = {each.id: each for each in self._questions(examples, logprobs)}
        found: dict[str, Answer] = {}
        for batch in self.run.saved.batches(self.target.name) if questions else ():
            found |= await self._resumed(batch, len(questions))
        left = [each for name, each in questions.items() if name not in found]
        found |= await self._asked(left)
        plain = self._questions(examples, frozenset())
        found |= await self._asked(
            [each for each in plain if each.id in found and refuses_logprobs(found[each.id])]
        )
        return {name: found.get(name, _NO_RESULT) for name in questions}

    async def _asked(self, questions: Sequence[BatchQuestion]) -> dict[str, Answer]:
        """What came of these questions, by one batch for each path."""
        found: dict[str, Answer] = {}
        for path in dict.fromkeys(each.path for each in questions):
            some = [each for each in questions if each.path == path]
            found |= await self._results(await self._send(some), len(some))
        return found

    def _questions(self, examples: Sequence[Example], logprobs: frozenset[str]) -> Iterator[BatchQuestion]:
        for example in examples:
            with_logprobs = self.target.wire.at(example.extras.path).with_logprobs
            if self.run.saved.get(self.target.name, example.hash) is None:
                extras = example.extras
                if with_logprobs is not None and example.hash in logprobs:
                    extras = replace(extras, parameters=with_logprobs(extras.parameters))
                path, body = self.target.asks(prompt(example), extras)
                yield BatchQuestion(id=example.hash, path=path, body=body)

    async def _send(self, questions: Sequence[BatchQuestion]) -> str:
        name, count = self.target.name, len(questions)
        if count > MOST_QUESTIONS:
            raise NoBatch(f"{name}: a batch takes {MOST_QUESTIONS:,} questions, not {count:,}; use --dataset")
        batch = await self.wire.send(self._http, questions)
        self.run.saved.put_batch(name, batch)
        self.run.tell(f"{name}: batch {batch} with {count} questions; an interrupted run goes on with it")
        return batch

    async def _resumed(self, batch: str, of: int) -> dict[str, Answer]:
        """The results of a batch that an interrupted run sent; none if it is gone or has no answer at all."""
        self.run.tell(f"{self.target.name}: goes on with batch {batch} of an interrupted run")
        try:
            found = await self._results(batch, of)
        except NoBatch as problem:
            if problem.passing:
                raise
            return {}
        return found if any(answer.text is not None for answer in found.values()) else {}

    async def _results(self, batch: str, of: int) -> dict[str, Answer]:
        state = await self._ended(batch, of)
        if state.refused:
            raise NoBatch(f"{self.target.name}: the batch {batch} was refused: {state.refused}")
        found: dict[str, Answer] = {}
        for path in state.results:
            content = await self._http.get(path)
            found |= {line.id: self._answer(line) for line in self._lines(content)}
        return found

    async def _ended(self, batch: str, of: int) -> BatchState:
        """Look until the batch is over, more and more seldom."""
        wait_s, missed = _FIRST_WAIT_S, 0
        while True:
            try:
                state, missed = await self.wire.state(self._http, batch), 0
            except NoBatch as problem:
                missed += 1
                if not problem.passing or missed > _MOST_MISSED:
                    raise
            else:
                if state.over:
                    return state
                self.run.progress(self.target.name, state.done, of)
            await self.run.sleep(wait_s)
            wait_s = min(wait_s * _SLOWER, _LONGEST_WAIT_S)

    def _lines(self, content: bytes) -> Iterator[BatchResult]:
        for text in content.splitlines():
            try:
                yield self.wire.line(text)
            except msgspec.DecodeError:
                continue  # its question counts as one without a result

    def _answer(self, line: BatchResult) -> Answer:
        if line.failure is not None:
            return Answer(failure=line.failure, said=line.said)
        return self.target.answer(line.status, line.body)

    @property
    def _http(self) -> BatchHttp:
        return BatchHttp(self.asker.client, self.target)
