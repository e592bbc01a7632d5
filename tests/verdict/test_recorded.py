"""What recorded traffic says of a canary's users, from totals, exchanges and feedback in a store."""

from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa

from records.facts.metric import BUILT_IN, Metric
from records.store.tables import releases, runs
from routing.canary import Arm, Canary, Match, Step
from tests.verdict.reference import ratio
from tests.verdict.simulated_looks import row
from tests.verdict.totals import UnitTotals
from verdict.planner.assumptions import Assumptions, ValuesPerUser
from verdict.planner.recorded import RecordedTraffic, recorded
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.plan import DAY_S

NOW = 30 * DAY_S + 100


CANARY = Canary(
    name="c",
    match=Match(models=frozenset({"m"})),
    baseline=Arm(provider="p", model="m"),
    candidate=Arm(provider="p", model="n"),
    steps=(Step(share=0.1),),
)
JUDGED = JudgedCanary(
    name="c",
    criteria=(
        row("error_rate", "< 1.5x baseline", "< 1x baseline"),
        row("csat", ">= baseline - 5%", ">= baseline"),
        row("cost_per_request", "<= 1.2x baseline", "<= 1x baseline"),
        row("cost_total", "<= 1.2x baseline", "<= 1x baseline"),
        row("latency_p95", "< 2s", "< 1s"),
    ),
    planned_days=14,
    critical_categories=frozenset({"refund", "unheard of"}),
    critical_segments=frozenset({("plan", "pro")}),
    metrics=BUILT_IN,
)


def _read(totals: UnitTotals) -> RecordedTraffic | None:
    return recorded(totals.connection, CANARY, JUDGED, now=NOW)


def test_a_run_tells_users_requests_baselines_and_spreads(unit_totals: UnitTotals) -> None:
    rng = np.random.default_rng(5)
    counts, costs = 1 + rng.poisson(2, size=120), rng.gamma(2, 0.05, size=120)
    for user in range(120):
        unit_totals.cell(
            arm="baseline", unit=f"u{user}", first_at=20 * DAY_S + user * DAY_S / 20,
            exchanges=int(counts[user]), counted=int(counts[user]), failed=int(user < 12),
            cost_n=int(counts[user]), cost_sum=float(costs[user]),
            category="refund" if user < 11 else "",
            tags='{"plan":"pro","region":"eu"}' if user < 22 else "{}",
        )  # fmt: skip
    unit_totals.cell(unit="v", first_at=21 * DAY_S, exchanges=50, counted=50, failed=50)
    unit_totals.cell(arm="baseline", unit="long ago", first_at=5 * DAY_S, exchanges=500, counted=500)
    unit_totals.cell(arm="baseline", unit="copy", mirror=True, first_at=21 * DAY_S, exchanges=500)
    found = _read(unit_totals)
    assert found is not None
    assert found.over == "measured over 120 users in 6 days"
    assert found.users_per_day == pytest.approx(121 / (119 / 20))
    assert found.requests == pytest.approx(counts.sum() / 120)
    assert found.assumptions.baselines["error_rate"] == pytest.approx(12 / counts.sum())
    exact = ratio(costs, counts.astype(float))
    assert found.assumptions.baselines["cost_per_request"] == pytest.approx(exact.value)
    spread = ValuesPerUser.of(counts.sum() / 120, 1.0).variance(Assumptions().alike)
    assert found.assumptions.sds["cost_per_request"] ** 2 * spread == pytest.approx(120 * exact.variance)
    assert found.assumptions.parts == {
        "category:refund": pytest.approx(11 / 121),
        "segment:plan=pro": pytest.approx(22 / 121),
    }
    assert set(found.assumptions.sources) == {
        *("error_rate", "cost_per_request", "cost_per_request.sd", "category:refund", "segment:plan=pro")
    }


