"""Simulated traffic: a scenario of users, healthy arms and what goes wrong, and its exchanges. Pure."""

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from alerts.evidence.sessions import STUCK_AT
from records.outcome import IN_FLIGHT_AFTER_S, ErrorType, Fault, InFlight, Outcome, OutcomeName, ToolCall
from routing.canary import ArmName


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmBehaviour:
    """How an arm behaves while it is not healthy. None and empty: as a healthy arm.

    `error` is the share of exchanges that fail, `left` that of those whose caller leaves before the end,
    `hangs` that of those that are never answered; `faults` has the share of answers with each fault. `cost`
    multiplies the cost, `steps` the exchanges of a session; a share `stuck` of the sessions repeats a tool
    call. Latency is log-normal with median `latency_s` and sigma `latency_sigma`. With a `category` only its
    exchanges are affected.
    """

    error: float | None = None
    left: float | None = None
    hangs: float = 0.0
    latency_s: float | None = None
    latency_sigma: float | None = None
    cost: float = 1.0
    steps: float = 1.0
    stuck: float | None = None
    faults: tuple[tuple[Fault, float], ...] = ()
    category: str | None = None


HEALTHY = ArmBehaviour()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The traffic and its fault.

    Users differ. Their activity is gamma distributed (shape .5: a few send most). `base_error` and
    `base_left` (`ArmBehaviour.error` and `left`) are the means of beta distributions over users (`alike` > 0:
    the smaller, the more some users always fail). `base_faults` are means of gamma distributions (shape .5).
    Half of the variance of the log cost (log-normal, coefficient of variation `cost_cv`) and of the log
    latency (median `latency_s`, sigma `latency_sigma`) is between users. A share `streams` of the exchanges
    are streams, with the first token after a quarter of their time. `categories` are shares of the traffic.

    With `steps`, users are agents: each of their sessions has so many exchanges on average, log-normal with
    sigma `steps_sigma`, half of whose variance is between users. Each exchange calls a tool, and costs
    `STEP_COSTS` more than the one before; a share `base_stuck` of the sessions makes one call three times.

    From `fault_at_s` on, the candidate behaves as `candidate` says; during `outage_s`, both arms as `outage`.
    Callers leave `app_timeout_s` after the start. The baseline answers for a candidate that is silent for
    `patience_s`. At each of `cancelled_s`, all callers in flight leave at once.
    """

    users: int = 2_000
    exchanges_per_minute: float = 200.0
    share: float = 0.05
    base_error: float = 0.01
    base_left: float = 0.0
    base_faults: tuple[tuple[Fault, float], ...] = ()
    alike: float = 20.0
    cost_usd: float = 0.01
    cost_cv: float = 0.75
    latency_s: float = 0.8
    latency_sigma: float = 0.5
    streams: float = 0.0
    steps: float = 0.0
    steps_sigma: float = 0.6
    base_stuck: float = 0.01
    categories: tuple[tuple[str, float], ...] = ()
    candidate: ArmBehaviour = HEALTHY
    fault_at_s: float = 0.0
    outage: ArmBehaviour = HEALTHY
    outage_s: tuple[float, float] | None = None
    app_timeout_s: float | None = None
    patience_s: float = 30.0
    cancelled_s: tuple[float, ...] = ()
    duration_s: float = 3_600.0
    judge_each_s: float = 1.0

    @property
    def cost_sigma(self) -> float:
        """The sigma of the costs' logarithm."""
        return math.sqrt(math.log1p(self.cost_cv**2))

    def behaviour(self, *, candidate: bool, category: str, at: float) -> ArmBehaviour:
        """How an arm behaves at second `at` in this category."""
        if self.outage_s is not None and self.outage_s[0] <= at < self.outage_s[1]:
            return self.outage
        faulty = candidate and at >= self.fault_at_s
        return self.candidate if faulty and self.candidate.category in (None, category) else HEALTHY


NAME = "simulated"
EPOCH = 1_800_000_000.0
STEP_COSTS, STEP_EACH_S = 0.05, 5.0
"""By how much of the first each further exchange of a session is dearer; seconds from one to the next."""
FIRST_TOKEN = 0.25
"""The part of a stream's time that passes before its first token."""
LONGEST_S = 600.0


