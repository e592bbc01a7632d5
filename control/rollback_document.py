"""A rollback as JSON: whole for `/api/canaries/NAME/rollbacks`, in brief for the status. Pure."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from alerts.figures.places import to_document
from alerts.figures.rollback import Point, RolledBack, RuleThen


def document_of(rolled_back: RolledBack) -> dict[str, Any]:
    """The whole rollback. Times are UTC seconds; numbers named `ln_…` are natural logarithms."""
    why = rolled_back.why
    return {
        "canary": why.canary,
        "run": why.run,
        "at": why.at,
        "rule": why.rule or None,
        "who": why.who,
        "reason": why.reason,
        "headline": why.on_call(),
        "summary": why.on_call(quoting=False),
        "sentence": why.sentence or f"rolled back by {why.who}, no reason given",
        "value": why.value,
        "threshold": why.threshold,
        "evidence": dict(why.evidence),
        "limits": dict(why.limits),
        "path": _points(why.path),
        "where": why.where.document,
        "where_sentence": why.where.sentence,
        "provider_error": to_document(why.provider_error),
        "arms": {arm: asdict(figures) for arm, figures in why.arms.items()},
        "failures": [failure._asdict() for failure in why.failures],
        "rules": [_rule(each) for each in why.rules],
        "before": rolled_back.before.document,
        "after": rolled_back.after.document,
        "stored": rolled_back.stored,
    }


def brief_of(rolled_back: RolledBack | None) -> dict[str, Any] | None:
    """The rollback in brief; None for none."""
    if rolled_back is None:
        return None
    why = rolled_back.why
    return {
        "rule": why.rule or None,
        "who": why.who,
        "headline": why.on_call(),
        "summary": why.on_call(quoting=False),
        "sentence": why.sentence,
        "where": why.where.document,
        "where_sentence": why.where.sentence,
        "provider_error": to_document(why.provider_error),
        "at": why.at,
        "share_before": why.share_before,
        "arms": {arm: asdict(figures) for arm, figures in why.arms.items()},
        "page": f"/canaries/{why.canary}/why?run={why.run}",
        "stored": rolled_back.stored,
    }


def _rule(then: RuleThen) -> dict[str, Any]:
    return asdict(then) | {"path": _points(then.path), "where": then.where.document}


def _points(path: Sequence[Point]) -> list[dict[str, float]]:
    return [point._asdict() for point in path]
