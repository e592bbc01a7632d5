"""A process is killed at every step of an order about a standing canary: at each statement, commit and file.

Afterwards state, baseline and audit log agree, the canary is as before the order or as after it, and the same
order brings it there. Of two admins one wins, and the other is told so.
"""

import asyncio
import multiprocessing
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine, event

from canary.config import parse
from common.whole_file import read_document
from control.feed.events import WorkerRegistry
from control.fleet.publisher import TrialsFile
from control.monitor.monitor import Monitor
from control.operator.operator import Operator
from control.operator.orders import BadOrder
from control.operator.retiring import KnownRetirements
from control.operator.standing import StandingOrders
from control.settings import ControlSettings
from control.states.preflights import Preflights
from control.states.rollouts import PendingRollbacks, Rollouts
from records.exports.prometheus import Meters
from records.facts.standing import FILE, Standing
from records.store import Store
from records.store.standing import Standings
from tests.effort import in_more, stride

CONFIG = """
providers:
  openai: {api: openai, base_url: "http://127.0.0.1:1/v1", api_key: k}
canaries:
  - name: support
    standing: true
    settle: 0s
    match: {models: [bot]}
    baseline: {provider: openai, model: first}
    candidate: {provider: openai}
    share: 50%
"""
Given = Callable[[Operator], Coroutine[Any, Any, Mapping[str, Any]]]


def _begin(model: str, *, by_hand: bool = False) -> Given:
    arm = {"model": model}
    return lambda desk: desk.begin("support", arm, who="ann", reason="r", by_hand=by_hand)


def _promote(trial: str) -> Given:
    return lambda desk: desk.order(trial, "promote", who="ann", reason="r", share=None, against_verdict=True)


def _revert(desk: Operator) -> Coroutine[Any, Any, Mapping[str, Any]]:
    return desk.revert("support", who="ann", reason="r")


def _end(desk: Operator) -> Coroutine[Any, Any, Mapping[str, Any]]:
    return desk.end("support-second", who="ann", reason="r")


ORDERS: Mapping[str, tuple[tuple[Given, ...], Given]] = {
    "begin": ((), _begin("second")),
    "begin the next": ((_begin("second"), _promote("support-second")), _begin("third")),
    "promote": ((_begin("second"),), _promote("support-second")),
    "revert": ((_begin("second"), _promote("support-second")), _revert),
    "revert below a trial": ((_begin("second"), _promote("support-second"), _begin("third")), _revert),
    "end": ((_begin("second", by_hand=True),), _end),
}
"""Each order, after those that went before it."""


class Machine:
    """One admin process: it knows of trials what `trials.json` says."""

    def __init__(self, url: str, data: Path) -> None:
        self.data, self.store = data, Store.open(url, data)
        pending = PendingRollbacks(data / "rollbacks.json")
        self.rollouts = Rollouts(self.store, lambda states: None, pending=pending)
        self._known: Mapping[str, Standing] | None = None
        self._settings = _settings({})
        self.file = TrialsFile(self.store, data / FILE, lambda: True)
        self.file.write()
        self.operator = Operator(
            preflights=Preflights(None, self.rollouts),
            settings=self.settings,
            store=self.store,
            rollouts=self.rollouts,
            monitor=Monitor(
                meters=Meters(canaries=[], feedback_metrics=[], mono=float),
                rollouts=self.rollouts,
                settings=self.settings(),
            ),
            workers=WorkerRegistry(),
            troubles=list,
            assignment_key=lambda: b"key",
            standing=StandingOrders(
                self.store, self.rollouts, self.settings, self.file, lambda name, trials: ""
            ),
            retirements=KnownRetirements(self.store, self.settings),
        )

    def settings(self) -> ControlSettings:
        """The config with the trials of the file, taken up when that changes."""
        known = read_document(self.data / FILE, dict[str, Standing]) or {}
        if known != self._known:
            self._known, self._settings = known, _settings(known)
            self.rollouts.reconcile(self._settings, 1.0)
        return self._settings

    def give(self, order: Given) -> None:
        asyncio.run(_within(order(self.operator)))
        self.settings()

    def found(self) -> dict[str, Any]:
        """What users have: the baseline in force, and each open trial's state."""
        standing, states = self.standing(), self.store.states()
        newest = standing.baseline
        trials = {each: states[each].state.state for each in standing.open}
        return {"baseline": None if newest is None else newest.arm["model"], "trials": trials}

    def standing(self) -> Standing:
        return Standings(self.store).all().get("support", Standing())

    def agrees(self) -> None:
        """State, baseline, audit log and file say the same."""
        standing, states = self.standing(), self.store.states()
        entries = self.store.audit(100)
        newest = {each.canary: each for each in reversed(entries)}
        for name, each in states.items():
            assert newest[name].after == each.state, (name, newest[name], each)
        in_force = {each.canary for each in standing.history if each.withdrawn is None}
        assert in_force == {name for name, each in states.items() if each.state.state == "promoted"}
        acts = Counter(each.act.action for each in entries)
        assert acts["begin"] == len(standing.trials)
        assert acts["promote"] == len(standing.history)
        assert acts["rollback"] == sum(each.withdrawn is not None for each in standing.history)
        assert read_document(self.data / FILE, dict[str, Standing]) == Standings(self.store).all()


def _settings(known: Mapping[str, Standing]) -> ControlSettings:
    return parse(CONFIG, "canary.yaml", {}, lambda url, data: known).control


async def _within(order: Coroutine[Any, Any, Mapping[str, Any]]) -> None:
    await order


