"""`telemetry`: silence while traffic is routed."""

from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.rules.rule import Rule

TELEMETRY = Rule(rule="telemetry", limit=900.0, window_s=900.0, minimum=1, action="hold")


@pytest.fixture
def silent(traffic_of: Any) -> Any:
    return traffic_of(Watch("support-nov", [TELEMETRY]))


def wait(traffic: Any, seconds: int, *, routed: bool) -> Any:
    status = traffic.decide(routed=routed)["telemetry"]
    for _ in range(seconds // 10):
        traffic.now += 10.0
        status = traffic.decide(routed=routed)["telemetry"]
    return status


def test_routed_traffic_without_an_outcome_pages_after_fifteen_minutes(silent: Any) -> None:
    silent.send(1)
    assert wait(silent, 890, routed=True).state == "ok"
    status = wait(silent, 10, routed=True)
    assert (status.state, status.action) == ("firing", "hold")


def test_an_outcome_of_any_kind_breaks_the_silence(silent: Any) -> None:
    assert wait(silent, 890, routed=True).state == "not_enough_data"
    silent.send(1, outcome="aborted", error_type="aborted", reason="no_unit")
    assert wait(silent, 890, routed=True).state == "ok"


def test_no_traffic_is_no_silence(silent: Any) -> None:
    silent.send(1)
    assert wait(silent, 3600, routed=False).state == "ok"


def test_silence_ends_when_the_traffic_does(silent: Any) -> None:
    assert wait(silent, 900, routed=True).state == "firing"
    assert wait(silent, 910, routed=False).state != "firing"


def test_a_silence_does_not_grow_when_nothing_more_is_routed(silent: Any) -> None:
    silent.send(1)
    assert wait(silent, 60, routed=True).value == 60.0
    assert wait(silent, 800, routed=False).value == 60.0
