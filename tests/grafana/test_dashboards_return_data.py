"""Every query of every dashboard returns data from a real Prometheus over the real server."""

import math
from pathlib import Path

import pytest

from tests.grafana.reading import Asked, annotations, filled, queries
from tests.grafana.scene import Scene, played
from tests.servers.prometheus import Series

pytestmark = pytest.mark.more
RATE_S = 5
CANARIES = "(goes-bad|passes)"


def answered(scene: Scene, asked: Asked) -> Series:
    expr = filled(asked.expr, canary=CANARIES, range_s=scene.length_s, rate_s=RATE_S)
    if asked.instant:
        return scene.prometheus.at(expr, scene.ended)
    return scene.prometheus.over(expr, scene.began, scene.ended, 1.0)


def has_a_number(series: Series) -> bool:
    return any(math.isfinite(value) for _, values in series for _, value in values)


def test_every_query_returns_data_after_a_rollback_a_ramp_and_a_promotion(tmp_path: Path) -> None:
    with played(tmp_path, pause_s=3.0) as scene:
        asked = [each for each in (*queries(), *annotations()) if not each.of_replicas]
        silent = [
            f"{each.dashboard}: {each.panel}" for each in asked if not has_a_number(answered(scene, each))
        ]
        assert silent == []
        assert len(asked) > 70
