"""The admin process: the controller with its console. Started by the supervisor (`serve`).

On a single machine it also ships the machine's records. With `--role admin` it is one of several, beside the
replicas' agents: all of them answer operators, one leads.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from starlette.applications import Starlette

from bench.preflight.result import PreflightResult
from canary import __version__
from canary.config import Config, ConfigError, ConfigProblem, load
from canary.programs.config_pipe import FollowedConfig
from canary.programs.listeners import access_to, listen, own_url
from canary.programs.process import ShutdownSignal, WorkerArgs, boot_id, run
from canary.python_path import environment, program
from canary.secrets import SecretKeys
from common.clock import every, rfc3339
from common.whole_file import Stamp, read_document
from console.app import admin_app
from control.controller import Controller
from control.feed.events import TracingListener
from control.feed.joins import FeedbackJoins
from control.feed.sessions import SessionsPublisher
from control.feed.spool import SpoolShippers, SpoolSource
from control.fleet.leadership import SoleLeader
from control.fleet.metrics import ConfigMetrics
from control.fleet.publisher import FilePublisher
from control.jobs.segment_job import SegmentProgram
from control.states.preflights import PreflightWords
from control.states.rollouts import PendingRollbacks
from pages.words import preflight
from records.facts.price_list import PriceListUpdates, prices_stamp
from records.facts.prices import UnpricedArm
from records.facts.standing import FILE, BegunTrial, Standing
from records.shared.session_news import SessionNews
from records.store import Store
from routing.states import NO_STATES, States

if TYPE_CHECKING:
    from bench.benchmark.comparison import Comparison
    from bench.preflight.requests import CapturedRequest
    from canary.programs.fleet import FleetParts
    from records.store.drift import ModelChange
    from verdict.decision.document import Report


SAMPLE = 20
WITHIN_S = 15.0
"""How long one request may take: the canary waits meanwhile, and refusals come at once."""


LOOK_EVERY_S = 1.0


class AdminProcess:
    """Everything the admin process owns."""

    def __init__(self, args: WorkerArgs, config: FollowedConfig) -> None:
        self.args = args
        self.config = config
        config.on_change(self._reloaded)
        current, data = self.config.current, args.folder
        self.store = current.store_at(data)
        self._unpriced: Sequence[UnpricedArm] = ()
        self.price_updates = PriceListUpdates(lambda: self.config.current.price_list)
        self.keys = SecretKeys(os.environ, data)
        self.parts = self._parts(current.shared)
        self.controller = Controller(
            self.parts.source,
            self.parts.leader,
            self.parts.publisher,
            store=self.store,
            roller=_roller(current, data),
            settings=current.control,
            pending=PendingRollbacks(data / "rollbacks.json"),
            assignment_key=self._assignment_key,
            ids_keys=self._ids_keys,
            own_url=own_url(args, tls=config.certificate is not None),
            troubles=self._troubles,
            config_problem=lambda: self.config.problem,
            unpriced=lambda: self._unpriced,
            sentences=_sentences,
            aftermath=AftermathSentences(),
            candidates=ConfiguredCandidates(lambda: self.config.current, self.store),
            judge=lambda: self.config.current.bench,
            environment=os.environ,
            trials=data / FILE,
            misfit=self._misfit,
            last=self.parts.last,
        )

    def _parts(self, shared: str) -> "SingleMachineParts | FleetParts":
        """The parts for this role, imported here: a single machine needs no Redis client."""
        if not self.args.fleet:
            news, urls = self.args.session_news(), lambda: self.config.current.base_urls
            return SingleMachineParts(self.args.folder, self.store, news, urls)
        from canary.programs.fleet import FleetParts

        return FleetParts(self.args.folder, self.store, shared, lambda: list(self.config.current.canaries))

    async def run(self) -> None:
        """Run until told to end, then finish the rest."""
        shutdown = ShutdownSignal(asyncio.get_running_loop())
        loops = [*self.controller.loops(), *self.parts.loops(self.controller), self._watch(shutdown)]
        loops += [self.config.follow(), self.price_updates.follow()]
        try:
            await listen(self._app(shutdown), self.args, self.config, shutdown, loops)
        finally:
            await self.controller.close()
            await self.parts.close()
            self.store.close()

    async def _watch(self, shutdown: ShutdownSignal) -> None:
        """Check once a second that the supervisor lives, and after a reload, with a new list of prices
        and on a new day which arms have no price."""
        priced: tuple[Config, tuple[int, Stamp]] | None = None
        while True:
            config = self.config.current
            if priced != (by := (config, prices_stamp(config.price_list, time.time()))):
                priced = by
                self._unpriced = await asyncio.to_thread(config.unpriced)
            await asyncio.sleep(LOOK_EVERY_S)
            shutdown.check_parent()

    def _app(self, shutdown: ShutdownSignal) -> Starlette:
        registry = CollectorRegistry()
        registry.register(self.parts.metrics(self.controller))
        registry.register(ConfigMetrics(self.config.troubles))
        registry.register(self.controller.release_metrics)
        registry.register(self.controller.judge_metrics)
        registry.register(self.controller.rolling)
        registry.register(self.controller.drift_job)
        operator = self.controller.operator
        access = replace(access_to(self.args), oidc=lambda: self.config.current.oidc)
        return admin_app(operator, registry, access, closing=lambda: shutdown.asked)

    def _troubles(self) -> list[str]:
        return [*self.config.troubles(), *self.parts.troubles(), *self.price_updates.troubles()]

    def _misfit(self, name: str, trials: Mapping[str, BegunTrial]) -> str:
        """Why the config file cannot be read with these trials of a standing canary; "" if it can."""
        current = self.config.current
        known = {each: standing.begun for each, standing in current.standing.items()}
        begun = known.get(name, Standing())
        known[name] = replace(begun, trials={**begun.trials, **trials})
        try:
            load(current.file, os.environ, lambda store, data: known, data=self.args.folder)
        except ConfigError as problem:
            return "; ".join(map(_of_order, problem.problems))
        return ""

    def _assignment_key(self) -> bytes:
        self.keys.look()
        return self.keys.assignment

    def _ids_keys(self) -> Sequence[bytes]:
        self.keys.look()
        return self.keys.verifying

    async def _reloaded(self, config: Config) -> None:
        self._unpriced = await asyncio.to_thread(
            config.unpriced
        )  # first: a trial's order is answered with it
        self.controller.configure(config.control)


def _of_order(problem: ConfigProblem) -> str:
    """A problem of the file, or of the order's candidate, which stands in no line of the file."""
    _, found, key = problem.path.partition("].candidate")
    return f"candidate{key}: {problem.message}" if found else str(problem)