def test_ratings_tell_their_mean_their_spread_and_how_many_rate(unit_totals: UnitTotals) -> None:
    values = np.random.default_rng(6).integers(1, 6, size=(110, 2)).astype(float)
    for user in range(110):
        at = 20 * DAY_S + user
        unit_totals.cell(arm="baseline", unit=f"u{user}", first_at=at, exchanges=8)
        for place in range(2):
            name = unit_totals.exchange(arm="baseline", unit=f"u{user}", at=at)
            value = float(values[user, place])
            unit_totals.says(value, exchange_id=name, arm="baseline", day=20, at=at + 60)
            unit_totals.says(1, exchange_id=name, arm="candidate", day=20, at=at + 60)
    found = _read(unit_totals)
    assert found is not None
    assert (found.users_per_day, found.requests) == (None, None)
    assert found.too_short == "; 0.0 days are recorded, 3 are needed"
    assert found.assumptions.responses == {"csat": 0.25}
    exact = ratio(values.mean(axis=1), np.ones(110))
    assert found.assumptions.baselines["csat"] == pytest.approx(exact.value)
    spread = ValuesPerUser.one_voice(8, 0.25).variance(0.4)
    assert found.assumptions.sds["csat"] ** 2 * spread == pytest.approx(110 * exact.variance)


def test_sessions_tell_what_one_costs_and_how_users_differ(unit_totals: UnitTotals) -> None:
    rng = np.random.default_rng(9)
    costs, alone = rng.gamma(2, 0.5, size=(120, 2)), rng.integers(0, 2, size=120)
    for user in range(120):
        at, spent = 20 * DAY_S + user * DAY_S / 20, float(costs[user, 1] * alone[user])
        unit_totals.cell(
            arm="baseline", unit=f"u{user}", first_at=at, exchanges=9, sessionless=int(alone[user]),
            sessionless_cost_n=int(alone[user]), sessionless_cost_sum=spent,
        )  # fmt: skip
        about = {"unit": f"u{user}", "first_at": at, "last_at": at, "exchanges": 9 - int(alone[user])}
        unit_totals.session(
            session=f"s{user}", arm="baseline", cost_n=3, cost_sum=float(costs[user, 0]), **about
        )
    judged = replace(JUDGED, criteria=(row("session_cost", "<= 1.2x baseline", "<= 1x baseline"),))
    found = recorded(unit_totals.connection, CANARY, judged, now=NOW)
    assert found is not None
    sessions = 1.0 + alone
    exact = ratio(costs[:, 0] + costs[:, 1] * alone, sessions)
    assert found.assumptions.sessions == pytest.approx(sessions.mean())
    assert found.assumptions.baselines["session_cost"] == pytest.approx(exact.value)
    spread = ValuesPerUser.of(sessions.mean()).variance(Assumptions().alike)
    assert found.assumptions.sds["session_cost"] ** 2 * spread == pytest.approx(120 * exact.variance)


EVENTS = JudgedCanary(
    name="c",
    criteria=(
        row("escalated", "<= 1.5x baseline", "<= 1x baseline"),
        row("conversion", ">= 0.9x baseline", ">= 1x baseline"),
        row("revenue", ">= 0.9x baseline", ">= 1x baseline"),
        row("compliance_violation", "<= 1.5x baseline", "<= 1x baseline"),
        row("price", "<= 1.2x baseline", "<= 1x baseline"),
    ),
    planned_days=14,
    metrics={
        **BUILT_IN,
        "price": Metric(
            name="price", kind="amount", question="?", low=0, higher_is_better=False, cost_per="conversion"
        ),
    },
)


