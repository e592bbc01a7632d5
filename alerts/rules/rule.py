"""A guardrail's rule: what it compares, over which window, what it may do; the defaults; its status."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from alerts.evidence.statistics import MINIMUM_UNITS
from common.concentration import CATEGORY, NOWHERE, Concentration
from records.facts.metric import Metric
from records.outcome import INVALID_OUTPUT, Fault

Action = Literal["warn", "page", "rollback", "hold"]
RuleName = Literal[
    "error_rate",
    "error_rate_vs_baseline",
    "latency_p95",
    "latency_vs_baseline",
    "abandoned",
    "answer_faults",
    "refused",
    "cut_off",
    "empty",
    "invalid_output",
    "stalled",
    "cost_per_request",
    "session_cost",
    "session_exchanges",
    "session_tokens",
    "session_tool_calls",
    "session_length_s",
    "session_faults",
    "session_abandoned",
    "session_cache_hits",
    "stuck",
    "csat",
    "thumbs",
    "helped",
    "nps",
    "escalated",
    "repeat_question",
    "telemetry",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """A rule about answer faults, and its default limit and action.

    `faults` are those that it counts, `words` says what such an answer is. `absolute`: beside `limit` times
    the baseline, more than this share of the outcomes is too much. `checked`: only answers whose tool calls
    and JSON were checked count.
    """

    rule: RuleName
    faults: frozenset[Fault]
    words: str
    limit: float
    action: Action
    absolute: float | None = None
    checked: bool = False

    def event(self, faults: Collection[Fault], *, read: bool, checked: bool) -> bool | None:
        """Whether an answer has such a fault; None for one that does not count. `read`: it was looked at for
        faults. `checked`: its tool calls and JSON, too."""
        if not (read or faults) or (self.checked and not checked):
            return None
        return not self.faults.isdisjoint(faults)


FAULTS: tuple[FaultRule, ...] = (
    FaultRule(
        rule="answer_faults", faults=frozenset(get_args(Fault)), words="faulty", limit=1.5, action="page"
    ),
    FaultRule(rule="refused", faults=frozenset({"refused"}), words="refused", limit=1.5, action="page"),
    FaultRule(rule="cut_off", faults=frozenset({"cut_off"}), words="cut off", limit=1.5, action="page"),
    FaultRule(
        rule="empty",
        faults=frozenset({"empty"}),
        words="empty",
        limit=3.0,
        action="rollback",
        absolute=0.2,
    ),
    FaultRule(
        rule="invalid_output",
        faults=INVALID_OUTPUT,
        words="invalid",
        limit=3.0,
        action="rollback",
        absolute=0.2,
        checked=True,
    ),
    FaultRule(
        rule="stalled",
        faults=frozenset({"stalled"}),
        words="stalled",
        limit=3.0,
        action="rollback",
        absolute=0.2,
    ),
)
"""Every rule about answer faults. A new one is a row here, a name in `RuleName`, and an alert's
meaning in `alerts.prometheus`."""
FAULT_OF: Mapping[str, FaultRule] = {each.rule: each for each in FAULTS}
FAULT_RULES: tuple[RuleName, ...] = tuple(each.rule for each in FAULTS)
CANNOT_SERVE: frozenset[str] = frozenset({"error_rate", "error_rate_vs_baseline", "abandoned", *FAULT_RULES})
"""Rules that roll back a candidate whose answers are of no use. Slow or dear answers still are."""
SESSION_SIZES: tuple[RuleName, ...] = (
    *("session_cost", "session_exchanges", "session_tokens", "session_tool_calls", "session_length_s"),
)
SESSION_METRICS: tuple[RuleName, ...] = (
    *SESSION_SIZES,
    *("session_faults", "session_abandoned", "session_cache_hits"),
)
"""Rules about the metric of their name; those that are no size judge sessions that are over."""
OF_SESSIONS: tuple[RuleName, ...] = (*SESSION_METRICS, "stuck")
RATINGS: tuple[RuleName, ...] = ("csat", "thumbs", "helped", "nps")
OF_METRICS: tuple[RuleName, ...] = (*RATINGS, "escalated", "repeat_question")
"""Rules about the built-in metric of their name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One guardrail.

    `limit` is in the rule's unit: a share for `error_rate` (.05), seconds for `latency_p95`, a factor of the
    baseline's mean for the ratings (.95) and other metrics, seconds without an outcome for `telemetry`, and a
    factor of the baseline for the others (1.5 for `latency_vs_baseline`). `window_s` None is the whole run.
    `minimum` counts exchanges, raters or distinct units, depending on the rule. Action `page` pages,
    `rollback` also rolls the candidate back, `hold` also stops the ramp's clock. A rule about a metric has
    its name, and `metric` if the config wrote it so.
    `parts` is the number of parts of the traffic whose rules of this name share the error budget of one.
    """

    rule: str
    limit: float
    window_s: float | None
    minimum: int
    action: Action
    category: str | None = None
    segment: Mapping[str, str] | None = None
    parts: int = 1
    metric: Metric | None = None

    @property
    def key(self) -> str:
        """The rule and its part of the traffic as a string, as its status has it."""
        return rule_key(self.rule, self.category, self.segment)


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(rule="error_rate", limit=0.05, window_s=None, minimum=3, action="rollback"),
    Rule(rule="error_rate_vs_baseline", limit=1.5, window_s=None, minimum=3, action="rollback"),
    Rule(rule="latency_p95", limit=3.0, window_s=600.0, minimum=50, action="rollback"),
    Rule(rule="latency_vs_baseline", limit=1.5, window_s=None, minimum=3, action="rollback"),
    Rule(rule="abandoned", limit=1.5, window_s=None, minimum=3, action="rollback"),
    *(
        Rule(rule=each.rule, limit=each.limit, window_s=None, minimum=3, action=each.action)
        for each in FAULTS
    ),
    Rule(rule="cost_per_request", limit=2.0, window_s=1800.0, minimum=30, action="rollback"),
    Rule(rule="session_cost", limit=2.0, window_s=None, minimum=3, action="rollback"),
    Rule(rule="session_exchanges", limit=2.0, window_s=None, minimum=3, action="page"),
    Rule(rule="stuck", limit=3.0, window_s=None, minimum=3, action="page"),
    Rule(rule="csat", limit=0.95, window_s=86400.0, minimum=30, action="page"),
    Rule(rule="thumbs", limit=0.95, window_s=86400.0, minimum=30, action="page"),
    Rule(rule="helped", limit=0.95, window_s=86400.0, minimum=30, action="page"),
    Rule(rule="nps", limit=0.95, window_s=86400.0, minimum=30, action="page"),
    Rule(rule="escalated", limit=1.5, window_s=None, minimum=3, action="page"),
    Rule(rule="repeat_question", limit=1.5, window_s=None, minimum=3, action="page"),
    Rule(rule="telemetry", limit=900.0, window_s=900.0, minimum=1, action="hold"),
)
"""Those that may roll back number ten. Each convicts a healthy candidate with probability .001."""

FURTHER_RULES: tuple[Rule, ...] = (
    *(
        Rule(rule=name, limit=2.0, window_s=None, minimum=3, action="page")
        for name in SESSION_SIZES
        if name not in {each.rule for each in DEFAULT_RULES}
    ),
    Rule(rule="session_faults", limit=1.5, window_s=None, minimum=3, action="page"),
    Rule(rule="session_abandoned", limit=1.5, window_s=None, minimum=3, action="page"),
    Rule(rule="session_cache_hits", limit=0.9, window_s=None, minimum=30, action="page"),
)
"""What rules that only a list names have by default."""


# A rule's status at one moment: state, numbers, requested action.


StatusState = Literal["ok", "warn", "firing", "latched", "not_enough_data", "not_applicable"]
ServiceRule = Literal["records_dropped", "shipping_lags", "config_refused"]
StatusName = RuleName | Literal["outage", "preflight_failed", "prompt_missed", "throttled"] | ServiceRule
"""The rules; `outage`: the baseline itself is over the candidate's error limit; the service's own rules
(`alerts.incidents.incident`). These are not configurable."""


@dataclass(frozen=True, slots=True)
class Waits:
    """What a rule waits for: it has `have` of the `need` things `of` which it needs some."""

    have: int
    need: int
    of: str

    @property
    def sentence(self) -> str:
        """`12 of 30 baseline values`."""
        return f"{self.have} of {self.need} {self.of}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailStatus:
    """One guardrail's status.

    `warn`: over the threshold without enough evidence to page, or a rule with action `warn`. `firing`: enough
    evidence to page. `latched`: the rule convicted the candidate in this run. `action` is the requested
    action, None for none: `page` or `hold` while firing, `rollback` from the conviction until the next run
    (repeating it is harmless). `value` and `threshold` are in the rule's unit; None is unknown. Keys with
    `ln_` in `evidence` hold natural logarithms. `where`: the parts of the traffic in which the exchanges that
    the rule counts are concentrated, as the sentence says. `waits`: what a rule without a judgement waits
    for, if it can say so.
    """

    rule: str
    state: StatusState
    sentence: str
    action: Action | None = None
    value: float | None = None
    threshold: float | None = None
    evidence: Mapping[str, float] = field(default_factory=dict)
    category: str | None = None
    segment: Mapping[str, str] | None = None
    where: Concentration = NOWHERE
    waits: Waits | None = None

    @property
    def key(self) -> str:
        """The rule and its part of the traffic as a string."""
        return rule_key(self.rule, self.category, self.segment)


def acts_on_two(rule: Rule) -> bool:
    """True where two users convict if either alone would: an absolute limit well above what users' own ways
    do to their answers. `error_rate` has a low one, and two users who always fail are no rarity."""
    fault = FAULT_OF.get(rule.rule)
    return fault is not None and fault.absolute is not None and rule.minimum <= MINIMUM_UNITS


def located(status: GuardrailStatus, found: Concentration) -> GuardrailStatus:
    """The status with the parts in which its failing exchanges are concentrated, and the sentence about them.

    A rule over one part of the traffic has only that part, and its sentence does not repeat it.
    """
    own = dict(status.segment or {}) | ({CATEGORY: status.category} if status.category is not None else {})
    if own:
        parts = tuple(part for part in found.parts if own.get(part.by) == part.value)
        return replace(status, where=replace(found, parts=parts)) if parts else status
    if not found.parts:
        return status
    return replace(status, where=found, sentence=f"{status.sentence}; {found.sentence}")


def paging(status: GuardrailStatus) -> GuardrailStatus:
    """The status of a rule that calls a person where it would have rolled back."""
    return replace(status, state="firing", action="page") if status.action == "rollback" else status


def rule_key(rule: str, category: str | None, segment: Mapping[str, str] | None) -> str:
    """`error_rate`, `error_rate[category=billing]`, `error_rate[region=eu]`."""
    if category is None and not segment:
        return rule
    parts = [f"category={category}"] if category is not None else []
    parts += [f"{name}={value}" for name, value in sorted((segment or {}).items())]
    return f"{rule}[{','.join(parts)}]"


def decided(
    rule: Rule,
    *,
    enough: bool,
    over: bool,
    convincing: bool,
    convicted: bool = False,
    applicable: bool = True,
    value: float | None,
    threshold: float | None,
    sentence: str,
    evidence: Mapping[str, float] | None = None,
    waits: Waits | None = None,
) -> GuardrailStatus:
    """The rule's status by what it found. Missing data is never `ok`; only a conviction requests a rollback.

    `enough`: the window has its minimum. `over`: the window's value is over its threshold. `convincing`: the
    evidence is enough to page. `convicted`: at some moment of this run it was enough to roll back.
    `applicable`: the comparison makes sense now.
    """
    state: StatusState
    action: Action | None = None
    if convicted and rule.action == "rollback":
        state, action = "latched", "rollback"
    elif not applicable:
        state = "not_applicable"
    elif not enough:
        state = "not_enough_data"
    elif not over:
        state = "ok"
    elif not convincing:
        state = "warn"
    elif rule.action == "warn":
        state, action = "warn", "warn"
    else:
        state, action = "firing", "hold" if rule.action == "hold" else "page"
    return GuardrailStatus(
        rule=rule.rule,
        state=state,
        action=action,
        value=value,
        threshold=threshold,
        sentence=sentence if waits is None else f"{sentence}; waits: {waits.sentence}",
        evidence=evidence or {},
        category=rule.category,
        segment=rule.segment,
        waits=waits,
    )
