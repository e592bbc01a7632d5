"""docs/metrics.md has every family that any process shows, of its right type: those of several replicas too.

Labels and their closed sets are held by tests/records/test_meters.py.
"""

import re
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from control.fleet.metrics import AgentMetrics, ConfigMetrics, ControllerMetrics
from control.jobs.drift import families as drift_families
from control.jobs.release_metrics import families as release_families
from control.jobs.segment_job import families as rolling_families
from judge.runs.metrics import families as judged_families
from judge.runs.metrics import judge_families
from records.exports.prometheus import Meters

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text()


def families(collector: Collector) -> dict[str, str]:
    """Each family's name as the page writes it, counters with `_total`, and its type."""
    return {named(each): each.type for each in collector.collect()}


def named(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def test_every_family_of_every_process_is_on_the_page_with_its_type_and_no_other() -> None:
    meters = Meters(canaries=["support-nov"], feedback_metrics=["csat"], mono=lambda: 0.0)
    agent = AgentMetrics(dropped=lambda: 0, shared_up=lambda: True, clock_offset_s=lambda: 0.0)
    leader = ControllerMetrics(
        meters, leads=lambda: True, shared_up=lambda: True, lag_s=lambda: 0.1, clock_offset_s=lambda: 0.0
    )
    read = (
        *release_families([], {}),
        *drift_families({}, {}, {}, None),
        *judged_families([]),
        *judge_families(None, None),
        *rolling_families(None, 0),
    )
    of_store = {named(each): each.type for each in read}
    shown = families(ConfigMetrics(list)) | families(meters) | families(agent) | families(leader) | of_store
    assert dict(re.findall(r"^\| `(canary_\w+)` \| (\w+) \|", PAGE, re.MULTILINE)) == shown


def test_one_who_does_not_lead_shows_none_of_the_canarys_families() -> None:
    meters = Meters(canaries=["support-nov"], feedback_metrics=["csat"], mono=lambda: 0.0)
    other = ControllerMetrics(
        meters, leads=lambda: False, shared_up=lambda: True, lag_s=lambda: 0.1, clock_offset_s=lambda: 0.0
    )
    assert families(other).keys() == {"canary_leader", "canary_shared_up", "canary_clock_offset_seconds"}
