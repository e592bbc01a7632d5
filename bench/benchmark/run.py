"""Runs one benchmark, from the dataset files to the comparison.

While nothing changes that a model's benchmark depends on (`basis_of`), it need not be repeated.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from bench.answers.batches import PRICE_FACTOR, BatchRun, BatchWire, batch_wire
from bench.answers.embeddings import Embedder, embedder_for, scored
from bench.answers.results import AnswerStore, SavedAnswers, run
from bench.benchmark.comparison import Comparison, DatasetResult, Similarity, compared, measured
from bench.benchmark.rubric import RunConditions
from bench.dataset.example import Example, fingerprint
from bench.dataset.file import Dataset, parse, weights_of
from bench.errors import BadDataset, BenchError, NoAnswers
from bench.known_issues import file_of
from bench.models.asker import Asker, ProxyRoute, Target, client_for, direct, pinned
from bench.models.pair import AmbiguousModel, ModelPair, NamedModel, named, pair, terms_of
from bench.settings import BenchRubric, BenchSettings, DatasetSource, same_model
from records.facts.prices import Prices, UnpricedArm, unpriced_model
from routing.canary import ArmName

MOST_BATCH_BYTES = 1 << 30
"""The results of a whole batch are one answer, which the command reads and not the server."""


@dataclass(slots=True, kw_only=True)
class BenchmarkRun:
    """The parts of a benchmark run. `stages` gets the seconds that each dataset took, and the batches.

    `by_batch`: the models are asked by batch, and only judges one by one. `tell` gets lines for the person
    who waits for a batch.
    """

    settings: BenchSettings
    pair: ModelPair
    proxy: ProxyRoute | None
    environment: Mapping[str, str]
    at_once: int
    progress: Callable[[str, int, int], None]
    by_batch: bool = False
    tell: Callable[[str], None] = print
    stages: dict[str, float] = field(default_factory=dict)

    async def run(self, datasets: Sequence[tuple[DatasetSource, Dataset]], saved: SavedAnswers) -> Comparison:
        """Ask both models every example, dataset by dataset. Raises BenchError, NoKey; what is missing is
        found before the first question."""
        prices = self.settings.known_prices()
        wires = [batch_wire(each.provider, each.model) for each, _ in self._models()] if self.by_batch else []
        judges = [self._judge(source, dataset) for source, dataset in datasets]
        examples = [example for _, dataset in datasets for example in dataset.scored]
        terms = terms_of(self.settings, self.pair)
        async with AsyncExitStack() as clients:

            async def asker(model: NamedModel, target: Target) -> Asker:
                proxy = self.proxy if target.arm is not None else None  # a judge is asked directly
                trust = None if proxy is None else proxy.trust
                client = client_for(
                    model.provider, at_once=self.at_once, trust=trust, most_bytes=MOST_BATCH_BYTES
                )
                return Asker(await clients.enter_async_context(client), target)

            askers = [await asker(model, self._target(model, arm, prices)) for model, arm in self._models()]
            marking = [
                None if judge is None else await asker(judge, self._direct(judge, prices)) for judge in judges
            ]
            similar = await embedder_for(self.settings, examples, prices, self.environment, clients)
            answers = await self._by_batch(askers, wires, datasets, saved) if wires else saved
            measurements = []
            for (source, dataset), judge, by in zip(datasets, judges, marking, strict=True):
                found = await self._measured(source, dataset, askers, by, answers, similar, terms)
                measurements.append(replace(found, marked_by=judge))
        return compared(
            measurements, _similarity(examples, similar), terms=terms, conditions=self._conditions()
        )

    def _conditions(self) -> RunConditions:
        return RunConditions(at_once=self.at_once, price_factor=PRICE_FACTOR if self.by_batch else 1.0)

    async def _by_batch(
        self,
        askers: Sequence[Asker],
        wires: Sequence[BatchWire],
        datasets: Sequence[tuple[DatasetSource, Dataset]],
        saved: SavedAnswers,
    ) -> AnswerStore:
        began = time.perf_counter()
        examples = [example for _, dataset in datasets for example in dataset.scored]
        logprobs = frozenset(
            each.hash for source, dataset in datasets if source.confidence for each in dataset.scored
        )
        batches = BatchRun(saved=saved, progress=self.progress, tell=self.tell)
        found = await batches.ask(list(zip(askers, wires, strict=True)), examples, logprobs)
        self.stages["batch"] = time.perf_counter() - began
        return found

    async def _measured(
        self,
        source: DatasetSource,
        dataset: Dataset,
        askers: Sequence[Asker],
        judge: Asker | None,
        saved: AnswerStore,
        similar: Embedder | None,
        terms: BenchRubric,
    ) -> DatasetResult:
        began = time.perf_counter()
        try:
            results = await run(
                askers,
                dataset.scored,
                judge=judge,
                saved=saved,
                at_once=self.at_once,
                logprobs=source.confidence is not None,
                progress=partial(self.progress, source.name),
            )
            if similar is not None:
                results = await scored(results, similar)
            self.stages[source.name] = time.perf_counter() - began
            return measured(source, dataset, results, terms=terms)
        except NoAnswers as problem:
            raise NoAnswers(f"{source.name}: {problem}") from problem

    def _judge(self, source: DatasetSource, dataset: Dataset) -> NamedModel | None:
        """The dataset's judge; None if no example needs one. Raises BenchError if it cannot be measured."""
        if not dataset.scored:
            raise NoAnswers(f"{source.name}: no example has an expected answer, so there is nothing to score")
        needing = [example.id for example in dataset.scored if example.task == "judge"]
        if not needing:
            return None
        where = "set it for this dataset in the config"
        if source.name == source.file:
            where = f"list {source.file} under `datasets` in the config with it"
        needs = f"{source.name}: example {needing[0]} needs a judge, as `judge: PROVIDER/MODEL`: {where}"
        if source.judge is None:
            raise BenchError(needs)
        judge = named(self.settings, source.judge)
        is_own = source in self.settings.datasets
        if not is_own and any(same_model(judge.model, each.model) for each, _ in self._models()):
            raise BenchError(f"{needs}; the config's, {judge.name}, is one of the models that it would mark")
        return judge

    def _models(self) -> list[tuple[NamedModel, ArmName]]:
        candidate = self.pair.candidate
        found: list[tuple[NamedModel, ArmName]] = [(self.pair.baseline, "baseline")]
        return [*found, (candidate, "candidate")] if candidate is not None else found

    def _target(self, model: NamedModel, arm: ArmName, prices: Prices) -> Target:
        target = self._direct(model, prices)
        return target if self.proxy is None else pinned(target, self.proxy, arm)

    def _direct(self, model: NamedModel, prices: Prices) -> Target:
        return direct(model.provider, model.model, prices, self.environment, model.request, model.texts)


