"""Looks at every provider's list of models. Announces new models and those that retire soon, and benchmarks
the new ones, if wanted."""

import asyncio
import fcntl
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import msgspec

from alerts.incidents.notice import Receiver
from alerts.incidents.notifier import Announcement, Outbox, announce, notifier_client
from bench.models.catalogue import ListedModel, ModelsNotListed, models_of
from common.whole_file import write_whole
from control.jobs.model_news import (
    BenchmarkResult,
    ModelTrial,
    WatchMemory,
    after_announcing,
    after_benchmark,
    after_dates,
    after_listing,
    dates_of,
    in_words,
    look_at,
    to_benchmark_again,
    to_look_at,
    to_tell,
)
from proxy.providers.provider import Provider
from records.errors import StoreDown

FILE = "watch.json"
"""In the data folder."""

LOCK = "watch.lock"


class WatchError(Exception):
    """The base of the watcher's errors. The message says what to do.

    ├── BadMemory    its file cannot be read
    ├── WatchesTwice another watcher looks, with the same data folder
    └── NotListed    a model to benchmark again that no provider lists, or several do
    """


class BadMemory(WatchError):
    """The watcher's file cannot be read."""


class WatchesTwice(WatchError):
    """Another watcher is looking, and both would write the file."""


class NotListed(WatchError):
    """No provider lists the model, or several do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchResult:
    """The result of one look: new models, how many models each provider lists (None: no answer), the result
    of each benchmark by model, why each other model waits, and what went wrong."""

    new: tuple[str, ...]
    listed: Mapping[str, int | None]
    measured: Mapping[str, BenchmarkResult]
    pending: Mapping[str, str]
    troubles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """What the config says: the providers, the receivers, the days on which models retire, the models of its
    canaries (`provider/model`) with their part in words, and the models that canary asks for itself, such as
    judges: they are no candidates."""

    providers: Sequence[Provider]
    notify: Sequence[Receiver] = ()
    retires: Mapping[str, date] = field(default_factory=dict)
    arms: Mapping[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class ReleaseWatcher:
    """Looks, and remembers in a file what it has announced and measured.

    `trial` tries a model; None: models are not measured. `match` is a pattern of the names of models that are
    announced and measured. `again` is a model to benchmark at the next look, whatever it waits for. `notice`
    makes the releases of new models, given with the UTC second; `rolled_back` tells the models whose last
    canary was rolled back, which are done with. Both may raise StoreDown.
    """

    settings: WatchSettings
    data: Path
    environment: Mapping[str, str]
    match: str = "*"
    trial: ModelTrial | None = None
    again: str | None = None
    notice: Callable[[Mapping[str, float]], None] = lambda models: None
    rolled_back: Callable[[], Collection[str]] = tuple
    utc: Callable[[], float] = time.time
    troubles: list[str] = field(default_factory=list)

    def configure(self, settings: WatchSettings) -> None:
        """Use a changed config."""
        self.settings = settings

    def look(self) -> WatchResult:
        """Look once. Failed announcements and benchmarks are tried again at the next look. Raises WatchError,
        OSError."""
        self.troubles = []
        with _alone(self.data):
            memory, new, counts = asyncio.run(self._look(self._remembered(), self.utc()))
            memory = self._with_releases(memory)
            self._remember(memory)
            memory, found = self._measure(memory, counts)
        pending = {name: each.why for name, each in memory.pending.items()}
        return WatchResult(
            new=tuple(new), listed=counts, measured=found, pending=pending, troubles=tuple(self.troubles)
        )

    async def _look(
        self, memory: WatchMemory, now: float
    ) -> tuple[WatchMemory, list[str], dict[str, int | None]]:
        new: list[str] = []
        lists = {each.name: await self._listed(each) for each in self.settings.providers}
        for provider, models in lists.items():
            if models:
                memory, found = after_listing(
                    memory,
                    provider,
                    [each.name for each in models],
                    at=now,
                    receivers=list(self._receivers()),
                    measure=self.trial is not None,
                    wanted=partial(self._is_candidate, provider),
                )
                new += found
        memory = self._with_retirements(memory, lists, now)
        self._remember(memory)
        memory = await self._tell_retirements(await self._tell(memory, now), now)
        return memory, new, {name: None if each is None else len(each) for name, each in lists.items()}

    async def _listed(self, provider: Provider) -> Sequence[ListedModel] | None:
        try:
            return await models_of(provider, self.environment)
        except ModelsNotListed as problem:
            self.troubles.append(str(problem))
            return None

    def _with_retirements(
        self, memory: WatchMemory, lists: Mapping[str, Sequence[ListedModel] | None], now: float
    ) -> WatchMemory:
        """The memory with the dates of the models that match, and of those of the canaries."""
        arms = self.settings.arms
        models = [(f"{name}/{each.name}", each) for name, found in lists.items() for each in found or ()]
        wanted = [(name, each) for name, each in models if name in arms or self._matches(each.name)]
        listed = {name: each.retires for name, each in wanted if each.retires is not None}
        names = [*arms, *(name for name, _ in wanted)]
        told = after_dates(
            memory.retiring,
            dates_of(listed, self.settings.retires, names),
            today=_day(now),
            receivers=list(self._receivers()),
        )
        return msgspec.structs.replace(memory, retiring=told)

    def _with_releases(self, memory: WatchMemory) -> WatchMemory:
        """The memory after making the releases of new models. While the store is down, they stay in it."""
        if not memory.unnoticed:
            return memory
        try:
            self.notice(memory.unnoticed)
        except StoreDown as problem:
            self.troubles.append(f"the releases of new models are not stored yet: {problem}")
            return memory
        return msgspec.structs.replace(memory, unnoticed={})

    async def _tell(self, memory: WatchMemory, now: float) -> WatchMemory:
        left = {}
        for name, waiting in memory.untold.items():
            about = {"model": name, "verdict": None}
            news = Announcement(kind="model_released", about=about, headline=f"{name} is a new model", at=now)
            left[name] = await self._left(waiting, news)
        return after_announcing(memory, left)

    async def _tell_retirements(self, memory: WatchMemory, now: float) -> WatchMemory:
        told = dict(memory.retiring)
        for each in to_tell(memory.retiring, _day(now)):
            part = self.settings.arms.get(each.model)
            uses = f"; it is {part}" if part is not None else ""
            about: dict[str, str | int | None] = {"model": each.model, "at": str(each.on), "days": each.days}
            headline = f"{each.model} {in_words(each.on, _day(now))}{uses}"
            news = Announcement(kind="model_retires", about=about, headline=headline, at=now)
            left = await self._left(told[each.model].untold, news)
            told[each.model] = msgspec.structs.replace(told[each.model], untold=tuple(left))
        return msgspec.structs.replace(memory, retiring=told)

    async def _left(self, waiting: Sequence[str], news: Announcement) -> list[str]:
        """Those of the receivers that could not be told."""
        receivers = self._receivers()
        known = (each for each in waiting if each in receivers)
        return [each for each in known if not await self._told(receivers[each], news)]

    async def _told(self, receiver: Receiver, news: Announcement) -> bool:
        async with notifier_client() as client:
            wrong = await announce(client, receiver, news)
        if wrong is not None:
            self.troubles.append(f"{receiver.kind} was not told of {news.about['model']}: {wrong}")
        return wrong is None

    def _measure(
        self, memory: WatchMemory, counts: Mapping[str, int | None]
    ) -> tuple[WatchMemory, dict[str, BenchmarkResult]]:
        """Try what is new, and what waits, where the provider answers."""
        done: dict[str, BenchmarkResult] = {}
        if self.trial is None:
            return memory, done
        forced = self._forced(memory)
        if forced is not None:
            memory = to_benchmark_again(memory, forced)

        for name in self._done_with(memory, forced):
            memory = after_benchmark(memory, name)
            self._remember(memory)

        def wanted(name: str) -> bool:
            provider, _, model = name.partition("/")
            return name == forced or (
                counts.get(provider) is not None and self._is_candidate(provider, model)
            )

        for after, name, told in look_at(memory, self.trial, wanted=wanted, now=self.utc):
            memory = after
            self._remember(memory)
            if told is not None:
                done[name] = told
                self._tell_result(name, told)
        self.again = None
        return memory, done

    def _done_with(self, memory: WatchMemory, forced: str | None) -> list[str]:
        """The models that wait and were rolled back meanwhile: nobody can use what is told of them."""
        try:
            tried = self.rolled_back()
        except StoreDown as problem:
            self.troubles.append(f"what was rolled back is not known: {problem}")
            return []
        return [name for name in to_look_at(memory) if name in tried and name != forced]

    def _is_candidate(self, provider: str, model: str) -> bool:
        return self._matches(model) and f"{provider}/{model}" not in self.settings.own

    def _matches(self, model: str) -> bool:
        return fnmatchcase(model, self.match)

    def _forced(self, memory: WatchMemory) -> str | None:
        """The model to benchmark again, as `provider/model`. Raises NotListed."""
        if self.again is None or self.again.partition("/")[0] in {
            each.name for each in self.settings.providers
        }:
            return self.again
        found = [f"{name}/{self.again}" for name, models in memory.known.items() if self.again in models]
        if len(found) != 1:
            raise NotListed(f"write PROVIDER/MODEL: {self.again} is {' or '.join(found) or 'not listed'}")
        return found[0]

    def _tell_result(self, name: str, found: BenchmarkResult) -> None:
        news = Announcement(
            kind="benchmark_finished",
            about={"model": name, "verdict": found.verdict},
            headline=f"{name}: {found.says}",
            at=self.utc(),
        )
        for receiver in self._receivers().values():
            asyncio.run(self._told(receiver, news))

    def _receivers(self) -> Mapping[str, Receiver]:
        """The receivers by an id that does not reveal their address."""
        return Outbox(self.settings.notify).receivers

    def _remembered(self) -> WatchMemory:
        path = self.data / FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=WatchMemory)
        except FileNotFoundError:
            return WatchMemory()
        except msgspec.DecodeError as problem:
            raise BadMemory(f"{path} cannot be read ({problem}): delete it to begin anew") from problem

    def _remember(self, memory: WatchMemory) -> None:
        write_whole(self.data / FILE, msgspec.json.encode(memory))


def _day(now: float) -> date:
    """The day in UTC."""
    return datetime.fromtimestamp(now, UTC).date()


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Held while a watcher looks: two at a time would lose each other's memory. Raises WatchesTwice."""
    data.mkdir(mode=0o700, exist_ok=True)
    with (data / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise WatchesTwice(
                f"another `canary watch` is looking with {data}; wait for its end"
            ) from problem
        yield
