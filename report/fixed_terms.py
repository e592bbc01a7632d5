"""A canary's terms as they are kept in the store when it starts, and as a past one's are read from there.

The rubric is kept so that a later change of it shows, the rest so that a canary can still be judged after it
has left the config.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from records.metric import BUILT_IN, Metric
from records.store import FixedRubric
from report.judged_canary import JudgedCanary
from report.rubric import DEFAULT_PLANNED_UNITS, Criterion, parse_bound
from routing.canary import Arm


def terms_of(judged: JudgedCanary) -> dict[str, object]:
    """What is kept: the rubric as a person wrote it, and all else that a report of this canary needs."""
    declared = (judged.metrics[row.metric] for row in judged.criteria if row.metric in judged.metrics)
    return {
        "criteria": [_written(row) for row in judged.criteria],
        "planned_units": judged.planned_units,
        "minimum_days": judged.minimum_days,
        "segments": list(judged.segments),
        "critical_categories": sorted(judged.critical_categories),
        "critical_segments": [list(each) for each in sorted(judged.critical_segments)],
        "metrics": [asdict(each) for each in declared],
        "baseline": asdict(judged.baseline) if judged.baseline else None,
        "candidate": asdict(judged.candidate) if judged.candidate else None,
    }


def judged_by(name: str, fixed: FixedRubric) -> JudgedCanary:
    """How to judge a canary by the terms that were kept. Version 0.1 kept the rubric alone."""
    kept = fixed.document
    return JudgedCanary(
        canary=name,
        criteria=tuple(_criterion(row) for row in kept["criteria"]),
        minimum_days=kept.get("minimum_days", 7.0),
        planned_units=kept.get("planned_units", DEFAULT_PLANNED_UNITS),
        segments=tuple(kept.get("segments", ())),
        critical_categories=frozenset(kept.get("critical_categories", ())),
        critical_segments=frozenset((tag, value) for tag, value in kept.get("critical_segments", ())),
        metrics={**BUILT_IN, **{each["name"]: Metric(**each) for each in kept.get("metrics", ())}},
        baseline=_arm(kept.get("baseline")),
        candidate=_arm(kept.get("candidate")),
    )


def _arm(document: object) -> Arm | None:
    return msgspec.convert(document, Arm) if document else None


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
