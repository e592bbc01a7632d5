"""One guardrail of one canary on its way into Prometheus: its series' names, and the words of its alert."""

from collections.abc import Sequence
from dataclasses import dataclass

from alerts.prometheus.names import GUARDRAILS, Severity
from alerts.prometheus.parts import Alert, Recording, duration, quoted
from alerts.rule import Rule
from alerts.scope import DEFAULT_ERROR_LIMIT
from alerts.status import StatusName

DAY_S = 86_400.0
HOUR_S = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Windowed:
    """A guardrail in Prometheus: `shared` series of all canaries, `own` ones of this canary, the alert."""

    shared: tuple[Recording, ...]
    own: tuple[Recording, ...] = ()
    alert: Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A rule in its canary, over a window in seconds. `least_share` is as in `ErrorRateVsBaseline`."""

    canary: str
    rule: Rule
    seconds: float
    least_share: float

    @property
    def w(self) -> str:
        """The window as PromQL writes it."""
        return duration(self.seconds)

    def arm(self, series: str, arm: str, more: str = "") -> str:
        """One arm's value of a series; `more` are further matchers."""
        return f'{series}{{canary={quoted(self.canary)},arm="{arm}"{more}}}'

    def mine(self, series: str, more: str = "") -> str:
        """This canary's value of a series; `more` are further matchers."""
        return f"{series}{{canary={quoted(self.canary)}{more}}}"

    def alert(self, expr: str, description: str, *, name: StatusName, severity: Severity) -> Alert:
        """The alert of that rule's name."""
        return Alert(
            alert=GUARDRAILS[name],
            expr=expr,
            severity=severity,
            summary=f"{self.canary}: {name} trips on the last {self.w}",
            description=f"{description} Told from Prometheus' own window of exchanges; canary's evidence is "
            "the alert of this name with source=guardrail.",
            labels={"canary": self.canary, "rule": name, "source": "window"},
        )


def place(canary: str, rule: Rule, rules: Sequence[Rule]) -> Place:
    """A rule among its canary's. A day stands for a whole run of escalations, an hour for any other."""
    errors = [each.limit for each in rules if each.rule == "error_rate"]
    return Place(
        canary=canary,
        rule=rule,
        seconds=rule.window_s or (DAY_S if rule.rule == "escalated" else HOUR_S),
        least_share=(errors[0] if errors else DEFAULT_ERROR_LIMIT) / 5.0,
    )


def every(*conditions: str) -> str:
    """All of these, of one canary; the first gives the value."""
    return "\nand on (canary) ".join(conditions)


def percent(share: float) -> str:
    """A share in words."""
    return f"{100.0 * share:g} %"