@dataclass(frozen=True, slots=True)
class _User:
    unit: str
    candidate: bool
    error: float
    left: float
    faulty: float
    cost_usd: float
    latency_s: float
    steps: float


@dataclass(slots=True)
class _Session:
    """A session: how many exchanges it will have and has had, and from which on it is stuck."""

    name: str
    user: _User
    steps: int
    stuck_from: float = math.inf
    done: int = 0

    def call(self, draw: random.Random) -> ToolCall:
        """The next exchange's tool call."""
        self.done += 1
        is_same = self.stuck_from <= self.done < self.stuck_from + STUCK_AT
        return ToolCall("tool", bytes(8) if is_same else draw.randbytes(8))


class _Ending(NamedTuple):
    """How an exchange ends, `after_s` its start. `ttft_s` is None without a first token."""

    after_s: float
    outcome: OutcomeName
    error_type: ErrorType | None = None
    ttft_s: float | None = None
    faults: tuple[Fault, ...] = ()


class _Exchange(NamedTuple):
    """One exchange: who started it when, and where it belongs."""

    serial: int
    at: float
    user: _User
    stream: bool
    category: str
    session: str = ""
    calls: tuple[ToolCall, ...] = ()
    cost: float = 1.0

    @property
    def arm(self) -> ArmName:
        return "candidate" if self.user.candidate else "baseline"


Record = InFlight | Outcome
Event = tuple[float, int, Record]
"""When a record arrives, its serial number, and the record."""


def records(scenario: Scenario, seed: int) -> Iterator[tuple[float, Record]]:
    """The traffic: each record with the second at which it arrives, in order."""
    draw = random.Random(seed)  # noqa: S311  a simulation, not a secret
    users, activity = _users(scenario, draw)
    names = [name for name, _ in scenario.categories]
    parts = list(accumulate(part for _, part in scenario.categories))
    waiting: list[Event] = []
    begun = _requests if scenario.steps == 0.0 else _of_sessions
    for serial, (at, user, session) in enumerate(begun(scenario, users, activity, draw), 1):
        exchange = _Exchange(
            2 * serial,
            at,
            user,
            scenario.streams > 0.0 and draw.random() < scenario.streams,
            draw.choices(names, cum_weights=parts)[0] if names else "",
            session.name if session is not None else "",
            (session.call(draw),) if session is not None else (),
            1.0 + STEP_COSTS * (session.done - 1) if session is not None else 1.0,
        )
        for event in _events(scenario, exchange, draw):
            heapq.heappush(waiting, event)
        while waiting and waiting[0][0] <= at:
            arrived, _, record = heapq.heappop(waiting)
            yield arrived, record
    while waiting:
        arrived, _, record = heapq.heappop(waiting)
        yield arrived, record


_Begun = tuple[float, _User, _Session | None]
"""When an exchange begins, whose it is, and its session."""


def _requests(
    scenario: Scenario, users: list[_User], activity: list[float], draw: random.Random
) -> Iterator[_Begun]:
    at = 0.0
    while (at := at + draw.expovariate(scenario.exchanges_per_minute / 60.0)) < scenario.duration_s:
        yield at, draw.choices(users, cum_weights=activity)[0], None


def _of_sessions(
    scenario: Scenario, users: list[_User], activity: list[float], draw: random.Random
) -> Iterator[_Begun]:
    """The exchanges of the sessions of all users, in order of time."""
    going: list[tuple[float, int, _Session]] = []
    at, serial = 0.0, 0
    while (at := at + draw.expovariate(scenario.exchanges_per_minute / scenario.steps / 60.0)) < (
        scenario.duration_s
    ):
        yield from _going_on(going, at, draw)
        serial += 1
        session = _session(scenario, draw.choices(users, cum_weights=activity)[0], at, serial, draw)
        heapq.heappush(going, (at, serial, session))
    yield from _going_on(going, scenario.duration_s, draw)


def _going_on(
    going: list[tuple[float, int, _Session]], until: float, draw: random.Random
) -> Iterator[_Begun]:
    while going and going[0][0] < until:
        at, serial, session = heapq.heappop(going)
        yield at, session.user, session
        if session.done < session.steps:
            heapq.heappush(going, (at + draw.expovariate(1.0 / STEP_EACH_S), serial, session))


