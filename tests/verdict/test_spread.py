"""How latencies are spread: every request in a bin of its own arm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verdict.decision.figures import BINS, spreads
from verdict.sample.csv_log import from_csv

Log = Callable[[Any], Path]


def test_each_arms_requests_add_up_and_the_slower_arm_lies_further_right(
    write_log: Log, world: type[Any]
) -> None:
    (found,) = spreads(from_csv(write_log(world(latency_s=(0.4, 0.8)))))
    assert found.of == "latency"
    assert len(found.edges_s) == BINS + 1
    assert list(found.edges_s) == sorted(found.edges_s)
    for shares in (found.baseline, found.candidate):
        assert len(shares) == BINS
        assert sum(shares) == pytest.approx(1, abs=1e-3)
    middles = np.sqrt(np.array(found.edges_s[1:]) * np.array(found.edges_s[:-1]))
    assert np.average(middles, weights=found.candidate) > 1.5 * np.average(middles, weights=found.baseline)


def test_one_arm_or_one_value_has_no_spread(tmp_path: Path) -> None:
    head = "unit,arm,at,latency_s\n"
    for body in ("a,baseline,1,0.5\n", "a,baseline,1,0.5\nb,candidate,2,0.5\n"):
        path = tmp_path / "log.csv"
        path.write_text(head + body)
        assert spreads(from_csv(path)) == ()
