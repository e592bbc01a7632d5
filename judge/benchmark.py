"""What a judge says of pairs of answers, in both orders, and what that comes to."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from bench.answers.results import ExampleResult, Saved, together
from bench.answers.scorers import Messages, reason
from bench.benchmark.figures import ResultPair
from bench.benchmark.statistics import paired_difference, share
from bench.dataset.example import prompt
from bench.dataset.labels import LABEL, PROPOSED
from bench.errors import BenchError
from bench.models.asker import Answer, client_for, total_cost
from bench.models.pair import ModelPair
from bench.settings import BenchSettings, JudgeSource, same_model
from common.interval import Interval
from judge.figures import FEWEST_LABELS, LabelAgreement, kappa, yes_among
from judge.judgements import FIRST, SECOND, Result, longer_won, order_decided, result_of
from judge.model import JudgeAsker, pair_questions, said

Vote = Literal["candidate", "baseline", "tie"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPair:
    """Two answers to one question, and which is known to be better (None: not known). Pairs of one `cluster`
    are not independent evidence."""

    id: str
    asked: Messages
    baseline: str
    candidate: str
    known: Vote | None = None
    category: str = ""
    cluster: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPair:
    """The judge's words about a pair by turn, none where both answers are the same text: that is a tie, and
    nobody is asked. `reason` is that of the first turn, or why there is no mark; `failed`: the judge gave no
    answer."""

    pair: AnswerPair
    said: Mapping[int, str] = field(default_factory=dict)
    reason: str = ""
    failed: bool = False
    cost_usd: float | None = None

    @property
    def result(self) -> Result:
        return result_of("pair", self.said) if self.said else "tie"

    @property
    def order_decided(self) -> bool | None:
        return order_decided(self.said) if self.said else None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedFigures:
    """What the judge says of `pairs`. `alike` are the ties that it was not asked about.

    `judged_preference` is the share of pairs that the candidate won plus half of the ties, of those with a
    mark. `order_decided` is a share of the pairs that have both words, `prefers_longer` of the pairs that
    were won. None: nothing to count. `lost_examples` are ids.
    """

    pairs: int
    won: int
    tie: int
    lost: int
    no_mark: int
    alike: int
    judged_preference: Interval | None
    order_decided: float | None
    prefers_longer: float | None
    agreement: LabelAgreement
    cost_usd: float | None
    lost_examples: tuple[str, ...]


async def judged(
    asker: JudgeAsker,
    pairs: Sequence[AnswerPair],
    criteria: str,
    *,
    saved: Saved,
    at_once: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[JudgedPair]:
    """Every pair as the judge sees it, in the pairs' order. Each answer is saved."""
    found: dict[int, JudgedPair] = {}
    waiting = iter(enumerate(pairs))

    async def work() -> None:
        for number, pair in waiting:
            found[number] = await _judged(asker, pair, criteria, saved)
            progress(len(found), len(pairs))

    await together(work() for _ in range(min(at_once, len(pairs))))
    return [found[number] for number in range(len(pairs))]


async def _judged(asker: JudgeAsker, pair: AnswerPair, criteria: str, saved: Saved) -> JudgedPair:
    if pair.baseline == pair.candidate:
        return JudgedPair(pair=pair)
    questions = pair_questions(pair.asked, pair.baseline, pair.candidate, criteria)
    answers = {turn: await asker.ask(question, saved) for turn, question in questions.items()}
    words = {turn: said("pair", answer.text or "") for turn, answer in answers.items()}
    return JudgedPair(
        pair=pair,
        said=words,
        reason=_reason(answers[FIRST] if words[SECOND] else answers[SECOND]),
        failed=any(answer.text is None for answer in answers.values()),
        cost_usd=total_cost([answer.cost_usd for answer in answers.values()]),
    )


def _reason(answer: Answer) -> str:
    if answer.text is None:
        return f"{answer.failure} {answer.said}".strip()
    return reason(answer.text)


def judged_figures(found: Sequence[JudgedPair]) -> JudgedFigures:
    """The figures of these pairs."""
    results = [each.result for each in found]
    longer = [longer_won(each.result, len(each.pair.candidate), len(each.pair.baseline)) for each in found]
    return JudgedFigures(
        pairs=len(found),
        won=results.count("candidate"),
        tie=results.count("tie"),
        lost=results.count("baseline"),
        no_mark=results.count("no_mark"),
        alike=sum(not each.said for each in found),
        judged_preference=preference(found),
        order_decided=yes_among(each.order_decided for each in found),
        prefers_longer=yes_among(longer),
        agreement=agreement(found),
        cost_usd=total_cost([each.cost_usd for each in found]),
        lost_examples=tuple(each.pair.id for each in found if each.result == "baseline"),
    )


def preference(found: Sequence[JudgedPair]) -> Interval | None:
    """The share won plus half of the ties, of the pairs with a mark: half of one plus the share won minus the
    share lost, so with the interval of that paired difference. None if the judge marked no pair of those that
    it was asked about: equal texts alone are no judgement."""
    asked = [each for each in found if each.said]
    if asked and all(each.result == "no_mark" for each in asked):
        return None
    marked = [each for each in found if each.result != "no_mark"]
    won, lost = ([each.result == arm for each in marked] for arm in ("candidate", "baseline"))
    by = paired_difference(lost, won, [each.pair.cluster for each in marked])
    return None if by is None else by.shifted(1).scaled(0.5)


