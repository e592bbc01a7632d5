"""Every Prometheus family, for all workers together: fed with the spool's records, exposed by one collector.

Label values come only from the config and from closed sets, never from callers, providers or users.
docs/metrics.md describes the families.
"""

import threading
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import product
from typing import Any, get_args

from prometheus_client.core import Metric as Family
from prometheus_client.core import SummaryMetricFamily
from prometheus_client.registry import Collector

from records.outcome import ErrorType, Fault, Feedback, Finish, Heartbeat, Outcome, OutcomeName
from records.store import RecordTotals
from records.tally import Histogram, Labels, Level, Tally
from routing.assign import Reason
from routing.canary import ArmName
from routing.plan import Plan, StateName

LLM_BOUNDS = tuple(0.01 * 2**k for k in range(17))
"""Seconds, .01 to 655.36: the longest answers take ten minutes."""

TOKEN_BOUNDS = tuple(0.00125 * 2**k for k in range(20))
"""Seconds per token, .00125 to 655.36."""

OVERHEAD_BOUNDS = tuple(0.0001 * 2**k for k in range(17))
"""Seconds, .0001 to 6.55."""

GUARDRAIL_VALUES: Mapping[str, float] = {
    "not_applicable": -2.0,
    "not_enough_data": -1.0,
    "ok": 0.0,
    "warn": 1.0,
    "firing": 2.0,
    "latched": 3.0,
}
SILENT_AFTER_S = 5.0
REMEMBERED_FEEDBACK = 20_000

_REASONS = frozenset(get_args(Reason))
_STATES: tuple[str, ...] = get_args(StateName)
_ONE, _ARM = ("canary",), ("canary", "arm")


