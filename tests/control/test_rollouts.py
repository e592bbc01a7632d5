"""States change by compare-and-set: of two who order at once, one is told that the other was faster."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from alerts.quota import QuotaStatus
from canary.config import Config, parse
from common.whole_file import read_document
from control.states.rollouts import OrderOvertaken, PendingRollbacks, Rollouts, Transition
from records.errors import StoreDown
from records.outcome import Outcome
from records.shared import states_file
from records.store import Act, Store, VersionedState
from routing import transitions
from routing.states import NO_STATES, State, States
from tests.control.databases import Database
from tests.records.samples import a_batch

CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    ramp: [{share: 5%, for: 1h}, {share: 20%}]
"""


def act(who: str) -> Act:
    return Act(at=1000.0, action="test", who=who, reason="")


def ramp(config: Config, share: float) -> Transition:
    steps = config.canaries["trial"].canary.steps
    return lambda state: transitions.set_share(state, steps, share, now=1000.0)


CONFIGURED = parse(CONFIG, "canary.yaml", {})


class Two:
    """Two admins over one store, each with what it saw last, and the plans that they published."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.config = CONFIGURED
        self.plans: list[States] = []
        first = Rollouts(store, self.plans.append)
        first.reconcile(self.config, 1000.0)
        self.admins = (first, Rollouts(store, self.plans.append))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        yield Two(store)


def test_of_two_orders_on_the_same_version_one_wins_and_the_other_hears_why(two: Two) -> None:
    one, other = two.admins
    one.change("trial", act("ann"), ramp(two.config, 0.1), yields=True)
    with pytest.raises(
        OrderOvertaken, match=r"somebody else changed trial a moment ago: it is running at share 0.1"
    ):
        other.change("trial", act("bob"), ramp(two.config, 0.5), yields=True)
    assert next(each.act.who for each in two.store.audit()) == "ann"
    assert other.change("trial", act("bob"), ramp(two.config, 0.5), yields=True).share == 0.5


def test_a_rollback_holds_whatever_somebody_else_ordered_at_once(two: Two) -> None:
    one, other = two.admins
    one.change("trial", act("ann"), ramp(two.config, 0.5), yields=True)
    state = other.change(
        "trial", act("guardrail"), lambda state: transitions.rollback(state, reason="bad", now=1000.0)
    )
    assert (state.state, state.effective_share) == ("rolled_back", 0.0)


class Slow(Store):
    """A store whose answer takes so long that something happens meanwhile."""

    meanwhile: Callable[[], object] | None = None

    def states(self) -> dict[str, VersionedState]:
        found = super().states()
        if self.meanwhile is not None:
            happening, self.meanwhile = self.meanwhile, None
            happening()
        return found


def test_an_answer_that_was_outrun_takes_nothing_back(tmp_path: Path) -> None:
    with closing(Slow.open("sqlite:///canary.db", tmp_path)) as store:
        here, there = Two(store).admins
        there.tick(CONFIGURED, passed_s=60.0, held=(), now=1060.0)
        store.meanwhile = lambda: here.change("trial", act("ann"), ramp(CONFIGURED, 0.2))
        here.tick(CONFIGURED, passed_s=60.0, held=(), now=1060.0)  # outrun, so it looks what there is
        assert (here.states, here.states["trial"].state.share) == (store.states(), 0.2)


def test_plans_of_many_threads_are_written_one_after_the_other(tmp_path: Path) -> None:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        rollouts = Rollouts(store, partial(states_file.write, tmp_path / "plan.json"))
        rollouts.reconcile(CONFIGURED, 1000.0)
        with capture_logs() as logs, ThreadPoolExecutor(8) as pool:
            for _ in pool.map(lambda _: rollouts.publish(), range(100)):
                pass
    assert logs == []


def test_the_ramps_clock_outruns_nobody(two: Two) -> None:
    one, other = two.admins
    one.tick(two.config, passed_s=60.0, held=(), now=1060.0)
    assert one.states["trial"].version > other.states["trial"].version
    assert other.change("trial", act("bob"), ramp(two.config, 0.5), yields=True).share == 0.5


def test_a_step_that_waits_for_users_counts_them_in_the_store_through_restarts(tmp_path: Path) -> None:
    steps = "ramp: [{share: 5%, until: {users: 3}}, {share: 20%, for: 1h, until: {users: 2}}, {share: 50%}]"
    config = parse(CONFIG.replace("ramp: [{share: 5%, for: 1h}, {share: 20%}]", steps), "canary.yaml", {})

    def outcome(number: int, unit: str, **changed: Any) -> Outcome:
        fields = {"canary": "trial", "run": 1, "phase": 1, "share": 0.05, "arm": "candidate"}
        told = {"reason": "cohort", "unit": unit, "outcome": "ok", **fields, **changed}
        return Outcome(exchange_id=f"x{number}", at=1000.0 + number, mono=1.0, **told)

    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        one = Rollouts(store, lambda plan: None)
        one.reconcile(config, 1000.0)
        store.ship(
            a_batch(
                *(outcome(number, unit) for number, unit in enumerate("aab")),
                outcome(10, "c", arm="baseline"),
                outcome(11, "d", mirror=True),
                outcome(12, "e", run=2),
                outcome(13, "f", outcome="fallback", error_type="provider_throttled"),
                outcome(14, "g", outcome="aborted"),
            )
        )
        one.count_users(config, 50.0)
        one.tick(config, passed_s=1e6, held=(), now=1001.0)
        assert (one.step_users("trial"), states_share(one)) == (2, 0.05)
        store.ship(a_batch(outcome(20, "h", outcome="fallback", error_type="provider_5xx")))
        one.count_users(config, 51.0)
        assert one.step_users("trial") == 2  # counted a moment ago
        other = Rollouts(store, lambda plan: None)
        other.count_users(config, 51.0)
        other.tick(config, passed_s=1.0, held=("trial",), now=1002.0)
        assert (other.step_users("trial"), states_share(other)) == (3, 0.05)
        other.tick(config, passed_s=1.0, held=(), now=1002.0)
        assert (other.step_users("trial"), states_share(other)) == (None, 0.2)  # a new phase has none yet
        store.ship(a_batch(outcome(30, "a", phase=2), outcome(31, "b", phase=2)))
        for cap in (0.1, None):  # phases of the same step
            other.cap("trial", QuotaStatus(asked=9, throttled=3, cap=cap, holds=True), 1002.5)
        store.ship(a_batch(outcome(40, "b", phase=4), outcome(41, "c", phase=4)))
        other.count_users(config, 52.0)
        other.tick(config, passed_s=3599.0, held=(), now=1003.0)
        assert (other.step_users("trial"), states_share(other)) == (3, 0.2)
        other.tick(config, passed_s=1.0, held=(), now=1004.0)
        assert states_share(other) == 0.5


def states_share(rollouts: Rollouts) -> float:
    state = rollouts.state("trial")
    assert state is not None
    return state.effective_share


def test_what_others_changed_is_adopted_unless_it_is_older(two: Two) -> None:
    one, other = two.admins
    before = two.store.states()
    one.change("trial", act("ann"), ramp(two.config, 0.1))
    other.adopt(two.store.states())
    assert other.states["trial"] == one.states["trial"]
    other.adopt(before)
    assert other.states["trial"] == one.states["trial"]


def test_each_change_publishes_a_plan_of_a_higher_version(two: Two) -> None:
    one, _ = two.admins
    before = two.plans[-1]
    one.change("trial", act("ann"), ramp(two.config, 0.1))
    after = two.plans[-1]
    assert after.version == before.version + 1
    assert after.states["trial"].share == 0.1


def test_the_plan_carries_the_patience_and_a_restart_keeps_what_was_published(two: Two) -> None:
    one, _ = two.admins
    one.wait_for_candidates({"trial": {"chat/json": 12.0}}, {})
    one.publish()
    assert two.plans[-1].patience == {"trial": {"chat/json": 12.0}}
    assert (
        Rollouts(two.store, two.plans.append, last=two.plans[-1]).in_force.patience == one.in_force.patience
    )


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


def pull_back(state: State) -> State:
    return transitions.rollback(state, reason="bad answers", now=1000.0)


def cut_off(state: State) -> State:
    return transitions.rollback(state, reason="it leaks", now=1100.0, hard=True)


class One:
    """An admin over a database, with its plan file and its rollbacks' file, to be started again at will."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.config, self.store, self.folder = parse(CONFIG, "canary.yaml", {}), database.open(), folder
        self.states_file = folder / "plan.json"
        self.start()

    def start(self) -> None:
        self.rollouts = Rollouts(
            self.store,
            lambda plan: states_file.write(self.states_file, plan),
            last=read_document(self.states_file, States) or NO_STATES,
            pending=PendingRollbacks(self.folder / "rollbacks.json"),
        )

    @property
    def published(self) -> States:
        plan = read_document(self.states_file, States)
        assert plan is not None
        return plan


