"""`promote: two_people`: one asks, another promotes, and whatever happens meanwhile voids the request."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from canary.config import parse
from control.operator.orders import LASTS_S, BadOrder, Order, only_from
from control.states.rollouts import Rollouts
from records.store import Act, Store
from records.store.decisions import PromoteRequests
from routing import transitions
from tests.control.desks import Desk, desk_over

TEXT = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 5%
    promote: two_people
"""
WANTED = parse(TEXT, "canary.yaml", {}).control


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.more)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store in which `trial` runs."""
    url = "sqlite:///canary.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").fresh()
    opened = Store.open(url, tmp_path)
    Rollouts(opened, lambda plan: None).reconcile(WANTED, time.time())
    yield opened
    opened.close()


def asked_of(desk: Desk) -> str | None:
    """Who asks for the promotion by the desk's status."""
    desk.operator.approvals.look(time.time())
    (canary,) = desk.operator.status()["canaries"]
    return canary["promote_asked"] and canary["promote_asked"]["who"]


def asks(store: Store, who: str, *, at: float, against: str = "extend") -> None:
    """Store a request of this moment, whoever has asked before."""
    act = Act(at=at, action="promote", who=who, reason="yes", against=against)
    PromoteRequests(store).add("trial", act, store.states()["trial"].state)


def refusal_of(desk: Desk, who: str) -> BadOrder:
    with pytest.raises(BadOrder) as refused:
        desk.order("promote", who=who)
    return refused.value


def test_the_first_asks_and_the_second_promotes_in_the_name_of_both(store: Store) -> None:
    one, other = desk_over(store, WANTED), desk_over(store, WANTED)
    asked = one.order("promote", who="Ann")
    assert (asked["state"], asked["share"]) == ("running", 0.05)
    request = asked["promote_asked"]
    assert (request["who"], request["reason"]) == ("Ann", "because")
    assert request["until"] == request["at"] + 86_400.0
    assert asked_of(other) == "Ann"
    done = other.order("promote", who="bob")
    assert (done["state"], done["promote_asked"]) == ("promoted", None)
    assert asked_of(other) is None
    entries = asyncio.run(other.operator.audit(10))  # type: ignore[arg-type]
    assert [(each["action"], each["who"], each["reason"]) for each in entries][:2] == [
        ("promote", "Ann and bob", "Ann: because; bob: because"),
        ("promote_asked", "Ann", "because"),
    ]
    assert entries[1]["share_before"] == entries[1]["share_after"] == 0.05


@pytest.mark.parametrize("who", ["ann", "ANN ", "  Ａnn"])
def test_nobody_is_the_second_of_their_own_request(store: Store, who: str) -> None:
    desk = desk_over(store, WANTED)
    desk.order("promote", who="Ann")
    refused = refusal_of(desk_over(store, WANTED), who)
    assert refused.status == 409
    assert "Ann has asked already: somebody else must promote trial" in refused.message
    assert desk.operator.rollouts.in_force.states["trial"].state == "running"


def test_a_new_name_at_the_provider_makes_no_second_person(store: Store) -> None:
    desk = desk_over(store, WANTED)
    desk.order("promote", who="Ann (ann@example.com)")
    refused = refusal_of(desk_over(store, WANTED), "Bob (Ann@example.com)")
    assert (refused.status, "has asked already" in refused.message) == (409, True)
    desk.order("promote", who="Ann (bob@example.com)")
    assert desk.operator.rollouts.in_force.states["trial"].state == "promoted"


@pytest.mark.parametrize("who", ["", " "])
def test_without_a_name_nobody_asks_or_is_the_second(store: Store, who: str) -> None:
    desk = desk_over(store, WANTED)
    refused = refusal_of(desk, who)
    assert (refused.status, "who" in refused.message) == (400, True)
    desk.order("promote", who="ann")
    assert refusal_of(desk, who).status == 400
    assert store.states()["trial"].state.state == "running"


def test_two_people_promote_a_canary_in_a_lane(tmp_path: Path) -> None:
    _, entry = TEXT.split("canaries:\n")
    second = entry.replace("trial", "other").replace("model: b", "model: c")
    wanted = parse(TEXT + second, "canary.yaml", {}).control
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        Rollouts(store, lambda plan: None).reconcile(wanted, time.time())
        one, other = desk_over(store, wanted), desk_over(store, wanted)
        assert one.order("promote", who="ann")["promote_asked"]["who"] == "ann"
        done = other.order("promote", who="bob")
        assert (done["state"], done["lane"]) == ("promoted", 0.5)


