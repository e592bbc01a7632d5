"""`latency_p95` and `latency_vs_baseline`: too many of the candidate's exchanges are slower than a bound.

An exchange is judged once its bound has passed since its start, whether or not it has ended: one that still
runs is slow. So neither a caller who leaves nor a candidate that never answers hides a slow exchange, and a
fast exchange does not count sooner than a slow one that started with it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from alerts.evidence.counts import RuleCounts
from alerts.evidence.exchanges import ExchangeTime, FirstStartedExchanges, GuardrailSample
from alerts.evidence.statistics import MINIMUM_UNITS, PAGE_CUSUM, Window
from alerts.rules.failures import AbsoluteRule, AbsoluteState, bad_of, share_of
from alerts.rules.rule import GuardrailStatus, Rule, decided
from common.numbers import percent, seconds, times
from records.outcome import IN_FLIGHT_AFTER_S

SLOW_SHARE = 0.05
"""A p95 is over its limit exactly when more than 5 % of the exchanges are slower than the limit."""
ARRIVAL_S = 0.5
"""The time that a record takes to arrive."""
HOUR_S = 3_600.0
FEWEST = 50
"""Baseline exchanges of an operation and kind, fewer of which give no p95."""
LEAST_EXTRA_S = 0.05
"""A smaller difference from the baseline's p95 is never slow: a p95 of 20 ms varies by as much."""
HELD = 5_000
HELD_S = 600.0
P95_EACH_S = 60.0


@dataclass(slots=True)
class LatencyState(AbsoluteState):
    """The state of a latency rule, JSON-able.

    `typical` holds the baseline's times of the last hour by operation and kind, `p95s` when their p95 was
    taken and what it was, `held` the exchanges that wait for a bound. `cut` holds how long those of the
    candidate's slow exchanges had taken that had not ended, or were given up; `over` are those of which
    nothing had come.
    `answered` holds those of them that have been answered since: they were slow, not silent.
    """

    first: FirstStartedExchanges = field(default_factory=FirstStartedExchanges)
    serial: int = 0
    typical: dict[str, Window] = field(default_factory=dict)
    p95s: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    held: list[ExchangeTime] = field(default_factory=list)
    cut: Window = field(default_factory=lambda: Window(None, binned=True))
    answered: Window = field(default_factory=lambda: Window(None))