def agreement(found: Sequence[JudgedPair]) -> LabelAgreement:
    """How far the judge agrees with what is known, of the pairs that it was asked about and marked. Pairs of
    one cluster widen the share's interval."""
    votes = list(_votes(found))
    if len(votes) < FEWEST_LABELS:
        return LabelAgreement(labels=len(votes), share=None, kappa=None)
    return LabelAgreement(
        labels=len(votes),
        share=share([known == result for known, result, _ in votes], [cluster for *_, cluster in votes]),
        kappa=kappa([(known, result) for known, result, _ in votes]),
    )


def _votes(found: Sequence[JudgedPair]) -> Iterator[tuple[str, str, str]]:
    for each in found:
        if each.said and each.pair.known is not None and each.result != "no_mark":
            yield each.pair.known, each.result, each.pair.cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedDataset:
    """The judge's word about one dataset. `pairs` are by the example's hash; an example without both
    answers has none."""

    name: str
    pairs: Mapping[str, JudgedPair]

    @property
    def categories(self) -> list[tuple[str, JudgedFigures]]:
        groups: dict[str, list[JudgedPair]] = {}
        for each in self.pairs.values():
            groups.setdefault(each.pair.category, []).append(each)
        return [(name, judged_figures(groups[name])) for name in sorted(groups)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedBench:
    """The judge's word about a benchmark, which decides nothing."""

    source: JudgeSource
    criteria: str
    datasets: tuple[JudgedDataset, ...]

    @property
    def pairs(self) -> list[JudgedPair]:
        return [each for dataset in self.datasets for each in dataset.pairs.values()]

    @property
    def failures(self) -> list[str]:
        """Why the judge gave no answer, once for each pair."""
        return [each.reason for each in self.pairs if each.failed]

    @property
    def answers(self) -> Mapping[str, Mapping[str, tuple[str, str]]]:
        """The result and the reason of each pair, by dataset and the example's hash."""
        return {
            dataset.name: {key: (each.result, each.reason) for key, each in dataset.pairs.items()}
            for dataset in self.datasets
        }


def asker_for(
    settings: BenchSettings, pair: ModelPair, environment: Mapping[str, str], *, at_once: int
) -> JudgeAsker:
    """Asks the config's judge about both models' answers; close() it.

    Raises NoKey, Unpriced, and BenchError where there is no judge, or it is one of the two models.
    """
    source = _judge_for(settings, pair)
    client = client_for(settings.providers[source.provider], at_once=at_once)
    return JudgeAsker(client, source, settings, environment)


def _judge_for(settings: BenchSettings, pair: ModelPair) -> JudgeSource:
    source = settings.judge
    if source is None:
        raise BenchError(
            "--judge needs a judge: name one at the top of the config, as "
            "`judge: {provider: …, model: …, daily_budget: 5.00}`"
        )
    for arm, model in (("current model", pair.baseline), ("new model", pair.candidate)):
        if model is not None and same_model(model.model, source.model):
            raise BenchError(
                f"the judge {source.name} is the {arm} of this benchmark; no model judges its own answers: "
                "name another under `judge`"
            )
    return source


async def judged_bench(
    asker: JudgeAsker,
    datasets: Iterable[tuple[str, Sequence[ResultPair]]],
    criteria: str,
    *,
    saved: Saved,
    at_once: int,
    progress: Callable[[str, int, int], None],
) -> JudgedBench:
    """Ask the judge about every example of these datasets, by name, that both models answered."""
    found = []
    for name, pairs in datasets:
        answered = dict(_answered(pairs))
        words = await judged(
            asker,
            list(answered.values()),
            criteria,
            saved=saved,
            at_once=at_once,
            progress=partial(progress, f"the judge on {name}"),
        )
        found.append(JudgedDataset(name=name, pairs=dict(zip(answered, words, strict=True))))
    return JudgedBench(source=asker.source, criteria=criteria, datasets=tuple(found))


def _answered(pairs: Sequence[ResultPair]) -> Iterator[tuple[str, AnswerPair]]:
    for baseline, candidate in pairs:
        known_answer, new = baseline.answer.written, None if candidate is None else candidate.answer.written
        if candidate is None or known_answer is None or new is None:
            continue
        example = baseline.example
        yield (
            example.hash,
            AnswerPair(
                id=example.id,
                asked=prompt(example),
                baseline=known_answer,
                candidate=new,
                known=known(baseline, candidate),
                category=example.category,
                cluster=example.cluster,
            ),
        )


def known(baseline: ExampleResult, candidate: ExampleResult) -> Vote | None:
    """Whose answer the dataset knows to be right; both or neither is a tie. None where a judge marked them,
    or the label is a model's proposal, because then nobody knows."""
    example = baseline.example
    if example.task == "judge" or example.tags.get(LABEL) == PROPOSED:
        return None
    if baseline.right == candidate.right:
        return "tie"
    return "candidate" if candidate.right else "baseline"
