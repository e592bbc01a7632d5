"""Aims: what met one and what missed it, as the last lines of a run say."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks import aims, sections
from benchmarks.contender import Contender, Way
from benchmarks.rounds import BenchSection, SectionResult


@contextmanager
def unstarted() -> Iterator[Contender]:
    raise RuntimeError("nothing is started here")
    yield


def measured(name: str, **figures: float) -> SectionResult:
    """A run of one round, with nginx and Envoy at 10 µs for everything."""
    section = BenchSection(
        title=sections.PLAINTEXT,
        ways=[Way(way, unstarted) for way in ("nginx", name)],
        loads=[],
        rows=sections.EXCHANGE,
    )
    base = dict.fromkeys(figures, 10.0)
    return SectionResult(section, [{"nginx": base, "envoy": base, name: figures}])


def results(taken: SectionResult) -> dict[str, bool | None]:
    _, found = aims.judged([taken])
    return {result.aim.key: result.is_met for result in found}


@pytest.mark.parametrize(("cost_us", "met"), [(45.0, True), (45.04, True), (45.1, False)])
def test_a_ratio_is_met_up_to_what_is_shown_of_it(cost_us: float, met: bool) -> None:
    assert results(measured("canary", exchange_all_us=cost_us))["exchange_all_us"] is met


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    taken = measured("canary", exchange_all_us=40.0, paced_all_us=9.0)
    del taken.rounds[0]["envoy"]
    assert results(taken)["paced_all_us"] is None
    lines = aims.lines([taken], 0.0)
    assert "  not measured  CPU of a paced chunk, all processes: no envoy in this run" in lines
    assert "  not measured  added p99" in lines


def test_a_run_that_ended_before_its_first_section_met_and_missed_nothing() -> None:
    _, found = aims.judged([])
    assert [result.is_met for result in found] == [None] * len(aims.AIMS)


def test_a_latency_is_compared_as_it_is() -> None:
    lines = aims.lines([measured("canary", added_p99_ms=1.8)], 0.0)
    assert "  not met       added p99: 1.8 ms, aim 1.5 ms or less" in lines


@pytest.mark.parametrize(
    ("name", "foreign_share", "heading"),
    [
        ("canary", 0.0, "Aims, canary not compiled; the image is, on a quiet machine (medians):"),
        ("compiled", 0.38, "Aims, canary compiled, as the image is, on a busy machine (medians):"),
    ],
)
def test_the_heading_says_what_was_measured_and_where(name: str, foreign_share: float, heading: str) -> None:
    assert aims.lines([measured(name, exchange_all_us=40.0)], foreign_share)[0] == heading
