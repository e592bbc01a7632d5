"""Made-up users of days that are over: what they asked, which arm served it, how it went, what they said.

Nothing was asked of a model. Who gets which arm is decided as for live requests, by the same keys.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from records.facts.exchange_id import mint
from records.outcome import Feedback, Outcome, ProviderError, Usage
from routing.assign import assign
from routing.canary import Arm, ArmName, Canary
from routing.cohort import derive_key, unit_hash
from routing.states import State

DAY_S = 86_400.0
USERS = 2_500
ASKED_A_DAY = 700
RATED = 0.4
"""How many of the answers are rated."""
RATED_AFTER_S = 300.0
CATEGORIES = ("delivery", "billing", "account", "refund")
OVERLOADED = ProviderError(type="server_error", message="Made up: the model is overloaded.")
PLANS = ("free", "pro")


@dataclass(frozen=True, slots=True, kw_only=True)
class PastModel:
    """How a model does. `fails`, `completes` and `delights` are shares in [0, 1]: of requests that fail, of
    tasks that get done, of ratings that are the best. `latency_s` is a median."""

    fails: float
    latency_s: float
    cost_usd: float
    completes: float
    delights: float


class PastUsers:
    """The users of one canary, drawn from a fixed seed. `secret` is the server's."""

    def __init__(self, canary: Canary, models: Mapping[ArmName, PastModel], secret: bytes) -> None:
        self.models = dict(models)
        self._canary = canary
        self._assignment, self._ids = (derive_key(secret, purpose) for purpose in ("assignment", "ids"))
        self._random = Random(canary.name)  # noqa: S311 - made-up users

    def day(self, state: State, start: float) -> Sequence[Outcome | Feedback]:
        """The outcomes and ratings of the 24 hours from UTC second `start`, in order of time."""
        return sorted(self._records(state, start), key=lambda record: record.at)

    def _records(self, state: State, start: float) -> Iterator[Outcome | Feedback]:
        """Each outcome, followed by its ratings."""
        draws = self._random
        for at in sorted(start + (DAY_S - RATED_AFTER_S) * draws.random() for _ in range(ASKED_A_DAY)):
            outcome = self._outcome(state, f"past-user-{draws.randrange(USERS)}", at)
            yield outcome
            if draws.random() < RATED:
                yield from self._ratings(outcome)

    def _outcome(self, state: State, user: str, at: float) -> Outcome:
        given = assign(self._canary, state, key=self._assignment, unit=user)
        unit, arm = unit_hash(self._ids, user), self._arm(given.arm)
        return Outcome(
            exchange_id=self._exchange_id(state, given.arm, unit, at),
            at=at,
            mono=at,
            canary=self._canary.name,
            run=given.run,
            phase=given.phase,
            share=given.share,
            arm=given.arm,
            reason=given.reason,
            unit=unit,
            category=self._random.choice(CATEGORIES),
            tags={"plan": PLANS[int(unit, 16) % len(PLANS)]},
            provider=arm.provider,
            api="openai",
            operation="chat",
            model_requested=self._canary.baseline.model,
            model=arm.model,
            overhead_s=0.0002,
            **self._ending(given.arm),
        )

    def _ending(self, arm: ArmName) -> dict[str, Any]:
        """How an exchange of this arm ends: well, or with a failure, which a baseline's caller sees."""
        model, draws = self.models[arm], self._random
        latency_s = model.latency_s * draws.lognormvariate(0.0, 0.4)
        times = {"latency_s": latency_s, "ttfb_s": latency_s}
        if draws.random() < model.fails:
            covered = {"outcome": "fallback", "served_by": "baseline", "status": 200}
            seen = {"outcome": "error", "status": 500}
            failure = {"error_type": "provider_5xx", "provider_error": OVERLOADED}
            return {**times, **failure, **(covered if arm == "candidate" else seen)}
        return {
            **times, "outcome": "ok", "served_by": arm, "status": 200, "finish": "stop",
            "usage": Usage(input_tokens=draws.randint(200, 900), output_tokens=draws.randint(40, 300)),
            "cost_usd": model.cost_usd * draws.lognormvariate(0.0, 0.3),
        }  # fmt: skip

    def _arm(self, name: ArmName) -> Arm:
        return self._canary.candidate if name == "candidate" else self._canary.baseline

    def _exchange_id(self, state: State, arm: ArmName, unit: str, at: float) -> str:
        return mint(
            self._ids, canary=self._canary.name, run=state.run, phase=state.phase, arm=arm, unit_hash=unit,
            at=at, serial=self._random.randbytes(8),
        )  # fmt: skip

    def _ratings(self, outcome: Outcome) -> Iterator[Feedback]:
        model, draws = self.models[outcome.arm], self._random
        done = draws.random() < model.completes and not outcome.failed
        stars = (5.0,) if draws.random() < model.delights else (3.0, 4.0, 4.0)
        yield _feedback(outcome, "task_completed", float(done))
        yield _feedback(outcome, "csat", draws.choice(stars if done else (1.0, 2.0, 3.0)))


def _feedback(outcome: Outcome, metric: str, value: float) -> Feedback:
    at = outcome.at + RATED_AFTER_S
    return Feedback(
        key=f"{outcome.exchange_id}/{metric}", metric=metric, value=value, at=at, mono=at,
        exchange_id=outcome.exchange_id, canary=outcome.canary, run=outcome.run, phase=outcome.phase,
        arm=outcome.arm, unit=outcome.unit, category=outcome.category,
    )  # fmt: skip