def _session(scenario: Scenario, user: _User, at: float, serial: int, draw: random.Random) -> _Session:
    behaviour = scenario.behaviour(candidate=user.candidate, category="", at=at)
    half = scenario.steps_sigma / math.sqrt(2.0)
    steps = behaviour.steps * user.steps * draw.lognormvariate(0.0, half)
    stuck = draw.random() < (scenario.base_stuck if behaviour.stuck is None else behaviour.stuck)
    return _Session(
        f"s{serial}", user, max(STUCK_AT if stuck else 1, round(steps)), 1.0 if stuck else math.inf
    )


def _users(scenario: Scenario, draw: random.Random) -> tuple[list[_User], list[float]]:
    half = math.sqrt(2.0)
    middle = math.log(scenario.cost_usd) - scenario.cost_sigma**2 / 2.0
    users = [
        _User(
            f"{index:032x}",
            draw.random() < scenario.share,
            _of_user(scenario.base_error, scenario.alike, draw),
            _of_user(scenario.base_left, scenario.alike, draw),
            draw.gammavariate(0.5, 2.0) if scenario.base_faults else 0.0,
            draw.lognormvariate(middle, scenario.cost_sigma / half),
            scenario.latency_s * draw.lognormvariate(0.0, scenario.latency_sigma / half),
            scenario.steps and draw.lognormvariate(_steps_middle(scenario), scenario.steps_sigma / half),
        )
        for index in range(scenario.users)
    ]
    return users, list(accumulate(draw.gammavariate(0.5, 1.0) for _ in users))


def _steps_middle(scenario: Scenario) -> float:
    """The mean of the logarithm of a session's exchanges."""
    return math.log(scenario.steps) - scenario.steps_sigma**2 / 2.0


def _of_user(mean: float, alike: float, draw: random.Random) -> float:
    return draw.betavariate(mean * alike, (1.0 - mean) * alike) if mean > 0.0 else 0.0


def _events(scenario: Scenario, exchange: _Exchange, draw: random.Random) -> Iterator[Event]:
    at, user = exchange.at, exchange.user
    behaviour = scenario.behaviour(candidate=user.candidate, category=exchange.category, at=at)
    ending = _ending(scenario, exchange, behaviour, draw)
    if ending.after_s > IN_FLIGHT_AFTER_S:
        ttft_s = ending.ttft_s
        known = ttft_s is not None and ttft_s <= IN_FLIGHT_AFTER_S
        yield (
            at + IN_FLIGHT_AFTER_S,
            exchange.serial,
            _in_flight(exchange, ttft_s if known else None, scenario),
        )
        if ending.outcome == "fallback" or _given_up(scenario, exchange, ending):
            given_up = _in_flight(exchange, None, scenario, "provider_timeout")
            yield at + scenario.patience_s, exchange.serial, given_up
        if ttft_s is not None and not known:
            yield at + ttft_s, exchange.serial, _in_flight(exchange, ttft_s, scenario)
    cost_usd = (
        exchange.cost
        * behaviour.cost
        * user.cost_usd
        * draw.lognormvariate(0.0, scenario.cost_sigma / math.sqrt(2.0))
    )
    yield at + ending.after_s, exchange.serial + 1, _outcome(exchange, ending, cost_usd, scenario)


def _ending(scenario: Scenario, exchange: _Exchange, behaviour: ArmBehaviour, draw: random.Random) -> _Ending:
    """How the exchange ends: the caller leaves, the baseline answers for the candidate, or it is over."""
    ending = _answer(scenario, exchange.user, behaviour, draw, stream=exchange.stream)
    silent_s = ending.after_s if ending.ttft_s is None else ending.ttft_s
    if exchange.user.candidate and silent_s > scenario.patience_s:
        baseline = scenario.behaviour(candidate=False, category=exchange.category, at=exchange.at)
        instead = _answer(scenario, exchange.user, baseline, draw, stream=exchange.stream)
        after_s = min(scenario.patience_s + instead.after_s, LONGEST_S)
        ttft_s = None if instead.ttft_s is None else scenario.patience_s + instead.ttft_s
        ending = _Ending(after_s, "fallback", "provider_timeout", ttft_s)
    leaves_s = _leaves_s(scenario, exchange, ending, behaviour, draw)
    if leaves_s >= ending.after_s:
        return ending
    known = ending.ttft_s is not None and ending.ttft_s <= leaves_s
    return _Ending(leaves_s, "aborted", "aborted", ending.ttft_s if known else None)


