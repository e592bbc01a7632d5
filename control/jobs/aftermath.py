"""What follows a drift by itself: known issues are asked again, and the examples whose answers have marks.

The model of now is `MODEL@DAY`: its marks, its checks of known issues, and its benchmark against the model as
it was. All of it is paid from the probes' budget, at most half of it a day, and goes on the next day. What
was asked is stored at once, so that nothing is asked twice.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog

from bench.settings import BenchSettings, DatasetSource
from common.numbers import set_dollars
from records.outcome import Usage
from records.store import Store
from records.store.benchmarks import BenchFailures, BenchMarks, Benchmarks, IssueCheck, IssueHistory, Mark
from records.store.drift import DriftStore, ModelChange, ProbesSpent

if TYPE_CHECKING:  # what asks models takes a while to import, and most models never drift
    from bench.answers.results import ExampleResult
    from bench.benchmark.comparison import Comparison
    from bench.benchmark.marks import Datasets
    from bench.dataset.example import Example
    from bench.known_issues import Issue
    from bench.models.asker import Asker
    from bench.models.pair import NamedModel

log = structlog.get_logger()

BUDGET_SHARE = 0.5
"""Of a day's dollars: the model's new reference needs the others."""

AT_ONCE, MOST_A_ROUND = 4, 8
WITHIN_S = 120.0
FEWEST_TOKENS, TIMES_BEFORE = 1024, 4
"""So many tokens are set aside for an answer without a bound, or so many times those of the one before."""

PATIENCE_S = 3 * 86400.0
"""From the drift on; later, an answer that does not come counts as a failure."""

_PASSING = frozenset(
    {"provider_5xx", "provider_429", "provider_connect", "provider_timeout", "provider_reset"}
)
_OUTPUT_BOUNDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")

Then = dict[str, Any]
"""What came after a drift, as JSON types: `asked` of `of` questions and their `cost_usd`; at the end also
`ended_at`, `issues` (None without any), and `examples` with the benchmark's `verdict` and `reasons`."""


class AftermathWords(Protocol):
    """How a change, and what came of it, are written."""

    def document(self, found: "Comparison", baseline: str, candidate: str, at: float) -> dict[str, Any]:
        """A benchmark as JSON types."""
        ...

    def tells(self, change: ModelChange) -> str:
        """What a model became, in a sentence."""
        ...

    def says(self, then: Mapping[str, Any]) -> str:
        """What came, in a sentence."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An example to ask again, what its mark is kept by, and who scores it (None: nobody has to). It shows a
    known issue, or it is of a dataset and has a mark from before."""

    example: "Example"
    key: str
    judge: str | None
    issue: "Issue | None" = None
    source: DatasetSource | None = None
    before: Mark = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """What is set aside for an answer without a bound of its own."""
        return max(FEWEST_TOKENS, TIMES_BEFORE * (self.before.get("output_tokens") or 0))