@pytest.fixture
def one(database: Database, tmp_path: Path) -> One:
    admin = One(database, tmp_path)
    admin.rollouts.reconcile(admin.config, 1000.0)
    return admin


def test_a_rollback_is_in_force_while_the_store_is_down_and_stored_when_it_answers(
    one: One, database: Database
) -> None:
    before = one.published
    database.go()
    state = one.rollouts.change("trial", act("guardrail"), pull_back)
    assert state == one.rollouts.state("trial") == one.published.states["trial"]
    assert (state.state, state.share, one.published.version) == ("rolled_back", 0.0, before.version + 1)
    with pytest.raises(StoreDown):
        one.rollouts.settle()
    assert one.rollouts.unsettled
    database.come_back()
    one.rollouts.settle()
    assert not one.rollouts.unsettled
    assert one.store.states()["trial"].state == state
    assert one.store.audit()[0].act == act("guardrail")
    assert one.rollouts.in_force.version == one.published.version
    one.rollouts.settle()
    assert [each.act.who for each in one.store.audit()].count("guardrail") == 1


def test_a_rollback_made_hard_before_it_is_stored_keeps_who_ordered_it_first(
    one: One, database: Database
) -> None:
    database.go()
    one.rollouts.change("trial", act("guardrail"), pull_back)
    one.rollouts.change("trial", act("ann"), cut_off)
    assert one.published.states["trial"].hard
    database.come_back()
    one.rollouts.settle()
    stored = one.store.states()["trial"].state
    assert (stored.state, stored.hard) == ("rolled_back", True)
    assert one.store.audit()[0].act == act("guardrail")