class Meters(Collector):
    """The families and the methods that feed them. Thread-safe.

    `canaries` and `feedback_metrics` are the names in the config. `mono` reads CLOCK_MONOTONIC in seconds; a
    worker whose last heartbeat is older than 5 s no longer counts requests in flight.
    """

    def __init__(
        self, *, canaries: Iterable[str], feedback_metrics: Iterable[str], mono: Callable[[], float]
    ) -> None:
        self._lock = threading.Lock()
        self._mono = mono
        self._workers: dict[tuple[int, int], Heartbeat] = {}
        self._seen: dict[int, None] = {}
        self._requests = Tally("canary_requests_total", "Exchanges by outcome", (*_ARM, "outcome"))
        self._errors = Tally("canary_errors_total", "Failed exchanges by error type", (*_ARM, "error_type"))
        self._answers = Tally("canary_answers_total", "Answers by how they ended", (*_ARM, "finish"))
        self._faults = Tally("canary_answer_faults_total", "Answers by answer fault", (*_ARM, "fault"))
        self._tokens = Tally("canary_tokens_total", "Tokens by kind", (*_ARM, "kind"))
        self._cost = Tally("canary_cost_usd_total", "Cost in US dollars of priced exchanges", _ARM)
        self._unpriced = Tally("canary_unpriced_requests_total", "Answered exchanges without a price", _ARM)
        self._feedback = Tally("canary_feedback_total", "Feedback values", (*_ARM, "metric"))
        self._assignments = Tally("canary_assignments_total", "Assignments by reason", (*_ARM, "reason"))
        self._fallbacks = Tally("canary_fallbacks_total", "Fallbacks to the baseline", ("canary", "reason"))
        self._rollbacks = Tally("canary_rollbacks_total", "Rollbacks by rule", ("canary", "rule"))
        self._records = Tally("canary_records_total", "Records by state", ("state",))
        self._feedback_sum = Tally("canary_feedback_value_sum", "Sum of feedback values", (*_ARM, "metric"))
        self._copies = Tally("canary_mirror_requests_total", "Mirror copies by outcome", (*_ONE, "outcome"))
        self._copy_errors = Tally("canary_mirror_errors_total", "Failed mirror copies", (*_ONE, "error_type"))
        self._copy_cost = Tally("canary_mirror_cost_usd_total", "Dollars of priced mirror copies", _ONE)
        self._copies_dropped = Tally("canary_mirror_dropped_total", "Dropped mirror copies", _ONE)
        self._duration = Histogram(
            "canary_request_duration_seconds",
            "Last byte of the request to last byte of the answer",
            _ARM,
            LLM_BOUNDS,
        )
        self._ttft = Histogram(
            "canary_time_to_first_token_seconds", "Time to the first token", _ARM, LLM_BOUNDS
        )
        self._tpot = Histogram(
            "canary_time_per_output_token_seconds", "Time per token after the first", _ARM, TOKEN_BOUNDS
        )
        self._overhead = Histogram(
            "canary_proxy_overhead_seconds", "Time added by the proxy", (), OVERHEAD_BOUNDS
        )
        self._share = Level("canary_share_ratio", "The candidate's share of the units", ("canary",))
        self._state = Level("canary_state", "1 for the current state, 0 for others", ("canary", "state"))
        self._guardrails = Level("canary_guardrail_state", "See docs/metrics.md", ("canary", "rule"))
        self._spooled = Level("canary_records_spooled", "Records waiting to be stored", ())
        self.configure(canaries=canaries, feedback_metrics=feedback_metrics)

    def configure(self, *, canaries: Iterable[str], feedback_metrics: Iterable[str]) -> None:
        """Take the names from a reloaded config."""
        with self._lock:
            self._canaries = frozenset(canaries)
            self._feedback_metrics = frozenset(feedback_metrics)
            self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Create the series at 0: Prometheus does not see an increase in a series that starts at 1."""
        self._errors.add(("", "", "lost_outcome"), 0.0)
        for arm in product(self._canaries, get_args(ArmName)):
            self._unpriced.add(arm, 0.0)
            for outcome in get_args(OutcomeName):
                self._requests.add((*arm, outcome), 0.0)
            for error_type in get_args(ErrorType):
                self._errors.add((*arm, error_type), 0.0)
            for finish in get_args(Finish):
                self._answers.add((*arm, finish), 0.0)
            for fault in get_args(Fault):
                self._faults.add((*arm, fault), 0.0)

    def observe(self, outcome: Outcome) -> None:
        """Count one exchange. A mirror copy counts in families of its own."""
        canary = outcome.canary if outcome.canary in self._canaries else ""
        with self._lock:
            if outcome.mirror:
                self._observe_copy(outcome, canary)
                return
            arm = (canary, outcome.arm)
            self._requests.add((*arm, outcome.outcome))
            if outcome.error_type is not None:
                self._errors.add((*arm, outcome.error_type))
            if canary and outcome.reason in _REASONS:
                self._assignments.add((*arm, outcome.reason))
            if outcome.outcome == "fallback":
                self._fallbacks.add((canary, outcome.error_type or ""))
            if outcome.finish is not None:
                self._observe_answer(outcome, arm)
            self._observe_times(outcome, arm)
            self._observe_usage(outcome, arm)

    def observe_feedback(self, feedback: Feedback) -> None:
        """Count one value. A correction, that is a key among the last 20,000, is not counted again."""
        key = int.from_bytes(blake2b(feedback.key.encode(), digest_size=8).digest(), "big")
        canary = feedback.canary if feedback.canary in self._canaries else ""
        metric = feedback.metric if feedback.metric in self._feedback_metrics else ""
        labels = (canary, feedback.arm or "", metric)
        with self._lock:
            if key in self._seen:
                return
            self._seen[key] = None
            if len(self._seen) > REMEMBERED_FEEDBACK:
                del self._seen[next(iter(self._seen))]
            self._feedback.add(labels)
            self._feedback_sum.add(labels, feedback.value)

    def beat(self, heartbeat: Heartbeat) -> None:
        """Take a worker's heartbeat, once each; a closing heartbeat removes the worker."""
        worker = (heartbeat.worker, heartbeat.pid)
        with self._lock:
            for canary, count in heartbeat.mirrors_dropped.items():
                self._copies_dropped.add((canary if canary in self._canaries else "",), count)
            if heartbeat.closing:
                self._workers.pop(worker, None)
            else:
                self._workers[worker] = heartbeat

    def lose(self, count: int) -> None:
        """Count exchanges lost by a dead worker. Their canary and arm are unknown."""
        if count:
            with self._lock:
                self._errors.add(("", "", "lost_outcome"), count)

    def set_plan(self, plan: Plan) -> None:
        """Expose the shares and states of this plan."""
        states = plan.states.items()
        shares: dict[Labels, float] = {(name,): state.effective_share for name, state in states}
        shown: dict[Labels, float] = {
            (name, label): float(label == state.state) for name, state in states for label in _STATES
        }
        with self._lock:
            self._share.values, self._state.values = shares, shown

    def set_guardrails(self, states: Mapping[tuple[str, str], str]) -> None:
        """Replace the states by (canary, rule). A state is a key of GUARDRAIL_VALUES."""
        shown: dict[Labels, float] = {key: GUARDRAIL_VALUES[state] for key, state in states.items()}
        with self._lock:
            self._guardrails.values = shown

    def count_rollback(self, canary: str, rule: str) -> None:
        """Count a rollback by this rule, or by `manual`."""
        with self._lock:
            self._rollbacks.add((canary, rule))

    def set_records(self, totals: RecordTotals, spooled: int) -> None:
        """Expose the record counts. accepted = stored + dropped + spooled, and never falls."""
        accepted = max(totals.accepted + spooled, self._records.values.get(("accepted",), 0.0))
        with self._lock:
            self._spooled.values = {(): float(spooled)}
            self._records.values = {
                ("accepted",): float(accepted),
                ("stored",): float(totals.stored),
                ("dropped",): float(totals.dropped),
                ("quarantined",): float(totals.quarantined),
            }

    def collect(self) -> Iterator[Family]:
        """Yield every family to prometheus-client."""
        with self._lock:
            counters = [meter for meter in self._counters().values() if meter is not self._feedback_sum]
            levels = (self._share, self._state, self._guardrails, self._spooled, *self._worker_levels())
            families: list[Family] = [meter.family() for meter in (*counters, *levels)]
            families.append(self._feedback_values())
        yield from families

    def snapshot(self) -> dict[str, Any]:
        """Return the totals as JSON values, to be saved with the cursors of the reader that fed them."""
        with self._lock:
            totals = {name: meter.snapshot() for name, meter in self._counters().items()}
            return {"families": totals, "feedback_seen": b64encode(array("Q", self._seen).tobytes()).decode()}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Restore a snapshot's totals. Families whose labels or buckets have changed start at 0."""
        with self._lock:
            for name, meter in self._counters().items():
                meter.restore(snapshot["families"].get(name, ()))
            self._begin_at_zero()
            seen = array("Q")
            seen.frombytes(b64decode(snapshot["feedback_seen"]))
            self._seen = dict.fromkeys(seen)

    def _counters(self) -> dict[str, Tally | Histogram]:
        """The meters that survive restarts, by name."""
        counters = (meter for meter in vars(self).values() if isinstance(meter, Tally | Histogram))
        return {meter.name: meter for meter in counters}

    def _observe_copy(self, outcome: Outcome, canary: str) -> None:
        self._copies.add((canary, outcome.outcome))
        if outcome.error_type is not None:
            self._copy_errors.add((canary, outcome.error_type))
        if outcome.cost_usd is not None:
            self._copy_cost.add((canary,), outcome.cost_usd)

    def _observe_answer(self, outcome: Outcome, arm: Labels) -> None:
        self._answers.add((*arm, outcome.finish or ""))
        for fault in outcome.faults:
            self._faults.add((*arm, fault))

    def _observe_times(self, outcome: Outcome, arm: Labels) -> None:
        if outcome.overhead_s is not None:
            self._overhead.observe((), outcome.overhead_s)
        if outcome.outcome in ("aborted", "shed"):
            return  # these were cut short, so their times do not measure the model
        if outcome.latency_s is not None:
            self._duration.observe(arm, outcome.latency_s)
        if outcome.ttft_s is not None:
            self._ttft.observe(arm, outcome.ttft_s)
        if (per_token_s := outcome.per_token_s) is not None:
            self._tpot.observe(arm, per_token_s)

    def _observe_usage(self, outcome: Outcome, arm: Labels) -> None:
        usage, add = outcome.usage, self._tokens.add
        if usage.input_tokens is not None:
            add((*arm, "input"), usage.input_tokens)
        if usage.cached_input_tokens is not None:
            add((*arm, "cached_input"), usage.cached_input_tokens)
        if usage.output_tokens is not None:
            add((*arm, "output"), usage.output_tokens)
        if usage.reasoning_tokens is not None:
            add((*arm, "reasoning"), usage.reasoning_tokens)
        if outcome.cost_usd is not None:
            self._cost.add(arm, outcome.cost_usd)
        elif outcome.outcome in ("ok", "fallback") and (arm[0] or usage.output_tokens is not None):
            self._unpriced.add(arm)

    def _feedback_values(self) -> SummaryMetricFamily:
        help_text, labels = "Feedback values without corrections", self._feedback.labels
        family = SummaryMetricFamily("canary_feedback_value", help_text, labels=labels)
        for key, count in self._feedback.values.items():
            family.add_metric(key, count_value=int(count), sum_value=self._feedback_sum.values[key])
        return family

    def _worker_levels(self) -> tuple[Level, Level]:
        """Requests in flight and open breakers, from the latest heartbeats of live workers."""
        oldest = self._mono() - SILENT_AFTER_S
        self._workers = {worker: beat for worker, beat in self._workers.items() if beat.mono >= oldest}
        beats = self._workers.values()
        inflight = Level("canary_inflight_requests", "Requests being served", ())
        inflight.values[()] = float(sum(beat.started - beat.finished for beat in beats))
        breakers = Level("canary_breaker_open", "Workers whose breaker is open", ("canary",))
        for canary in self._canaries:
            breakers.values[(canary,)] = float(sum(canary in beat.breakers_open for beat in beats))
        return inflight, breakers
