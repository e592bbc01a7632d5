"""Each rule's evidence over time, by rule key, for people to read after a rollback."""

from collections.abc import Iterable

from alerts.rollback_evidence import Path, Point
from alerts.scope import Growth
from alerts.status import GuardrailStatus, rule_key

Paths = dict[str, Path]


def add_growth(paths: Paths, grown: Iterable[Growth], utc_minus_mono: float) -> None:
    """Add evidence while it grows, because a judgement may come many outcomes later.

    A path ends when its rule convicts.
    """
    for guardrail, at in grown:
        evidence, rule = guardrail.evidence, guardrail.rule
        if max(evidence.running) > 0.0:
            path = paths.setdefault(rule_key(rule.rule, rule.category, rule.segment), Path())
            observations = float(evidence.observations)
            path.add(Point(at + utc_minus_mono, evidence.mixture, evidence.cusum, observations))
            path.ended = guardrail.convicted and rule.action == "rollback"


def add_statuses(paths: Paths, statuses: Iterable[GuardrailStatus], at: float) -> None:
    """Add the evidence of a judgement at UTC second `at`."""
    for status in statuses:
        numbers = status.evidence
        if "ln_mixture" in numbers and numbers["observations"]:
            path = paths.setdefault(status.key, Path())
            path.add(Point(at, numbers["ln_mixture"], numbers["ln_cusum"], numbers["observations"]))
