"""One traffic worker: the composition root of the request path. Started by the supervisor (`serve`)."""

import asyncio
import gc
import os
import socket
import time

import structlog

from canary.config import Config
from canary.programs.config_pipe import FollowedConfig
from canary.programs.listeners import TrafficServer, serve_until_told, uvicorn_config
from canary.programs.process import ShutdownSignal, WorkerArgs, run
from canary.programs.routes import routes
from canary.python_path import program
from canary.secrets import Secret, SecretKeys
from common.clock import every
from proxy.attempts.capture import CapturePipe, Captures
from proxy.attempts.checker import Checker
from proxy.attempts.dispatch import StreamUsageRefusals
from proxy.attempts.mirror import Mirrors
from proxy.attempts.record import ExchangeRecorder
from proxy.calls.callers import Callers
from proxy.calls.canary_choice import ArmPins
from proxy.calls.reader import HeldBodies
from proxy.exchange import Exchanges, TrafficApp
from proxy.network.file_descriptors import FileDescriptors
from proxy.network.server.endpoints import READY_WITHIN_S, Endpoints
from proxy.network.ticker import Ticker
from proxy.network.upstream.pool import Upstreams
from proxy.providers.credentials import Credentials
from proxy.providers.provider import Provider
from records.facts.price_list import prices_stamp
from records.outcome import IN_FLIGHT_AFTER_S, Heartbeat
from records.shared.session_arms import SessionArms, sessions_in
from records.shared.states_file import StatesWatch
from records.spool.writer import SpoolWriter
from routing.cohort import unit_hash

log = structlog.get_logger()

BEAT_S = 0.1
PRICES_EVERY_S = 1.0
"""From one look for a new list of prices to the next."""
IN_FLIGHT_BEATS = 2
"""Beats from one look at the exchanges in flight to the next."""
FIRST_PLAN_EVERY_S = 0.02
"""How often the states are looked for before the first caller is accepted."""
GC_THRESHOLDS = (20_000, 20, 20)
FIRST_TOKENS_WITHIN_S = 2.0
"""How long a start or a reload waits for the tokens of clouds. Without them requests begin to fail."""


