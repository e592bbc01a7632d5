"""Two operators at two admins give orders on what both saw: one wins, the other hears 409 and why. What an
order starts, counts and refuses beside."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from canary.config import parse
from control.operator.operator import Operator
from control.operator.orders import BadOrder, Order
from control.states.rollouts import Rollouts
from records.store import Store
from records.store.reports import DailyReport, DailyReports
from tests.control.desks import Desk, desk_over

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


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[tuple[Desk, Desk]]:
    """Two admins over one store, neither of which has looked there since the other began."""
    settings = parse(CONFIG, "canary.yaml", {}).control
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        Rollouts(store, lambda plan: None).reconcile(settings, time.time())

        yield desk_over(store, settings), desk_over(store, settings)


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


def test_a_rollback_is_in_force_while_every_thread_waits_for_the_store(desks: tuple[Desk, Desk]) -> None:
    operator, answered = desks[0].operator, threading.Event()

    async def story() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        waiting = loop.run_in_executor(None, answered.wait)
        order = operator.order("trial", "rollback", who="ann", reason="because", share=None)
        try:
            ordering = asyncio.ensure_future(order)
            await asyncio.sleep(0)
            state = operator.rollouts.in_force.states["trial"]
        finally:
            answered.set()
        await asyncio.gather(waiting, ordering)
        return state.state, state.effective_share

    assert asyncio.run(story()) == ("rolled_back", 0.0)


@pytest.mark.parametrize("unstorable", ["half a pair \ud800", "a NUL \0"])
def test_words_that_no_store_could_keep_are_refused_before_anything_is_done(
    desks: tuple[Desk, Desk], unstorable: str
) -> None:
    ann, _ = desks
    with pytest.raises(BadOrder, match=r"valid UTF-8") as refused:
        ann.order("rollback", who=unstorable)
    assert refused.value.status == 400
    rollouts = ann.operator.rollouts
    assert (rollouts.in_force.states["trial"].state, rollouts.unsettled) == ("running", False)
    assert ann.audited() == ["config"]


def test_a_canary_that_is_not_there_is_told_with_those_that_are(desks: tuple[Desk, Desk]) -> None:
    order = desks[0].operator.order("trail", "pause", who="ann", reason="", share=None)
    with pytest.raises(BadOrder, match="no canary 'trail' to pause; there are: trial"):
        asyncio.run(order)  # type: ignore[arg-type]


def test_a_person_s_rollback_is_counted_once_and_as_one_by_hand(desks: tuple[Desk, Desk]) -> None:
    ann, _ = desks
    ann.order("rollback", who="ann")
    ann.order("rollback", who="ann")
    registry = CollectorRegistry()
    registry.register(ann.meters)
    labels = {"canary": "trial", "rule": "manual"}
    assert registry.get_sample_value("canary_rollbacks_total", labels) == 1.0


def refusing(desk: Desk, changed: str) -> Operator:
    """The desk's operator with a file in which the candidate is another one."""
    settings = parse(changed, "canary.yaml", {}).control
    desk.operator.settings = lambda: settings
    desk.operator.rollouts.reconcile(settings, time.time())
    return desk.operator


ANOTHER = CONFIG.replace("model: b", "model: b, request: {remove: [seed]}")


@pytest.mark.parametrize("order", ["ramp", "resume", "promote"])
def test_no_order_gives_users_a_candidate_that_differs_from_the_one_that_started(
    desks: tuple[Desk, Desk], order: Order
) -> None:
    ann, _ = desks
    operator = refusing(ann, ANOTHER)
    ann.order("pause", who="ann")
    with pytest.raises(BadOrder, match=f"{order} is refused: canary 'trial' is not the one") as refused:
        ann.order(order, who="ann", share=0.5)
    assert refused.value.status == 409
    (shown,) = operator.status()["canaries"]
    assert (shown["orders"], shown["share"]) == (["rollback"], 0.05)
    assert shown["refused"] in operator.degraded()
    assert ann.order("rollback", who="ann")["state"] == "rolled_back"


def test_the_refused_changes_are_not_explained_as_if_in_force_and_end_when_reverted(
    desks: tuple[Desk, Desk],
) -> None:
    ann, _ = desks
    operator = refusing(ann, ANOTHER.replace("share: 5%", "share: 90%"))
    operator.rollouts.tick(operator.settings(), passed_s=60.0, held=(), now=time.time())
    (told,) = operator.explain("user")["canaries"]
    assert (told["arm"], told["reason"], told["request"]["candidate"]) == ("baseline", "no_plan", {})
    assert told["sentence"] == told["refused"] == operator.degraded()[0]
    operator = refusing(ann, CONFIG)
    assert (
        operator.status()["canaries"][0]["refused"],
        operator.explain("user")["canaries"][0]["refused"],
    ) == (None, None)
    assert operator.rollouts.in_force.states["trial"].share == 0.05  # the refused file's 90 % was never taken
    assert ann.order("promote", who="ann")["state"] == "promoted"


