"""Ends the wait for a candidate when the baseline should answer in its place.

| during the wait                                           | failure            |
|-----------------------------------------------------------|--------------------|
| the candidate loses its share: a rollback, an old plan    | `breaker_open`     |
| for a conversation it began: a hard rollback, an old plan | `breaker_open`     |
| the candidate's breaker opens                             | `breaker_open`     |
| the candidate's patience is over                          | `provider_timeout` |

A promoted candidate has no patience, because no baseline answers beside it any more: its `timeout` holds.
A wait lasts from the choice of the candidate until its first event or its whole JSON is there to be relayed.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

from proxy.routes import Trial
from records.outcome import ErrorType
from routing.plan import UNKNOWN_PATIENCE_S, Plan


class CandidateWait:
    """One request's wait for a candidate whose failure the baseline covers. Watched by the ticker.

    `failure`: why the wait was ended; None while it was not.
    """

    __slots__ = (
        "_kind", "_plan", "_probes", "_recalled", "_run", "_since", "_timeout", "_trial", "check_at",
        "failure",
    )  # fmt: skip

    def __init__(
        self,
        trial: Trial,
        plan: Callable[[], Plan],
        timeout: asyncio.Timeout,
        *,
        run: int,
        kind: str,
        recalled: bool = False,
    ) -> None:
        """`plan()` returns the newest plan; `timeout` ends the wait. `run` is the assignment's; `kind` is the
        request's (`routing.plan.request_kind`). `recalled`: the candidate is asked about a conversation that
        it began, for one of the baseline's units. A wait that begins with an open breaker is its probe."""
        self.check_at = 0.0
        self.failure: ErrorType | None = None
        self._trial = trial
        self._plan = plan
        self._timeout = timeout
        self._run = run
        self._kind = kind
        self._recalled = recalled
        self._since = monotonic()
        self._probes = trial.breaker.open

    def check(self, now: float) -> None:
        """End the wait if it is time. Looks at the newest plan every time."""
        if self.failure is not None:
            return
        self.failure = self._reason(now)
        if self.failure is not None:
            self._timeout.reschedule(0.0)

    def _reason(self, now: float) -> ErrorType | None:
        trial, plan = self._trial, self._plan()
        state = plan.state_of(trial.canary.name, trial.definition)
        promoted = state is not None and state.state == "promoted"
        if not promoted and now - self._since >= patience_s(trial, plan, self._kind):
            return "provider_timeout"
        if self._recalled:
            runs = state is not None and state.recallable
        else:
            runs = state is not None and state.run == self._run and state.effective_share > 0.0
        opened = trial.breaker.open and not self._probes
        return "breaker_open" if opened or not runs else None


def patience_s(trial: Trial, plan: Plan, kind: str) -> float:
    """The seconds that a request of this kind may wait for the candidate.

    The config's, else the plan's, else `UNKNOWN_PATIENCE_S`; at most the candidate's `total`.
    """
    patience = trial.candidate.patience_s
    if patience is None:
        known = plan.patience.get(trial.canary.name)
        patience = None if known is None else known.get(kind)
    return min(UNKNOWN_PATIENCE_S if patience is None else patience, trial.candidate.timeout.total_s)
