"""Where feedback and sessions belong, and what the session metrics make of them."""

from dataclasses import dataclass

import pytest

from records.facts.metric import BUILT_IN
from tests.verdict.totals import DAY_S, UnitTotals
from verdict.rows.reading import read
from verdict.sample.cohort import from_store
from verdict.sample.observations import observe
from verdict.sample.sample import Sample


def _csat(totals: UnitTotals, **asked: list[str]) -> Sample:
    return from_store(totals.connection, "c", metrics=["csat"], **asked)


def _where(sample: Sample) -> dict[float, tuple[str, str]]:
    """The unit and category of each csat value's row."""
    ratings = sample.feedback["csat"]
    categories = sample.category.texts()
    return {
        value: (sample.units[sample.unit[row]], categories[row])
        for value, row in zip(ratings.value.tolist(), ratings.row.tolist(), strict=True)
    }


def test_a_value_belongs_to_the_row_that_its_exchange_is_in(unit_totals: UnitTotals) -> None:
    for unit in ("u", "v"):
        for category in ("billing", "returns"):
            unit_totals.cell(unit=unit, category=category)
    first = unit_totals.exchange(unit="u", category="returns")
    second = unit_totals.exchange(unit="v", category="billing", at=5.5 * DAY_S)
    unit_totals.says(1.0, exchange_id=first)
    unit_totals.says(2.0, exchange_id=second, day=5)
    unit_totals.says(5.0, exchange_id=first, metric="thumbs")
    assert _where(_csat(unit_totals)) == {1.0: ("u", "returns"), 2.0: ("v", "billing")}


def test_it_belongs_to_the_row_with_its_exchange_s_tags(unit_totals: UnitTotals) -> None:
    unit_totals.cell(tags='{"plan":"pro","region":"eu"}')
    unit_totals.cell(tags='{"region":"us"}')
    there = unit_totals.exchange(tags={"region": "us"})
    unit_totals.says(3.0, exchange_id=there)
    sample = _csat(unit_totals, segments=["region"])
    assert [sample.tags["region"].texts()[row] for row in sample.feedback["csat"].row] == ["us"]


def test_it_is_found_in_a_segment_and_in_the_right_part_of_the_time(unit_totals: UnitTotals) -> None:
    tags = '{"region":"us"}'
    for day in (5, 6, 7):
        unit_totals.cell(tags=tags, category="k", first_at=day * DAY_S, last_at=day * DAY_S + 60)
    names = {
        day: unit_totals.exchange(at=day * DAY_S + 30, category="k", tags={"region": "us"})
        for day in (5, 6, 7)
    }
    unit_totals.roll()
    for day, name in names.items():
        unit_totals.says(day, exchange_id=name)
    sample = from_store(
        unit_totals.connection, "c", metrics=["csat"], segments=["region"],
        cuts=lambda _: [6 * DAY_S, 7 * DAY_S],
    )  # fmt: skip
    ratings = sample.feedback["csat"]
    first_at = dict(zip(ratings.value.tolist(), sample.first_at[ratings.row].tolist(), strict=True))
    assert first_at == {5.0: 5 * DAY_S, 6.0: 6 * DAY_S, 7.0: 7 * DAY_S}


@dataclass(frozen=True)
class Elsewhere:
    """An exchange that is in no row, although a row has its unit."""

    reason: str = "cohort"
    mirror: bool = False
    outcome: str = "ok"
    error_type: str | None = None
    canary: str = "c"
    run: int = 1


@pytest.mark.parametrize(
    "exchange",
    [
        Elsewhere(reason="pinned"),
        Elsewhere(mirror=True),
        Elsewhere(outcome="shed"),
        Elsewhere(outcome="error", error_type="proxy_full"),
        Elsewhere(canary="other"),
        Elsewhere(run=2),
    ],
)
def test_a_value_about_what_is_not_in_the_sample_is_left_out(
    unit_totals: UnitTotals, exchange: Elsewhere
) -> None:
    unit_totals.cell()
    name = unit_totals.exchange(
        reason=exchange.reason,
        mirror=exchange.mirror,
        outcome=exchange.outcome,
        error_type=exchange.error_type,
        canary=exchange.canary,
        run=exchange.run,
    )
    unit_totals.says(1.0, exchange_id=name, unit="u")
    unit_totals.says(2.0, exchange_id="unknown", unit="u")
    unit_totals.says(3.0, unit="stranger")
    unit_totals.says(4.0, session="strange")
    assert dict(_csat(unit_totals).feedback) == {}


