"""A canary's terms, stored when it starts and read from the store later.

The stored rubric shows later changes; the other terms allow judging a canary that is no longer in the config.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from records.facts.metric import BUILT_IN, Metric
from records.store import AuditEntry, FixedRubric, Store, tables
from routing.canary import Arm, Match
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.plan import ShareChange
from verdict.terms.rubric import Criterion, metrics_of, parse_bound


def terms_of(judged: JudgedCanary) -> dict[str, object]:
    """The terms to store: the rubric as written, and everything else that a report of this canary needs."""
    declared = metrics_of(judged.criteria, judged.metrics).values()
    return {
        "criteria": [_written(row) for row in judged.criteria],
        "planned_units": judged.planned_units,
        "minimum_days": judged.minimum_days,
        "planned_days": judged.planned_days,
        "risk": judged.risk,
        "segments": list(judged.segments),
        "critical_categories": sorted(judged.critical_categories),
        "critical_segments": [list(segment) for segment in sorted(judged.critical_segments)],
        "metrics": [asdict(metric) for metric in declared],
        "baseline": asdict(judged.baseline) if judged.baseline else None,
        "candidate": asdict(judged.candidate) if judged.candidate else None,
        "judge": judged.judge,
        "match": _matching(judged.match) if judged.match else None,
        **({"assigned_outside": True} if judged.assigned_outside else {}),
        **({"by_session": True} if judged.by_session else {}),
    }


def judged_by(name: str, fixed: FixedRubric) -> JudgedCanary:
    """The canary with its stored terms."""
    terms = fixed.document
    return JudgedCanary(
        name=name,
        criteria=tuple(_criterion(row) for row in terms["criteria"]),
        minimum_days=terms["minimum_days"],
        planned_days=terms["planned_days"],
        risk=terms["risk"],
        planned_units=terms["planned_units"],
        segments=tuple(terms["segments"]),
        critical_categories=frozenset(terms["critical_categories"]),
        critical_segments=frozenset((tag, value) for tag, value in terms["critical_segments"]),
        metrics={**BUILT_IN, **{metric["name"]: Metric(**metric) for metric in terms["metrics"]}},
        baseline=_arm(terms["baseline"]),
        candidate=_arm(terms["candidate"]),
        match=msgspec.convert(terms["match"], Match) if terms["match"] else None,
        assigned_outside=terms.get("assigned_outside", False),
        by_session=terms.get("by_session", False),
        judge=terms["judge"],
    )


def _arm(document: object) -> Arm | None:
    return msgspec.convert(document, Arm) if document else None


def _matching(match: Match) -> dict[str, object]:
    return {**asdict(match), "models": sorted(match.models), "paths": sorted(match.paths)}


def _written(row: Criterion) -> dict[str, object]:
    return {**asdict(row), "acceptable": row.acceptable.text, "ideal": row.ideal.text}


def _criterion(row: Mapping[str, Any]) -> Criterion:
    return Criterion(**{**row, **{name: parse_bound(row[name]) for name in ("acceptable", "ideal")}})


# The changes of a run's share by a person: by an order, or in the config.


RAMP = "ramp"
"""Who steps a ramp by its clock, in the audit log; as an action, also a person's order."""

_ACTIONS = (RAMP, "configure")


def share_changes(store: Store, canary: str, run: int) -> list[ShareChange]:
    """Return the run's changes by hand, oldest first. May raise StoreDown."""
    table = tables.audit.c
    entries = store.acts(table.canary == canary, table.action.in_(_ACTIONS), table.who != RAMP)
    return [change for entry in entries if (change := _change(entry, run)) is not None]


def _change(entry: AuditEntry, run: int) -> ShareChange | None:
    before, after = entry.before, entry.after
    if before is None or after.run != run or before.effective_share == after.effective_share:
        return None
    return ShareChange(
        at=entry.act.at, who=entry.act.who, before=before.effective_share, after=after.effective_share
    )