def _answer(
    scenario: Scenario, user: _User, behaviour: ArmBehaviour, draw: random.Random, *, stream: bool
) -> _Ending:
    if behaviour.hangs > 0.0 and draw.random() < behaviour.hangs:
        return _Ending(LONGEST_S, "error", "provider_timeout")
    sigma = scenario.latency_sigma if behaviour.latency_sigma is None else behaviour.latency_sigma
    if behaviour.latency_s is None:
        took_s = user.latency_s * draw.lognormvariate(0.0, sigma / math.sqrt(2.0))
    else:
        took_s = behaviour.latency_s * draw.lognormvariate(0.0, sigma)
    if draw.random() < (user.error if behaviour.error is None else behaviour.error):
        return _Ending(took_s, "error", "provider_5xx")
    return _Ending(
        took_s,
        "ok",
        ttft_s=FIRST_TOKEN * took_s if stream else None,
        faults=_faults(scenario, user, behaviour, draw),
    )


def _faults(
    scenario: Scenario, user: _User, behaviour: ArmBehaviour, draw: random.Random
) -> tuple[Fault, ...]:
    shares: dict[Fault, float] = {fault: base * user.faulty for fault, base in scenario.base_faults}
    shares |= dict(behaviour.faults)
    return tuple([fault for fault, share in shares.items() if draw.random() < share])


def _leaves_s(
    scenario: Scenario, exchange: _Exchange, ending: _Ending, behaviour: ArmBehaviour, draw: random.Random
) -> float:
    """The seconds after which the caller leaves; infinite for one who stays."""
    leaves = [math.inf if scenario.app_timeout_s is None else scenario.app_timeout_s]
    share = exchange.user.left if behaviour.left is None else behaviour.left
    if share > 0.0 and draw.random() < share:
        leaves.append(draw.random() * (ending.after_s if ending.ttft_s is None else ending.ttft_s))
    leaves += [when - exchange.at for when in scenario.cancelled_s if when > exchange.at]
    return min(leaves)


def _given_up(scenario: Scenario, exchange: _Exchange, ending: _Ending) -> bool:
    """True when the candidate is given up before its caller leaves."""
    waited = ending.outcome == "aborted" and ending.after_s > scenario.patience_s
    return exchange.user.candidate and waited and ending.ttft_s is None


def _in_flight(
    exchange: _Exchange, ttft_s: float | None, scenario: Scenario, error_type: ErrorType | None = None
) -> InFlight:
    return InFlight(**_begun(exchange, scenario), ttft_s=ttft_s, error_type=error_type)


def _begun(exchange: _Exchange, scenario: Scenario) -> dict[str, Any]:
    """What the record of an exchange says before its end."""
    return {
        "exchange_id": f"x{exchange.serial}",
        "at": EPOCH + exchange.at,
        "mono": exchange.at,
        "canary": NAME,
        "run": 1,
        "phase": 1,
        "share": scenario.share,
        "arm": exchange.arm,
        "reason": "cohort",
        "unit": exchange.user.unit,
        "category": exchange.category,
        "operation": "chat",
        "stream": exchange.stream,
    }


def _outcome(exchange: _Exchange, ending: _Ending, cost_usd: float, scenario: Scenario) -> Outcome:
    read = ending.outcome == "ok"
    left = ending.outcome == "aborted"
    return Outcome(
        **_begun(exchange, scenario),
        outcome=ending.outcome,
        error_type=ending.error_type,
        session=exchange.session,
        tool_calls=exchange.calls if read else (),
        latency_s=ending.ttft_s or 0.0 if left else ending.after_s,
        ttft_s=ending.ttft_s,
        ttfb_s=ending.ttft_s,
        finish="stop" if read else None,
        faults=ending.faults,
        output_check="judged" if read else "",
        cost_usd=None if left else cost_usd,
    )