def test_events_tell_how_often_they_happen_to_every_exposed_user(unit_totals: UnitTotals) -> None:
    costs = np.random.default_rng(8).gamma(2, 0.05, size=120)
    spent = np.zeros(120)
    for user in range(120):
        unit, at = f"u{user}", 20 * DAY_S + user * DAY_S / 20
        unit_totals.cell(arm="baseline", unit=unit, first_at=at, exchanges=5, cost_sum=float(costs[user]))
        for number in range(2):  # and one exchange without a session
            unit_totals.session(
                session=f"{unit}-{number}", unit=unit, arm="baseline", exchanges=2, last_at=at, first_at=at
            )
        name = unit_totals.exchange(arm="baseline", unit=unit, at=at)
        if user < 12:
            for _ in range(2):
                unit_totals.says(1, metric="escalated", session=f"{unit}-0", at=at)
        if user < 40:
            spent[user] = 10.0 + user
            unit_totals.says(1, metric="conversion", unit=unit, at=at)
            unit_totals.says(1, metric="conversion", exchange_id=name, at=at)
            unit_totals.says(4, metric="revenue", unit=unit, at=at)
            unit_totals.says(6 + user, metric="revenue", exchange_id=name, at=at)
        if user < 3:
            unit_totals.says(1, metric="compliance_violation", exchange_id=name, at=at)
    unit_totals.says(1, metric="conversion", unit="somebody else", at=21 * DAY_S)
    unit_totals.cell(unit="v", first_at=21 * DAY_S, exchanges=50)
    unit_totals.says(1, metric="conversion", unit="v", at=21 * DAY_S)
    found = recorded(unit_totals.connection, CANARY, EVENTS, now=NOW)
    assert found is not None
    told = found.assumptions
    assert told.sessions == 3
    assert told.baselines == pytest.approx(
        {
            "escalated": 12 / 360,
            "conversion": 40 / 120,
            "revenue": spent.sum() / 120,
            "compliance_violation": 3 / 600,
            "price": costs.sum() / 40,
        }
    )
    assert told.sds["revenue"] ** 2 == pytest.approx(120 * ratio(spent, np.ones(120)).variance)
    happened = (np.arange(120) < 40).astype(float)
    assert told.sds["price"] ** 2 == pytest.approx(120 * ratio(costs, happened).variance)
    assert told.responses == {}
    assert set(told.sources) == {*told.baselines, "sessions", "revenue.sd", "price.sd"}


def test_before_a_run_the_exchanges_of_its_match_tell(unit_totals: UnitTotals) -> None:
    for number in range(100):
        failed = number % 20 == 0
        unit_totals.exchange(
            canary="", unit="", reason="", arm="baseline", at=NOW - 2 * DAY_S + number,
            outcome="error" if failed else "ok", error_type="provider_5xx" if failed else None,
            cost_usd=None if failed else 0.02,
        )  # fmt: skip
        unit_totals.exchange(
            canary="", unit="", reason="", arm="baseline", model_requested="another", at=NOW - DAY_S
        )
    found = _read(unit_totals)
    assert found is not None
    assert found.over == "measured over 100 requests in 1 day"
    assert (found.users_per_day, found.requests) == (None, None)
    assert found.assumptions.baselines["error_rate"] == pytest.approx(0.05)


def test_a_waiting_canarys_exchanges_tell_of_its_users(unit_totals: UnitTotals) -> None:
    for user in range(100):
        for place in range(3):
            unit_totals.exchange(
                unit=f"u{user}", reason="stopped", arm="baseline", at=NOW - 4 * DAY_S + place * 1.5 * DAY_S,
                category="refund" if user < 20 and place == 0 else "",
                tags={"plan": "pro" if user < 5 else "free"},
            )  # fmt: skip
    unit_totals.exchange(unit="qa", reason="pinned", arm="baseline", at=NOW - 13 * DAY_S)
    found = _read(unit_totals)
    assert found is not None
    assert found.over == "measured over 100 users in 3 days"
    assert (found.users_per_day, found.requests) == (pytest.approx(100 / 3), 3)
    assert found.assumptions.parts == {"category:refund": 0.2, "segment:plan=pro": 0.05}


