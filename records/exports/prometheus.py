"""Every Prometheus family, for all workers together: fed with the spool's records, exposed by one collector.

Label values come only from the config and from closed sets, never from callers, providers or users.
docs/metrics.md describes the families. Counters, gauges and histograms are plain dicts: cheap to update,
easy to snapshot.
"""

import asyncio
import threading
from array import array
from base64 import b64decode, b64encode
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import product
from operator import attrgetter
from typing import Any, get_args

import structlog
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from records.errors import StoreDown
from records.facts.counts import MOST_LEFT, CallerCount
from records.facts.metric import Metric
from records.outcome import THROTTLED, ErrorType, Fault, Feedback, Finish, Heartbeat, Outcome, OutcomeName
from records.store import SpoolCounts
from routing.assign import Reason
from routing.canary import ArmName
from routing.lanes import part_of
from routing.states import StateName, States

log = structlog.get_logger()

READ_EVERY_S = 60.0
LOOK_EVERY_S = 1.0

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


Labels = tuple[str, ...]


class Tally:
    """A counter with labels."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str]) -> None:
        self.name, self.help_text, self.labels = name, help_text, tuple(labels)
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        """Add `amount`."""
        self.values[labels] = self.values.get(labels, 0.0) + amount

    def family(self) -> CounterMetricFamily:
        """As Prometheus shows it."""
        family = CounterMetricFamily(self.name.removesuffix("_total"), self.help_text, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family

    def snapshot(self) -> list[Any]:
        return [[*labels, value] for labels, value in self.values.items()]

    def restore(self, rows: Sequence[Sequence[Any]]) -> None:
        self.values = {tuple(row[:-1]): float(row[-1]) for row in rows if len(row) == len(self.labels) + 1}


def gauge(
    name: str, says: str, values: Iterable[tuple[Labels, float]], labels: Labels = ()
) -> GaugeMetricFamily:
    """A family of these values by their labels, as Prometheus shows it."""
    family = GaugeMetricFamily(name, says, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


class LabeledGauge:
    """A gauge with labels. Its values are replaced together and do not survive the process."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str]) -> None:
        self.name, self.help_text, self.labels = name, help_text, tuple(labels)
        self.values: dict[Labels, float] = {}

    def family(self) -> GaugeMetricFamily:
        """As Prometheus shows it."""
        return gauge(self.name, self.help_text, self.values.items(), self.labels)


