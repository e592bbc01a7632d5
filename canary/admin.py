"""The admin process: the composition root of everything that watches. Started by the supervisor (`serve`)."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry

from alerts.notify import deliver, notifier_client
from canary.config import Config
from canary.config.quantity import is_loopback
from canary.live import Live
from canary.orders import transition_for
from canary.process import Ending, Orders, WatchedConfig, log_to_stderr, read_orders
from canary.rollouts import Rollouts
from canary.secrets import Keys, Secret, admin_token
from console.app import admin_app
from console.control import BadOrder, Order
from console.guard import Access
from records.errors import StoreDown
from records.meters import Meters
from records.shipper import Shipper
from records.store import Act, Audited, Store
from routing import transitions
from routing.assign import assign
from routing.canary import definition
from routing.cohort import SPACE, bucket

log = structlog.get_logger()

POLL_S = 0.05
CLOCK_S = 1.0
REFRESH_EVERY_S = 5.0
EXPIRE_EVERY_S = 3600.0
NOTIFY_EVERY_S = 0.2
CONFIRM_WITHIN_S = 1.5


class Admin:
    """Everything the admin process owns. It is the console's `Control`."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        data = orders.folder
        self.config = WatchedConfig(Path(orders.config), self._reloaded)
        self.keys = Keys(os.environ, data)
        self.store = Store.open(self.config.current.store, data)
        self.rollouts = Rollouts(self.store, data / "plan.json")
        self.meters = Meters(
            canaries=self.config.current.canaries,
            feedback_metrics=self.config.current.metrics,
            mono=time.monotonic,
        )
        self.live = Live(
            data / "spool",
            data / "live.json",
            meters=self.meters,
            rollouts=self.rollouts,
            config=self.config.current,
            boot=boot_id(),
        )
        self.shipper = Shipper(data / "spool", self.store, others=[self.live.reader])
        self.problems = self.rollouts.reconcile(self.config.current, time.time())
        self.live.configure(self.config.current)
        self._show()

    async def run(self) -> None:
        """Watch and answer until told to end; then ship what is left."""
        ending = Ending(asyncio.get_running_loop(), partial(self.config.check, force=True))
        stop_shipping = threading.Event()
        shipping = threading.Thread(target=self.shipper.run, args=(stop_shipping,), name="shipper")
        server = uvicorn.Server(self._uvicorn())
        listener = socket.socket(fileno=self.orders.fd)
        shipping.start()
        loops = [asyncio.create_task(each) for each in (self._follow(), self._clock(ending), self._notify())]
        serving = asyncio.create_task(server._serve([listener]))
        ended = asyncio.create_task(ending.wait())
        try:
            await asyncio.wait({ended, serving, *loops}, return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            await serving
        finally:
            for task in (*loops, ended):
                task.cancel()
            results = await asyncio.gather(*loops, ended, return_exceptions=True)
            while self.live.turn(time.time(), time.monotonic()):
                pass
            self.live.save()
            stop_shipping.set()
            await asyncio.to_thread(shipping.join)
            self.store.close()
            for result in results:
                if isinstance(result, Exception):
                    raise result

    # What the console asks.

    def degraded(self) -> Sequence[str]:
        """What does not work at the moment."""
        found = list(self.problems)
        if self.config.problem:
            found.append(f"the config file is bad, the old one stays: {self.config.problem}")
        if self.shipper.down is not None:
            found.append(f"the store does not answer, records wait in the spool: {self.shipper.down}")
        if not self.live.alive(time.monotonic()):
            found.append("no traffic worker gave a sign of life")
        return found

    def status(self) -> Mapping[str, Any]:
        """The contract's status document."""
        return {"canaries": [self._status(name) for name in self.config.current.canaries]}

    def explain(self, unit: str) -> Mapping[str, Any]:
        """Which arm the unit gets, and why."""
        return {"canaries": [self._explain(name, unit) for name in self.config.current.canaries]}

    async def report(self, canary: str, form: str) -> str:
        """One canary's report, computed in a thread: requests to the console go on meanwhile."""
        config = self.config.current
        if canary not in config.canaries:
            raise BadOrder(404, f"no canary {canary!r}; there are: {', '.join(config.canaries) or 'none'}")
        try:
            return await asyncio.to_thread(_report, config, canary, self.store, form)
        except StoreDown as problem:
            raise BadOrder(503, str(problem)) from problem

    async def order(
        self, canary: str, order: Order, *, who: str, reason: str, share: float | None
    ) -> Mapping[str, Any]:
        """Carry out one order, and wait a moment for the workers to confirm it."""
        wanted = self.config.current.canaries.get(canary)
        if wanted is None or self.rollouts.state(canary) is None:
            raise BadOrder(404, f"no canary {canary!r} to {order}")
        now = time.time()
        transition = transition_for(order, wanted.canary.steps, reason=reason, share=share, now=now)
        try:
            state = self.rollouts.change(
                canary, Act(at=now, action=order, who=who or "unknown", reason=reason), transition
            )
        except transitions.Refused as refusal:
            raise BadOrder(409, str(refusal)) from refusal
        except StoreDown as problem:
            raise BadOrder(503, str(problem)) from problem
        self._show()
        version = self.rollouts.plan.version
        confirmed, workers = await self._confirmations(version)
        return {
            "canary": canary,
            "state": state.state,
            "share": state.effective_share,
            "version": version,
            "confirmed": confirmed,
            "workers": workers,
        }

    def audit(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest audit entries."""
        return [_audit_entry(each) for each in self.store.audit(limit)]

    # The loops.

    async def _follow(self) -> None:
        while True:
            more = self.live.turn(time.time(), time.monotonic())
            await asyncio.sleep(0 if more else POLL_S)

    async def _clock(self, ending: Ending) -> None:
        """Once a second: the config file, the ramps; every few seconds the plan's freshness."""
        before = refreshed = time.monotonic()
        expired = float("-inf")
        while True:
            await asyncio.sleep(CLOCK_S)
            now = time.monotonic()
            if now - expired >= EXPIRE_EVERY_S:
                expired = now
                await asyncio.to_thread(self._expire)
            ending.check_parent()
            self.config.check()
            held = [name for name, patient in self.live.patients.items() if patient.holds_ramp]
            version = self.rollouts.plan.version
            try:
                self.rollouts.tick(self.config.current, passed_s=now - before, held=held, now=time.time())
            except StoreDown as problem:
                log.error("ramp.not_stored", problem=str(problem))
            before = now
            if now - refreshed >= REFRESH_EVERY_S or self.rollouts.plan.version != version:
                refreshed = now
                self.rollouts.publish()
            self._show()

    def _expire(self) -> None:
        try:
            gone = self.store.expire(time.time() - self.config.current.retention_s)
        except StoreDown as problem:
            log.error("records.not_expired", problem=str(problem))
        else:
            log.info("records.expired", count=gone)

    async def _notify(self) -> None:
        async with notifier_client() as client:
            while True:
                await asyncio.sleep(NOTIFY_EVERY_S)
                await deliver(self.live.outbox, client, time.time())

    async def _confirmations(self, version: int) -> tuple[int, int]:
        """(workers that follow this plan, workers alive), after at most 1.5 s."""
        deadline = time.monotonic() + CONFIRM_WITHIN_S
        while True:
            alive = self.live.alive(time.monotonic())
            confirmed = sum(beat.plan_version >= version for beat in alive)
            if confirmed == len(alive) or time.monotonic() > deadline:
                return confirmed, len(alive)
            await asyncio.sleep(POLL_S)

    def _reloaded(self, config: Config) -> None:
        self.problems = self.rollouts.reconcile(config, time.time())
        self.live.configure(config)
        for problem in self.problems:
            log.error("config.refused", problem=problem)

    def _show(self) -> None:
        """Bring the gauges up to date."""
        self.meters.set_plan(self.rollouts.plan)
        with suppress(StoreDown):  # then the last figures stand
            self.meters.set_records(self.store.totals(), self.shipper.spooled)

    def _status(self, name: str) -> dict[str, Any]:
        patient = self.live.patients[name]
        state = self.rollouts.state(name)
        return {
            "name": name,
            "state": state.state if state is not None else "waiting",
            "share": state.effective_share if state is not None else 0.0,
            "actual_share": patient.pulse.actual_share(),
            "run": state.run if state is not None else 0,
            "reason": state.reason if state is not None else "",
            "incident": patient.incident.dedup_key if patient.incident is not None else None,
            "arms": patient.pulse.document(time.monotonic()),
            "guardrails": [
                {
                    "rule": status.key,
                    "state": status.state,
                    "value": status.value,
                    "threshold": status.threshold,
                    "evidence": dict(status.evidence),
                    "sentence": status.sentence,
                }
                for status in patient.statuses
            ],
        }

    def _explain(self, name: str, unit: str) -> dict[str, Any]:
        canary = self.config.current.canaries[name].canary
        state = self.rollouts.plan.state_of(name, definition(canary))
        assignment = assign(canary, state, key=self.keys.assignment, unit=unit)
        place = bucket(self.keys.assignment, name, unit) / SPACE
        return {
            "canary": name,
            "arm": assignment.arm,
            "reason": assignment.reason,
            "share": assignment.share,
            "bucket": place,
            "sentence": f"the unit stands at {place:.2%} of the line, the candidate gets the first "
            f"{assignment.share:.2%}; {assignment.reason}",
        }

    def _uvicorn(self) -> uvicorn.Config:
        registry = CollectorRegistry()
        registry.register(self.meters)
        loopback = is_loopback(self.orders.host)
        access = Access(
            admin_token=admin_token(os.environ, self.orders.folder, loopback=loopback).value,
            metrics_token=Secret("CANARY_METRICS_TOKEN", os.environ).value,
            loopback=loopback,
        )
        return uvicorn.Config(
            admin_app(self, registry, access),
            loop="none",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )


def _report(config: Config, canary: str, store: Store, form: str) -> str:
    # Statistics take two seconds to import, and most admin processes never write a report.
    from canary.reporting import rendered, report_of

    return rendered(report_of(config, config.canaries[canary], store, now=time.time()), form)


def boot_id() -> str:
    """This boot of this machine, as spool files name it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")


def _audit_entry(entry: Audited) -> dict[str, Any]:
    return {
        "time": datetime.fromtimestamp(entry.act.at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "canary": entry.canary,
        "action": entry.act.action,
        "who": entry.act.who,
        "reason": entry.act.reason,
        "share_before": entry.before.effective_share if entry.before is not None else None,
        "share_after": entry.after.effective_share,
    }


async def _run() -> None:
    await Admin(read_orders()).run()


def main() -> None:
    """Entry point of `python -m canary.admin ORDERS`."""
    log_to_stderr()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run())


if __name__ == "__main__":
    main()