def test_a_waiting_canary_does_not_start_as_what_the_file_no_longer_says(desks: tuple[Desk, Desk]) -> None:
    ann, _ = desks
    waiting = CONFIG.replace("trial", "later").replace("share: 5%", "share: 5%\n    start: manual")
    operator = refusing(ann, waiting)
    changed = parse(waiting.replace("model: b", "model: c"), "canary.yaml", {}).control
    operator.settings = lambda: changed
    start = operator.order("later", "start", who="ann", reason="", share=None)
    with pytest.raises(BadOrder, match="changed in the file a moment ago"):
        asyncio.run(start)  # type: ignore[arg-type]


def test_an_order_waits_for_a_canary_that_has_just_come_into_the_config(desks: tuple[Desk, Desk]) -> None:
    ann, _ = desks
    config = CONFIG.replace("trial", "later").replace("share: 5%", "share: 5%\n    start: manual")
    settings = parse(config, "canary.yaml", {}).control
    operator = ann.operator
    operator.settings = lambda: settings

    async def scene() -> Mapping[str, Any]:
        given = asyncio.create_task(operator.order("later", "start", who="ann", reason="", share=None))
        await asyncio.sleep(0)
        assert operator.rollouts.state("later") is None
        operator.rollouts.reconcile(settings, time.time())
        return await given

    assert asyncio.run(scene())["state"] == "running"


def test_a_canary_started_by_hand_is_judged_by_the_rubric_that_stood_at_its_start(
    desks: tuple[Desk, Desk],
) -> None:
    operator = desks[0].operator
    waiting = CONFIG.replace("share: 5%", "share: 5%\n    start: manual").replace("trial", "later")

    def wanted(text: str) -> None:
        settings = parse(text, "canary.yaml", {}).control
        operator.settings = lambda: settings
        operator.rollouts.reconcile(settings, time.time())

    wanted(waiting)
    assert operator.store.rubric("later") is None
    asyncio.run(operator.order("later", "start", who="ann", reason="", share=None))  # type: ignore[arg-type]
    fixed = operator.store.rubric("later")
    assert fixed is not None
    wanted(waiting.replace("< 3%", "< 30%"))
    assert operator.store.rubric("later") == fixed


def test_a_rollback_is_hard_only_where_that_is_ordered_and_counts_once(desks: tuple[Desk, Desk]) -> None:
    desk, _ = desks
    desk.order("rollback", who="ann")
    assert not desk.hard
    desk.order("rollback", who="bob", hard=True)
    assert desk.hard
    assert desk.audited()[:2] == ["bob", "ann"]
    assert len(asyncio.run(desk.operator.rollbacks("trial", 10))) == 1  # type: ignore[arg-type]


def test_only_a_rollback_can_be_hard(desks: tuple[Desk, Desk]) -> None:
    with pytest.raises(BadOrder, match="only rollback"):
        desks[0].order("pause", who="ann", hard=True)


def test_daily_reports_are_those_stored_and_an_unknown_canary_has_none(desks: tuple[Desk, Desk]) -> None:
    operator = desks[0].operator
    assert asyncio.run(operator.daily_reports("trial", 10)) == []
    made = DailyReport(canary="gone", run=1, day="2026-11-26", at=1.0, verdict="ship", document={"a": 1})
    DailyReports(operator.store).add(made)
    assert [each.day for each in asyncio.run(operator.daily_reports("gone", 10))] == ["2026-11-26"]
    assert asyncio.run(operator.daily_report("gone", "2026-11-26")) == made
    with pytest.raises(BadOrder, match="no canary"):
        asyncio.run(operator.daily_reports("never", 10))
    with pytest.raises(BadOrder, match="no report of 'gone' was stored on '2026-11-25'"):
        asyncio.run(operator.daily_report("gone", "2026-11-25"))


def test_an_order_s_answer_names_the_arms_without_a_price(desks: tuple[Desk, Desk]) -> None:
    one, _ = desks
    unpriced = parse(CONFIG, "canary.yaml", {}).unpriced()
    one.operator.unpriced = lambda: unpriced
    told = one.order("ramp", who="ann", share=0.1)["unpriced"]
    assert [(each["arm"], each["model"]) for each in told] == [("baseline", "a"), ("candidate", "b")]


def test_a_rollback_just_after_a_resume_is_one_of_the_new_run(desks: tuple[Desk, Desk]) -> None:
    desk, _ = desks
    orders: tuple[Order, ...] = ("rollback", "resume", "rollback")
    for order in orders:
        desk.order(order, who="ann")

    async def runs() -> list[int]:
        return [each.why.run for each in await desk.operator.rollbacks("trial", 10)]

    assert asyncio.run(runs()) == [2, 1]


def test_what_no_report_can_be_made_of_is_promoted_against_the_verdict_to_extend(
    desks: tuple[Desk, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_given: object, **_named: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("verdict.decision.reports.report_of", fails)
    ann, _ = desks
    why = r"the report says extend \(no report can be made: division by zero\)"
    with pytest.raises(BadOrder, match=why):
        ann.order("promote", who="ann", against_verdict=False)
    done = ann.order("promote", who="ann")
    assert (done["state"], done["report"]["verdict"]) == ("promoted", "extend")