class Aftermath:
    """What follows the drifts of one database's models. Methods that read or write may raise StoreDown."""

    def __init__(self, store: Store, words: AftermathWords, environment: Mapping[str, str]) -> None:
        self._store, self._drift, self._marks = store, DriftStore(store), BenchMarks(store)
        self._environment = environment
        self.words = words

    def open_drift(self, model: str) -> ModelChange | None:
        """The model's newest drift (`provider/model`), unless all that follows it is done."""
        drifts = [each for each in self._drift.changes(model) if each.kind == "model_drifted"]
        newest = drifts[-1] if drifts else None
        return None if newest is None or newest.document.get("then", {}).get("ended_at") else newest

    async def turn(self, settings: BenchSettings, change: ModelChange, now: float) -> Then:
        """Ask what today's budget pays for. With `ended_at` once all was asked. Raises BenchError, NoKey,
        OSError."""
        from bench.models.pair import named

        model = named(settings, change.model)
        questions, waiting = await asyncio.to_thread(self._questions, settings, model, change)
        cost = float(change.document.get("then", {}).get("cost_usd", 0.0))
        async with AsyncExitStack() as clients:
            asking = _Asking(settings, model, self._environment, clients)
            while waiting:
                part = [each for each in waiting if each.judge == waiting[0].judge][:MOST_A_ROUND]
                try:
                    found, spent = await self._ask(asking, part, change, now)
                except ProbesSpent:
                    break
                cost += spent
                marked = await asyncio.to_thread(self._keep, settings, found, change, now)
                waiting = [each for each in waiting if each.key not in marked]
                if not marked:
                    break
        then: Then = {"asked": len(questions) - len(waiting), "of": len(questions), "cost_usd": cost}
        if not waiting:
            then |= await asyncio.to_thread(self._ended, settings, model, change, now)
        await asyncio.to_thread(self._drift.follow, change, then)
        return then

    def _questions(
        self, settings: BenchSettings, model: "NamedModel", change: ModelChange
    ) -> tuple[list[Question], list[Question]]:
        """All, and those that are still to be asked: known issues first, then the examples of the datasets
        that have a mark from before the drift."""
        from bench.benchmark.marks import mark_key
        from bench.known_issues import judge_of

        by = judge_of(settings)
        found = [
            Question(example=each.example, key=_issue_key(each), judge=by, issue=each)
            for each in self._issues(settings)
            if by is not None or each.example.task != "judge"
        ]
        before = self._marks.of(change.model, until=change.since)
        for source, dataset in self._datasets(settings):
            keys = [(each, mark_key(settings, model, source, each)) for each in dataset.scored]
            found += [
                Question(example=each, key=key, judge=source.judge, source=source, before=before[key])
                for each, key in keys
                if key in before
            ]
        done = self._marks.of(change.now)
        return found, [each for each in found if each.key not in done]

    def _issues(self, settings: BenchSettings) -> "list[Issue]":
        from bench.known_issues import file_of, known_issues

        return known_issues(self._store, file_of(settings.file))

    def _datasets(self, settings: BenchSettings) -> "Datasets":
        """Those that can be read here: a server may have the config alone."""
        from bench.benchmark.run import read, sources
        from bench.errors import BenchError

        found = []
        for source in sources(settings, ()):
            try:
                found.append((source, read(source, settings.file.parent)))
            except (BenchError, OSError, UnicodeDecodeError) as problem:
                log.warning("drift.dataset_not_read", dataset=source.name, problem=str(problem))
        return found

    async def _ask(
        self, asking: "_Asking", part: Sequence[Question], change: ModelChange, now: float
    ) -> "tuple[list[tuple[Question, ExampleResult]], float]":
        """Ask as many of these as the budget has room for; the results and their cost. Raises ProbesSpent."""
        from bench.errors import BenchError

        probes = asking.settings.probes
        assert probes is not None  # noqa: S101
        budget = probes.daily_budget_usd * BUDGET_SHARE
        while True:
            price = await asking.highest_price(part)
            try:
                begun = await asyncio.to_thread(
                    self._drift.begin_round, change.model, now, reserve_usd=price, budget_usd=budget
                )
                break
            except ProbesSpent:
                if len(part) == 1 and price > budget:
                    aside = f"{set_dollars(price)} is set aside, of {set_dollars(budget)} a day"
                    raise BenchError(f"daily_budget is too small for {part[0].example.id}: {aside}") from None
                if len(part) == 1:
                    raise
                part = part[: len(part) // 2]
        found, cost = await asking.answers(part)
        await asyncio.to_thread(self._drift.end_round, begun, {}, cost_usd=cost)
        return list(zip(part, found, strict=True)), price if cost is None else cost

    def _keep(
        self,
        settings: BenchSettings,
        found: "Sequence[tuple[Question, ExampleResult]]",
        change: ModelChange,
        now: float,
    ) -> set[str]:
        """Store the marks and the wrong answers, but not of what may go better later; return their keys."""
        from bench.benchmark.comparison import failure
        from bench.benchmark.marks import mark_of, result_of
        from bench.known_issues import checked

        patient = now - change.at < PATIENCE_S
        kept = [(question, each) for question, each in found if not (patient and _may_go_better(each))]
        checks = [
            IssueCheck(
                at=now,
                model=change.now,
                issue=each.example.hash,
                state=checked([question.issue], {each.example.hash: each})[0].state,
            )
            for question, each in kept
            if question.issue is not None
        ]
        wrong = [
            failure(question.source, result_of(question.example, question.before), each)
            for question, each in kept
            if question.source is not None and not each.right
        ]
        BenchFailures(self._store).add(change.now, wrong, settings.wrong_kept, now=now)
        self._marks.put(change.now, {question.key: mark_of(each) for question, each in kept}, at=now)
        IssueHistory(self._store).add(checks)
        return {question.key for question, _ in kept}

    def _ended(self, settings: BenchSettings, model: "NamedModel", change: ModelChange, now: float) -> Then:
        """What came of it. The benchmark is stored, and the marks are the model's from now on."""
        from bench.benchmark.marks import compared_with_itself
        from bench.errors import NoAnswers

        marks = self._marks.of(change.now)
        before = self._marks.of(change.model, until=change.since)
        then: Then = {"ended_at": now, "issues": self._checked(settings, change, marks), "examples": 0}
        try:
            found = compared_with_itself(settings, model, self._datasets(settings), before, marks)
        except NoAnswers as problem:
            return then | {"problem": str(problem)}
        if not found.layers:
            return then
        document = self.words.document(found, change.model, change.now, now) | {"issues": then["issues"]}
        Benchmarks(self._store).add(document, baseline=change.model, candidate=change.now, at=now)
        self._marks.put(change.model, {key: each for key, each in marks.items() if key in before}, at=now)
        examples = sum(layer.figures.examples for layer in found.layers)
        return then | {name: document[name] for name in ("verdict", "reasons")} | {"examples": examples}

    def _checked(
        self, settings: BenchSettings, change: ModelChange, marks: Mapping[str, Mark]
    ) -> dict[str, Any] | None:
        """What became of the known issues, with the names of those that are `back`; None without any."""
        from bench.benchmark.marks import result_of
        from bench.known_issues import checked, document, modes_of

        issues = self._issues(settings)
        if not issues:
            return None
        results = {
            each.example.hash: result_of(each.example, marks[_issue_key(each)])
            for each in issues
            if _issue_key(each) in marks
        }
        modes = modes_of(issues, IssueHistory(self._store).all())
        back = [
            mode.name
            for mode in modes
            if any(each.model == change.now and each.state == "back" for each in mode.models)
        ]
        return {**document(change.now, checked(issues, results)), "back": back}


def _issue_key(issue: "Issue") -> str:
    return f"issue {issue.example.hash}"


def _may_go_better(result: "ExampleResult") -> bool:
    """True for a failure that passes, and an answer that nobody could score."""
    return result.answer.failure in _PASSING or (result.answered and result.score is None)


class _Asking:
    """The model and its judges, each with a client of its own until `clients` are closed."""

    def __init__(
        self,
        settings: BenchSettings,
        model: "NamedModel",
        environment: Mapping[str, str],
        clients: AsyncExitStack,
    ) -> None:
        self.settings = settings
        self._model, self._environment, self._clients = model, environment, clients
        self._known: dict[str, Asker] = {}

    async def _asker(self, model: "NamedModel") -> "Asker":
        from bench.models.asker import Asker, EntryAuth, client_for, direct

        if model.name not in self._known:
            target = await asyncio.to_thread(
                direct,
                model.provider,
                model.model,
                self.settings.known_prices(),
                self._environment,
                model.request,
                model.texts,
            )
            if isinstance(target.auth, EntryAuth):
                self._clients.callback(target.auth.close)
            client = await self._clients.enter_async_context(client_for(model.provider, at_once=AT_ONCE))
            bounded = replace(target, timeout_s=min(target.timeout_s, WITHIN_S))
            self._known[model.name] = Asker(client, bounded)
        return self._known[model.name]

    async def _judge(self, part: Sequence[Question]) -> "Asker | None":
        from bench.models.pair import named

        wanted = part[0].judge if any(each.example.task == "judge" for each in part) else None
        return None if wanted is None else await self._asker(named(self.settings, wanted))

    async def highest_price(self, part: Sequence[Question]) -> float:
        """The dollars of these at most. Raises Unpriced."""
        model, judge = await self._asker(self._model), await self._judge(part)
        return sum(_highest_price(each, model, judge) for each in part)

    async def answers(self, part: Sequence[Question]) -> "tuple[list[ExampleResult], float | None]":
        """The results, and their cost; None where that is not known."""
        from bench.answers.embeddings import embedder_for, scored
        from bench.answers.results import run

        model, judge = await self._asker(self._model), await self._judge(part)
        examples = [each.example for each in part]
        (found,) = await run([model], examples, judge=judge, saved=None, at_once=AT_ONCE)
        prices = self.settings.known_prices()
        similar = await embedder_for(self.settings, examples, prices, self._environment, self._clients)
        if similar is not None:
            (found,) = await scored([found], similar)
        costs = [each.answer.cost_usd for each in found if each.answered]
        costs += [each.judge_cost_usd for each in found if each.answered and each.example.task == "judge"]
        costs += [similar.cost_usd] if similar is not None else []
        lost = any(each.answer.status is None for each in found)
        known = [each for each in costs if each is not None]
        return found, None if lost or len(known) < len(costs) else sum(known)


def _highest_price(question: Question, model: "Asker", judge: "Asker | None") -> float:
    """No token is shorter than a byte."""
    from bench.dataset.example import prompt
    from bench.errors import Unpriced

    example = question.example
    body = model.target.asks(prompt(example), example.extras)[1]
    most = _most_output(body, question.tokens)
    costs = [model.target.cost(Usage(input_tokens=len(body), output_tokens=most))]
    if judge is not None:
        judged = Usage(input_tokens=len(body) + most + FEWEST_TOKENS, output_tokens=FEWEST_TOKENS)
        costs.append(judge.target.cost(judged))
    known = [each for each in costs if each is not None]
    if len(known) < len(costs):
        raise Unpriced(f"no price of {model.target.name} or its judge is known, so no budget can be kept")
    return sum(known)


def _most_output(body: bytes, unbounded: int) -> int:
    """The tokens of an answer at most, `unbounded` for one without a bound."""
    asked: dict[str, Any] = msgspec.json.decode(body)
    of_gemini = asked.get("generationConfig")
    bounds = [asked.get(name) for name in _OUTPUT_BOUNDS]
    bounds += [of_gemini.get("maxOutputTokens")] if isinstance(of_gemini, dict) else []
    return next((each for each in bounds if isinstance(each, int)), unbounded)