def test_a_session_s_value_belongs_where_the_session_was_last_seen(unit_totals: UnitTotals) -> None:
    unit_totals.cell(unit="u", category="billing")
    unit_totals.cell(unit="u", category="returns")
    unit_totals.session(session="s", category="returns", first_at=150.0)
    unit_totals.says(1.0, session="s", at=160.0)
    unit_totals.says(2.0, session="s", at=140.0)
    assert _where(_csat(unit_totals)) == {1.0: ("u", "returns")}


def test_a_unit_s_value_belongs_where_it_was_last_seen_before(unit_totals: UnitTotals) -> None:
    unit_totals.cell(category="before", phase=0, arm="baseline", first_at=100.0, last_at=200.0)
    unit_totals.cell(category="after", phase=1, first_at=300.0, last_at=400.0)
    unit_totals.cell(category="brief", phase=1, first_at=310.0, last_at=320.0)
    for value, at in ((1.0, 99.0), (2.0, 100.0), (3.0, 250.0), (4.0, 305.0), (5.0, 350.0), (6.0, 900.0)):
        unit_totals.says(value, unit="u", at=at)
    assert _where(_csat(unit_totals)) == {
        2.0: ("u", "before"),
        3.0: ("u", "before"),
        4.0: ("u", "after"),
        5.0: ("u", "after"),
        6.0: ("u", "after"),
    }


def test_sessions_are_measured_by_length_exchanges_and_repeated_questions(unit_totals: UnitTotals) -> None:
    for unit, arm in (("a", "candidate"), ("b", "candidate"), ("c", "baseline"), ("d", "baseline")):
        unit_totals.cell(unit=unit, arm=arm)
    sessions = (("a", 10.0, 2, 1), ("a", 50.0, 6, 0), ("b", 30.0, 4, 2), ("c", 5.0, 1, 0), ("d", 15.0, 3, 0))
    for number, (unit, length_s, exchanges, repeats) in enumerate(sessions):
        unit_totals.session(
            session=f"s{number}",
            unit=unit,
            arm="candidate" if unit in "ab" else "baseline",
            last_at=100.0 + length_s,
            exchanges=exchanges,
            repeats=repeats,
        )
    unit_totals.session(session="elsewhere", unit="never", last_at=9e9)
    expected = {"session_length_s": (30, 10), "session_exchanges": (4, 2), "session_repeats": (0.25, 0)}
    sample = from_store(unit_totals.connection, "c", metrics=list(expected))
    for name, (candidate, baseline) in expected.items():
        reading = read(sample, observe(sample, name, BUILT_IN, now=1e6), planned=500)
        assert reading.candidate is not None
        assert reading.baseline is not None
        if name != "session_repeats":  # which is told by the mean over units, while so few repeat anything
            assert (reading.candidate, reading.baseline) == pytest.approx((candidate, baseline))


def test_the_total_cost_is_that_of_a_unit_over_all_its_rows(unit_totals: UnitTotals) -> None:
    unit_totals.cell(unit="a", category="x", cost_n=2, cost_sum=0.5)
    unit_totals.cell(unit="a", category="y", cost_n=1, cost_sum=0.25)
    unit_totals.cell(unit="b", category="x", cost_n=5, cost_sum=2.25)
    unit_totals.cell(unit="unpriced", category="x", cost_n=0)
    unit_totals.cell(unit="c", arm="baseline", cost_n=10, cost_sum=1.0)
    unit_totals.cell(unit="d", arm="baseline", cost_n=1, cost_sum=2.0)
    sample = from_store(unit_totals.connection, "c", metrics=["cost_total", "cost_per_request"])
    total = read(sample, observe(sample, "cost_total", BUILT_IN, now=1e6), planned=500)
    each = read(sample, observe(sample, "cost_per_request", BUILT_IN, now=1e6), planned=500)
    assert (total.candidate, total.baseline) == pytest.approx((1.5, 1.5))
    assert (each.candidate, each.baseline) == pytest.approx((3 / 8, 3 / 11))