class Worker:
    """Everything one worker owns."""

    def __init__(self, args: WorkerArgs, config: FollowedConfig) -> None:
        self.args = args
        self.config = config
        config.on_change(self._reloaded)
        self.keys = SecretKeys(os.environ, args.folder)
        self.spool = SpoolWriter(args.folder / "spool", worker=args.slot)
        self.states_watch = StatesWatch(args.folder / "plan.json")
        self.states = self.states_watch.poll(time.time(), time.monotonic())
        self.descriptors = FileDescriptors.of_this_process()
        self.ticker = Ticker(asyncio.get_running_loop())
        self.upstreams = Upstreams(descriptors=self.descriptors, ticker=self.ticker)
        self.copies_upstreams = Upstreams(descriptors=self.descriptors)
        self.sessions = SessionArms(news=args.session_news())
        self.sessions.hear(sessions_in(args.folder))  # what has been known before
        self.prices = self.config.current.known_prices()
        self._priced_by = prices_stamp(self.config.current.price_list, time.time())
        self.capture_pipe = CapturePipe(program("canary.programs.capturer", str(args.folder / "captures")))
        self.checker = Checker(program("proxy.attempts.checker_process"))
        self.recorder = ExchangeRecorder(
            append=self.spool.append,
            price=lambda provider, model, usage: self.prices.cost(provider, model, usage),
            ids_key=self.keys.ids,
            captures=Captures(self.capture_pipe.send),
            checker=self.checker,
            states=lambda: self.states,
            sessions=self.sessions,
        )
        self.credentials = Credentials()
        stream_usage = StreamUsageRefusals()
        self.mirrors = Mirrors(
            upstreams=self.copies_upstreams,
            recorder=self.recorder,
            states=lambda: self.states,
            credentials=self.credentials,
            stream_usage=stream_usage,
        )
        pin_token = Secret("CANARY_PIN_TOKEN", os.environ)
        self.exchanges = Exchanges(
            routes=routes(self.config.current, {}),
            states=lambda: self.states,
            upstreams=self.upstreams,
            recorder=self.recorder,
            assignment_key=self.keys.assignment,
            pins=ArmPins(pin_token.value),
            mirrors=self.mirrors,
            ticker=self.ticker,
            credentials=self.credentials,
            stream_usage=stream_usage,
            callers=Callers(self.config.current.callers),
            bodies=HeldBodies(self.config.current.server.body_budget_mib << 20),
            held=self._is_held,
        )
        feedback_token = Secret("CANARY_FEEDBACK_TOKEN", os.environ)
        self.endpoints = Endpoints(
            spool=self.spool,
            has_plan=lambda: self.states.version > 0,
            metrics=lambda: self.config.current.metrics,
            mappings=lambda: self.config.current.feedback_mappings,
            token=feedback_token.value,
            ids_keys=lambda: self.keys.verifying,
            troubles=self.credentials.troubles,
            arm_of=self.exchanges.arm_of,
            started=time.monotonic(),
        )

    def _is_held(self, canary: str, phase: int, unit: str) -> bool:
        return self.states_watch.held.keeps(canary, phase, unit_hash(self.keys.ids, unit))

    async def run(self) -> None:
        """Serve until told to end, then drain. Raises the exception of a failed task."""
        shutdown = ShutdownSignal(asyncio.get_running_loop())
        await self._fetch_tokens(self.config.current)
        app = TrafficApp(self.exchanges, self.endpoints)
        server = TrafficServer(uvicorn_config(app, self.config, grace_s=self.args.grace_s), self.descriptors)
        listener = socket.socket(fileno=self.args.fd)
        settling = asyncio.create_task(self._settle())
        loops = [self._beat(shutdown), self.config.follow(), every(PRICES_EVERY_S, self._follow_prices)]
        try:
            await serve_until_told(server, self._serve(server, listener), loops, shutdown)
        finally:
            await asyncio.wait({settling})
            self.exchanges.awaited.close()
            await self.mirrors.close()
            await self.upstreams.close()
            self.checker.close()
            self.credentials.close()
            self._tell(lag_s=0.0, draining=True, closing=True)
            self.spool.close()
            await self.capture_pipe.close()
        settling.result()

    async def _serve(self, server: TrafficServer, listener: socket.socket) -> None:
        """Accept callers once the states of all canaries are known, so that the first request counts, or
        after 10 s without. Until then callers wait in the listener's queue."""
        waits_until = self.endpoints.started + READY_WITHIN_S
        while not (server.should_exit or self._has_states() or time.monotonic() > waits_until):
            await asyncio.sleep(FIRST_PLAN_EVERY_S)
            self.states = self.states_watch.poll(time.time(), time.monotonic())
        await server._serve([listener])

    def _has_states(self) -> bool:
        """True when fresh states have all canaries of the config, and none is about to start."""
        canaries = self.config.current.canaries
        return not canaries or (
            self.states_watch.is_fresh(time.monotonic()) and self.states.is_settled(canaries)
        )

    async def _fetch_tokens(self, config: Config) -> None:
        """Begin to fetch the tokens of new entries, and give the first ones time to come."""
        self.credentials.prepare(config.providers.values())
        if self.credentials.waits:
            await asyncio.to_thread(self.credentials.wait, FIRST_TOKENS_WITHIN_S)

    async def _settle(self) -> None:
        """Load the prices, which takes 0.1 s of CPU, without delaying the first callers."""
        await asyncio.to_thread(self.prices.load, _models(self.config.current))
        gc.freeze()  # what the start has built stays: collections look at what requests leave only

    async def _beat(self, shutdown: ShutdownSignal) -> None:
        """Ten times a second: read the states, sessions and keys, write a heartbeat and slow exchanges."""
        beats = 0
        while True:
            before = time.monotonic()
            await asyncio.sleep(BEAT_S)
            now = time.monotonic()
            self.states = self.states_watch.poll(time.time(), now)
            self.sessions.look()
            changed = self.states_watch.has_unknown_holds
            if (
                changed or beats % IN_FLIGHT_BEATS == 0
            ):  # before the heartbeat that says which states it follows
                for each in self.recorder.in_flight.news(now, after_s=0.0 if changed else IN_FLIGHT_AFTER_S):
                    self.spool.append(each)
            self.exchanges.awaited.close_old(now)
            if self.keys.look():
                self.exchanges.rekey(self.keys.assignment)
                self.recorder.rekey(self.keys.ids)
                log.warning("secret.changed", effect="users are assigned anew")
            self._tell(lag_s=max(0.0, now - before - BEAT_S), draining=shutdown.asked)
            shutdown.check_parent()
            beats += 1

    def _tell(self, *, lag_s: float, draining: bool, closing: bool = False) -> None:
        if self.spool.append(self._heartbeat(lag_s=lag_s, draining=draining, closing=closing)):
            self.mirrors.dropped.clear()

    def _heartbeat(self, *, lag_s: float, draining: bool, closing: bool) -> Heartbeat:
        trials = self.exchanges.routes.trials
        return Heartbeat(
            worker=self.args.slot,
            pid=os.getpid(),
            at=time.time(),
            mono=time.monotonic(),
            started=self.recorder.started,
            finished=self.recorder.finished,
            dropped=self.spool.dropped,
            lag_s=lag_s,
            plan_version=self.states.version,
            draining=draining,
            closing=closing,
            breakers_open=tuple(name for name, trial in trials.items() if trial.breaker.open),
            mirrors_dropped=self.mirrors.dropped,
            credentials_missing=tuple(self.credentials.troubles()),
            quota_used={
                name: used
                for name, trial in trials.items()
                if trial.quota.watching and (used := trial.quota.used(time.monotonic())) is not None
            },
        )

    async def _follow_prices(self) -> None:
        """Price by the list that has come, or by the prices that a new day brings."""
        if self._priced_by != prices_stamp(self.config.current.price_list, time.time()):
            await self._price(self.config.current)

    async def _price(self, config: Config) -> None:
        """Look the models up in a thread, so that no request waits for the list."""
        priced_by, prices = prices_stamp(config.price_list, time.time()), config.known_prices()
        await asyncio.to_thread(prices.load, _models(config))
        if config is self.config.current:
            self.prices, self._priced_by = prices, priced_by

    async def _reloaded(self, config: Config) -> None:
        await self._price(config)
        await self._fetch_tokens(config)
        self.exchanges.reroute(routes(config, self.exchanges.routes.trials))
        self.exchanges.callers.configure(config.callers)
        for pool in (self.upstreams, self.copies_upstreams):
            pool.keep_only(config.providers.values())
        self.credentials.keep_only(config.providers.values())


def _models(config: Config) -> list[tuple[Provider, str]]:
    """The entry and the model of every arm."""
    arms = [arm for each in config.known.values() for arm in (each.canary.baseline, each.canary.candidate)]
    return [(config.providers[arm.provider], arm.model) for arm in arms if arm.model]


def main() -> None:
    """Entry point of `python -m canary.programs.worker ARGS`."""
    gc.set_threshold(*GC_THRESHOLDS)
    run(lambda args, config: Worker(args, config).run())


if __name__ == "__main__":
    main()
