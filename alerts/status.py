"""What a guardrail says at one moment: state, numbers, what it wants done. Not the doing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from alerts.rule import Action, Rule, RuleName

StatusState = Literal["ok", "warn", "firing", "latched", "not_enough_data", "not_applicable"]
ServiceRule = Literal["records_dropped", "shipping_lags"]
StatusName = RuleName | Literal["outage"] | ServiceRule
"""The rules; `outage`, the baseline itself over the candidate's error limit; and what concerns no canary but
the service (`alerts.record_alarm`). Nobody configures the latter two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailStatus:
    """One guardrail's judgement.

    `warn` is over the threshold without enough evidence to page (or a rule that may only warn), `firing` has
    the evidence to page, `latched` convicted the candidate in this run. `action` is what it wants now, None
    for nothing: `page` and `hold` while firing, `rollback` from the conviction until the evidence is re-armed
    (so that asking twice is harmless). `value` and `threshold` are in the rule's own unit, None is unknown;
    `evidence` holds numbers only, `ln_` ones are natural logarithms.
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

    @property
    def key(self) -> str:
        """The rule and the part of the traffic that it looks at, as one word."""
        return rule_key(self.rule, self.category, self.segment)


def rule_key(rule: StatusName, category: str | None, segment: Mapping[str, str] | None) -> str:
    """`error_rate`, `error_rate[category=billing]`, `error_rate[region=eu]`."""
    parts = [f"category={category}"] if category is not None else []
    parts += [f"{name}={value}" for name, value in sorted((segment or {}).items())]
    return f"{rule}[{','.join(parts)}]" if parts else rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFinding:
    """What a rule found, before it is weighed.

    `applicable`: the comparison makes sense now; `enough`: the window has its minimum; `over`: the window's
    value is beyond its threshold; `convincing`: the evidence is enough to page; `convicted`: enough, at some
    moment of this run, to roll back.
    """

    applicable: bool = True
    enough: bool
    over: bool
    convincing: bool
    convicted: bool = False


def weigh(rule: Rule, found: RuleFinding) -> tuple[StatusState, Action | None]:
    """(state, wanted action). Missing data never reads as `ok`, and only a conviction asks for a rollback."""
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