class Histogram:
    """A histogram with labels. `bounds` are the upper bounds of the buckets, ascending, without +Inf."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.name, self.help_text, self.labels = name, help_text, tuple(labels)
        self.bounds = tuple(bounds)
        self._texts = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self.values: dict[Labels, list[float]] = {}  # one count per bucket, then the sum

    def observe(self, labels: Labels, values: Sequence[float]) -> None:
        """Count these values."""
        if not values:
            return
        cells, bounds = self.values.get(labels), self.bounds
        if cells is None:
            cells = self.values[labels] = [0.0] * (len(bounds) + 2)
        for value in values:
            cells[bisect_left(bounds, value)] += 1.0
        cells[-1] += sum(values)

    def family(self) -> HistogramMetricFamily:
        """Return the Prometheus family, with cumulative buckets."""
        family = HistogramMetricFamily(self.name, self.help_text, labels=self.labels)
        for labels, cells in self.values.items():
            total, buckets = 0.0, []
            for text, count in zip(self._texts, cells[:-1], strict=True):
                total += count
                buckets.append((text, total))
            family.add_metric(labels, buckets, sum_value=cells[-1])
        return family

    def snapshot(self) -> list[Any]:
        return [[*labels, cells] for labels, cells in self.values.items()]

    def restore(self, rows: Sequence[Sequence[Any]]) -> None:
        width = len(self.bounds) + 2
        fitting = (row for row in rows if len(row) == len(self.labels) + 1 and len(row[-1]) == width)
        self.values = {tuple(row[:-1]): [float(cell) for cell in row[-1]] for row in fitting}


class CallerTally(Tally):
    """Requests by caller and outcome, of names that are or were in the config. Those that left are not
    shown, and are kept, so that a counter does not fall when they come back."""

    def __init__(self) -> None:
        super().__init__(
            "canary_caller_requests_total", "Requests by caller and outcome", ("caller", "outcome")
        )
        self._shown: frozenset[str] = frozenset()

    def show(self, callers: frozenset[str]) -> None:
        """Show these callers, from 0 those that are new."""
        self._shown = callers
        gone = list(dict.fromkeys(caller for caller, _ in self.values if caller not in callers))
        for key in product(gone[: max(0, len(gone) - MOST_LEFT)], get_args(OutcomeName)):
            self.values.pop(key, None)
        for key in product(callers, get_args(OutcomeName)):
            self.add(key, 0.0)

    def count(self, counts: Iterable[CallerCount]) -> None:
        """Count requests; those of unknown names are left out."""
        for each in counts:
            if (key := (each.caller, each.outcome)) in self.values:
                self.add(key, each.requests)

    def family(self) -> CounterMetricFamily:
        """As Prometheus shows it."""
        shown = Tally(self.name, self.help_text, self.labels)
        shown.values = {key: value for key, value in self.values.items() if key[0] in self._shown}
        return shown.family()


class HeardFeedback:
    """The newest values of the last 20,000 feedback keys, to tell a correction from a further value."""

    def __init__(self) -> None:
        self._values: dict[int, float] = {}

    def hear(self, feedback: Feedback) -> float | None:
        """Remember a value. Returns the one that it replaces, None for the key's first."""
        named = f"{feedback.key}\0{feedback.metric}".encode()
        key = int.from_bytes(blake2b(named, digest_size=8).digest(), "big")
        before = self._values.pop(key, None)
        self._values[key] = feedback.value
        if len(self._values) > REMEMBERED_FEEDBACK:
            del self._values[next(iter(self._values))]
        return before

    def snapshot(self) -> dict[str, str]:
        """The keys and values as JSON values."""
        keys, values = array("Q", self._values).tobytes(), array("d", self._values.values()).tobytes()
        return {"keys": b64encode(keys).decode(), "values": b64encode(values).decode()}

    def restore(self, snapshot: Mapping[str, str]) -> None:
        """Replace the memory by a snapshot's."""
        keys, values = array("Q"), array("d")
        keys.frombytes(b64decode(snapshot.get("keys", "")))
        values.frombytes(b64decode(snapshot.get("values", "")))
        self._values = dict(zip(keys, values, strict=True))


SESSIONS: Mapping[str, tuple[str, str]] = {
    "begun": ("canary_session_begun", "Sessions of the run"),
    "open": ("canary_session_open", "Sessions that are not over"),
    "cost_usd": ("canary_session_cost_usd", "Cost of a session in US dollars"),
    "exchanges": ("canary_session_exchanges", "Exchanges of a session"),
    "length_s": ("canary_session_length_seconds", "Length of a session"),
    "tokens": ("canary_session_tokens", "Tokens of a session"),
    "tool_calls": ("canary_session_tool_calls", "Tool calls of a session"),
    "faults": ("canary_session_faults_ratio", "Share of sessions with an answer fault"),
    "abandoned": ("canary_session_abandoned_ratio", "Share of sessions that were left or ended in an error"),
    "cache_hits": ("canary_session_cache_hits_ratio", "Cached tokens of all input tokens of sessions"),
}
"""The family and the help text of each figure of an arm's sessions."""

_REASONS = frozenset(get_args(Reason))
_STATES: tuple[str, ...] = get_args(StateName)
_ONE, _ARM = ("canary",), ("canary", "arm")

_COST_USD, _OVERHEAD_S, _LATENCY_S, _TTFT_S, _PER_TOKEN_S = map(
    attrgetter, ("cost_usd", "overhead_s", "latency_s", "ttft_s", "per_token_s")
)
_TOKENS = [
    (kind, attrgetter(f"usage.{kind}_tokens")) for kind in ("input", "cached_input", "output", "reasoning")
]


