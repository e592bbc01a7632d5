"""How much of the evidence that a rule needs is there, as a part and in words. Pure."""

import math
from collections.abc import Mapping
from typing import Any

from alerts.evidence.bets import PAGE_CUSUM, PAGE_MIXTURE, ROLLBACK_CUSUM, ROLLBACK_MIXTURE


def needed(found: Mapping[str, Any]) -> tuple[float, float]:
    """The evidence that the rule needs to act, as logarithms: (whole run, since it last looked healthy).

    A rule that shares its error budget with those of other parts of the traffic needs more."""
    more = math.log(found["evidence"].get("parts", 1.0))
    rolls_back = found.get("action", "rollback") == "rollback"
    whole, since = (ROLLBACK_MIXTURE, ROLLBACK_CUSUM) if rolls_back else (PAGE_MIXTURE, PAGE_CUSUM)
    return whole + more, since + more


def proved(found: Mapping[str, Any]) -> float | None:
    """The evidence as a part of what the rule needs, in [0, 1]; None before the first observation."""
    evidence = found["evidence"]
    if not evidence.get("observations"):
        return None
    whole, since = needed(found)
    part: float = max(evidence["ln_mixture"] / whole, evidence["ln_cusum"] / since)
    return min(1.0, max(0.0, part))


def proof(found: Mapping[str, Any]) -> str:
    """The evidence of one rule of a status document in numbers."""
    return proof_of(found["evidence"], *needed(found))


def proof_of(
    evidence: Mapping[str, float], whole: float = ROLLBACK_MIXTURE, since: float = ROLLBACK_CUSUM
) -> str:
    """The evidence in numbers, for the statistic nearer to its limit: `12 of 1,000`. "" for none."""
    mixture, cusum = evidence.get("ln_mixture", 0.0), evidence.get("ln_cusum", 0.0)
    reached, limit = (mixture, whole) if mixture / whole >= cusum / since else (cusum, since)
    return f"{_odds(reached)} of {_odds(limit)}" if reached > 0 else ""


def _odds(logarithm: float) -> str:
    if logarithm > math.log(1e6):
        return "over 1,000,000"
    odds = math.exp(logarithm)
    return f"{odds:.2g}" if odds < 10 else f"{odds:,.0f}"
