"""Of several canaries that match a request, the one whose lane has the unit takes it; else a baseline."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import httpx2
import pytest

from proxy.calls.canary_choice import CanaryChooser
from proxy.calls.reader import message_call
from proxy.calls.routes import Routes, Trial
from records.facts.counts import unmatched_in
from records.outcome import Outcome
from routing.canary import Arm, Match
from routing.lanes import allot, holds
from routing.states import Lane, State, States, lane_place
from tests.proxy.calls import LANES, call, routes, trial
from tests.proxy.raw_provider import RawProvider, Wire, pool
from tests.proxy.traffic import ANSWER, KEY, Traffic, chat

ONE, TWO = trial("one", candidate=("openai", "new-1")), trial("two", candidate=("openai", "new-2"))


def running(*trials: Trial, ended: Sequence[str] = ()) -> dict[str, State]:
    """The states of canaries that started together; those in `ended` have left the file since."""
    lanes = allot([each.canary for each in trials], {}).lanes
    states = {
        each.canary.name: State(
            state="running", share=0.5, definition=each.definition, lane=lanes[each.canary.name]
        )
        for each in trials
    }
    return states | {name: replace(states[name], state="ended", share=0.0) for name in ended}


def following(states: dict[str, State]) -> CanaryChooser:
    plan = States(version=1, states=states)
    return CanaryChooser(lambda: plan, lambda: KEY)


def unit_of(state: State) -> str:
    """A unit in the lane that the state has, or had."""
    lane = state.lane
    assert lane is not None
    return next(f"user-{n}" for n in count() if lane.has(lane_place(KEY, f"user-{n}")))


def taken(
    lanes: CanaryChooser, trials: Sequence[Trial], unit: str | None, *, model: str = "gpt-4o", **headers: str
) -> tuple[str | None, str | None]:
    """The name of the canary that takes a unit's request, and the model that serves it outside every one."""
    table, body = routes(*trials), {"model": model} | ({"user": unit} if unit is not None else {})
    named = {f"x-canary-{name}".encode(): value.encode() for name, value in headers.items()}
    request = call(body, table=table)
    found, rest, _, _ = lanes.choose(table, request.route, request.facts, named, {})
    return found.canary.name if found is not None else None, rest.model if rest is not None else None


def chosen(lanes: CanaryChooser, trials: Sequence[Trial], unit: str | None, **headers: str) -> str | None:
    return taken(lanes, trials, unit, **headers)[0]


def test_the_canary_whose_lane_has_the_unit_takes_its_requests() -> None:
    states = running(ONE, TWO)
    lanes = following(states)
    for number in range(200):
        unit = f"user-{number}"
        (owner,) = [name for name, state in states.items() if holds(state, lane_place(KEY, unit))]
        assert chosen(lanes, [ONE, TWO], unit) == owner


def test_a_unit_of_a_lane_that_has_ended_has_no_canary_also_when_one_alone_is_left() -> None:
    states = running(ONE, TWO, ended=["two"])
    lanes = following(states)
    assert chosen(lanes, [ONE], unit_of(states["one"])) == "one"
    assert chosen(lanes, [ONE], unit_of(states["two"])) is None


@pytest.mark.parametrize("states", [{}, {"one": State(state="running")}, {"two": State(), "one": State()}])
def test_where_nobody_has_a_lane_the_first_canary_takes_everybody(states: dict[str, State]) -> None:
    for unit in ("user-1", "user-2", None):
        assert chosen(following(states), [ONE, TWO], unit) == "one"


def test_a_request_without_a_unit_is_the_first_canarys_or_draws_its_lane() -> None:
    states = running(ONE, TWO)
    lanes = following(states)
    assert {chosen(lanes, [ONE, TWO], None) for _ in range(50)} == {"one"}
    drawing = [replace(each, canary=replace(each.canary, random_without_unit=True)) for each in (ONE, TWO)]
    assert {chosen(lanes, drawing, None) for _ in range(200)} == {"one", "two"}


def test_a_pin_chooses_among_canaries_by_name_whatever_the_lane() -> None:
    states = running(ONE, TWO, ended=["two"])
    lanes = following(running(ONE, TWO))
    unit = unit_of(states["one"])
    assert chosen(lanes, [ONE, TWO], unit, pin="candidate", name="two") == "two"
    assert chosen(lanes, [ONE, TWO], unit, name="two") == "one"  # without a pin the header says nothing
    assert chosen(lanes, [ONE, TWO], unit_of(states["two"]), pin="candidate") == "two"
    assert chosen(following(states), [ONE], unit_of(states["two"]), pin="candidate") == "one"