HERS = {"canary": "c", "reason": "stopped", "arm": "baseline"}
OTHERS = {"canary": "d", "reason": "cohort"}
NOBODYS = {"canary": "", "reason": "", "arm": "baseline"}
LANELESS = {"canary": "", "reason": "no_lane", "arm": "baseline"}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ((NOBODYS, NOBODYS), (NOBODYS, NOBODYS)),
        ((NOBODYS, NOBODYS), (HERS, OTHERS)),
        ((NOBODYS, NOBODYS), (HERS, LANELESS)),
        ((HERS, LANELESS), (HERS, LANELESS)),
        ((HERS, HERS), (HERS, OTHERS)),  # alone, until the other one came
        ((HERS, OTHERS), (HERS, OTHERS)),
        ((NOBODYS, OTHERS), (NOBODYS, OTHERS)),  # the lane of the next trial beside a promoted one's
    ],
)
def test_half_of_all_users_of_its_requests_reach_a_lane_of_half(
    unit_totals: UnitTotals,
    first: tuple[dict[str, str], ...],
    then: tuple[dict[str, str], ...],
) -> None:
    """Whoever had them before."""
    for user in range(200):
        half = user % 2
        unit_totals.exchange(unit=f"u{user}", **first[half], at=NOW - 8 * DAY_S)
        unit_totals.exchange(unit=f"u{user}", **then[half], at=NOW - 4 * DAY_S)
    found = recorded(unit_totals.connection, CANARY, JUDGED, now=NOW, lane=0.5)
    assert found is not None
    assert found.users_per_day == pytest.approx(100 / 4)


def test_before_a_run_feedback_about_the_exchanges_of_its_match_tells_of_events(
    unit_totals: UnitTotals,
) -> None:
    spent, untaken = np.zeros(120), {"canary": "", "reason": "", "arm": "baseline"}
    for user in range(120):
        unit, at = f"u{user}", NOW - 4 * DAY_S + user * 60
        a, b = f"{unit}-a", f"{unit}-b"
        first, *_ = [
            unit_totals.exchange(**untaken, unit=unit, session=session, cost_usd=0.01 + user, at=at + place)
            for place, session in enumerate((a, a, b, b, ""))
        ]
        other = unit_totals.exchange(**untaken, unit=unit, model_requested="another", at=at)
        if user < 12:
            unit_totals.says(1, metric="escalated", session=a, at=at)
            unit_totals.says(1, metric="escalated", exchange_id=first, at=at)
        if user < 40:
            spent[user] = 10.0 + user
            unit_totals.says(1, metric="conversion", unit=unit, at=at)
            unit_totals.says(1, metric="conversion", session=b, at=at)
            unit_totals.says(4, metric="revenue", unit=unit, at=at)
            unit_totals.says(6 + user, metric="revenue", exchange_id=first, at=at)
        if user < 3:
            unit_totals.says(1, metric="compliance_violation", exchange_id=first, at=at)
        unit_totals.says(1, metric="compliance_violation", exchange_id=other, at=at)
    unit_totals.says(1, metric="conversion", unit="somebody else", at=NOW - DAY_S)
    found = recorded(unit_totals.connection, CANARY, EVENTS, now=NOW)
    assert found is not None
    told = found.assumptions
    assert told.sessions == 3
    assert told.baselines == pytest.approx(
        {
            "escalated": 12 / 360,
            "conversion": 40 / 120,
            "revenue": spent.sum() / 120,
            "compliance_violation": 3 / 600,
            "price": 5 * (0.01 * 120 + sum(range(120))) / 40,
        }
    )
    assert told.sds["revenue"] ** 2 == pytest.approx(120 * ratio(spent, np.ones(120)).variance)
    assert told.sources["conversion"] == "measured over 120 users in 1 day"
    judged = replace(EVENTS, criteria=(row("session_cost", "<= 1.2x baseline", "<= 1x baseline"),))
    found = recorded(unit_totals.connection, CANARY, judged, now=NOW)
    assert found is not None
    cost = 5 * (0.01 * 120 + sum(range(120))) / 360
    assert (found.assumptions.sessions, found.assumptions.baselines["session_cost"]) == (
        3,
        pytest.approx(cost),
    )


