"""Rounds: medians, ratios within a round, and peers that may fail."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.contender import Contender, Way
from benchmarks.prober import Prober
from benchmarks.rounds import BenchSection, SectionResult, complete, ratio, spread, take
from benchmarks.table import lines
from benchmarks.turn import QUICK


@pytest.fixture
def idle() -> Iterator[Prober]:
    """A client that is never asked anything."""
    with subprocess.Popen(["true"], text=True) as process:
        yield Prober(0, {}, process)


@contextmanager
def failing() -> Iterator[Contender]:
    raise RuntimeError("no such program")
    yield


def section(*ways: Way) -> BenchSection:
    return BenchSection(title="Nothing", ways=ways, loads=[], rows={"cost": "cost"})


def measured(*costs: tuple[float, float]) -> SectionResult:
    ways = (Way("nginx", failing), Way("canary", failing))
    rounds = [{"nginx": {"cost": base}, "canary": {"cost": mine}} for base, mine in costs]
    return SectionResult(section(*ways), rounds)


def test_a_ratio_is_taken_within_its_round() -> None:
    taken = measured((10, 40), (20, 100), (30, 60))  # ×4, ×5, ×2; the medians' ratio is 3
    assert ratio(taken, "cost", "canary", "nginx") == 4


def test_a_figure_shows_its_median_and_its_extremes() -> None:
    found = spread(measured((10, 40), (20, 60), (100, 50)), "cost", "canary")
    assert found is not None
    assert (found.median, found.low, found.high) == (50, 40, 60)


def test_a_figure_that_one_round_lacks_is_not_shown() -> None:
    taken = measured((10, 40), (20, 60))
    del taken.rounds[1]["canary"]["cost"]
    assert spread(taken, "cost", "canary") is None
    assert ratio(taken, "cost", "canary", "nginx") is None


def test_a_peer_that_does_not_start_is_noted_and_ends_nothing(tmp_path: Path, idle: Prober) -> None:
    taken = take(section(Way("peer", failing, optional=True)), idle, QUICK, tmp_path)
    assert taken.notes == {"peer": "not run: no such program"}
    assert "peer: not run: no such program" in lines(taken)


def test_nothing_is_compared_when_one_of_ours_does_not_start(tmp_path: Path, idle: Prober) -> None:
    with pytest.raises(RuntimeError, match="canary: no such program"):
        take(section(Way("canary", failing)), idle, QUICK, tmp_path)


def test_all_processes_of_a_contender_are_one_figure() -> None:
    taken = measured((10, 40))
    taken.rounds[0] = {
        "direct": {"exchange_client_us": 9.0},
        "nginx": {"exchange_worker_us": 10.0},
        "canary": {"exchange_worker_us": 30.0, "exchange_admin_us": 15.0, "exchange_client_us": 9.0},
    }
    complete(taken)
    assert ratio(taken, "exchange_all_us", "canary", "nginx") == 4.5
    assert ratio(taken, "exchange_admin_us", "canary", "nginx") == 1.5  # nginx has no such process
    assert "exchange_all_us" not in taken.rounds[0]["direct"]
