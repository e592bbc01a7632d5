"""A benchmark's judge: both models' answers to each example compared, and what that comes to by category."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bench.answers.results import Result
from bench.answers.saved import AnswerStore
from bench.dataset.example import prompt
from bench.dataset.labels import LABEL, PROPOSED
from bench.errors import NoJudge
from bench.figures import Pair
from bench.judge_asker import JudgeAsker
from bench.judge_settings import JudgeSource, same_model
from bench.judged_pairs import AnswerPair, JudgedFigures, JudgedPair, Vote, judged, judged_figures
from bench.models.pair import Pair as ModelPair
from bench.settings import BenchSettings


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


def judge_for(settings: BenchSettings, pair: ModelPair) -> JudgeSource:
    """The config's judge. Raises NoJudge where there is none, or where it is one of the two models."""
    source = settings.judge
    if source is None:
        raise NoJudge(
            "--judge needs a judge: name one at the top of the config, as "
            "`judge: {provider: …, model: …, daily_budget: 5.00}`"
        )
    for arm, model in (("current model", pair.baseline), ("new model", pair.candidate)):
        if model is not None and same_model(model.model, source.model):
            raise NoJudge(
                f"the judge {source.name} is the {arm} of this benchmark; no model judges its own answers: "
                "name another under `judge`"
            )
    return source


async def judged_bench(
    asker: JudgeAsker,
    datasets: Iterable[tuple[str, Sequence[Pair]]],
    criteria: str,
    *,
    saved: AnswerStore,
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


def _answered(pairs: Sequence[Pair]) -> Iterator[tuple[str, AnswerPair]]:
    for baseline, candidate in pairs:
        if candidate is None or baseline.answer.text is None or candidate.answer.text is None:
            continue
        example = baseline.example
        yield (
            example.hash,
            AnswerPair(
                id=example.id,
                asked=prompt(example),
                baseline=baseline.answer.text,
                candidate=candidate.answer.text,
                known=known(baseline, candidate),
                category=example.category,
                cluster=example.cluster,
            ),
        )


def known(baseline: Result, candidate: Result) -> Vote | None:
    """Whose answer the dataset knows to be right; both or neither is a tie. None where a judge marked them,
    or the label is a model's proposal, because then nobody knows."""
    example = baseline.example
    if example.task == "judge" or example.tags.get(LABEL) == PROPOSED:
        return None
    if baseline.right == candidate.right:
        return "tie"
    return "candidate" if candidate.right else "baseline"
