"""What is measured by the session: the same figures by hand, from the store and from a log."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from records.facts.metric import BUILT_IN
from records.outcome import ErrorType, Fault, Outcome, OutcomeName, ToolCall, Usage
from records.store import sums
from records.store.tables import sessions, unit_days
from routing.canary import ArmName
from tests.verdict.totals import UnitTotals
from verdict.rows.row import condition
from verdict.sample.cohort import from_store
from verdict.sample.csv_log import from_csv
from verdict.sample.observations import observe
from verdict.sample.sample import Sample
from verdict.statistics.ratio import arms
from verdict.terms.rubric import Criterion, parse_bound

AT = 20_000 * 86400.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request of an agent."""

    unit: str
    arm: ArmName
    at: float
    session: str = ""
    cost: float | None = 0.0
    tokens: tuple[int, int, int] | None = None
    """Input, of them cached, output."""
    calls: int = 0
    faults: tuple[Fault, ...] = ()
    outcome: OutcomeName = "ok"
    error: ErrorType | None = None

    @property
    def recorded(self) -> Outcome:
        tokens = self.tokens or (None, None, None)
        return Outcome(
            exchange_id=f"{self.unit}-{self.at}", at=AT + self.at, mono=0.0, outcome=self.outcome, canary="c",
            run=1, share=0.5, arm=self.arm, reason="cohort", unit=self.unit, session=self.session,
            cost_usd=self.cost, finish="stop" if self.outcome == "ok" else None, faults=self.faults,
            usage=Usage(input_tokens=tokens[0], cached_input_tokens=tokens[1], output_tokens=tokens[2]),
            tool_calls=(ToolCall(name="read", digest=b"12345678"),) * self.calls, error_type=self.error,
        )  # fmt: skip

    @property
    def line(self) -> str:
        tokens = self.tokens or ("", "", "")
        sum_ = sum(self.tokens[::2]) if self.tokens else ""
        cost = "" if self.cost is None else self.cost
        finish = "stop" if self.outcome == "ok" else ""
        return (
            f"{self.unit},{self.arm},{AT + self.at},{self.session},{cost},{sum_},{tokens[0]},{tokens[1]},"
            f"{self.calls},{finish},{' '.join(self.faults)},{self.error or ''}"
        )


HEADER = (
    "unit,arm,at,session,cost_usd,tokens,input_tokens,cached_input_tokens,tool_calls,finish,faults,error_type"
)
STEPS = (
    Step(unit="a", arm="candidate", at=0, session="s1", cost=0.2, tokens=(100, 50, 10), calls=2),
    Step(unit="b", arm="baseline", at=5, session="s2", cost=0.3, tokens=(200, 180, 20), calls=1),
    Step(
        unit="a", arm="candidate", at=60, session="s1", cost=0.4, tokens=(300, 250, 20), calls=1,
        faults=("empty",),
    ),
    Step(unit="a", arm="candidate", at=100, cost=0.1, tokens=(50, 0, 5)),
    Step(unit="d", arm="candidate", at=200, session="s3", cost=None, outcome="aborted", error="aborted"),
    Step(unit="b", arm="baseline", at=205, session="s2", cost=0.5, tokens=(200, 180, 20), calls=4),
    Step(unit="c", arm="baseline", at=300, session="s4", cost=0.6, tokens=(100, 80, 40)),
    Step(
        unit="c", arm="baseline", at=330, session="s4", cost=None, outcome="error", error="provider_5xx",
    ),
)  # fmt: skip
BY_HAND = {
    "session_cost": (0.7 / 2, 1.4 / 2),
    "session_exchanges": (4 / 3, 4 / 2),
    "session_length_s": (60 / 2, 230 / 2),
    "session_tokens": (485 / 2, 580 / 2),
    "session_tool_calls": (3 / 3, 5 / 2),
    "session_faults": (1 / 3, 0 / 2),
    "session_abandoned": (1 / 3, 1 / 2),
    "session_cache_hits": (300 / 450, 440 / 500),
}
"""The candidate's and the baseline's."""


def _stored(totals: UnitTotals) -> Sample:
    recorded = [step.recorded for step in STEPS]
    for table, rows in ((unit_days, sums.unit_days(recorded)), (sessions, sums.sessions(recorded))):
        names = table.columns.keys()
        totals.connection.execute(sa.insert(table), [dict(zip(names, row, strict=True)) for row in rows])
    return from_store(totals.connection, "c", metrics=list(BY_HAND))


def _logged(folder: Path) -> Sample:
    log = folder / "log.csv"
    log.write_text("\n".join([HEADER, *(step.line for step in STEPS)]))
    return from_csv(log)


def _values(sample: Sample, metric: str) -> tuple[float, float]:
    observed = observe(sample, metric, BUILT_IN, now=AT + 1e6)
    both = arms(observed.sums(sample, observed.total))
    return both.candidate.value, both.baseline.value


def test_sessions_are_measured_as_by_hand(unit_totals: UnitTotals) -> None:
    sample = _stored(unit_totals)
    found = {metric: _values(sample, metric) for metric in BY_HAND}
    assert found == {metric: pytest.approx(values) for metric, values in BY_HAND.items()}


def test_a_log_with_sessions_tells_the_same(tmp_path: Path) -> None:
    sample = _logged(tmp_path)
    found = {metric: _values(sample, metric) for metric in BY_HAND}
    assert found == {metric: pytest.approx(values) for metric, values in BY_HAND.items()}


def test_a_session_s_cost_is_open_while_prices_are_unknown(tmp_path: Path) -> None:
    lines = [f"u{n},{'candidate' if n % 2 else 'baseline'},{AT + n},s{n},,provider_5xx" for n in range(8)]
    more = [
        f"u{n},{'candidate' if n % 2 else 'baseline'},{AT + 90 + n},s{n},{n % 2 or ''}," for n in range(8)
    ]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["unit,arm,at,session,cost_usd,error_type", *lines, *more]))
    sample = from_csv(log)
    bound = parse_bound("<= 1.2x baseline")
    row = Criterion(metric="session_cost", acceptable=bound, ideal=bound, weight=1, question="")
    observed = observe(sample, "session_cost", BUILT_IN, now=AT + 1e6)
    assert sample.candidate[observed.row].all() and np.all(observed.count == 1)
    assert condition(row, sample, observed, BUILT_IN, enough=True) is not None
