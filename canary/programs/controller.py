"""The admin process: the controller with its console. Started by the supervisor (`serve`).

On a single machine it also ships the machine's records. With `--role admin` it is one of several, beside the
replicas' agents: all of them answer operators, one leads.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from canary.config import Config
from canary.config.store import store_at
from canary.interpreter import environment, program
from canary.programs.admin_listener import access_to, listen, own_url
from canary.programs.candidates import ConfiguredCandidates
from canary.programs.config_pipe import FollowedConfig
from canary.programs.process import ShutdownSignal, WorkerArgs, run
from canary.secrets import SecretKeys
from console.app import admin_app
from control.controller import Controller
from control.jobs.rolling import Roller
from control.states.rollouts import PendingRollbacks
from records.facts.prices import UnpricedArm

if TYPE_CHECKING:
    from canary.programs.fleet import Fleet
    from canary.programs.single_machine import SingleMachine
    from verdict.decision.document import Report

LOOK_EVERY_S = 1.0


class Admin:
    """Everything the admin process owns."""

    def __init__(self, args: WorkerArgs, config: FollowedConfig) -> None:
        self.args = args
        self.config = config
        config.on_change(self._reloaded)
        current, data = self.config.current, args.folder
        self.store = store_at(current, data)
        self._unpriced: Sequence[UnpricedArm] = ()
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
            own_url=own_url(args, tls=config.certificate is not None),
            troubles=self._troubles,
            unpriced=lambda: self._unpriced,
            sentences=_sentences,
            candidates=ConfiguredCandidates(lambda: self.config.current, self.store),
            judge=lambda: self.config.current.bench,
            environment=os.environ,
            last=self.parts.last,
        )

    def _parts(self, shared: str) -> "SingleMachine | Fleet":
        """The parts for this role, imported here: a single machine needs no Redis client."""
        if not self.args.fleet:
            from canary.programs.single_machine import SingleMachine

            return SingleMachine(self.args.folder, self.store, lambda: self.config.current.base_urls)
        from canary.programs.fleet import Fleet

        return Fleet(self.args.folder, self.store, shared, lambda: list(self.config.current.canaries))

    async def run(self) -> None:
        """Run until told to end, then finish the rest."""
        shutdown = ShutdownSignal(asyncio.get_running_loop())
        loops = [*self.controller.loops(), *self.parts.loops(self.controller), self._watch(shutdown)]
        loops.append(self.config.follow())
        try:
            await listen(self._app(shutdown), self.args, self.config, shutdown, loops)
        finally:
            await self.controller.close()
            await self.parts.close()
            self.store.close()

    async def _watch(self, shutdown: ShutdownSignal) -> None:
        """Check once a second that the supervisor lives, and after a reload which arms have no price."""
        priced: Config | None = None
        while True:
            if priced is not self.config.current:
                priced = self.config.current
                self._unpriced = await asyncio.to_thread(priced.unpriced)
            await asyncio.sleep(LOOK_EVERY_S)
            shutdown.check_parent()

    def _app(self, shutdown: ShutdownSignal) -> Starlette:
        registry = CollectorRegistry()
        registry.register(self.parts.metrics(self.controller))
        registry.register(self.controller.release_metrics)
        registry.register(self.controller.judge_metrics)
        registry.register(self.controller.rolling)
        operator = self.controller.operator
        access = replace(access_to(self.args), oidc=lambda: self.config.current.oidc)
        return admin_app(operator, registry, access, closing=lambda: shutdown.asked)

    def _troubles(self) -> list[str]:
        return [*self.config.troubles(), *self.parts.troubles()]

    def _assignment_key(self) -> bytes:
        self.keys.look()
        return self.keys.assignment

    async def _reloaded(self, config: Config) -> None:
        self.controller.configure(config.control)


def _roller(config: Config, data: Path) -> Roller:
    """A change of the store or of its place needs a restart, here as in the store itself."""
    return Roller(
        command=program("canary.programs.roller"),
        environment=environment(),
        url=config.store,
        data=data,
        outcomes=config.outcomes,
    )


def _sentences(report: "Report") -> Sequence[str]:
    # The statistics take two seconds to import, and most admin processes never make a report.
    from pages.words.reasons import sentences

    return sentences(report)


async def _admin(args: WorkerArgs, config: FollowedConfig) -> None:
    await Admin(args, config).run()


def main() -> None:
    """Entry point of `python -m canary.programs.controller ARGS`."""
    run(_admin)


if __name__ == "__main__":
    main()
