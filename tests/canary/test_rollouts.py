"""States change by compare-and-set: of two who order at once, one is told that the other was faster."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from canary.config import Config, parse
from canary.rollouts import Outrun, Rollouts, Transition
from records.store import Act, Store
from routing import transitions
from routing.plan import Plan

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


class Two:
    """Two admins over one store, each with what it saw last, and the plans that they published."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.config = parse(CONFIG, "canary.yaml", {})
        self.plans: list[Plan] = []
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
    with pytest.raises(Outrun, match=r"somebody else changed trial a moment ago: it is running at share 0.1"):
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


def test_the_ramps_clock_outruns_nobody(two: Two) -> None:
    one, other = two.admins
    one.tick(two.config, passed_s=60.0, held=(), now=1060.0)
    assert one.states["trial"].version > other.states["trial"].version
    assert other.change("trial", act("bob"), ramp(two.config, 0.5), yields=True).share == 0.5


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