def test_a_stored_rollback_can_be_made_hard_and_stays_so(one: One, database: Database) -> None:
    one.rollouts.change("trial", act("guardrail"), pull_back)
    one.rollouts.settle()
    version = one.published.version
    one.rollouts.change("trial", act("ann"), cut_off)
    assert one.published.states["trial"].hard
    assert one.published.version == version + 1
    one.rollouts.settle()
    assert one.store.audit()[0].act == act("ann")
    one.start()
    assert one.rollouts.in_force.states["trial"].hard


def test_a_rollback_outlives_the_process_that_could_not_store_it(one: One, database: Database) -> None:
    database.go()
    one.rollouts.change("trial", act("guardrail"), pull_back)
    told = one.published
    one.start()
    assert not one.rollouts.known
    one.rollouts.publish()
    assert (one.published.version, one.published.states) == (told.version, told.states)
    database.come_back()
    one.start()  # it knows the store now, in which the canary runs
    assert one.rollouts.in_force.states == told.states
    one.rollouts.reconcile(one.config, 2000.0)
    assert one.store.states()["trial"].state.state == "rolled_back"
    assert one.rollouts.in_force.version == told.version


def test_nothing_but_a_rollback_is_done_without_the_store(one: One, database: Database) -> None:
    database.go()
    with pytest.raises(StoreDown):
        one.rollouts.change("trial", act("ann"), ramp(one.config, 0.5))
    one.rollouts.change("trial", act("guardrail"), pull_back)
    with pytest.raises(StoreDown):
        one.rollouts.change(
            "trial",
            act("ann"),
            lambda state: transitions.resume(
                state, one.config.canaries["trial"].canary.steps, reason="mended", now=1100.0
            ),
        )
    assert one.published.states["trial"].state == "rolled_back"


def test_the_ramp_does_not_run_over_a_rollback_that_is_not_stored(one: One) -> None:
    one.rollouts.change("trial", act("guardrail"), pull_back)
    assert one.rollouts.unsettled
    one.rollouts.tick(one.config, passed_s=7200.0, held=(), now=8200.0)
    assert one.published.states["trial"].share == 0.0
    assert one.store.states()["trial"].state.share == 0.05


def test_a_rollback_of_a_run_that_somebody_ended_meanwhile_is_dropped(
    one: One, database: Database, tmp_path: Path
) -> None:
    other = Rollouts(database.open(), lambda plan: None)
    one.rollouts.change("trial", act("guardrail"), pull_back)
    steps = one.config.canaries["trial"].canary.steps
    other.change("trial", act("bob"), pull_back)
    other.change(
        "trial", act("bob"), lambda state: transitions.resume(state, steps, reason="mended", now=1100.0)
    )
    one.rollouts.settle()
    assert one.rollouts.state("trial") == other.state("trial")
    assert (one.store.states()["trial"].state.run, one.rollouts.unsettled) == (2, False)