@contextmanager
def up(url: str, data: Path) -> Iterator[Machine]:
    """A machine, which takes up what it finds."""
    machine = Machine(url, data)
    with closing(machine.store):
        machine.rollouts.settle()
        machine.file.write()
        machine.settings()
        yield machine


def _killed_at(step: int, order: str, url: str, data: Path) -> None:
    """Give the order, and be killed before the step of this number."""
    with up(url, data) as machine:
        steps = iter(range(1, step))

        def count(*_: object) -> None:
            if next(steps, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        def seen(name: str, about: tuple[Any, ...]) -> None:
            if name in ("open", "os.rename") and str(about[0]).startswith(str(data)):
                count()

        event.listen(Engine, "before_cursor_execute", count)
        event.listen(Engine, "commit", count)
        sys.addaudithook(seen)
        machine.give(ORDERS[order][1])


def _killer(asked: "Connection[Any, Any]") -> None:
    """Give each order that is asked for in a fork of this process, and tell how that ended."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    _settings({})  # what a process imports at its start, the forks have
    for each in iter(asked.recv, None):
        child = os.fork()
        if child == 0:
            _killed_at(*each)
            os._exit(0)
        asked.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


Killed = Callable[[int, str, str, Path], int]


@pytest.fixture(scope="module")
def killed() -> Iterator[Killed]:
    """Gives an order in a process that is killed before its step of a number; returns its exit code."""
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_killer, args=(theirs,))
    process.start()

    def ask(*order: Any) -> int:
        ours.send(order)
        return int(ours.recv())

    yield ask
    ours.send(None)
    process.join()


Copied = Callable[[str], tuple[str, Path]]
"""A store and its data folder, after the orders before this one."""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.more)])
def copied(request: pytest.FixtureRequest, tmp_path: Path) -> Copied:
    """Copies of a machine that was given the orders before."""
    postgres = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    whole: dict[str, tuple[str, Path]] = {}

    def first(order: str) -> tuple[str, Path]:
        data = tmp_path / "first" / order
        data.mkdir(parents=True)
        url = "sqlite:///canary.db" if postgres is None else postgres.fresh()
        with up(url, data) as machine:
            for each in ORDERS[order][0]:
                machine.give(each)
        return url, data

    def copy(order: str) -> tuple[str, Path]:
        if order not in whole:
            whole[order] = first(order)
        url, data = whole[order]
        fresh = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(data, fresh)
        return (url if postgres is None else postgres.fresh(like=url)), fresh

    return copy


SOON = ("begin", "promote")


@pytest.mark.timeout(1200)  # it forks and kills sixty times, a second each on a quiet machine
@pytest.mark.parametrize("order", [each if each in SOON else in_more(each) for each in ORDERS])
def test_an_order_that_is_killed_at_any_step_is_wholly_given_or_not_at_all(
    copied: Copied, killed: Killed, order: str
) -> None:
    with up(*copied(order)) as machine:
        before = machine.found()
        machine.give(ORDERS[order][1])
        machine.agrees()
        after = machine.found()
    assert before != after
    found = Counter[str]()
    for step in range(1, 200, stride(3)):
        url, data = copied(order)
        if (ended := killed(step, order, url, data)) == 0:
            break
        assert ended == -signal.SIGKILL
        with up(url, data) as machine:
            machine.agrees()
            now = machine.found()
            assert now in (before, after), step
            found["after" if now == after else "before"] += 1
            with suppress(BadOrder):
                machine.give(ORDERS[order][1])
            machine.agrees()
            assert machine.found() == after, step
    print(f"\n{order}: killed at {found.total()} steps: {dict(found)}")
    assert min(found["before"], found["after"]) > 1


WON = {
    "begin": (_begin("third"), "support-third .*, and support tries one model at a time"),
    "promote": (
        _promote("support-second"),
        "somebody else changed support-second a moment ago: it is promoted",
    ),
    "revert below a trial": (_revert, "support has no promoted baseline: nothing is before it"),
    "end": (_end, "support-second is no trial of a standing canary"),
}
"""What somebody else ordered meanwhile, and what the other one is told."""


@pytest.mark.parametrize("order", WON)
def test_who_orders_what_another_admin_has_ordered_unseen_is_told_so(copied: Copied, order: str) -> None:
    url, data = copied(order)
    with up(url, data) as one, up(url, data) as two:
        other, told = WON[order]
        seen = two.settings()
        two.settings = lambda: seen  # type: ignore[method-assign]
        one.give(other)
        with pytest.raises(BadOrder, match=told) as refused:
            two.give(ORDERS[order][1])
        assert refused.value.status == 409
        one.agrees()


@pytest.mark.more  # only PostgreSQL lets two write at once
@pytest.mark.parametrize("copied", ["postgresql"], indirect=True)
@pytest.mark.parametrize("order", WON)
def test_of_two_admins_who_write_at_once_one_wins(copied: Copied, order: str) -> None:
    url, data = copied(order)
    with up(url, data) as one, up(url, data) as two:
        other, told = WON[order]
        with _before_a_write(lambda: two.give(other)), pytest.raises(BadOrder, match=told):
            one.give(ORDERS[order][1])
        one.agrees()


@contextmanager
def _before_a_write(act: Callable[[], None]) -> Iterator[None]:
    """Act once, between what an order reads and what it writes."""
    waiting = [act]

    def seen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(("INSERT", "UPDATE")) and waiting:
            waiting.pop()()

    event.listen(Engine, "before_cursor_execute", seen)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", seen)
    assert not waiting
