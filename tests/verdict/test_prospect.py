"""A canary's prospect: the table, the levers, the boundaries, and every assumption with its source."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pages.reports.plan import (
    assumed,
    brief_document,
    outlook,
    outlook_document,
    outlook_text,
    power_document,
    prospect_line,
    unplanned,
)
from records.facts.metric import BUILT_IN, Metric
from routing.canary import Step
from tests.verdict.simulated_looks import row
from verdict.planner.assumptions import Assumptions, BadAssumption, believed, parse_assumptions
from verdict.planner.prospect import (
    USUAL_STEPS,
    PlanRequest,
    Prospect,
    levers,
    look_boundaries,
    one_in,
    prospect_of,
    table,
)
from verdict.planner.recorded import RecordedTraffic
from verdict.terms.judged_canary import ExpectedUse, JudgedCanary
from verdict.terms.rubric import parse_bound

README = JudgedCanary(
    name="support-nov",
    criteria=(row("error_rate", "< 5%", "< 1%"), row("csat", ">= baseline - 5%", ">= baseline + 0%")),
    planned_days=14,
)


def _prospect(
    judged: JudgedCanary = README, wanted: PlanRequest | None = None, seen: RecordedTraffic | None = None
) -> Prospect:
    found = prospect_of(judged, USUAL_STEPS, wanted or PlanRequest(), seen)
    assert found is not None
    return found


def _of(prospect: Prospect) -> dict[str, tuple[float | None, str]]:
    return {each.name: (each.value, each.source) for each in assumed(prospect)}


def test_the_table_has_the_usual_days_and_shares() -> None:
    found = {(cell.days, cell.share): round(cell.ship * 100) for cell in table(_prospect())}
    assert [found[14, share] for share in (0.02, 0.05, 0.1, 0.2, 0.5)] == [17, 46, 71, 92, 99]
    assert [found[days, 0.05] for days in (7, 14, 28)] == [25, 46, 73]
    assert len(found) == 15


def test_own_days_have_a_row_of_their_own() -> None:
    cells = table(_prospect(wanted=PlanRequest(days=21)))
    assert sorted({cell.days for cell in cells}) == [7, 14, 21, 28]


def test_the_levers_say_what_each_would_give() -> None:
    prospect = _prospect()
    found = {lever.change: round(lever.ship * 100) for lever in levers(prospect, prospect.power())}
    assert found == {
        "csat >= baseline - 7.5% instead of >= baseline - 5%": 74,
        "a share of 10 % instead of 5 %": 71,
        "one in four rated instead of one in eight": 68,
        "the extension, to day 28": 62,
        "21 planned days instead of 14": 62,
    }
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_the_line_names_a_lever_that_keeps_the_rubric() -> None:
    line = prospect_line(_prospect())
    assert line == (
        "support-nov: a candidate halfway between acceptable and ideal ships with a chance of 46 % in "
        "14 days at a share of 5 %, with 20,000 users (assumed) who send 3 requests each. The row least "
        "likely to pass is satisfaction (47 %). With a share of 10 % instead of 5 % the chance is 71 %."
    )
    assert "least likely" not in prospect_line(_prospect(wanted=PlanRequest(users=2_000_000)))


@pytest.mark.parametrize(
    ("acceptable", "ideal", "wider"),
    [
        ("< 2s", "< 1s", "< 2.5s"),
        ("< 200ms", "< 100ms", "< 250ms"),
        (">= 85%", ">= 90%", ">= 82.5%"),
        ("<= 1.2x baseline", "<= 1x baseline", "<= 1.3x baseline"),
        (">= baseline - 2pp", ">= baseline", ">= baseline - 3pp"),
        (">= baseline - 0.1", ">= baseline", ">= baseline - 0.15"),
    ],
)
def test_a_wider_bound_is_spelled_as_the_rubric_spells_it(acceptable: str, ideal: str, wider: str) -> None:
    judged = replace(README, criteria=(row("csat", acceptable, ideal),))
    distance = abs(parse_bound(acceptable).at(4) - parse_bound(ideal).at(4)) / 2
    prospect = _prospect(judged, PlanRequest(assumptions=Assumptions(sds={"csat": 12 * distance})))
    changes = [lever.change for lever in levers(prospect, prospect.power()) if lever.loosens]
    assert changes == [f"csat {wider} instead of {acceptable}"]
    assert parse_bound(wider)


def test_the_boundaries_are_those_of_the_plan() -> None:
    found = {look.day: round(look.boundary, 4) for look in look_boundaries(_prospect())}
    assert found[7] == 2.5514
    assert (found[13], found[14], found[21], found[28]) == (1.9469, 1.8011, 2.3233, 2.3880)


def test_without_a_plan_the_sequence_is_told() -> None:
    prospect = _prospect(replace(README, planned_days=0, minimum_days=0))
    assert look_boundaries(prospect) == []
    assert prospect.power().ship < _prospect().power().ship
    assert "no `planned_days`, so any day may bring the verdict" in prospect_line(prospect)
    assert not any("extension" in lever.change for lever in levers(prospect, prospect.power()))


def test_every_assumption_is_named_with_its_source() -> None:
    halfway = "halfway between acceptable and ideal"
    assert _of(_prospect()) == {
        "users": (20_000, "assumed"),
        "requests": (3, "assumed"),
        "share": (0.05, "from the config"),
        "alike": (0.4, "assumed"),
        "error_rate.candidate": (pytest.approx(0.03), halfway),
        "csat": (4.0, "assumed"),
        "csat.candidate": (pytest.approx(3.9), halfway),
        "csat.sd": (pytest.approx(1.031, abs=0.001), "assumed"),
        "csat.rated": (0.125, "assumed"),
    }


def test_an_event_has_sessions_in_place_of_a_share_that_answers() -> None:
    rubric = (row("escalated", "<= 8%", "<= 4%"), row("price", "<= 1.2x baseline", "<= 1x baseline"))
    price = Metric(
        name="price", kind="amount", question="?", low=0, higher_is_better=False, cost_per="escalated"
    )
    judged = replace(README, criteria=rubric, metrics={**BUILT_IN, "price": price})
    given = PlanRequest(assumptions=parse_assumptions("sessions=2, escalated=5%", judged.metrics))
    prospect = _prospect(judged, given)
    found = {each.name: each.sentence for each in assumed(prospect)}
    assert found["sessions"] == "2 sessions a user, 1 + Poisson (given)"
    assert not [name for name in found if name.endswith(".rated")]
    assert found["price.sd"].startswith("price: over n users its standard error is $")
    assert "sessions" not in {each.name for each in assumed(_prospect())}
    assert replace(prospect, unpriced=frozenset({"candidate"})).without_price == ("price",)
    assert not any("rated" in lever.change for lever in levers(prospect, prospect.power()))


def test_what_the_config_expects_replaces_what_is_assumed_and_measured_traffic_replaces_that() -> None:
    use = ExpectedUse(users=7000, requests=5.0, rated=0.5, categories={"refund": 0.2})
    judged = replace(README, expected=use, critical_categories=frozenset({"refund"}))
    found = _of(_prospect(judged))
    from_config = {name for name, (_, source) in found.items() if source == "from the config"}
    assert from_config == {"users", "requests", "share", "csat.rated", "category:refund"}
    assert [found[name][0] for name in ("users", "csat.rated", "category:refund")] == [7000, 0.5, 0.2]
    # Of the planned days: with others the users a day stay.
    assert _of(_prospect(judged, PlanRequest(days=28)))["users"][0] == 14_000
    given = PlanRequest(users=9, assumptions=parse_assumptions("csat.rated=10%", BUILT_IN))
    assert _of(_prospect(judged, given))["csat.rated"] == (0.1, "given")
    seen = RecordedTraffic(over="measured", users_per_day=100.0, requests=2.0)
    assert _of(_prospect(judged, seen=seen))["users"] == (1400, "measured")
    short = RecordedTraffic(over="measured", too_short="; 1.0 days are recorded, 3 are needed")
    assert _of(_prospect(judged, seen=short))["users"] == (7000, "from the config")


def test_what_is_recorded_replaces_what_is_assumed_and_what_is_given_replaces_both() -> None:
    over = "measured over 812 users in 9 days"
    seen = RecordedTraffic(
        over=over,
        users_per_day=1000,
        requests=2,
        assumptions=Assumptions(
            baselines={"csat": 4.2},
            responses={"csat": 0.1},
            sds={"csat": 1.3},
            sources={"csat": over, "csat.rated": over, "csat.sd": over},
        ),
    )
    given = parse_assumptions("csat.sd=1.1, csat.candidate=4.3", BUILT_IN)
    found = _of(_prospect(wanted=PlanRequest(share=0.1, requests=5, assumptions=given), seen=seen))
    assert found["users"] == (14_000, over)
    assert found["requests"] == (5, "given")
    assert found["share"] == (0.1, "given")
    assert found["csat"] == (4.2, over)
    assert found["csat.rated"] == (0.1, over)
    assert found["csat.sd"] == (1.1, "given")
    assert found["csat.candidate"] == (4.3, "given")


REFUND = replace(README, critical_categories=frozenset({"refund"}))


def test_the_chance_counts_critical_parts_with_what_the_row_with_the_fewest_raters_needs() -> None:
    power = _prospect(REFUND).power()
    assert [(part.name, part.metric, round(part.units)) for part in power.parts] == [
        ("category:refund", "csat", 32)
    ]
    assert power.ship < 0.0005
    line = prospect_line(_prospect(REFUND))
    assert "ships with a chance of 0 % in 14 days" in line
    assert (
        "Least likely is that critical category refund has enough users (0 %): it needs 100 users of each "
        "arm with a value of satisfaction, or the verdict is extend, and gets about 32, if 10 % of the users "
        "are in it (assumed). With a share of 24 % instead of 5 % the chance is 86 %."
    ) in line
    changes = [lever.change for lever in levers(_prospect(REFUND), power)]
    assert changes == ["a share of 24 % instead of 5 %", "56 planned days instead of 14"]


def test_a_critical_part_that_all_users_are_in_costs_nothing() -> None:
    given = PlanRequest(assumptions=parse_assumptions("category:refund=100%", BUILT_IN))
    whole, part = _prospect().power(), _prospect(REFUND, given).power()
    assert part.ship == pytest.approx(whole.ship, abs=0.002)
    assert prospect_line(_prospect(REFUND, given)) == prospect_line(_prospect())


@pytest.mark.parametrize(("bound", "share", "simulated"), [(5, 10, 0.98), (2, 10, 0.86), (2, 20, 0.97)])
def test_the_plan_counts_that_a_critical_part_must_rule_out_a_miss_by_twice_its_room(
    bound: int, share: int, simulated: float
) -> None:
    """As equal arms ship in the worlds of `test_critical_parts`, by `docs/statistics.md`."""
    judged = replace(REFUND, criteria=(row("error_rate", f"< {bound}%", "< 0.5%"),))
    wanted = PlanRequest(
        share=share / 100, assumptions=parse_assumptions("error_rate.candidate=1%", BUILT_IN)
    )
    found = _prospect(judged, wanted)
    assert found.power().ship == pytest.approx(simulated, abs=0.05)
    if simulated < 0.9:
        assert (
            "Least likely is that critical category refund has enough users (83 %): its users must rule out "
            "that error rate misses its bound by twice its room there, else the verdict is extend (a smaller "
            "miss may ship), and it gets about 200 of each arm, if 10 % of the users are in it (assumed). "
        ) in prospect_line(found)


def test_a_bound_without_room_asks_a_critical_part_for_a_hundred_users_only() -> None:
    judged = replace(REFUND, criteria=(row("csat", ">= baseline", ">= baseline + 5%"),))
    (part,) = _prospect(judged, PlanRequest(share=0.5)).power().parts
    assert (part.settled, part.doubtful) == (1.0, "")


def test_the_baselines_users_of_a_critical_part_count_as_well() -> None:
    few, many = (_prospect(REFUND, PlanRequest(share=share)).power().parts[0].units for share in (0.1, 0.9))
    assert few == pytest.approx(many)


def test_a_critical_parts_chance_is_that_of_a_hundred_users_by_chance() -> None:
    rng = np.random.default_rng(3)
    units, given = 318.15, PlanRequest(assumptions=parse_assumptions("category:refund=30%", BUILT_IN))
    (part,) = _prospect(REFUND, given).power().parts
    drawn = float(np.mean(rng.poisson(0.3 * units, size=20_000) >= 100))
    assert part.enough == pytest.approx(drawn, abs=0.015)


def test_every_critical_part_is_an_assumption_of_its_own() -> None:
    critical = replace(REFUND, critical_segments=frozenset({("plan", "enterprise")}))
    given = PlanRequest(assumptions=parse_assumptions("segment:plan=enterprise=4%", BUILT_IN))
    found = {each.name: each for each in assumed(_prospect(critical, given))}
    told = {name: (each.value, each.source) for name, each in found.items()}
    assert told["category:refund"] == (0.1, "assumed")
    assert told["segment:plan=enterprise"] == (0.04, "given")
    assert "it needs 100 users of each arm" in found["category:refund"].sentence
    document: dict[str, Any] = json.loads(
        json.dumps(outlook_document(outlook(_prospect(critical, given))), allow_nan=False)
    )
    assert [each["part"] for each in document["parts"]] == ["category:refund", "segment:plan=enterprise"]
    assert "category refund" in outlook_text(outlook(_prospect(critical, given)))


def test_a_number_may_begin_with_its_point() -> None:
    given = parse_assumptions("error_rate.candidate=.4%, latency_p95=.8s", BUILT_IN)
    assert given.values == {"error_rate": pytest.approx(0.004)}
    assert given.baselines == {"latency_p95": 0.8}


def test_traffic_of_less_than_three_days_is_said_to_be_assumed() -> None:
    short = RecordedTraffic(
        over="measured over 900 users in 1 day", too_short="; 0.9 days are recorded, 3 are needed"
    )
    line = prospect_line(_prospect(seen=short))
    assert "with 20,000 users (assumed; 0.9 days are recorded, 3 are needed) who send 3 requests" in line


@pytest.mark.parametrize(
    ("metric", "baseline"),
    [
        ("escalated", 0.05), ("thumbs", 0.8), ("churn", 0.03), ("conversion", 0.05),
        ("compliance_violation", 0.001), ("error_rate", 0.01), ("csat", 4.0),
    ],
)  # fmt: skip
def test_each_metric_has_a_baseline_of_its_own(metric: str, baseline: float) -> None:
    asked = row(metric, "<= baseline + 1%", "<= baseline")
    assert believed(asked, Assumptions(), BUILT_IN).baseline == pytest.approx(baseline)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("csat", "is not an assumption"),
        ("csat=high", "'high' is not a number, such as 4, .4%, 250ms"),
        ("error_rate.rate=4%", "error_rate has no 'rate' to assume, but sd, rated and candidate"),
        ("category:refund=0%", "above 0 % and up to 100 %"),
        ("segment:enterprise=5%", "names no tag's value"),
        ("happy=4", "no metric 'happy'"),
        ("escalated=4", "between 0 % and 100 %"),
        ("escalated.rated=5%", "escalated is no opinion, and whoever sent nothing counts too"),
        ("sessions=0.5", "has 1 session or more"),
        ("csat.rated=0%", "between 0 % and 100 %"),
        ("csat.sd=-1", "not below 0"),
        ("csat.sd=3", "values of 1 to 5 have a standard deviation of 2 at most"),
        ("csat=7", "'csat=7' is outside csat's values, 1 to 5"),
        ("csat.candidate=80%", "is outside csat's values, 1 to 5"),
        ("nps=120", "is outside nps's values, -100 to 100"),
        ("latency_p95=-2s", "is outside latency_p95's values, 0 or more"),
        ("cost_per_request.sd=-1", "not below 0"),
    ],
)
def test_an_assumption_that_cannot_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadAssumption, match=said):
        parse_assumptions(text, BUILT_IN)


def test_assumptions_take_the_units_of_bounds() -> None:
    found = parse_assumptions(
        "escalated=4%,latency_p95=800ms,cost_per_request=$0.02,csat.rated=25%", BUILT_IN
    )
    assert found.baselines == {"escalated": 0.04, "latency_p95": 0.8, "cost_per_request": 0.02}
    assert found.responses == {"csat": 0.25}


def test_the_ends_of_a_scale_may_be_assumed() -> None:
    found = parse_assumptions("csat=1, csat.candidate=5, csat.sd=2, nps=-100, revenue=-3", BUILT_IN)
    assert found.baselines == {"csat": 1, "nps": -100, "revenue": -3}
    assert (found.values, found.sds) == ({"csat": 5}, {"csat": 2})


def test_rates_in_words() -> None:
    assert [one_in(rate) for rate in (1, 0.5, 0.125, 1 / 30, 0.7)] == [
        "every request", "one in two", "one in eight", "one in 30", "70 % of requests",
    ]  # fmt: skip


def test_there_is_nothing_to_plan_without_a_rubric_or_two_arms() -> None:
    assert prospect_of(replace(README, criteria=()), USUAL_STEPS, PlanRequest()) is None
    assert prospect_of(README, (Step(share=1.0),), PlanRequest()) is None


def test_a_row_on_a_judges_word_is_left_out_and_named() -> None:
    judged = row("judged_preference", ">= 45%", ">= 60%")
    found = _prospect(replace(README, criteria=(*README.criteria, judged)))
    assert found.power() == _prospect().power()
    line = prospect_line(found)
    assert line.startswith(
        "support-nov: the other rows of a candidate halfway between acceptable and ideal pass with a chance "
        "of 46 % in 14 days"
    )
    assert line.endswith(
        "judged_preference needs 100 users with a judged pair and labels besides, about 396 if people like "
        "both models alike and 1,583 if they prefer the candidate in 48 %, so this is no chance to ship."
    )
    assert "ships with a chance" not in outlook_text(outlook(found))
    assert "Chance that the other rows pass with" in outlook_text(outlook(found))
    power: dict[str, Any] = power_document(found, [3.0])
    assert (brief_document(found)["ship"], power["at"][0]["ship"]) == (None, None)
    assert "labels" not in prospect_line(_prospect())


def test_a_row_on_marks_waits_for_nothing_because_it_never_decides() -> None:
    judged = row("judged_mark", ">= 3", ">= 4")
    line = prospect_line(_prospect(replace(README, criteria=(*README.criteria, judged))))
    assert line.endswith("judged_mark is never decided, so this is no chance to ship.")
    assert "labels" not in line


def test_a_rubric_on_a_judge_only_says_why_it_has_no_chance() -> None:
    judged = row("judged_preference", ">= 45%", ">= 60%")
    assert unplanned(README) == unplanned(replace(README, criteria=())) == ""
    assert unplanned(replace(README, criteria=(judged,))) == (
        "support-nov: people's labels decide it, not traffic: judged_preference needs 100 users with a "
        "judged pair and labels besides, about 396 if people like both models alike and 1,583 if they prefer "
        "the candidate in 48 %."
    )


def test_sessions_as_units_are_said() -> None:
    (said,) = [each for each in assumed(_prospect(replace(README, by_session=True))) if each.name == "units"]
    assert said.sentence.startswith("a unit is a session; where one person is several, wrong verdicts are")


def test_it_says_how_much_silence_may_not_show() -> None:
    """1,000 and 19,000 users, who rate one of eight requests: 2.99·√(7/3·(1/1000 + 1/19000)), and more where
    each asks once."""
    (three,) = [each for each in outlook(_prospect()).assumptions if each.name == "csat.silent"]
    assert three.value == pytest.approx(0.148, abs=0.001)
    (one,) = [
        each
        for each in outlook(_prospect(README, PlanRequest(requests=1))).assumptions
        if each.name == "csat.silent"
    ]
    assert one.value == pytest.approx(0.257, abs=0.001)
    assert "if 26 % of the candidate's ratings are missing, it may not show" in one.sentence


def test_the_document_and_the_text_hold_the_same() -> None:
    found = outlook(_prospect())
    document = json.loads(json.dumps(outlook_document(found)))
    assert set(document) == {
        *("ship", "unpriced", "rows", "parts", "table", "levers", "boundaries", "assumptions")
    }
    assert [row["metric"] for row in document["rows"]] == ["error_rate", "csat"]
    text = outlook_text(found)
    for each in document["assumptions"]:
        assert f"  • {each['sentence']}\n" in f"{text}\n"
    assert all(lever["change"] in text for lever in document["levers"])


@pytest.mark.parametrize(
    ("bound", "unpriced", "open_"),
    [
        ("< 0.12", ("candidate",), ("cost_per_request",)),
        ("<= 1.2x baseline", ("baseline",), ("cost_per_request",)),
        ("< 0.12", ("baseline",), ()),
        ("< 0.12", (), ()),
    ],
)
def test_nothing_is_told_to_ship_while_a_cost_row_waits_for_a_price(
    bound: str, unpriced: tuple[str, ...], open_: tuple[str, ...]
) -> None:
    judged = replace(README, criteria=(README.criteria[0], row("cost_per_request", bound, bound)))
    found = prospect_of(judged, USUAL_STEPS, PlanRequest(), unpriced=unpriced)
    assert found is not None
    document: dict[str, Any] = brief_document(found)
    line = prospect_line(found)
    assert document["unpriced"] == list(open_)
    assert (document["ship"] is None) == bool(open_)
    power: dict[str, Any] = power_document(found, [3.0])
    at = power["at"][0]
    assert (at["ship"] is None, at["criteria"]["cost_per_request"] is None) == (bool(open_), bool(open_))
    assert ("nothing ships while the price of the" in line) == bool(open_)
    if open_:
        assert document["rows"][1] == {"metric": "cost_per_request", "ship": None}
        assert "–  no price: set `prices:` or `price_as:`" in outlook_text(outlook(found))