def test_what_somebody_else_changed_meanwhile_is_rolled_back_all_the_same(
    one: One, database: Database
) -> None:
    other = Rollouts(database.open(), lambda plan: None)
    one.rollouts.change("trial", act("guardrail"), pull_back)
    before = one.published.version
    other.change("trial", act("bob"), ramp(one.config, 0.5))
    one.rollouts.settle()
    assert one.store.states()["trial"].state.state == "rolled_back"
    assert one.rollouts.in_force.version > before


def test_without_a_store_and_without_a_plan_there_is_none_to_publish(
    database: Database, tmp_path: Path
) -> None:
    database.go()
    admin = One(database, tmp_path)
    admin.rollouts.publish()
    assert not admin.states_file.exists()
    with pytest.raises(StoreDown):
        admin.rollouts.reconcile(admin.config, 1000.0)
    database.come_back()
    admin.rollouts.reconcile(admin.config, 1000.0)
    assert admin.published.states["trial"].share == 0.05


def test_a_store_set_back_under_a_running_admin_refuses_orders_and_leaves_a_rollback_in_force(
    tmp_path: Path,
) -> None:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        plans: list[States] = []
        admin = Rollouts(store, plans.append)
        admin.reconcile(CONFIGURED, 1000.0)
        admin.change("trial", act("ann"), ramp(CONFIGURED, 0.1))
        with closing(sqlite3.connect(tmp_path / "canary.db")) as backup, backup:
            backup.execute("UPDATE states SET version = version - 1")
        with pytest.raises(StoreDown, match="after restoring a backup, restart the admin process"):
            admin.change("trial", act("ann"), ramp(CONFIGURED, 0.2))
        admin.change("trial", act("ann"), partial(transitions.rollback, reason="", now=1000.0))
        with pytest.raises(StoreDown, match="after restoring a backup"):
            admin.settle()
        assert plans[-1].states["trial"].state == "rolled_back"
        assert admin.unsettled


def set_back(folder: Path, orders: Callable[[Rollouts], object]) -> States:
    """Give orders to the canary of this folder's store, put back the store from before them, and return what
    the workers follow since."""
    with closing(Store.open("sqlite:///canary.db", folder)) as store:
        admin = Rollouts(store, lambda states: None)
        admin.reconcile(CONFIGURED, 1000.0)
        databases = [closing(sqlite3.connect(folder / each)) for each in ("canary.db", "old")]
        with databases[0] as source, databases[1] as old:
            source.backup(old)
        orders(admin)
        admin.settle()
        followed = admin.in_force
    for file in folder.glob("canary.db*"):
        file.unlink()
    (folder / "old").rename(folder / "canary.db")
    return followed


def test_workers_that_are_ahead_of_a_restored_store_are_overtaken(tmp_path: Path) -> None:
    def orders(admin: Rollouts) -> None:
        for share in (0.1, 0.2, 0.1):
            admin.change("trial", act("ann"), ramp(CONFIGURED, share))

    followed = set_back(tmp_path, orders)
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        plans: list[States] = []
        admin, other = Rollouts(store, plans.append), Rollouts(store, plans.append)
        assert admin.in_force.version < followed.version
        admin.overtake(NO_STATES, followed.version, 1000.0)
        assert plans[-1].version == followed.version + 1
        admin.overtake(followed, followed.version, 1000.0)
        admin.change("trial", act("ann"), ramp(CONFIGURED, 0.2))
        assert (plans[-1].version, plans[-1].states["trial"].share) == (followed.version + 2, 0.2)
        other.adopt(store.states())
        assert other.in_force.version == followed.version + 2


def test_what_a_restored_store_does_not_know_to_be_rolled_back_stays_so(tmp_path: Path) -> None:
    def orders(admin: Rollouts) -> None:
        rollback = partial(transitions.rollback, reason="refunds fail", now=1000.0, hard=True)
        admin.change("trial", replace(act("ann"), reason="refunds fail"), rollback)

    followed = set_back(tmp_path, orders)
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        admin = Rollouts(store, lambda states: None)
        state = admin.state("trial")
        assert state is not None and state.state == "running"
        admin.overtake(followed, followed.version, 1000.0)
        stored = store.states()["trial"].state
        assert (stored.state, stored.hard, stored.reason) == ("rolled_back", True, "refunds fail")
        assert store.audit()[0].act.who == "canary, after a restore"
        assert admin.in_force.version > followed.version
