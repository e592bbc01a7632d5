"""A guardrail's status at one moment: state, numbers, requested action."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from alerts.rules.rule import Action, Rule, RuleName
from common.concentration import CATEGORY, NOWHERE, Concentration

StatusState = Literal["ok", "warn", "firing", "latched", "not_enough_data", "not_applicable"]
ServiceRule = Literal["records_dropped", "shipping_lags"]
StatusName = RuleName | Literal["outage", "preflight_failed"] | ServiceRule
"""The rules; `outage`: the baseline itself is over the candidate's error limit; the service's own rules
(`alerts.incidents.incident`). The last two are not configurable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailStatus:
    """One guardrail's status.

    `warn`: over the threshold without enough evidence to page, or a rule with action `warn`. `firing`: enough
    evidence to page. `latched`: the rule convicted the candidate in this run. `action` is the requested
    action, None for none: `page` or `hold` while firing, `rollback` from the conviction until the next run
    (repeating it is harmless). `value` and `threshold` are in the rule's unit; None is unknown. Keys with
    `ln_` in `evidence` hold natural logarithms. `where`: the parts of the traffic in which the exchanges that
    the rule counts are concentrated, as the sentence says.
    """

    rule: StatusName
    state: StatusState
    sentence: str
    action: Action | None = None
    value: float | None = None
    threshold: float | None = None
    evidence: Mapping[str, float] = field(default_factory=dict)
    category: str | None = None
    segment: Mapping[str, str] | None = None
    where: Concentration = NOWHERE

    @property
    def key(self) -> str:
        """The rule and its part of the traffic as a string."""
        return rule_key(self.rule, self.category, self.segment)


def located(status: GuardrailStatus, found: Concentration) -> GuardrailStatus:
    """The status with the parts in which its failing exchanges are concentrated, and the sentence about them.

    A rule over one part of the traffic names only that part.
    """
    own = dict(status.segment or {}) | ({CATEGORY: status.category} if status.category is not None else {})
    if own:
        found = replace(found, parts=tuple(part for part in found.parts if own.get(part.by) == part.value))
    if not found.parts:
        return status
    return replace(status, where=found, sentence=f"{status.sentence}; {found.sentence}")


def rule_key(rule: StatusName, category: str | None, segment: Mapping[str, str] | None) -> str:
    """`error_rate`, `error_rate[category=billing]`, `error_rate[region=eu]`."""
    parts = [f"category={category}"] if category is not None else []
    parts += [f"{name}={value}" for name, value in sorted((segment or {}).items())]
    return f"{rule}[{','.join(parts)}]" if parts else rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFinding:
    """A rule's findings, by which `decided` makes its status.

    `applicable`: the comparison makes sense now. `enough`: the window has its minimum. `over`: the window's
    value is over its threshold. `convincing`: the evidence is enough to page. `convicted`: at some moment of
    this run it was enough to roll back.
    """

    applicable: bool = True
    enough: bool
    over: bool
    convincing: bool
    convicted: bool = False


def decided(
    rule: Rule,
    found: RuleFinding,
    *,
    value: float | None,
    threshold: float | None,
    sentence: str,
    evidence: Mapping[str, float] | None = None,
) -> GuardrailStatus:
    """The rule's status by what it found."""
    state, action = _weighed(rule, found)
    return GuardrailStatus(
        rule=rule.rule,
        state=state,
        action=action,
        value=value,
        threshold=threshold,
        sentence=sentence,
        evidence=evidence or {},
        category=rule.category,
        segment=rule.segment,
    )


def _weighed(rule: Rule, found: RuleFinding) -> tuple[StatusState, Action | None]:
    """(state, requested action). Missing data is never `ok`, and only a conviction requests a rollback."""
    if found.convicted and rule.action == "rollback":
        return "latched", "rollback"
    if not found.applicable:
        return "not_applicable", None
    if not found.enough:
        return "not_enough_data", None
    if not found.over:
        return "ok", None
    if not found.convincing:
        return "warn", None
    if rule.action == "warn":
        return "warn", "warn"
    return "firing", "hold" if rule.action == "hold" else "page"