class LatencyRule(AbsoluteRule):
    """The common part of both rules. More than 5 % of the candidate's exchanges may not be slow."""

    state: LatencyState

    def __init__(self, rule: Rule) -> None:
        state = LatencyState(
            candidate=Window(rule.window_s, binned=True),
            baseline=Window(rule.window_s, binned=True),
            cut=Window(rule.window_s, binned=True),
            answered=Window(rule.window_s),
        )
        super().__init__(rule, state, limit=SLOW_SHARE, least_units=MINIMUM_UNITS)

    def bound_s(self, exchange: ExchangeTime, now: float) -> float | None:
        """The seconds from which on the exchange is slow; None is unknown."""
        return self.rule.limit

    def measured_s(self, exchange: ExchangeTime) -> float | None:
        """The time that counts; None if it is unknown so far."""
        return exchange.latency_s

    def time(self, exchange: ExchangeTime, now: float) -> bool:
        """Take in one exchange. True when it is judged; an exchange in flight may have to come again."""
        bound_s = self.bound_s(exchange, now)
        sample = self._judged(exchange, bound_s) if bound_s is not None else None
        if sample is None:
            return False
        self._take([sample])
        return True

    def _take(self, judged: Sequence[GuardrailSample]) -> None:
        self.show(judged)
        for sample in judged:
            self.state.first.offer(sample)

    def _judged(self, exchange: ExchangeTime, bound_s: float) -> GuardrailSample | None:
        """The exchange with its time judged by the bound; None while it may still be fast."""
        measured_s = self.measured_s(exchange)
        if measured_s is None and exchange.waited_s <= bound_s:
            return None
        slow = measured_s is None or measured_s > bound_s
        state = self.state
        if exchange.candidate and slow and (measured_s is None or exchange.silent_s):
            nothing = exchange.ttft_s is None and not exchange.begun
            at, silent = exchange.started + bound_s, nothing or exchange.silent_s > 0
            state.cut.add(at, exchange.silent_s or exchange.waited_s, over=silent)
        state.serial += 1
        return GuardrailSample(
            exchange.started + max(bound_s, IN_FLIGHT_AFTER_S),
            state.serial,
            exchange.started,
            exchange.unit,
            exchange.candidate,
            exchange.share,
            slow,
            self.shown(exchange.waited_s if measured_s is None else measured_s, bound_s),
            None,
        )

    def shown(self, took_s: float, bound_s: float) -> float:
        """The value to show for an exchange that took so long, at least."""
        return took_s

    def numbers(self, now: float) -> dict[str, float]:
        """The figures behind the status. `cut`: the p95 is only a lower bound, because exchanges were judged
        before their end; `no_answer` of them had sent nothing within `no_answer_s`, and nothing since."""
        cut, whole = self.state.cut, self.state.candidate.count(now)
        silent = max(0, cut.over(now) - self.state.answered.count(now))
        if self.start is not None:
            silent = self.counts().after(self.start.before).silent
        shown = super().numbers(now)
        if cut.count(now) > SLOW_SHARE * whole:
            shown["cut"] = 1.0
        least_s = cut.quantile(0.0, now)
        return shown | ({"no_answer": float(silent), "no_answer_s": least_s} if silent and least_s else {})

    def counts(self) -> RuleCounts:
        """What it has counted in the run."""
        silent = max(0, self.state.cut.ever_over - self.state.answered.ever)
        return super().counts()._replace(silent=silent)

    def answer(self, ended: Iterable[ExchangeTime]) -> None:
        """Note the exchanges that counted while in flight, and that the candidate has answered since."""
        for each in ended:
            measured_s, bound_s = self.measured_s(each), self.bound_s(each, each.started)
            if each.candidate and not each.failed and measured_s is not None and bound_s is not None:
                self.state.answered.add(each.started + bound_s, measured_s)

    def finish(self, ended: Iterable[tuple[ExchangeTime, float]]) -> None:
        """Take in exchanges that have ended, and when they did."""
        judged = (self._judge_ended(exchange, at) for exchange, at in ended)
        self._take([sample for sample in judged if sample is not None])

    def _judge_ended(self, exchange: ExchangeTime, at: float) -> GuardrailSample | None:
        bound_s = self.bound_s(exchange, at)
        return self._judged(exchange, bound_s) if bound_s is not None else None

    def count(self, now: float) -> Iterator[GuardrailSample]:
        """Score the exchanges whose bound has passed by monotonic `now`. Yields each after scoring it."""
        for sample in self.state.first.release(now - ARRIVAL_S):
            self.score(sample)
            yield sample


class LatencyP95(LatencyRule):
    """The candidate's p95 latency is over `limit` seconds, and the baseline's is not.

    `minimum` counts exchanges. While the baseline itself is too slow, the rule does not apply and scores
    nothing. `compared`: a rule `latency_vs_baseline` watches the same traffic.
    """

    def __init__(self, rule: Rule, *, compared: bool = False) -> None:
        super().__init__(rule)
        self.compared = compared

    def adapted(self, baseline_share: float) -> float:
        """The limit; 1.0, which nothing exceeds, while the baseline's p95 is over it."""
        return 1.0 if baseline_share >= SLOW_SHARE else super().adapted(baseline_share)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        self.look(now)
        state = self.state
        baseline_slow = state.baseline.share_over(now)
        p95_s, numbers = state.candidate.quantile(0.95, now), self.numbers(now)
        cut_s = state.cut.quantile(0.0, now)
        if p95_s is not None and cut_s is not None and cut_s <= p95_s:
            numbers["cut"] = 1.0
        status = decided(
            self.rule,
            applicable=baseline_slow is None or baseline_slow <= SLOW_SHARE,
            enough=state.candidate.count(now) >= self.rule.minimum,
            over=(state.candidate.share_over(now) or 0.0) > SLOW_SHARE,
            convincing=state.evidence.pages(self.least_units),
            convicted=state.convicted,
            value=p95_s,
            threshold=self.rule.limit,
            evidence=numbers,
            sentence=self._sentence(p95_s, now, numbers),
        )
        if status.state == "not_applicable":
            other = "latency_vs_baseline watches instead" if self.compared else "add latency_vs_baseline"
            unfit = f"the limit does not suit the baseline, which is over it itself: {other}"
            return replace(status, sentence=f"{status.sentence}; {unfit}")
        return status

    def _sentence(self, p95_s: float | None, now: float, numbers: Mapping[str, float]) -> str:
        limit, over = seconds(self.rule.limit), "over " if "cut" in numbers else ""
        found = f"{over}{seconds(p95_s)} in {numbers['outcomes']:.0f} exchanges (limit {limit})"
        if self.start is not None:
            slow = f"{bad_of(numbers)} exchanges slower than {limit}{self.since}"
            found = f"{over}{seconds(p95_s)} in the last ten minutes; {slow}"
        return f"candidate: p95 latency {found}; baseline: {seconds(self.state.baseline.quantile(0.95, now))}"