def test_a_unit_of_an_ended_lane_gets_its_last_baseline_for_the_requests_that_its_canary_took() -> None:
    both = Match(models=frozenset({"gpt-4o", "gpt-5"}))
    wide, narrow = trial("wide", match=both), trial("narrow", baseline=("openai", "older"))
    states = running(wide, narrow, ended=["narrow"])
    lanes, unit = following(states), unit_of(states["narrow"])
    assert taken(lanes, [wide], unit) == (None, "older")
    assert taken(lanes, [wide], unit, model="gpt-5") == (None, "gpt-4o-2024-08-06")  # never narrow's
    assert taken(lanes, [wide], unit_of(states["wide"])) == ("wide", None)


def test_of_two_that_ended_the_newest_says_who_serves_the_unit() -> None:
    whole = Lane(spans=((0, 2**32),), match=ONE.canary.match, baseline=Arm(provider="openai", model="older"))
    newer = replace(whole, baseline=Arm(provider="openai", model="newer"))
    elsewhere = replace(whole, baseline=Arm(provider="azure", model="newest"))
    states = {
        "x": State(state="ended", changed_at=2.0, lane=newer),
        "y": State(state="ended", changed_at=1.0, lane=whole),
        "z": State(state="ended", changed_at=3.0, lane=elsewhere),
        "one": State(lane=replace(whole, spans=())),
    }
    assert taken(following(states), [ONE], "user-1") == (None, "newer")


def test_a_canary_that_left_the_config_serves_its_baseline_before_the_plan_says_that_it_ended() -> None:
    older = trial("two", baseline=("openai", "older"))
    states = running(ONE, older)
    assert taken(following(states), [ONE], unit_of(states["two"])) == (None, "older")


def test_each_message_on_a_websocket_has_the_lane_of_its_unit() -> None:
    states = running(ONE, TWO, ended=["two"])
    table = routes(ONE)
    handshake = call({"model": "gpt-4o"}, path="/v1/responses", table=table)
    for name, expected in (("one", ONE), ("two", None)):
        body = json.dumps({"model": "gpt-4o", "user": unit_of(states[name]), "input": "hi"}).encode()
        found = message_call(handshake, table, following(states), body)
        assert found.trial is expected
        assert (found.rest is None) == (expected is not None)


def test_each_message_on_a_websocket_has_the_session_of_its_handshake_or_its_own() -> None:
    table = routes(ONE)
    handshake = call({"model": "gpt-4o"}, (b"session-id", b"s-1"), path="/v1/responses", table=table)
    bare = call({"model": "gpt-4o"}, path="/v1/responses", table=table)
    body = json.dumps({"model": "gpt-4o", "conversation": "conv_1", "input": "hi"}).encode()
    assert message_call(handshake, table, LANES, body).session == "s-1"
    assert message_call(bare, table, LANES, body).session == "conv_1"


class LanedTraffic(Traffic):
    """Exchanges of one canary beside one that has ended, whose baseline was another model."""

    def lay(self) -> None:
        """Share the units between the two."""
        left = trial(
            "left",
            baseline=("raw", "old"),
            candidate=("raw", "new"),
            providers={"raw": self.trial.baseline.provider},
        )
        self.laned = running(self.trial, left, ended=["left"])
        self.exchanges.routes = Routes({"raw": self.trial.baseline.provider}, [self.trial], ())

    laned: Mapping[str, State] = {}

    def states(self) -> States:
        return States(version=1, states=self.laned)


async def answering(wire: Wire, models: list[str]) -> None:
    """Answer at once, and note the models that were asked for."""
    while True:
        request = await wire.request()
        models.append(json.loads(request.body)["model"])
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        await wire.send(head % len(ANSWER) + ANSWER)


def test_a_request_of_no_lane_is_served_and_recorded_outside_every_canary(
    run: Callable[[Any], Any],
) -> None:
    models: list[str] = []

    async def scene() -> tuple[list[httpx2.Response], list[Outcome]]:
        async with RawProvider(lambda wire: answering(wire, models)) as provider, pool() as upstreams:
            traffic = LanedTraffic(provider.entry(), upstreams)
            traffic.lay()
            async with traffic.served() as http:
                users = [unit_of(traffic.laned[name]) for name in ("support", "left")]
                bodies = [chat("hi") | {"user": user} for user in users]
                return [
                    await http.post("/v1/chat/completions", json=each) for each in bodies
                ], traffic.outcomes

    (mine, rest), (_, outcome) = run(scene())
    assert models[1] == "old"
    assert models[0] in ("base", "new")
    assert mine.headers["x-canary-name"] == "support"
    assert rest.status_code == 200
    assert "x-canary-exchange" in rest.headers
    assert not {"x-canary-name", "x-canary-arm", "x-canary-served-by"} & set(rest.headers)
    assert (outcome.canary, outcome.reason, outcome.arm) == ("", "no_lane", "baseline")
    assert (outcome.model_requested, outcome.model, outcome.outcome) == ("gpt-4o", "old", "ok")
    assert outcome.unit != ""
    assert [(each.requests, each.no_lane) for each in unmatched_in([outcome])] == [(1, True)]
