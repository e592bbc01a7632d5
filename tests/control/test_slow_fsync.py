"""A rollback waits for no fsync: neither its own, nor one that another thread is in the middle of."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from canary.config import parse
from common.whole_file import read_document
from control.fleet.publisher import FilePublisher
from control.states.rollouts import PendingRollbacks, Rollouts
from records.store import Act, Store
from routing import transitions
from routing.states import States

CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: one
    match: {models: [a]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 5%
  - name: two
    match: {models: [c]}
    baseline: {provider: openai, model: c}
    candidate: {provider: openai, model: d}
    share: 5%
"""
LONG_S = 20.0
"""Only a rollback that waits for the disk takes this long."""


class SlowDisk:
    """Every fsync of this process waits until the disk is fast again."""

    def __init__(self) -> None:
        self.waits, self.is_fast = threading.Event(), threading.Event()
        self._fsync = os.fsync

    def fsync(self, fd: int) -> None:
        self.waits.set()
        self.is_fast.wait(2 * LONG_S)
        self._fsync(fd)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    slow = SlowDisk()
    monkeypatch.setattr(os, "fsync", slow.fsync)
    yield slow
    slow.is_fast.set()


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_rollback_is_in_force_while_another_one_is_being_synced(tmp_path: Path, disk: SlowDisk) -> None:
    disk.is_fast.set()
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        pending = PendingRollbacks(tmp_path / "rollbacks.json")
        rollouts = Rollouts(store, FilePublisher(tmp_path / "plan.json").put, pending=pending)
        rollouts.reconcile(parse(CONFIG, "canary.yaml", {}).control, time.time())
        disk.is_fast.clear()
        disk.waits.clear()

        def roll_back(name: str) -> None:
            act = Act(at=time.time(), action="rollback", who="guardrail error_rate", reason="it fails")
            rollouts.change(name, act, lambda state: transitions.rollback(state, reason="", now=act.at))

        def is_in_force(name: str) -> bool:
            plan = read_document(tmp_path / "plan.json", States)
            kept = msgspec.json.decode((tmp_path / "rollbacks.json").read_bytes())
            return plan is not None and plan.states[name].state == "rolled_back" and name in kept

        first = in_thread(lambda: roll_back("one"))
        first.join(LONG_S)
        assert not first.is_alive()
        assert is_in_force("one")

        settling = in_thread(rollouts.settle)
        assert disk.waits.wait(LONG_S)  # now a thread is in the middle of an fsync
        second = in_thread(lambda: roll_back("two"))
        second.join(LONG_S)
        assert not second.is_alive()
        assert is_in_force("two")
        assert settling.is_alive()

        disk.is_fast.set()
        settling.join(LONG_S)
        rollouts.settle()
        assert {name: each.state.state for name, each in store.states().items()} == {
            "one": "rolled_back",
            "two": "rolled_back",
        }
