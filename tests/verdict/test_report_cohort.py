"""From the store to a sample: what counts, what is only exposure, and what a row adds up."""

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from records.facts.metric import BUILT_IN
from records.store.sums import pack, unpack
from tests.verdict.totals import DAY_S, UnitTotals
from verdict.details import Mirror
from verdict.sample.cohort import from_store, mirrored
from verdict.sample.observations import observe
from verdict.sample.sample import TRAFFIC, BadSample


@pytest.mark.parametrize(
    "changed",
    [{"mirror": True}, {"share": 0.0}, {"share": 1.0}, {"canary": "other"}, {"run": 1}],
)
def test_only_what_the_hash_assigned_in_this_run_is_taken(
    unit_totals: UnitTotals, changed: dict[str, Any]
) -> None:
    unit_totals.cell(unit="kept", run=2)
    unit_totals.cell(unit="left", **{"run": 2, **changed})
    assert from_store(unit_totals.connection, "c", run=2).units == ("kept",)


def test_without_a_run_it_is_the_latest(unit_totals: UnitTotals) -> None:
    unit_totals.cell(run=1)
    unit_totals.cell(run=3, unit="v")
    assert from_store(unit_totals.connection, "c").units == ("v",)


def test_a_canary_without_exchanges_is_an_empty_sample(unit_totals: UnitTotals) -> None:
    every = ["latency_p95", "cost_total", "tokens", "session_repeats", "csat"]
    sample = from_store(unit_totals.connection, "c", metrics=every, segments=["region"])
    assert (sample.units, len(sample.unit), dict(sample.shares)) == ((), 0, {})
    assert len(sample.candidate_at) == 0


def test_a_unit_s_days_are_one_row(unit_totals: UnitTotals) -> None:
    unit_totals.cell(
        day=10, first_at=10 * DAY_S, last_at=10 * DAY_S + 5, counted=3, failed=1, cost_n=2, cost_sum=0.5
    )
    unit_totals.cell(
        day=12, first_at=12 * DAY_S, last_at=12 * DAY_S + 7, counted=4, failed=0, cost_n=4, cost_sum=1.5
    )
    sample = from_store(unit_totals.connection, "c", metrics=["error_rate", "cost_per_request", "cost_total"])
    assert (sample.first_at.tolist(), sample.last_at.tolist()) == ([10 * DAY_S], [12 * DAY_S + 7])
    errors, cost = sample.totals["errors"], sample.totals["cost"]
    assert (errors.count.tolist(), errors.total.tolist()) == ([7], [1])
    assert (cost.count.tolist(), cost.total.tolist()) == ([6], [2])


def test_shares_of_answers_are_of_those_that_were_read(unit_totals: UnitTotals) -> None:
    before = {"unit": "before", "first_at": 10 * DAY_S, "exchanges": 9, "counted": 9}
    unit_totals.cell(**before)  # as stored before answers were read
    unit_totals.cell(
        unit="since", first_at=11 * DAY_S, exchanges=9, counted=8, finished=7, refused=1, cut_off=2, empty=3,
        answer_faults=4, output_judged=5, invalid_output=2, ended=9, abandoned=1,
    )  # fmt: skip
    names = ["refused", "cut_off", "empty", "answer_faults", "invalid_output", "abandoned"]
    sample = from_store(unit_totals.connection, "c", metrics=names)
    counts = {name: sample.totals[name].count.tolist() for name in names}
    assert counts == {**{name: [0, 7] for name in names[:4]}, "invalid_output": [0, 5], "abandoned": [0, 9]}
    assert [sample.totals[name].total.tolist()[1] for name in names] == [1, 2, 3, 4, 2, 1]
    observed = observe(sample, "abandoned", BUILT_IN, now=20 * DAY_S)
    assert observed.row.tolist() == [1], "who came before is no good user, but an unknown one"


def test_every_latency_of_a_unit_s_days_is_there(unit_totals: UnitTotals) -> None:
    unit_totals.cell(unit="late", day=11, first_at=11 * DAY_S, latency=pack([4.0]))
    unit_totals.cell(unit="early", day=10, first_at=10 * DAY_S, latency=pack([1.0, 0.0005, 300.0]))
    unit_totals.cell(unit="early", day=12, first_at=12 * DAY_S, latency=pack([2.0]))
    unit_totals.cell(unit="silent", day=10, first_at=10 * DAY_S, latency=b"")
    sample = from_store(unit_totals.connection, "c", metrics=["latency_p95"])
    values = sample.values["latency"]
    ends = np.cumsum(values.size)
    seen = {
        sample.units[sample.unit[row]]: sorted(values.scale[values.code[end - size : end]].tolist())
        for row, size, end in zip(values.row, values.size, ends, strict=True)
    }
    assert seen == {
        "early": sorted(unpack(pack([0.0005, 1.0, 2.0, 300.0])).tolist()),
        "late": unpack(pack([4.0])).tolist(),
    }
    assert seen["early"] == pytest.approx([0.0005, 1, 2, 300], rel=3e-4)


