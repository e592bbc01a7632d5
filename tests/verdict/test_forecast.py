"""What a model would save a month, from its benchmark and the last week's traffic."""

from typing import Any

import pytest

from pages.words.gains import forecast_document
from tests.verdict.totals import DAY_S, UnitTotals
from verdict.decision.offline import Spending, forecast, read_spending

NOW = 20_000 * DAY_S
CURRENT = "p/old"
ARMS = {
    ("c", 0): {"baseline": CURRENT, "candidate": "p/new"},
    ("before", 1): {"baseline": "p/older", "candidate": CURRENT},
}


def layer(name: str, low: float, estimate: float, high: float) -> dict[str, Any]:
    return {"layer": name, "cost_ratio": {"low": low, "estimate": estimate, "high": high}}


def spent(**changed: Any) -> Spending:
    week: dict[str, Any] = {"days": 7.0, "requests": 1000, "answered": 900, "priced": 900, "cost_usd": 90.0}
    return Spending(**{**week, **changed})


def test_the_saving_is_the_benchmarks_ratio_on_a_month_of_what_is_spent_now() -> None:
    found = forecast(spent(), [layer("synthetic", 0.1, 0.2, 0.3), layer("real", 0.5, 0.6, 0.75)])
    assert found is not None
    monthly = 0.1 * 1000 * 30 / 7
    assert (forecast_document(found)["source"], found.layer) == ("benchmark", "real")
    assert (found.baseline_usd, found.candidate_usd) == pytest.approx((monthly, 0.6 * monthly))
    saving = found.saving_usd
    ends = (saving.low, saving.estimate, saving.high)
    assert ends == pytest.approx((0.25 * monthly, 0.4 * monthly, 0.5 * monthly))
    assert found.requests_a_month == round(1000 * 30 / 7)
    assert forecast_document(found)["says"] == (
        "would save about $171 a month ($107 to $214), from its benchmark, not from users"
    )


@pytest.mark.parametrize(
    ("ratio", "says"),
    [
        ((1.2, 1.5, 2.0), "would cost about $214 more a month ($85.71 to $429)"),
        ((0.9, 1.0, 1.2), "no saving seen: would cost between $85.71 more and $42.86 less a month"),
    ],
)
def test_a_dearer_model_and_one_that_does_not_differ_are_told_as_such(
    ratio: tuple[float, float, float], says: str
) -> None:
    found = forecast(spent(), [layer("synthetic", *ratio)])
    assert found is not None
    assert forecast_document(found)["says"] == f"{says}, from its benchmark, not from users"


@pytest.mark.parametrize(
    ("spending", "layers"),
    [
        (None, [layer("real", 0.5, 0.6, 0.7)]),
        (spent(), [{"layer": "real", "cost_ratio": None}]),
        (spent(days=0.9), [layer("real", 0.5, 0.6, 0.7)]),
        (spent(priced=890), [layer("real", 0.5, 0.6, 0.7)]),
        (spent(priced=0, answered=0), [layer("real", 0.5, 0.6, 0.7)]),
    ],
)
def test_what_is_not_known_is_no_forecast(spending: Spending | None, layers: list[dict[str, Any]]) -> None:
    assert forecast(spending, layers) is None


def _week(totals: UnitTotals) -> None:
    """Five requests of the last week for the current model, of which it answered four."""
    late = {"at": NOW - 2 * DAY_S, "model_requested": "chat", "cost_usd": 0.5, "provider": "p"}
    totals.exchange(**late, arm="baseline", run=3)
    totals.exchange(**late, arm="candidate", run=3)
    totals.exchange(**late, arm="candidate", canary="before", run=1)
    totals.exchange(**late, arm="baseline", run=0, reason="stopped")
    totals.exchange(**{**late, "model_requested": "old", "at": NOW - 5 * DAY_S, "cost_usd": None}, canary="")


def test_the_traffic_is_that_of_the_last_week_whoever_answered_it(unit_totals: UnitTotals) -> None:
    _week(unit_totals)
    late = {"at": NOW - DAY_S, "model_requested": "chat", "cost_usd": 9.0, "arm": "baseline"}
    for other in (
        {"at": NOW - 8 * DAY_S},
        {"model_requested": "another"},
        {"mirror": True},
        {"reason": "pinned"},
        {"outcome": "error", "error_type": "provider_5xx"},
        {"canary": "elsewhere"},
    ):
        unit_totals.exchange(**{**late, **other})
    found = read_spending(unit_totals.connection, CURRENT, {"chat", "old"}, ARMS, now=NOW)
    assert found == Spending(days=5.0, requests=5, answered=4, priced=3, cost_usd=1.5)


def test_the_first_of_the_days_counts_as_a_whole(unit_totals: UnitTotals) -> None:
    asked = {"model_requested": "old", "canary": "", "arm": "baseline", "cost_usd": 1.0}
    for at in (NOW - 7 * DAY_S - 1, NOW - 7 * DAY_S, NOW + 0.5 * DAY_S):
        unit_totals.exchange(**asked, at=at)
    found = read_spending(unit_totals.connection, CURRENT, {"old"}, ARMS, now=NOW + 0.75 * DAY_S)
    assert found == Spending(days=7.75, requests=2, answered=2, priced=2, cost_usd=2.0)


def test_without_a_request_that_the_current_model_answered_nothing_is_known(unit_totals: UnitTotals) -> None:
    assert read_spending(unit_totals.connection, CURRENT, {"chat"}, ARMS, now=NOW) is None
    unit_totals.exchange(at=NOW - DAY_S, model_requested="chat", arm="candidate", cost_usd=1.0)
    assert read_spending(unit_totals.connection, CURRENT, {"chat"}, ARMS, now=NOW) is None
