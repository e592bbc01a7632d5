"""The rubric, fixed before the run: criteria, and its hash."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from records.facts.metric import BadBound, Bound, parse_bound

__all__ = ["DEFAULT_PLANNED_UNITS", "BadBound", "Bound", "Criterion", "check", "parse_bound", "sha256"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One row of the rubric. `weight` counts only in the score; it cannot outvote a failed criterion. `risk`
    is how often a candidate exactly at `acceptable` may ship; None: as in the plan."""

    metric: str
    acceptable: Bound
    ideal: Bound
    weight: float
    question: str
    risk: float | None = None


def check(criterion: Criterion) -> None:
    """Raise BadBound unless both bounds have one direction and one kind, and ideal is strictly better."""
    acceptable, ideal = criterion.acceptable, criterion.ideal
    pair = f"{criterion.metric}: acceptable {acceptable.text!r} and ideal {ideal.text!r}"
    if criterion.weight <= 0:
        raise BadBound(f"{criterion.metric}: the weight must be above 0, got {criterion.weight:g}")
    if acceptable.higher_is_better != ideal.higher_is_better:
        raise BadBound(f"{pair} have opposite directions; use < for both or > for both")
    if acceptable.relative != ideal.relative:
        raise BadBound(f"{pair} are of different kinds; make both absolute or both relative to the baseline")
    if not _strictly_better(acceptable, ideal):
        raise BadBound(f"{pair}: ideal must be strictly better than acceptable")


def _strictly_better(acceptable: Bound, ideal: Bound) -> bool:
    sign = 1 if ideal.higher_is_better else -1
    if not ideal.relative:
        return sign * (ideal.value - acceptable.value) > 0
    factor, offset = sign * (ideal.factor - acceptable.factor), sign * (ideal.offset - acceptable.offset)
    # Both must agree: otherwise the baseline's value decides which of the two bounds is stricter.
    return factor >= 0 and offset >= 0 and (factor > 0 or offset > 0)


DEFAULT_PLANNED_UNITS = 500


def sha256(
    criteria: Sequence[Criterion],
    *,
    planned_units: int = DEFAULT_PLANNED_UNITS,
    planned: Mapping[str, float] | None = None,
    judge: str = "",
) -> str:
    """SHA-256, in hex, of the canonical JSON of everything that affects the verdict.

    It covers metrics, bounds, weights, the planned units and, with a plan, its terms and the rows' risks, and
    the judge of rows on a judge's word. It does not cover the questions or the spelling of bounds.
    """
    document: dict[str, object] = {
        "criteria": [_canonical(criterion) for criterion in criteria],
        "planned_units": planned_units,
    }
    if planned is not None:
        document |= {**planned, "risks": {row.metric: row.risk for row in criteria if row.risk is not None}}
    if judge:
        document["judge"] = judge
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(criterion: Criterion) -> dict[str, object]:
    return {
        "metric": criterion.metric,
        "acceptable": _canonical_bound(criterion.acceptable),
        "ideal": _canonical_bound(criterion.ideal),
        "weight": float(criterion.weight),
    }


def _canonical_bound(bound: Bound) -> dict[str, object]:
    if bound.relative:
        return {"comparison": bound.comparison, "factor": bound.factor, "offset": bound.offset}
    return {"comparison": bound.comparison, "value": bound.value}
