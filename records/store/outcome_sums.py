"""Totals of a batch's outcomes by day: of failures, for the ways to fail; of models, for what they cost."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter

from records.outcome import Outcome
from records.rows import Row, text

EXAMPLES = 3
"""The ids that a row keeps at least, of its newest exchanges."""

_DAY_S = 86400
_ENDED = frozenset({"ok", "fallback", "error", "aborted"})
_ANSWERED = frozenset({"ok", "fallback"})


def failure_days(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows of `tables.failure_days` in key order: a canary's exchanges with an error type or an answer fault,
    assigned by the hash while both arms had a share."""
    found: dict[Row, list[tuple[float, str]]] = {}
    for outcome in outcomes:
        if (outcome.error_type or outcome.faults) and _is_concurrent(outcome):
            found.setdefault(_failure(outcome), []).append((outcome.at, outcome.exchange_id))
    rows = sorted(found.items(), key=itemgetter(0))
    return [(*key, len(exchanges), _newest(exchanges)) for key, exchanges in rows]


def model_days(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows of `tables.model_days` in key order: the answered requests, with what is known of their cost."""
    found: dict[Row, _ModelDay] = {}
    for outcome in outcomes:
        if outcome.outcome in _ANSWERED and not outcome.mirror and outcome.reason != "pinned":
            key = _model(outcome)
            day = found.get(key)
            if day is None:
                day = found[key] = _ModelDay(outcome.at)
            day.add(outcome)
    return [(*key, *day.row()) for key, day in sorted(found.items(), key=itemgetter(0))]


def _is_concurrent(outcome: Outcome) -> bool:
    assigned = bool(outcome.canary) and outcome.reason == "cohort" and not outcome.mirror
    return assigned and 0 < outcome.share < 1 and outcome.outcome in _ENDED


def _failure(outcome: Outcome) -> Row:
    return (
        outcome.canary,
        outcome.run,
        int(outcome.at // _DAY_S),
        outcome.arm,
        outcome.outcome,
        outcome.error_type or "",
        outcome.finish or "",
        ",".join(outcome.faults),
        outcome.output_check,
        outcome.stream,
        outcome.ttfb_s is None,
    )


def _newest(exchanges: list[tuple[float, str]]) -> str:
    return " ".join(name for _, name in sorted(exchanges, reverse=True)[:EXAMPLES])


def _model(outcome: Outcome) -> Row:
    day, asked = int(outcome.at // _DAY_S), text(outcome.model_requested)
    return day, outcome.canary, outcome.run, outcome.arm, outcome.provider, asked


@dataclass(slots=True)
class _ModelDay:
    """What this batch adds to one row of model_days."""

    first_at: float
    answered: int = 0
    costs: list[float] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.first_at = min(self.first_at, outcome.at)
        self.answered += 1
        if outcome.cost_usd is not None:
            self.costs.append(outcome.cost_usd)

    def row(self) -> Row:
        return self.first_at, self.answered, len(self.costs), sum(self.costs, 0.0)
