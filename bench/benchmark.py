"""One benchmark from its datasets' files to its comparison."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.asking import Asker, Target
from bench.comparison import Comparison, compared, measured
from bench.dataset import Dataset, parse
from bench.errors import BadDataset, NoAnswers
from bench.example import fingerprint
from bench.models import NamedModel, Pair, named
from bench.runner import Ask, run
from bench.saved_answers import SavedAnswers
from bench.settings import BenchSettings
from bench.source import DatasetSource
from bench.targets import ProxyRoute, client_for, direct, pinned
from records.prices import Prices
from routing.canary import ArmName


@dataclass(slots=True, kw_only=True)
class Bench:
    """What a benchmark runs with. `stages` fills with the seconds that each stage took."""

    settings: BenchSettings
    pair: Pair
    proxy: ProxyRoute | None
    environment: Mapping[str, str]
    at_once: int
    progress: Callable[[str, int, int], None]
    stages: dict[str, float] = field(default_factory=dict)

    async def run(self, datasets: Sequence[tuple[DatasetSource, Dataset]], kept: SavedAnswers) -> Comparison:
        """Ask both models everything, dataset by dataset. Raises BenchError, NoKey."""
        prices = Prices(self.settings.prices)
        async with AsyncExitStack() as clients:

            async def asker(model: NamedModel, target: Target) -> Asker:
                client = client_for(model.provider, at_once=self.at_once)
                return Asker(await clients.enter_async_context(client), target)

            askers = [await asker(model, self._target(model, arm, prices)) for model, arm in self._models()]
            found = []
            for source, dataset in datasets:
                began = time.perf_counter()
                by = None
                if source.judge is not None:
                    model = named(self.settings, source.judge)
                    by = await asker(model, direct(model.provider, model.model, prices, self.environment))
                results = await run(
                    [Ask(asker=each, judge=by) for each in askers],
                    dataset.scored,
                    kept=kept,
                    at_once=self.at_once,
                    progress=partial(self.progress, source.name),
                )
                self.stages[source.name] = time.perf_counter() - began
                try:
                    found.append(measured(source, dataset, results))
                except NoAnswers as problem:
                    raise NoAnswers(f"{source.name}: {problem}") from problem
        return compared(found)

    def _models(self) -> list[tuple[NamedModel, ArmName]]:
        candidate = self.pair.candidate
        found: list[tuple[NamedModel, ArmName]] = [(self.pair.baseline, "baseline")]
        return [*found, (candidate, "candidate")] if candidate is not None else found

    def _target(self, model: NamedModel, arm: ArmName, prices: Prices) -> Target:
        target = direct(model.provider, model.model, prices, self.environment)
        return target if self.proxy is None else pinned(target, self.proxy, arm)


def sources(settings: BenchSettings, wanted: Sequence[str]) -> list[DatasetSource]:
    """The config's datasets, or those that are wanted: by name, or as files that the config does not know."""
    if not wanted:
        return list(settings.datasets)
    known = {each.name: each for each in settings.datasets}
    return [known.get(each) or DatasetSource(name=each, file=each, layer="synthetic") for each in wanted]


def read(source: DatasetSource, folder: Path) -> Dataset:
    """A source's examples; names in the config are relative to its folder. Raises BadDataset and OSError."""
    path = path_of(source, folder)
    try:
        return parse(path.read_text(encoding="utf-8"))
    except BadDataset as problem:
        raise BadDataset(problem.problems, str(path)) from None


def path_of(source: DatasetSource, folder: Path) -> Path:
    """Where a source's file is; one that a person named is where they said."""
    return Path(source.file) if source.name == source.file else folder / source.file


def kept_in(data: Path, pair: Pair, proxy: ProxyRoute | None, *, now: float) -> SavedAnswers:
    """What an interrupted run of these models left in the data folder."""
    folder = data / "bench"
    for each in (data, folder):
        each.mkdir(mode=0o700, exist_ok=True)
    names = [pair.baseline.name, pair.candidate.name if pair.candidate else "", proxy is not None]
    return SavedAnswers(folder / f"{fingerprint(names)[:16]}.jsonl", now=now)
