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
from functools import cache, partial
from pathlib import Path

import msgspec

from alerts.incidents.notice import Receiver
from alerts.incidents.notifier import Announcement, announce, notifier_client, receivers_of
from bench.models.catalogue import ListedModel, ModelsNotListed, models_of
from common.whole_file import write_whole
from control.jobs.model_news import (
    BenchmarkResult,
    ModelTrial,
    WatchMemory,
    after_announcing,
    after_benchmark,
    after_listing,
    look_at,
    to_benchmark_again,
    to_look_at,
)
from control.jobs.retirements import Retirement, Uses, after_dates, dates_of, retiring, to_tell
from proxy.providers.provider import Provider
from records.errors import StoreDown
from records.facts.retirement import LastDay

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
    of each benchmark by model, why each other model waits, the models whose retirement came a stage nearer,
    and what went wrong."""

    new: tuple[str, ...]
    listed: Mapping[str, int | None]
    measured: Mapping[str, BenchmarkResult]
    pending: Mapping[str, str]
    retiring: tuple[Retirement, ...]
    troubles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """What the config says: the providers, the receivers, when models retire, what its canaries have each
    model for, and the models that canary asks for itself, such as judges: they are no candidates."""

    providers: Sequence[Provider]
    notify: Sequence[Receiver] = ()
    retires: Mapping[str, LastDay] = field(default_factory=dict)
    uses: Uses = field(default_factory=dict)
    own: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class ReleaseWatcher:
    """Looks, and remembers in a file what it has announced and measured.

    `trial` tries a model; None: models are not measured. `match` is a pattern of the names of models that are
    announced and measured. `again` is a model to benchmark at the next look, whatever it waits for. `notice`
    makes the releases of new models, given with the UTC second; `store_listed` stores when each model retires
    by its provider's list; `rolled_back` tells the models whose last canary was rolled back, which are done
    with; `tried` those that a canary has tried, which are no news. All four may raise StoreDown.
    """

    settings: WatchSettings
    data: Path
    environment: Mapping[str, str]
    match: str = "*"
    trial: ModelTrial | None = None
    again: str | None = None
    notice: Callable[[Mapping[str, float]], None] = lambda models: None
    store_listed: Callable[[Mapping[str, LastDay]], None] = lambda models: None
    rolled_back: Callable[[], Collection[str]] = tuple
    tried: Callable[[], Collection[str]] = tuple
    utc: Callable[[], float] = time.time
    troubles: list[str] = field(default_factory=list)
    _nearer: list[Retirement] = field(default_factory=list)

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
            new=tuple(new),
            listed=counts,
            measured=found,
            pending=pending,
            retiring=tuple(self._nearer),
            troubles=tuple(self.troubles),
        )

    async def _look(
        self, memory: WatchMemory, now: float
    ) -> tuple[WatchMemory, list[str], dict[str, int | None]]:
        new: list[str] = []
        lists = {each.name: await self._listed(each) for each in self.settings.providers}
        in_use = cache(self._in_use)

        def is_news(provider: str, model: str) -> bool:
            return self._is_candidate(provider, model) and f"{provider}/{model}" not in in_use()

        for provider, models in lists.items():
            if models:
                memory, found = after_listing(
                    memory,
                    provider,
                    [each.name for each in models],
                    at=now,
                    receivers=list(receivers_of(_released("", now), self.settings.notify)),
                    measure=self.trial is not None,
                    wanted=partial(is_news, provider),
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
        uses = self.settings.uses
        models = [(f"{name}/{each.name}", each) for name, found in lists.items() for each in found or ()]
        wanted = [(name, each) for name, each in models if name in uses or self._matches(each.name)]
        listed = {
            name: LastDay(on=each.retires, successor=each.successor) for name, each in wanted if each.retires
        }
        names = [*uses, *(name for name, _ in wanted)]
        found = retiring(dates_of(listed, self.settings.retires, names), uses)
        told = after_dates(
            memory.retiring,
            found,
            today=_day(now),
            receivers=lambda each: receivers_of(_retires(each, now), self.settings.notify),
        )
        self._nearer = [each for each in found if told.get(each.model) != memory.retiring.get(each.model)]
        silent = [name for name, each in lists.items() if each is None]
        kept = {name: last for name, last in memory.listed.items() if name.partition("/")[0] in silent}
        return self._with_listed(msgspec.structs.replace(memory, retiring=told), {**kept, **listed})

    def _with_listed(self, memory: WatchMemory, listed: Mapping[str, LastDay]) -> WatchMemory:
        """The memory after storing what the lists say of retirements, where that has changed."""
        if listed == memory.listed:
            return memory
        try:
            self.store_listed(listed)
        except StoreDown as problem:
            self.troubles.append(f"when models retire is not stored yet: {problem}")
            return memory
        return msgspec.structs.replace(memory, listed=dict(listed))

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
            left[name] = await self._left(waiting, _released(name, now))
        return after_announcing(memory, left)

    async def _tell_retirements(self, memory: WatchMemory, now: float) -> WatchMemory:
        told = dict(memory.retiring)
        for each in to_tell(memory.retiring, self.settings.uses):
            left = await self._left(told[each.model].untold, _retires(each, now))
            told[each.model] = msgspec.structs.replace(told[each.model], untold=tuple(left))
        return msgspec.structs.replace(memory, retiring=told)

    async def _left(self, waiting: Sequence[str], news: Announcement) -> list[str]:
        """Those of the receivers that could not be told."""
        receivers = receivers_of(news, self.settings.notify)
        known = (each for each in waiting if each in receivers)
        return [each for each in known if not await self._told(receivers[each], news)]

    async def _told(self, receiver: Receiver, news: Announcement) -> bool:
        async with notifier_client() as client:
            wrong = await announce(client, receiver, news)
        if wrong is not None:
            self.troubles.append(f"{receiver.name} was not told of {news.about['model']}: {wrong}")
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

    def _in_use(self) -> Collection[str]:
        """The models that canaries have, or have tried: whoever tried them knows them."""
        try:
            return {*self.settings.uses, *self.tried()}
        except StoreDown as problem:
            self.troubles.append(f"what was tried is not known: {problem}")
            return set(self.settings.uses)

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
            owners=found.owners,
        )
        for receiver in receivers_of(news, self.settings.notify).values():
            asyncio.run(self._told(receiver, news))

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


def _released(name: str, now: float) -> Announcement:
    """That a model is new."""
    about = {"model": name, "verdict": None}
    return Announcement(kind="model_released", about=about, headline=f"{name} is a new model", at=now)


def _retires(each: Retirement, now: float) -> Announcement:
    """That a model retires, for the owners of its canaries too."""
    today = _day(now)
    about, headline = each.about(today), each.sentence(today)
    return Announcement(kind="model_retires", about=about, headline=headline, at=now, owners=each.owners)


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
