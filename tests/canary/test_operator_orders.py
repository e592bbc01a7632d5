"""Two operators at two admins give orders on what both saw: one wins, the other hears 409 and why."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from canary.news.live import Live
from canary.news.workers import Workers
from canary.operator import Operator
from canary.programs.process import WatchedConfig
from canary.secrets import Keys
from canary.states.rollouts import Rollouts
from console.control import BadOrder, Order
from records.meters import Meters
from records.store import Store

CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 5%
    rubric: [{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Does it answer?"}]
"""


@dataclass
class Desk:
    """One admin's operator."""

    operator: Operator

    def order(self, order: Order, *, who: str, share: float | None = None) -> dict[str, Any]:
        """Give an order."""
        given = self.operator.order("trial", order, who=who, reason="because", share=share)
        return dict(asyncio.run(given))  # type: ignore[arg-type]

    def audited(self) -> list[str]:
        """Who changed the canary, newest first."""
        return [entry["who"] for entry in asyncio.run(self.operator.audit(10))]  # type: ignore[arg-type]


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[tuple[Desk, Desk]]:
    """Two admins over one store, neither of which has looked there since the other began."""
    path = tmp_path / "canary.yaml"
    path.write_text(CONFIG)
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        config = WatchedConfig(path, lambda config: None)
        Rollouts(store, lambda plan: None).reconcile(config.current, time.time())

        def desk() -> Desk:
            rollouts = Rollouts(store, lambda plan: None)
            meters = Meters(canaries=["trial"], feedback_metrics=[], mono=time.monotonic)
            return Desk(
                Operator(
                    config=config,
                    store=store,
                    rollouts=rollouts,
                    live=Live(meters=meters, rollouts=rollouts, config=config.current),
                    workers=Workers(),
                    troubles=list,
                    keys=Keys({}, tmp_path),
                    problems=[],
                )
            )

        yield desk(), desk()


def test_the_second_of_two_is_refused_with_409_and_what_the_canary_is_now(desks: tuple[Desk, Desk]) -> None:
    ann, bob = desks
    assert ann.order("promote", who="ann")["state"] == "promoted"
    with pytest.raises(BadOrder) as refused:
        bob.order("ramp", who="bob", share=0.5)
    assert refused.value.status == 409
    assert "somebody else changed trial a moment ago: it is promoted at share 1 now" in refused.value.message
    assert ann.audited() == ["ann", "config"]


def test_a_rollback_is_not_refused_because_somebody_was_faster(desks: tuple[Desk, Desk]) -> None:
    ann, bob = desks
    ann.order("ramp", who="ann", share=0.5)
    done = bob.order("rollback", who="bob")
    assert (done["state"], done["share"]) == ("rolled_back", 0.0)
    bob.operator.rollouts.settle()
    assert ann.audited() == ["bob", "ann", "config"]
