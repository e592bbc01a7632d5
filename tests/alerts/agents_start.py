"""Agents that all start at once: their sessions from the first exchange on, and as rules hear them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heapreplace
from random import Random

from alerts.evidence.sessions import STUCK_AT, LiveSession, SessionStep
from alerts.rules.rule import DEFAULT_RULES
from alerts.rules.sessions import SessionRule, StuckRule
from records.outcome import Outcome
from routing.canary import ArmName


@dataclass(order=True, slots=True)
class Agent:
    """A user whose agent works through one session after another. `at`: the next exchange's second."""

    at: float
    number: int
    session: LiveSession = field(compare=False)
    usual_steps: float = field(compare=False)
    usual_cost: float = field(compare=False)
    left: int = field(compare=False, default=0)
    sticks: bool = field(compare=False, default=False)


@dataclass(frozen=True, slots=True)
class Start:
    """So many users begin within ten seconds. Sessions take six exchanges in the median, log-normal with
    σ = 1.2, half of whose variance is between users, five seconds each on average; the next one begins ten
    minutes later. The cost of an exchange is log-normal with σ = 1. Of the sessions 10 % get stuck."""

    users: int
    share: float
    steps: float = 1.0
    cost: float = 1.0
    for_s: float = 2_400.0

    def exchanges(self, draw: Random) -> Iterator[tuple[float, LiveSession]]:
        """Each exchange's second, and its session after it."""
        serials = {"candidate": 0, "baseline": 0}
        agents = [self._agent(number, serials, draw) for number in range(self.users)]
        heapify(agents)
        while (agent := agents[0]).at < self.for_s:
            session = agent.session
            session.exchanges += 1
            session.last = agent.at
            dear = self.cost if session.arm == "candidate" else 1.0
            session.cost_usd = (session.cost_usd or 0.0) + dear * agent.usual_cost * draw.lognormvariate(
                0.0, 0.7
            )
            session.is_stuck = agent.sticks and session.exchanges >= STUCK_AT
            yield agent.at, session
            agent.left -= 1
            agent.at += draw.expovariate(1.0 / 5.0)
            if agent.left <= 0:
                agent.at += draw.expovariate(1.0 / 600.0)
                self._begin(agent, session.arm, serials, draw, first=False)
            heapreplace(agents, agent)

    def _agent(self, number: int, serials: dict[str, int], draw: Random) -> Agent:
        candidate = draw.random() < self.share
        steps = 6.0 * draw.lognormvariate(0.0, 0.85) * (self.steps if candidate else 1.0)
        blank = LiveSession(f"u{number}", "baseline", 0, True, 0.0, 0.0, self.share)
        agent = Agent(10.0 * draw.random(), number, blank, steps, draw.lognormvariate(0.0, 0.7))
        self._begin(agent, "candidate" if candidate else "baseline", serials, draw, first=True)
        return agent

    def _begin(
        self, agent: Agent, arm: ArmName, serials: dict[str, int], draw: Random, *, first: bool
    ) -> None:
        unit, at = agent.session.unit, agent.at
        agent.session = LiveSession(unit, arm, serials[arm], first, at, at, self.share)
        agent.left = max(1, round(agent.usual_steps * draw.lognormvariate(0.0, 0.85)))
        agent.sticks = draw.random() < 0.1
        serials[arm] += 1


OUTCOME = Outcome(exchange_id="x", at=0.0, mono=0.0, outcome="ok")


def heard(start: Start, seed: int, names: Sequence[str]) -> Iterator[tuple[float, list[SessionRule]]]:
    """A start as these rules hear it, after each exchange; all of them may roll back."""
    wanted = [replace(rule, action="rollback") for rule in DEFAULT_RULES if rule.rule in names]
    rules: list[SessionRule] = [
        StuckRule(rule) if rule.rule == "stuck" else SessionRule(rule) for rule in wanted
    ]
    for at, session in start.exchanges(Random(seed)):
        for rule in rules:
            rule.hear(SessionStep(session, OUTCOME, at))
        yield at, rules
