"""An admin's operator over a store, without a server."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alerts.incidents.notifier import Announcement
from control.feed.events import WorkerRegistry
from control.fleet.publisher import TrialsFile
from control.monitor.monitor import Monitor
from control.operator.operator import Operator
from control.operator.orders import Order
from control.operator.retiring import KnownRetirements
from control.operator.standing import StandingOrders
from control.settings import ControlSettings
from control.states.preflights import Preflights
from control.states.rollouts import Rollouts
from records.exports.prometheus import Meters
from records.store import Store


@dataclass
class Desk:
    """One admin's operator."""

    operator: Operator
    meters: Meters
    told: list[Announcement] = field(default_factory=list)

    def order(
        self,
        order: Order,
        *,
        who: str,
        share: float | None = None,
        hard: bool = False,
        against_verdict: bool | None = None,
    ) -> dict[str, Any]:
        """Give an order. A promotion goes against the verdict, unless that is said otherwise."""
        against = order == "promote" if against_verdict is None else against_verdict
        given = self.operator.order(
            "trial",
            order,
            who=who,
            reason="because",
            share=share,
            hard=hard,
            against_verdict=against,
        )
        return dict(asyncio.run(given))  # type: ignore[arg-type]

    @property
    def hard(self) -> bool:
        """Whether the candidate gets no request any more."""
        return self.operator.rollouts.in_force.states["trial"].hard

    def audited(self) -> list[str]:
        """Who changed the canary, newest first."""
        return [entry["who"] for entry in asyncio.run(self.operator.audit(10))]  # type: ignore[arg-type]


def desk_over(store: Store, settings: ControlSettings) -> Desk:
    """One admin's operator that has not looked at the store since now."""
    rollouts = Rollouts(store, lambda plan: None)
    meters = Meters(canaries=["trial"], feedback_metrics=[], mono=time.monotonic)
    told: list[Announcement] = []
    operator = Operator(
        preflights=Preflights(None, rollouts),
        settings=lambda: settings,
        store=store,
        rollouts=rollouts,
        monitor=Monitor(meters=meters, rollouts=rollouts, settings=settings),
        workers=WorkerRegistry(),
        troubles=list,
        assignment_key=lambda: b"key",
        announce=told.append,
        standing=standing_orders(store, rollouts, settings),
        retirements=KnownRetirements(store, lambda: settings),
    )
    return Desk(operator=operator, meters=meters, told=told)


def standing_orders(store: Store, rollouts: Rollouts, settings: ControlSettings) -> StandingOrders:
    """Those of a machine without workers."""
    file = TrialsFile(store, Path("nowhere"), lambda: False)
    return StandingOrders(store, rollouts, lambda: settings, file, lambda name, trials: "")
