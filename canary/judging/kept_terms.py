"""A canary's terms as they are kept in the store when it starts, and as a past one's are read from there.

The rubric is kept so that a change of it shows; the rest so that a canary which has left the config can still
be judged.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from canary.config import CanaryConfig
from records.metric import BUILT_IN, Metric
from records.store import FixedRubric
from report.rollout import Rollout
from report.rubric import DEFAULT_PLANNED_UNITS, Criterion, parse_bound
from routing.canary import Arm


def terms_of(wanted: CanaryConfig, metrics: Mapping[str, Metric]) -> dict[str, object]:
    """What is kept: the rubric as a person wrote it, and all else that a report of this canary needs."""
    declared = (metrics[row.metric] for row in wanted.rubric if row.metric in metrics)
    return {
        "criteria": [_written(row) for row in wanted.rubric],
        "planned_units": wanted.planned_units,
        "minimum_days": wanted.minimum_days,
        "segments": list(wanted.segments),
        "critical_categories": list(wanted.critical_categories),
        "critical_segments": [list(each) for each in wanted.critical_segments],
        "metrics": [asdict(each) for each in declared],
        "baseline": asdict(wanted.canary.baseline),
        "candidate": asdict(wanted.canary.candidate),
    }


def past_rollout(name: str, fixed: FixedRubric) -> Rollout:
    """How to judge a canary by the terms that were kept. Version 0.1 kept the rubric alone."""
    kept = fixed.document
    return Rollout(
        canary=name,
        criteria=tuple(_criterion(row) for row in kept["criteria"]),
        minimum_days=kept.get("minimum_days", 7.0),
        planned_units=kept.get("planned_units", DEFAULT_PLANNED_UNITS),
        segments=tuple(kept.get("segments", ())),
        critical_categories=frozenset(kept.get("critical_categories", ())),
        critical_segments=frozenset((tag, value) for tag, value in kept.get("critical_segments", ())),
        metrics={**BUILT_IN, **{each["name"]: Metric(**each) for each in kept.get("metrics", ())}},
    )


def past_arms(fixed: FixedRubric | None) -> tuple[Arm | None, Arm | None]:
    """The baseline and the candidate that were kept; None where they were not."""
    kept = fixed.document if fixed is not None else {}
    found = (kept.get("baseline"), kept.get("candidate"))
    first, second = (msgspec.convert(each, Arm) if each else None for each in found)
    return first, second


def _written(row: Criterion) -> dict[str, object]:
    return {
        "metric": row.metric,
        "acceptable": row.acceptable.text,
        "ideal": row.ideal.text,
        "weight": row.weight,
        "question": row.question,
    }


def _criterion(row: Mapping[str, Any]) -> Criterion:
    return Criterion(
        metric=row["metric"],
        acceptable=parse_bound(row["acceptable"]),
        ideal=parse_bound(row["ideal"]),
        weight=row["weight"],
        question=row["question"],
    )