class SingleMachineParts:
    """The parts of a single machine."""

    def __init__(
        self, data: Path, store: Store, news: SessionNews, base_urls: Callable[[], Mapping[str, str]]
    ) -> None:
        self.tracing = TracingListener(os.environ, __version__, base_urls)
        self.sessions = SessionsPublisher(data, store, news)
        self.source = SpoolSource(
            data / "spool",
            data / "live.json",
            boot=boot_id(),
            joins=FeedbackJoins(store),
            others=[self.tracing],
        )
        self.leader = SoleLeader()
        self._store, self.publisher = store, FilePublisher(data / "plan.json")
        self.last = read_document(data / "plan.json", States) or NO_STATES
        self._shipping = SpoolShippers(data, store, other=self.source.reader)

    def metrics(self, controller: Controller) -> Collector:
        """The metrics that Prometheus scrapes."""
        return controller.meters

    def loops(self, controller: Controller) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the controller."""
        return [
            *self.sessions.loops(),
            *self._shipping.loops(),
            every(LOOK_EVERY_S, partial(self._watch_records, controller)),
        ]

    def troubles(self) -> list[str]:
        """What does not work at the moment."""
        down = self._shipping.down
        found = [f"the store does not answer, records wait in the spool: {down}"] if down is not None else []
        if self._store.is_gone():
            found.append("the database's file is gone: what is stored now ends with this process; see doctor")
        return found

    async def close(self) -> None:
        """Send the last traces and ship the last records."""
        await asyncio.to_thread(self.tracing.close)
        await self._shipping.close()

    async def _watch_records(self, controller: Controller) -> None:
        self._shipping.show(controller.meters)
        controller.watch_records(
            room_bytes=self._shipping.room_bytes(),
            waiting=self._shipping.waiting,
            down=self._shipping.down,
        )


class ConfiguredCandidates:
    """Asks with the entries' own credentials only."""

    def __init__(self, config: Callable[[], Config], store: Store) -> None:
        self._config = config
        self._store = store
        self.words: PreflightWords = preflight

    def unaskable(self, name: str) -> str:
        """Why no request can be sent to this canary's candidate; "" when one can."""
        config = self._config()
        wanted = config.canaries.get(name)
        if wanted is None:
            return f"the config has no canary {name!r}"
        if wanted.canary.baseline.prompt is not None or wanted.canary.candidate.prompt is not None:
            return ""  # captured requests are looked at, whoever can send them
        return self._keyless(name)

    def _keyless(self, name: str) -> str:
        config = self._config()
        provider = config.providers[config.canaries[name].canary.candidate.provider]
        if provider.has_credential:
            return ""
        return (
            f"{provider.name} has no credential of its own, so the callers' is sent; "
            f"`canary preflight {name}` asks with yours"
        )

    async def ask(self, name: str) -> PreflightResult:
        """Ask it the newest captured requests, or one of each operation. Raises NothingToAsk, StoreDown."""
        # The proxy's code takes a while to import, and most admin processes never ask: not on the event loop.
        await asyncio.to_thread(import_module, "bench.preflight.run")
        await asyncio.to_thread(import_module, "canary.programs.routes")
        from bench.preflight.client import ArmClient
        from bench.preflight.result import NothingToAsk
        from bench.preflight.run import preflight_of_captured, unasked
        from canary.programs.routes import routes

        if problem := self.unaskable(name):
            raise NothingToAsk(problem)
        known = routes(self._config(), {})
        captured = await asyncio.to_thread(self._captured, name)
        if problem := self._keyless(name):
            return unasked(known.trials[name], captured, problem)
        async with ArmClient(known, known.trials[name], {}, within_s=WITHIN_S) as client:
            return await preflight_of_captured(client, captured, most=SAMPLE)

    def _captured(self, name: str) -> "list[CapturedRequest]":
        """The newest captured requests. May raise StoreDown."""
        from bench.preflight.requests import MOST_FOR_PROMPT, newest_requests

        return newest_requests(self._store, self._config().canaries[name].canary, limit=MOST_FOR_PROMPT)