@pytest.mark.parametrize(
    "orders", [["pause"], ["pause", "resume"], ["ramp"], ["rollback", "resume"]], ids="-".join
)
def test_a_change_since_then_voids_the_request(store: Store, orders: list[Order]) -> None:
    one, other = desk_over(store, WANTED), desk_over(store, WANTED)
    one.order("promote", who="ann")
    for order in orders:
        one.order(order, who="ann", share=0.05)
    assert asked_of(one) is None
    other.operator.rollouts.settle()
    other.operator.rollouts.adopt(store.states())
    assert other.order("promote", who="bob")["promote_asked"]["who"] == "bob"
    assert one.order("promote", who="ann")["state"] == "promoted"


def test_who_has_not_seen_the_change_promotes_nothing(store: Store) -> None:
    one, other = desk_over(store, WANTED), desk_over(store, WANTED)
    one.order("promote", who="ann")
    one.order("pause", who="carl")
    assert refusal_of(other, "bob").status == 409
    assert store.states()["trial"].state.state == "paused"


def test_who_has_not_seen_a_change_asks_for_nothing(store: Store) -> None:
    one, other = desk_over(store, WANTED), desk_over(store, WANTED)
    one.order("pause", who="carl")
    assert "trial changed a moment ago" in refusal_of(other, "bob").message
    assert "promote_asked" not in [each.act.action for each in store.audit()]


def test_the_promotion_that_both_agreed_on_is_that_of_one_state(store: Store) -> None:
    state = desk_over(store, WANTED).operator.rollouts.state("trial")
    assert state is not None
    promotion = only_from(
        "trial", state, lambda found: transitions.promote(found, reason="yes", now=time.time())
    )
    assert promotion(replace(state, step_elapsed_s=60.0)).state == "promoted"
    with pytest.raises(BadOrder, match="trial changed a moment ago"):
        promotion(transitions.pause(state, now=time.time()))


def test_a_request_ends_after_a_day(store: Store) -> None:
    desk = desk_over(store, WANTED)
    asks(store, "ann", at=time.time() - LASTS_S)
    assert asked_of(desk) is None
    asks(store, "carl", at=time.time() - LASTS_S + 3600.0)
    assert asked_of(desk) == "carl"
    refused = refusal_of(desk, "carl")
    assert "ask anew after 1 hour" in refused.message


def test_an_order_that_is_not_legal_is_not_asked_for(store: Store) -> None:
    desk = desk_over(store, WANTED)
    desk.order("rollback", who="ann")
    refused = refusal_of(desk, "ann")
    assert (refused.status, "promote is not possible" in refused.message) == (409, True)
    assert "promote_asked" not in [each.act.action for each in store.audit()]


def test_a_rollback_never_wants_two(store: Store) -> None:
    desk = desk_over(store, WANTED)
    desk.order("promote", who="ann")
    assert desk.order("rollback", who="ann")["state"] == "rolled_back"


def test_weakening_the_file_promotes_nothing_by_itself(store: Store) -> None:
    one = desk_over(store, WANTED)
    one.order("promote", who="ann")
    weak = parse(TEXT.replace("    promote: two_people\n", ""), "canary.yaml", {}).control
    desk = desk_over(store, weak)
    assert desk.operator.rollouts.reconcile(weak, time.time()) == []
    assert store.states()["trial"].state.state == "running"
    assert asked_of(desk) is None
    assert desk.order("promote", who="ann")["state"] == "promoted"


def test_two_who_ask_in_the_same_moment_have_both_asked(store: Store) -> None:
    asks(store, "ann", at=time.time())
    asks(store, "bob", at=time.time())
    assert desk_over(store, WANTED).order("promote", who="ann")["state"] == "promoted"


def test_the_receivers_are_told_of_a_request_and_may_open_its_dialog(store: Store) -> None:
    desk = desk_over(store, WANTED)
    desk.order("promote", who="ann")
    (news,) = desk.told
    assert (news.kind, news.about["canary"], news.about["who"]) == ("promote_asked", "trial", "ann")
    assert "somebody else must agree" in news.headline
    assert news.offers == ("promote", "report")


def test_who_asked_under_a_verdict_that_ships_has_not_agreed_to_go_against_another(store: Store) -> None:
    desk = desk_over(store, WANTED)
    asks(store, "ann", at=time.time(), against="")
    asked = desk.order("promote", who="bob")
    assert (asked["state"], asked["promote_asked"]["against"]) == ("running", "extend")
    assert desk.told[-1].headline.startswith("trial: bob asks to promote it against the verdict extend (")
    with pytest.raises(BadOrder, match="not promoted: the report says extend"):
        desk.order("promote", who="ann", against_verdict=False)
    assert desk.order("promote", who="ann")["state"] == "promoted"
    (newest, *_) = store.audit(1)
    assert (newest.act.who, newest.act.against) == ("bob and ann", "extend")
