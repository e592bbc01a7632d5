"""Runs simulated traffic through the real guardrails, to measure delay and false alarms.

Pure: a scenario and a seed in, a detection out. `Watch` and `step` run as in the server; only the traffic is
synthetic. Times are seconds from the start. The traffic has no feedback and no tags, so rules about those see
nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from alerts.guardrails import Watch
from alerts.incident import Incident, step
from alerts.notice import Notice
from alerts.rule import DEFAULT_RULES, Rule
from alerts.scenario import Scenario
from alerts.selection import MINUTE_S
from alerts.simulated_traffic import EPOCH, NAME, Record, records
from records.outcome import Outcome

CALM_JUDGE_S = 60.0
"""Seconds between judgements before the fault. A rule convicts at the outcome itself, so rare judgements
delay the report of a decision, not the decision."""
WORKER = ("", 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What the guardrails did. `rolled_back_by` None: no rollback. `paged_at_s` None: no page.

    `candidate_outcomes` counts the candidate's outcomes (one per unit and minute, in the fault's category if
    it has one) between the fault and the rollback or the end, those in flight included; `outcomes_at_page`
    counts them up to the first page. `candidate_exchanges` counts all exchanges of the candidate.
    """

    rolled_back_by: str | None
    at_s: float
    candidate_outcomes: int
    candidate_exchanges: int
    notices: tuple[Notice, ...]
    paged_at_s: float | None = None
    outcomes_at_page: int | None = None

    @property
    def pages(self) -> int:
        """The number of pages."""
        return sum(notice.event == "page" for notice in self.notices)


def detect(scenario: Scenario, seed: int, rules: Sequence[Rule] = DEFAULT_RULES) -> Detection:
    """Run one scenario until its end or the rollback."""
    watch = Watch(NAME, rules)
    incident: Incident | None = None
    notices: list[Notice] = []
    faced: set[tuple[str, int]] = set()
    heard: set[str] = set()
    judged_at = 0.0
    rolled_back_by: str | None = None
    page: tuple[float, int] | None = None
    for now, record in records(scenario, seed):
        if isinstance(record, Outcome):
            watch.observe(record)
        else:
            watch.observe_in_flight(WORKER, record)
        if _of_fault(scenario, record):
            faced.add((record.unit, int(record.mono // MINUTE_S)))
            heard.add(record.exchange_id)
        if now - judged_at < _judge_each_s(scenario, now):
            continue
        judged_at = now
        statuses = watch.judge(now, routed=False)
        incident, new = step(incident, statuses, canary=NAME, run=1, now=EPOCH + now, rolled_back=False)
        notices += new
        if page is None and new:
            page = now, len(faced)
        rolled_back_by = next((status.key for status in statuses if status.action == "rollback"), None)
        if rolled_back_by is not None:
            break
    return Detection(
        rolled_back_by=rolled_back_by,
        at_s=judged_at,
        candidate_outcomes=len(faced),
        candidate_exchanges=len(heard),
        notices=tuple(notices),
        paged_at_s=page[0] if page else None,
        outcomes_at_page=page[1] if page else None,
    )


def _of_fault(scenario: Scenario, record: Record) -> bool:
    faulty = record.arm == "candidate" and record.mono >= scenario.fault_at_s
    return faulty and scenario.candidate.category in (None, record.category)


def _judge_each_s(scenario: Scenario, now: float) -> float:
    calm = now < scenario.fault_at_s
    return max(scenario.judge_each_s, CALM_JUDGE_S) if calm else scenario.judge_each_s