def test_what_nobody_ever_sent_is_not_measured(unit_totals: UnitTotals) -> None:
    for user in range(100):
        unit_totals.cell(arm="baseline", unit=f"u{user}", first_at=20 * DAY_S)
    found = recorded(unit_totals.connection, CANARY, EVENTS, now=NOW)
    assert found is not None and found.assumptions.baselines == {}


def test_a_handful_of_users_tells_nothing_on_its_first_days(unit_totals: UnitTotals) -> None:
    assert _read(unit_totals) is None
    for user in range(99):
        unit_totals.cell(arm="baseline", unit=f"u{user}", first_at=20 * DAY_S)
    assert _read(unit_totals) is None


def test_a_small_team_is_counted_and_no_others_are_assumed(unit_totals: UnitTotals) -> None:
    for user in range(40):
        for day in range(4):
            arm, at = "candidate" if user < 2 else "baseline", (20 + day) * DAY_S
            unit_totals.cell(arm=arm, unit=f"u{user}", day=20 + day, first_at=at, exchanges=3)
    found = _read(unit_totals)
    assert found is not None and found.users_per_day is not None
    assert (round(found.users_per_day * 14), found.over) == (40, "measured: 40 users in 3 days")
    assert found.assumptions.baselines == {}


def test_a_user_whom_a_ramp_moved_is_one_user(unit_totals: UnitTotals) -> None:
    for user in range(120):
        at = 20 * DAY_S + user * 6 * DAY_S / 119
        unit_totals.cell(arm="baseline", unit=f"u{user}", first_at=at, exchanges=4, counted=4)
        if user % 3 == 0:
            unit_totals.cell(arm="candidate", unit=f"u{user}", first_at=at + 60, exchanges=4, counted=4)
    found = _read(unit_totals)
    assert found is not None
    assert found.over == "measured over 120 users in 6 days"
    assert found.users_per_day == pytest.approx(20, rel=0.001)


def test_one_days_traffic_does_not_stand_for_the_planned_days(unit_totals: UnitTotals) -> None:
    for user in range(200):
        at = 20 * DAY_S + user * 2.9 * DAY_S / 199
        unit_totals.cell(arm="baseline", unit=f"u{user}", first_at=at, exchanges=4, counted=4)
    found = _read(unit_totals)
    assert found is not None
    assert (found.users_per_day, found.requests) == (None, None)
    assert found.too_short == "; 2.9 days are recorded, 3 are needed"


def test_an_earlier_canary_tells_how_many_rate_and_how_their_values_differ(unit_totals: UnitTotals) -> None:
    for user in range(120):
        at = 8 * DAY_S + user * 4 * DAY_S / 119
        unit_totals.cell(canary="before", arm="baseline", unit=f"u{user}", first_at=at, exchanges=4)
        name = unit_totals.exchange(canary="before", arm="baseline", unit=f"u{user}", at=at)
        unit_totals.says(
            float(1 + user % 5), exchange_id=name, canary="before", arm="baseline", day=8, at=at + 60
        )
    assert _read(unit_totals) is None
    connection = unit_totals.connection
    connection.execute(sa.insert(releases).values(id="r", candidate="p/m", baseline="p/k", made_at=0.0))
    connection.execute(
        sa.insert(runs).values(canary="before", run=1, release="r", fingerprint="f", at=8 * DAY_S)
    )
    found = _read(unit_totals)
    assert found is not None
    assert found.over == "measured over 120 users in 4 days of before"
    assert found.users_per_day == pytest.approx(30)
    assert found.assumptions.responses == {"csat": 0.25}
    assert found.assumptions.baselines == {}
    assert found.assumptions.sources["csat.rated"] == found.over
    # What the canary's own traffic tells comes first.
    for user in range(100):
        unit_totals.cell(
            arm="baseline", unit=f"u{user}", first_at=20 * DAY_S + user * 5 * DAY_S / 99, exchanges=2
        )
    found = _read(unit_totals)
    assert found is not None
    assert (found.over, found.users_per_day) == ("measured over 100 users in 5 days", pytest.approx(20))
    assert found.assumptions.responses == {"csat": 0.25}
