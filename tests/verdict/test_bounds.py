"""Bounds that cannot be meant: against the metric's direction, beyond its values, or in another's unit."""

import pytest

from records.facts.metric import BUILT_IN, Metric
from verdict.terms.measures import known
from verdict.terms.rubric import Criterion, parse_bound, wrong_with

METRICS = {
    **BUILT_IN,
    "turns": Metric(name="turns", kind="count", question="?", low=0),
    "price": Metric(
        name="price", kind="amount", question="?", low=0, higher_is_better=False, cost_per="conversion"
    ),
    "margin": Metric(name="margin", kind="amount", question="?"),
    "mark": Metric(name="mark", kind="rating", question="?", low=0, high=1),
}


def _wrong(metric: str, acceptable: str, ideal: str) -> list[tuple[tuple[str, ...], str]]:
    row = Criterion(
        metric=metric,
        acceptable=parse_bound(acceptable),
        ideal=parse_bound(ideal),
        weight=1,
        question="?",
    )
    return list(wrong_with(row, METRICS))


@pytest.mark.parametrize(
    ("metric", "acceptable", "ideal", "right"),
    [
        ("error_rate", ">= 1%", ">= 2%", 'write "<= 1%"'),
        ("error_rate", ">= baseline - 2pp", ">= baseline", 'write "<= baseline + 2pp"'),
        ("error_rate", "> 0.9x baseline", "> 1x baseline", 'write "< 1.1x baseline"'),
        ("abandoned", "> 1%", "> 2%", 'write "< 1%"'),
        ("latency_p95", "> 1s", "> 2s", 'write "< 1s"'),
        ("cost_total", ">= $1", ">= $2", 'write "<= $1"'),
        ("tokens", "> 100", "> 200", 'write "< 100"'),
        ("session_repeats", "> 1%", "> 2%", 'write "< 1%"'),
        ("csat", "< 4", "< 3", 'write "> 4"'),
        ("escalated", ">= 1%", ">= 2%", 'write "<= 1%"'),
        ("price", ">= $2", ">= $3", 'write "<= $2"'),
        ("turns", "< 3", "< 2", "declare `higher_is_better: false` under metrics.turns"),
    ],
)
def test_a_bound_against_the_metrics_direction_is_told_with_the_right_one(
    metric: str, acceptable: str, ideal: str, right: str
) -> None:
    ((key, message),) = _wrong(metric, acceptable, ideal)
    assert key == ("acceptable",)
    assert message.startswith(f'{metric}: acceptable "{acceptable}" asks for a ')
    assert message.endswith(right)


@pytest.mark.parametrize(
    ("metric", "acceptable", "ideal", "says"),
    [
        ("csat", "> 6", "> 4", None),
        ("csat", "> 4", "> 6", ("ideal", "1 to 5")),
        ("csat", ">= 0.5", ">= 4", ("acceptable", "1 to 5")),
        ("nps", "> 30", "> 130", ("ideal", "-100 to 100")),
        ("error_rate", "< 500%", "< 1%", ("acceptable", 'did you mean "< 5%"?')),
        ("error_rate", "< 5", "< 1%", ("acceptable", 'did you mean "< 5%"?')),
        ("task_completed", "> 85%", "> 90", ("ideal", 'did you mean "> 90%"?')),
        ("cost_per_request", "< 1", "< -1", ("ideal", "0 or more")),
        ("latency_p95", "< 1s", "< -2s", ("ideal", 'for example, "< 2s"')),
        ("turns", ">= -1", ">= 3", ("acceptable", "0 or more")),
        ("csat", ">= baseline - 4", ">= baseline", ("acceptable", "further from the baseline")),
        ("error_rate", "<= baseline + 150pp", "<= baseline", ("acceptable", '"<= baseline + 2%"')),
        ("task_completed", ">= 0%", ">= 90%", ("acceptable", "is kept by every value")),
        ("error_rate", "<= 100%", "<= 1%", ("acceptable", "is kept by every value")),
        ("csat", "> 4", "> 5", ("ideal", 'can be kept by no value of 1 to 5; write ">= 5"')),
        ("latency_p95", "< 200%", "< 1s", ("acceptable", "has the unit %")),
        ("csat", ">= baseline - 2pp", ">= baseline", ("acceptable", "has the unit pp")),
        ("nps", "> 10%", "> 20", ("acceptable", "has the unit %")),
        ("cost_per_request", "< 2s", "< 1", ("acceptable", "has the unit s")),
        ("price", "< 200%", "< 1", ("acceptable", "has the unit %")),
        ("price", "< $2", "< $0", ("ideal", "can be kept by no value of 0 or more")),
    ],
)
def test_a_bound_that_no_value_or_every_value_keeps_is_told(
    metric: str, acceptable: str, ideal: str, says: tuple[str, str] | None
) -> None:
    found = _wrong(metric, acceptable, ideal)
    if says is None:
        assert found[0][0] == ()  # ideal is not better than acceptable: told first, and alone
        return
    ((key, message),) = found
    assert (key, message.split(":")[0]) == ((says[0],), metric)
    assert says[1] in message


@pytest.mark.parametrize(
    ("metric", "acceptable", "ideal"),
    [
        ("task_completed", ">= 85%", ">= 100%"),
        ("compliance_violation", "<= 1%", "<= 0%"),
        ("cost_per_request", "< $0.12", "<= 0"),
        ("latency_p95", "< 300ms", "< 0.2"),
        ("session_length_s", "> 60s", "> 90s"),
        ("session_length_s", "< 60s", "< 30s"),
        ("session_exchanges", ">= baseline - 2%", ">= baseline"),
        ("csat", ">= baseline - 5%", ">= baseline + 0%"),
        ("csat", ">= baseline - 0.1", ">= baseline"),
        ("nps", "> -10", "> 30"),
        ("margin", "> -3", "> 20%"),
        ("mark", "> 70%", "> 0.9"),
        ("unheard_of", "> 1", "> 2"),
        ("error_rate", "<= 1.5x baseline", "<= baseline"),
        ("price", "<= 1.5x baseline", "<= baseline"),
    ],
)
def test_a_bound_that_can_be_meant_is_left_alone(metric: str, acceptable: str, ideal: str) -> None:
    assert _wrong(metric, acceptable, ideal) == []
    assert known(metric, METRICS) or metric == "unheard_of"