class LatencyVsBaseline(LatencyRule):
    """More than 5 % of the candidate's exchanges are slower than `limit` times the baseline's p95.

    The p95 is that of the last hour, for the same operation and kind; of streams the time to first token
    counts. `minimum` counts units. Values are shown as multiples of the baseline's p95.
    """

    def measured_s(self, exchange: ExchangeTime) -> float | None:
        """The time to first token of a stream, else the whole time. A stream without one is unknown."""
        return exchange.ttft_s if exchange.stream else exchange.latency_s

    def bound_s(self, exchange: ExchangeTime, now: float) -> float | None:
        """The seconds from which on the exchange is slow; None without enough baseline exchanges."""
        p95_s = self.p95_s(exchange.kind, now)
        return None if p95_s is None else max(self.rule.limit * p95_s, p95_s + LEAST_EXTRA_S)

    def p95_s(self, kind: str, now: float) -> float | None:
        """The baseline's p95 of the last hour, at most a minute old; None with fewer than 50 exchanges."""
        known = self.state.p95s.get(kind)
        if known is not None and known[1] is not None and 0.0 <= now - known[0] < P95_EACH_S:
            return known[1]
        window = self.state.typical.get(kind)
        enough = window is not None and window.count(now) >= FEWEST
        p95_s = window.quantile(0.95, now) if window is not None and enough else None
        self.state.p95s[kind] = now, p95_s
        return p95_s

    def shown(self, took_s: float, bound_s: float) -> float:
        """The time as a multiple of the baseline's p95."""
        return self.rule.limit * took_s / bound_s

    def _judge_ended(self, exchange: ExchangeTime, at: float) -> GuardrailSample | None:
        """Judge one exchange; hold it while there is no bound. It then adds to the baseline's times."""
        bound_s = self.bound_s(exchange, at)
        if bound_s is None:
            self.state.held.append(exchange)
            del self.state.held[:-HELD]
        measured_s = self.measured_s(exchange)
        if not exchange.candidate and measured_s is not None and not exchange.failed:
            self._typical(exchange.kind).add(exchange.started + measured_s, measured_s)
        return self._judged(exchange, bound_s) if bound_s is not None else None

    def _typical(self, kind: str) -> Window:
        window = self.state.typical.get(kind)
        if window is None:
            window = self.state.typical[kind] = Window(HOUR_S, binned=True)
        return window

    def count(self, now: float) -> Iterator[GuardrailSample]:
        """Score the exchanges whose bound has passed, among them those that waited for one."""
        held = self.state.held
        if held:
            self.state.held = [
                each for each in held if self.bound_s(each, now) is None and now - each.started < HELD_S
            ]
            for exchange in held:
                self.time(exchange, now)
        return super().count(now)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        self.look(now)
        state = self.state
        share, numbers = state.candidate.share_over(now), self.numbers(now)
        return decided(
            self.rule,
            enough=share is not None and len(state.units) >= self.rule.minimum,
            over=share is not None and (share > SLOW_SHARE or state.evidence.cusum >= PAGE_CUSUM),
            convincing=state.evidence.pages(self.least_units),
            convicted=state.convicted,
            value=state.candidate.quantile(0.95, now),
            threshold=self.rule.limit,
            evidence=numbers,
            sentence=self._sentence(now, numbers),
        )

    def _sentence(self, now: float, numbers: Mapping[str, float]) -> str:
        p95s = {kind: self.p95_s(kind, now) for kind in sorted(self.state.typical)}
        known = ", ".join(f"{seconds(p95_s)} for {kind}" for kind, p95_s in p95s.items() if p95_s is not None)
        return (
            f"candidate: {bad_of(numbers)} exchanges slower than {times(self.rule.limit)} the baseline's p95"
            f"{self.since} ({percent(share_of(numbers))}, limit {percent(SLOW_SHARE)});"
            f" baseline: {bad_of(numbers, 'baseline_')} ({percent(share_of(numbers, 'baseline_'))});"
            f" the baseline's p95 of the last hour: {known or 'unknown'}"
        )