def _roller(config: Config, data: Path) -> SegmentProgram:
    """A change of the store or of its place needs a restart, here as in the store itself."""
    return SegmentProgram(
        command=program("canary.programs.roller"),
        environment=environment(),
        url=config.store,
        data=data,
        outcomes=config.outcomes,
    )


class AftermathSentences:
    """The words of what becomes of a model, imported with the first one."""

    def document(self, found: "Comparison", baseline: str, candidate: str, at: float) -> dict[str, Any]:
        """The benchmark of a model against its stored answers, as `canary bench` stores one."""
        from pages.reports.bench import Circumstances, to_document

        about = Circumstances(
            baseline=baseline, candidate=candidate, at=rfc3339(at), owner="canary", via="direct", stages={}
        )
        return {**to_document(found, about), "sanity": None, "forecast": None}

    def tells(self, change: "ModelChange") -> str:
        """What a model became, in a sentence."""
        from pages.words.drift import change_words

        return f"{change.model} {change_words(change)}"

    def says(self, then: Mapping[str, Any]) -> str:
        """What came, in a sentence."""
        from pages.words.drift import aftermath_words

        return aftermath_words(then)


def _sentences(report: "Report") -> Sequence[str]:
    # The statistics take two seconds to import, and most admin processes never make a report.
    from pages.words.reasons import sentences

    return sentences(report)


def main() -> None:
    """Entry point of `python -m canary.programs.controller ARGS`."""
    run(lambda args, config: AdminProcess(args, config).run())


if __name__ == "__main__":
    main()