class Meters(Collector):
    """The families and the methods that feed them. Thread-safe.

    `canaries`, `feedback_metrics` and `callers` are the names in the config. `mono` reads CLOCK_MONOTONIC in
    seconds; a worker whose last heartbeat is older than 5 s no longer counts requests in flight.
    """

    def __init__(
        self,
        *,
        canaries: Iterable[str],
        feedback_metrics: Iterable[str],
        callers: Iterable[str] = (),
        mono: Callable[[], float],
    ) -> None:
        self._lock = threading.Lock()
        self._mono = mono
        self._workers: dict[tuple[int, int], Heartbeat] = {}
        self._heard = HeardFeedback()
        self._requests = Tally("canary_requests_total", "Exchanges by outcome", (*_ARM, "outcome"))
        self._errors = Tally("canary_errors_total", "Failed exchanges by error type", (*_ARM, "error_type"))
        self._throttled = Tally("canary_throttled_requests_total", "Requests over the provider's quota", _ARM)
        self._answers = Tally("canary_answers_total", "Answers by how they ended", (*_ARM, "finish"))
        self._faults = Tally("canary_answer_faults_total", "Answers by answer fault", (*_ARM, "fault"))
        self._not_judged = Tally(
            "canary_answers_not_judged_total", "Answers whose tool calls or JSON could not be checked", _ARM
        )
        self._tokens = Tally("canary_tokens_total", "Tokens by kind", (*_ARM, "kind"))
        self._cost = Tally("canary_cost_usd_total", "Cost in US dollars of priced exchanges", _ARM)
        self._unpriced = Tally("canary_unpriced_requests_total", "Answered exchanges without a price", _ARM)
        self._feedback = Tally("canary_feedback_total", "Feedback values", (*_ARM, "metric"))
        self._assignments = Tally("canary_assignments_total", "Assignments by reason", (*_ARM, "reason"))
        self._fallbacks = Tally("canary_fallbacks_total", "Fallbacks to the baseline", ("canary", "reason"))
        self._rollbacks = Tally("canary_rollbacks_total", "Rollbacks by rule", ("canary", "rule"))
        self._pages = Tally("canary_pages_total", "Pages of incidents", _ONE)
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
        self._share = LabeledGauge("canary_share_ratio", "The candidate's share of the units", _ONE)
        self._lane = LabeledGauge("canary_lane_ratio", "The part of the units that the canary takes", _ONE)
        kept = "The units that keep the baseline after a promotion; absent without a hold-back"
        self._holdback = LabeledGauge("canary_holdback_ratio", kept, _ONE)
        self._state = LabeledGauge("canary_state", "1 for the current state, 0 for others", (*_ONE, "state"))
        self._guardrails = LabeledGauge("canary_guardrail_state", "See docs/metrics.md", ("canary", "rule"))
        self._metrics = LabeledGauge("canary_metric_info", "1; a feedback metric", ("metric", "kind", "per"))
        self._sessions = {name: LabeledGauge(*said, _ARM) for name, said in SESSIONS.items()}
        self._spooled = LabeledGauge("canary_records_spooled", "Records waiting to be stored", ())
        self._room = LabeledGauge("canary_spool_room_bytes", "Room left for records", ())
        self._calls = CallerTally()
        self.configure(canaries=canaries, feedback_metrics=feedback_metrics, callers=callers)

    def configure(
        self, *, canaries: Iterable[str], feedback_metrics: Iterable[str], callers: Iterable[str] = ()
    ) -> None:
        """Take the names from a reloaded config."""
        with self._lock:
            self._canaries = frozenset(canaries)
            self._feedback_metrics = frozenset(feedback_metrics)
            self._callers = frozenset(callers)
            self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Create the series at 0: Prometheus does not see an increase in a series that starts at 1."""
        counted = (
            (self._requests, OutcomeName),
            (self._errors, ErrorType),
            (self._answers, Finish),
            (self._faults, Fault),
        )
        self._errors.add(("", "", "lost_outcome"), 0.0)
        self._calls.show(self._callers)
        for canary in self._canaries:
            self._pages.add((canary,), 0.0)
        for arm in product(self._canaries, get_args(ArmName)):
            self._unpriced.add(arm, 0.0)
            self._throttled.add(arm, 0.0)
            self._not_judged.add(arm, 0.0)
            for tally, kinds in counted:
                for kind in get_args(kinds):
                    tally.add((*arm, kind), 0.0)

    def observe(self, *alike: Outcome) -> None:
        """Count exchanges that are alike (`records.facts.counts`), mirror copies in families of their own."""
        with self._lock:
            self._observe(alike[0], alike)

    def _observe(self, one: Outcome, group: Sequence[Outcome]) -> None:
        canary = one.canary if one.canary in self._canaries else ""
        if one.mirror:
            self._observe_copies(one, group, canary)
            return
        arm, count = (canary, one.arm), float(len(group))
        self._requests.add((*arm, one.outcome), count)
        if one.error_type is not None:
            self._errors.add((*arm, one.error_type), count)
            if one.error_type == THROTTLED:
                self._throttled.add(arm, count)
        if (canary or one.reason in ("no_lane", "standing")) and one.reason in _REASONS:
            self._assignments.add((*arm, one.reason), count)
        if one.outcome == "fallback":
            self._fallbacks.add((canary, one.error_type or ""), count)
        if one.finish is not None:
            self._answers.add((*arm, one.finish), count)
        for fault in one.faults:
            self._faults.add((*arm, fault), count)
        if one.output_check == "not_judged":
            self._not_judged.add(arm, count)
        self._observe_times(one, group, arm)
        self._observe_usage(one, group, arm)

    def observe_feedback(self, feedback: Feedback) -> None:
        """Count one value. A correction, that is a key among the last 20,000, is not counted again."""
        canary = feedback.canary if feedback.canary in self._canaries else ""
        metric = feedback.metric if feedback.metric in self._feedback_metrics else ""
        labels = (canary, feedback.arm or "", metric)
        with self._lock:
            if self._heard.hear(feedback) is None:
                self._feedback.add(labels)
                self._feedback_sum.add(labels, feedback.value)

    def count_callers(self, counts: Iterable[CallerCount]) -> None:
        """Count the requests of the callers that are or were in the config."""
        with self._lock:
            self._calls.count(counts)

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

    def set_states(self, in_force: States) -> None:
        """Expose the shares, lanes and names of these states."""
        states = in_force.states.items()
        shares: dict[Labels, float] = {(name,): state.effective_share for name, state in states}
        lanes: dict[Labels, float] = {(name,): part_of(state) for name, state in states}
        held: dict[Labels, float] = {(name,): 1.0 - state.share for name, state in states if state.holds_back}
        shown: dict[Labels, float] = {
            (name, label): float(label == state.state) for name, state in states for label in _STATES
        }
        with self._lock:
            self._holdback.values = held
            self._share.values, self._lane.values, self._state.values = shares, lanes, shown

    def set_guardrails(self, states: Mapping[tuple[str, str], str]) -> None:
        """Replace the states by (canary, rule). A state is a key of GUARDRAIL_VALUES."""
        shown: dict[Labels, float] = {key: GUARDRAIL_VALUES[state] for key, state in states.items()}
        with self._lock:
            self._guardrails.values = shown

    def set_sessions(self, figures: Mapping[Labels, Mapping[str, float | None]]) -> None:
        """Replace the figures of the sessions by (canary, arm). One that is not known is not shown."""
        with self._lock:
            for name, gauge in self._sessions.items():
                known = {labels: each.get(name) for labels, each in figures.items()}
                gauge.values = {labels: float(value) for labels, value in known.items() if value is not None}

    def count_rollback(self, canary: str, rule: str) -> None:
        """Count a rollback by this rule, or by `manual`."""
        with self._lock:
            self._rollbacks.add((canary, rule))

    def count_page(self, canary: str) -> None:
        """Count a page of an incident of this canary."""
        with self._lock:
            self._pages.add((canary,))

    def set_metrics(self, metrics: Mapping[str, Metric]) -> None:
        """Say what these metrics are about; a cost has no values."""
        reported = (each for each in metrics.values() if not each.cost_per)
        with self._lock:
            self._metrics.values = {(each.name, each.kind, each.per): 1.0 for each in reported}

    def set_room(self, room_bytes: int) -> None:
        """Expose how much the spool still takes."""
        with self._lock:
            self._room.values = {(): float(room_bytes)}

    def set_records(self, totals: SpoolCounts, spooled: int) -> None:
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
            of_states = (self._share, self._lane, self._holdback, self._state)
            levels = (
                *of_states,
                self._guardrails,
                self._metrics,
                *self._sessions.values(),
                self._spooled,
                self._room,
                *self._worker_levels(),
            )
            families: list[Family] = [meter.family() for meter in (*counters, *levels)]
            families.append(self._feedback_values())
        yield from families

    def snapshot(self) -> dict[str, Any]:
        """Return the totals as JSON values, to be saved with the cursors of the reader that fed them."""
        with self._lock:
            totals = {name: meter.snapshot() for name, meter in self._counters().items()}
            return {"families": totals, "feedback_heard": self._heard.snapshot()}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Restore a snapshot's totals. Families whose labels or buckets have changed start at 0."""
        with self._lock:
            for name, meter in self._counters().items():
                meter.restore(snapshot["families"].get(name, ()))
            self._begin_at_zero()
            self._heard.restore(snapshot.get("feedback_heard", {}))

    def _counters(self) -> dict[str, Tally | Histogram]:
        """The meters that survive restarts, by name."""
        counters = (meter for meter in vars(self).values() if isinstance(meter, Tally | Histogram))
        return {meter.name: meter for meter in counters}

    def _observe_copies(self, one: Outcome, group: Sequence[Outcome], canary: str) -> None:
        self._copies.add((canary, one.outcome), len(group))
        if one.error_type is not None:
            self._copy_errors.add((canary, one.error_type), len(group))
        if costs_usd := _known(_COST_USD, group):
            self._copy_cost.add((canary,), sum(costs_usd))

    def _observe_times(self, one: Outcome, group: Sequence[Outcome], arm: Labels) -> None:
        self._overhead.observe((), _known(_OVERHEAD_S, group))
        if one.outcome in ("aborted", "shed"):
            return  # these were cut short, so their times do not measure the model
        self._duration.observe(arm, _known(_LATENCY_S, group))
        self._ttft.observe(arm, _known(_TTFT_S, group))
        self._tpot.observe(arm, _known(_PER_TOKEN_S, [each for each in group if each.ttft_s is not None]))

    def _observe_usage(self, one: Outcome, group: Sequence[Outcome], arm: Labels) -> None:
        for kind, tokens in _TOKENS:
            if counts := _known(tokens, group):
                self._tokens.add((*arm, kind), sum(counts))
        if costs_usd := _known(_COST_USD, group):
            self._cost.add(arm, sum(costs_usd))
        if one.outcome in ("ok", "fallback"):
            unpriced = sum(
                each.cost_usd is None and (arm[0] != "" or each.usage.output_tokens is not None)
                for each in group
            )
            if unpriced:
                self._unpriced.add(arm, unpriced)

    def _feedback_values(self) -> SummaryMetricFamily:
        help_text, labels = "Feedback values without corrections", self._feedback.labels
        family = SummaryMetricFamily("canary_feedback_value", help_text, labels=labels)
        for key, count in self._feedback.values.items():
            family.add_metric(key, count_value=int(count), sum_value=self._feedback_sum.values[key])
        return family

    def _worker_levels(self) -> tuple[LabeledGauge, LabeledGauge]:
        """Requests in flight and open breakers, from the latest heartbeats of live workers."""
        oldest = self._mono() - SILENT_AFTER_S
        self._workers = {worker: beat for worker, beat in self._workers.items() if beat.mono >= oldest}
        beats = self._workers.values()
        inflight = LabeledGauge("canary_inflight_requests", "Requests being served", ())
        inflight.values[()] = float(sum(beat.started - beat.finished for beat in beats))
        breakers = LabeledGauge("canary_breaker_open", "Workers whose breaker is open", ("canary",))
        for canary in self._canaries:
            breakers.values[(canary,)] = float(sum(canary in beat.breakers_open for beat in beats))
        return inflight, breakers


def _known(value_of: Callable[[Outcome], Any], group: Iterable[Outcome]) -> list[float]:
    """The values that are known of these outcomes."""
    return [value for value in map(value_of, group) if value is not None]


async def after_scrapes(
    scraped: asyncio.Event, leads: Callable[[], bool], read: Callable[[], Awaitable[None]], event: str
) -> None:
    """Await `read` after `scraped` was set, without end. What cannot be read changes nothing; the log says
    `event`."""
    while True:
        await scraped.wait()
        if not leads():
            await asyncio.sleep(LOOK_EVERY_S)
            continue
        scraped.clear()
        try:
            await read()
        except (StoreDown, ValueError, LookupError, TypeError) as problem:
            log.error(event, problem=repr(problem))
        await asyncio.sleep(READ_EVERY_S)
