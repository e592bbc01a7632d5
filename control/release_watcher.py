"""Looks at every provider's list of models. A new model is announced and, if wanted, benchmarked."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from alerts.announcement import Announcement, announce
from alerts.notify import notifier_client
from alerts.outbox import Outbox
from alerts.receiver import Receiver
from bench.asking import NO_AUTH
from bench.listing import Catalogue, Unlisted, listed
from bench.releases import WatchMemory, after_announcing, after_benchmark, after_listing
from bench.targets import EntryAuth, NoKey, client_for, entry_auth, headers_for, key_of, root_of
from proxy.provider import Provider
from records.whole_file import write_whole

FILE = "watch.json"
"""In the data folder."""


class BadMemory(Exception):
    """The watcher's file cannot be read. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchResult:
    """The result of one look: new models, how many models each provider lists (None: no answer), the result
    of each benchmark by model, and what went wrong."""

    new: tuple[str, ...]
    listed: Mapping[str, int | None]
    measured: "Mapping[str, BenchmarkResult]"
    troubles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """How a new model's benchmark ended, in one line, and its verdict (None: it could not be run)."""

    says: str
    verdict: str | None


@dataclass(slots=True, kw_only=True)
class ReleaseWatcher:
    """Looks, and remembers in a file what it has announced and measured.

    `benchmark` measures one model; None: models are not measured. `match` is a pattern of the names of models
    that are measured.
    """

    providers: Sequence[Provider]
    notify: Sequence[Receiver]
    data: Path
    environment: Mapping[str, str]
    match: str = "*"
    benchmark: Callable[[str], BenchmarkResult] | None = None
    troubles: list[str] = field(default_factory=list)

    def look(self) -> WatchResult:
        """Look once. Failed announcements and benchmarks are tried again at the next look. Raises BadMemory,
        OSError."""
        self.troubles = []
        memory, new, counts = asyncio.run(self._look(self._remembered(), time.time()))
        self._remember(memory)
        found = self._measure(memory)
        return WatchResult(new=tuple(new), listed=counts, measured=found, troubles=tuple(self.troubles))

    async def _look(
        self, memory: WatchMemory, now: float
    ) -> tuple[WatchMemory, list[str], dict[str, int | None]]:
        new: list[str] = []
        counts: dict[str, int | None] = {}
        for provider in self.providers:
            models = await self._listed(provider)
            counts[provider.name] = None if models is None else len(models)
            if models:
                memory, found = after_listing(
                    memory,
                    provider.name,
                    models,
                    at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
                    receivers=list(self._receivers()),
                    measure=self.benchmark is not None,
                    wanted=lambda model: fnmatchcase(model, self.match),
                )
                new += found
        self._remember(memory)
        return await self._tell(memory, now), new, counts

    async def _listed(self, provider: Provider) -> list[str] | None:
        if provider.kind != "plain":
            self.troubles.append(f"{provider.name}: the models of a `kind: {provider.kind}` cannot be listed")
            return None
        auth = None
        try:
            auth = await asyncio.to_thread(entry_auth, provider)
            where = self._catalogue(provider, auth)
            async with client_for(provider, at_once=1) as client, asyncio.timeout(provider.timeout.total_s):
                return await listed(client, where)
        except (NoKey, Unlisted, TimeoutError) as problem:
            self.troubles.append(str(problem) or f"{provider.name}: no answer in time")
            return None
        finally:
            if auth is not None:
                auth.close()

    def _catalogue(self, provider: Provider, auth: EntryAuth | None) -> Catalogue:
        """Where the models are listed. Raises NoKey."""
        return Catalogue(
            name=provider.name,
            api=provider.api,
            url=root_of(provider),
            headers=headers_for(provider, "" if auth is not None else key_of(provider, self.environment)),
            auth=auth or NO_AUTH,
        )

    async def _tell(self, memory: WatchMemory, now: float) -> WatchMemory:
        receivers, left = self._receivers(), {}
        for name, waiting in memory.untold.items():
            news = Announcement(kind="model_released", model=name, headline=f"{name} is a new model", at=now)
            left[name] = [
                each for each in waiting if each in receivers and not await self._told(receivers[each], news)
            ]
        return after_announcing(memory, left)

    async def _told(self, receiver: Receiver, news: Announcement) -> bool:
        async with notifier_client() as client:
            wrong = await announce(client, receiver, news)
        if wrong is not None:
            self.troubles.append(f"{receiver.kind} was not told of {news.model}: {wrong}")
        return wrong is None

    def _measure(self, memory: WatchMemory) -> dict[str, BenchmarkResult]:
        done: dict[str, BenchmarkResult] = {}
        if self.benchmark is None:
            return done
        for name in memory.unmeasured:
            found = done[name] = self.benchmark(name)
            memory = after_benchmark(memory, name)
            self._remember(memory)
            news = Announcement(
                kind="benchmark_finished",
                model=name,
                headline=f"{name}: {found.says}",
                at=time.time(),
                verdict=found.verdict,
            )
            for receiver in self._receivers().values():
                asyncio.run(self._told(receiver, news))
        return done

    def _receivers(self) -> Mapping[str, Receiver]:
        """The receivers by an id that does not reveal their address."""
        return Outbox(self.notify).receivers

    def _remembered(self) -> WatchMemory:
        path = self.data / FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=WatchMemory)
        except FileNotFoundError:
            return WatchMemory()
        except msgspec.DecodeError as problem:
            raise BadMemory(f"{path} cannot be read ({problem}): delete it to begin anew") from problem

    def _remember(self, memory: WatchMemory) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        write_whole(self.data / FILE, msgspec.json.encode(memory))