def test_only_what_is_asked_for_is_read(unit_totals: UnitTotals) -> None:
    unit_totals.cell(latency=pack([1.0]))
    sample = from_store(unit_totals.connection, "c", metrics=["ttft_p50", "tokens"])
    assert (set(sample.values), set(sample.totals)) == ({"ttft"}, {"tokens", TRAFFIC})


def test_the_shares_come_with_the_phases_and_tags_are_filled_up(unit_totals: UnitTotals) -> None:
    unit_totals.cell(unit="a", first_at=1.0, phase=0, share=0.01, tags='{"region":"eu"}')
    unit_totals.cell(unit="b", first_at=2.0, phase=1, share=0.05, tags='{"plan":"pro"}')
    sample = from_store(unit_totals.connection, "c", segments=["region", "plan"])
    assert dict(sample.shares) == {0: 0.01, 1: 0.05}
    assert sample.tags["region"].texts() == ["eu", ""]
    assert sample.tags["plan"].texts() == ["", "pro"]


def test_a_unit_in_both_arms_of_a_phase_is_refused_and_over_a_ramp_is_not(unit_totals: UnitTotals) -> None:
    unit_totals.cell(unit="mover", arm="baseline", phase=0)
    unit_totals.cell(unit="mover", arm="candidate", phase=1)
    assert from_store(unit_totals.connection, "c").candidate.tolist() == [False, True]
    unit_totals.cell(unit="mover", arm="candidate", phase=0)
    with pytest.raises(BadSample, match="unit 'mover' is in both arms"):
        from_store(unit_totals.connection, "c")


def test_candidate_traffic_is_known_by_the_first_and_the_last_moment_of_each_day(
    unit_totals: UnitTotals,
) -> None:
    unit_totals.cell(unit="a", day=10, first_at=10.2 * DAY_S, last_at=10.3 * DAY_S)
    unit_totals.cell(unit="b", day=10, first_at=10.1 * DAY_S, last_at=10.9 * DAY_S)
    unit_totals.cell(unit="b", day=12, first_at=12.5 * DAY_S, last_at=12.5 * DAY_S)
    unit_totals.cell(unit="z", day=11, first_at=11.0 * DAY_S, last_at=11.5 * DAY_S, arm="baseline")
    moments = from_store(unit_totals.connection, "c").candidate_at / DAY_S
    assert sorted(moments.tolist()) == pytest.approx([10.1, 10.9, 12.5, 12.5])


def test_the_mirror_copies_of_a_run_are_counted_apart(unit_totals: UnitTotals) -> None:
    unit_totals.cell(run=2, unit="real")
    unit_totals.cell(run=1, mirror=True, exchanges=1, failed=0, cost_n=1, cost_sum=0.5)
    unit_totals.cell(run=2, mirror=True, exchanges=3, failed=1, cost_n=2, cost_sum=0.75)
    unit_totals.cell(run=2, mirror=True, unit="", exchanges=2, failed=0, cost_n=1, cost_sum=0.5)
    assert mirrored(unit_totals.connection, "c") == Mirror(copies=5, failed=1, cost_usd=1.25)
    assert mirrored(unit_totals.connection, "c", run=1) == Mirror(copies=1, failed=0, cost_usd=0.5)
    assert mirrored(unit_totals.connection, "other") is None


def test_what_copies_without_a_known_price_cost_is_not_known(unit_totals: UnitTotals) -> None:
    unit_totals.cell(mirror=True, exchanges=1, failed=0, cost_n=0, cost_sum=0.0)
    assert mirrored(unit_totals.connection, "c") == Mirror(copies=1, failed=0, cost_usd=None)


def test_no_exchange_is_read_for_the_totals(unit_totals: UnitTotals) -> None:
    unit_totals.cell()
    asked: list[str] = []
    sa.event.listen(
        unit_totals.connection.engine, "before_cursor_execute", lambda _c, _k, sql, *_: asked.append(sql)
    )
    from_store(unit_totals.connection, "c", metrics=["latency_p95", "csat"], segments=["region"])
    assert asked
    assert not [sql for sql in asked if "outcomes" in sql]
