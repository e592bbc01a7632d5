"""What keeps a report from shipping and a person may outweigh, each by a name, as it stands. Pure.

A row is named by its metric, a critical category `category:VALUE`, a critical segment `segment:TAG=VALUE`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from report.document import CategoryLine, MetricLine, SegmentLine
from report.judged_canary import Miss
from report.rubric import parse_bound

Part: TypeAlias = CategoryLine | SegmentLine


def misses(lines: Sequence[MetricLine], parts: Sequence[Part]) -> Iterator[tuple[Miss, MetricLine | Part]]:
    """The rows that miss their bound, then the critical parts that block."""
    yield from ((miss_of(line), line) for line in lines if line.state == "FAIL")
    yield from ((_of_part(part), part) for part in parts if part.blocks)


def miss_of(line: MetricLine) -> Miss:
    """The row as a miss."""
    low, high = line.candidate_interval
    estimate, found = line.candidate, line.difference
    if parse_bound(line.acceptable).relative:
        low, estimate, high = found.low, found.estimate, found.high
    return Miss(name=line.metric, metric=line.metric, low=low, estimate=estimate, high=high)


def better_higher(lines: Sequence[MetricLine]) -> Mapping[str, bool]:
    """Whether a higher value is better, by metric."""
    return {line.metric: parse_bound(line.acceptable).higher_is_better for line in lines}


def _of_part(part: Part) -> Miss:
    name = f"segment:{part.by}={part.value}" if isinstance(part, SegmentLine) else f"category:{part.value}"
    found = part.difference
    return Miss(name=name, metric=part.metric, low=found.low, estimate=found.estimate, high=found.high)
