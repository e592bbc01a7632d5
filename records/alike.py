"""Groups the outcomes of a batch, so that counters are updated once for each group."""

from collections.abc import Iterable, Sequence

from records.outcome import Outcome

Alike = Sequence[Outcome]
"""Outcomes, at least one, that differ only in ids, times, amounts, models, and what a caller named."""


def alike(outcomes: Iterable[Outcome]) -> list[Alike]:
    """Group outcomes, in order of each group's first."""
    groups: dict[tuple[object, ...], list[Outcome]] = {}
    for each in outcomes:
        key = (
            each.canary,
            each.run,
            each.arm,
            each.mirror,
            each.reason,
            each.outcome,
            each.error_type,
            each.finish,
            each.faults,
            each.output_check,
            each.operation,
            each.stream,
        )
        group = groups.get(key)
        if group is None:
            groups[key] = [each]
        else:
            group.append(each)
    return list(groups.values())