def unpriced(
    settings: BenchSettings, pair: ModelPair, sources: Sequence[DatasetSource] = ()
) -> tuple[UnpricedArm, ...]:
    """The pair's models, and the judges of these datasets, without a known price."""
    prices = settings.known_prices()
    judges = [named(settings, name) for name in dict.fromkeys(each.judge for each in sources) if name]
    models = [
        ("baseline", pair.baseline),
        ("candidate", pair.candidate),
        *(("judge", each) for each in judges),
    ]
    return tuple(
        each
        for arm, model in models
        if model is not None
        for each in unpriced_model(model.provider, model.model, prices, arm=arm)
    )


def _similarity(examples: Sequence[Example], by: Embedder | None) -> Similarity | None:
    if not any(example.task == "similar" for example in examples):
        return None
    return Similarity(by="words") if by is None else Similarity(by=by.name, cost_usd=by.cost_usd)


def sources(settings: BenchSettings, wanted: Sequence[str]) -> list[DatasetSource]:
    """The config's datasets, or the `wanted` ones: by name in the config, or as files. Each has its judge."""
    known = {source.name: source for source in settings.datasets}
    found = [
        known.get(name) or DatasetSource(name=name, file=name, layer="synthetic") for name in wanted or known
    ]
    return [replace(each, judge=settings.judge_of(each)) for each in found]


def read(source: DatasetSource, folder: Path) -> Dataset:
    """A source's examples, with the weights beside them. `folder` is the config's. Raises BadDataset,
    BenchError and OSError."""
    path = path_of(source, folder)
    try:
        return replace(parse(path.read_text(encoding="utf-8")), weights=weights_of(path))
    except BadDataset as problem:
        raise BadDataset(problem.problems, str(path)) from None


def without_prompt(pair: ModelPair, examples: Iterable[Example]) -> str:
    """How many examples have not the text in whose place an arm has its own prompt, "" if all have it: of
    those both arms are asked the same."""
    arms = [each.texts for each in (pair.baseline, pair.candidate) if each is not None]
    wanted = [texts for texts in arms if texts is not None and texts.find]
    if not wanted:
        return ""
    asked = [_request(each) for each in examples]
    lacking = sum(not all(texts.places(body) for texts in wanted) for body in asked)
    if not lacking:
        return ""
    return f"{lacking} of {len(asked)} examples have not the text of `prompt.find`: they compare no prompts"


def _request(example: Example) -> bytes:
    """An example as a request, as far as its system texts need it."""
    messages = [{"role": each.role, "content": each.content} for each in example.messages]
    return msgspec.json.encode({**example.extras.parameters, "messages": messages})


def path_of(source: DatasetSource, folder: Path) -> Path:
    """The path of a source's file: relative to the config, or as given on the command line."""
    return Path(source.file) if source.name == source.file else folder / source.file


def saved_in(data: Path, pair: ModelPair, proxy: ProxyRoute | None, *, now: float) -> SavedAnswers:
    """The answers that an interrupted run of these models saved in the data folder."""
    folder = data / "bench"
    for path in (data, folder):
        path.mkdir(mode=0o700, exist_ok=True)
    models = [model for model in (pair.baseline, pair.candidate) if model is not None]
    asked = [
        proxy is not None,
        *((model.name, model.provider.base_url, *model.differs) for model in models),
    ]
    return SavedAnswers(folder / f"{fingerprint(asked)[:16]}.jsonl", now=now)


# What a model's benchmark depends on, by part. While no part changes, it need not be repeated.


def basis_of(
    settings: BenchSettings,
    config: Path,
    model: str,
    against: str | None,
    issues: Sequence[str] = (),
) -> Mapping[str, str]:
    """The current model, and hashes of the datasets, the terms of its canaries, the models without a price,
    and the known issues. `config` is the config file, `issues` has the hashes of those in the store."""
    try:
        models = pair(settings, model, against)
    except AmbiguousModel as problem:
        return {"current model": str(problem)}
    baseline = models.baseline
    return {
        "current model": baseline.name,
        "requests": _hash(_requests(models)),
        "datasets": _hash([_dataset(each, config.parent) for each in settings.datasets]),
        "rubric": _hash(_terms(terms_of(settings, models))),
        "unpriced": ", ".join(f"{each.provider}/{each.model}" for each in unpriced(settings, models)),
        "known issues": _hash([_text(file_of(config)), *issues]),
    }


def _requests(models: ModelPair) -> list[object]:
    return [each.differs for each in (models.baseline, models.candidate) if each is not None]


def _terms(terms: BenchRubric) -> list[object]:
    rows = [[row.metric, row.acceptable.text, row.ideal.text] for row in terms.rows]
    return [rows, sorted(terms.critical), terms.criteria]


def _dataset(source: DatasetSource, folder: Path) -> list[object]:
    """Its version and labels; of one that cannot be read, the problem."""
    about: list[object] = [source.name, source.layer, source.floor, source.judge]
    try:
        found = read(source, folder)
    except (BadDataset, OSError, UnicodeDecodeError) as problem:
        return [*about, str(path_of(source, folder)), str(problem)]
    return [*about, found.sha256, found.proposed]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _hash(parts: Sequence[object]) -> str:
    return fingerprint(list(parts))[:16]
