"""Keeps one machine's plan file as new as the newest plan that its agent received.

Older plans and repetitions are ignored. Only an admin's refresh keeps a plan fresh: a machine that receives
none falls to share 0 (`records/plans.py`).
"""

from pathlib import Path

import structlog

from records import plans
from routing.plan import NO_PLAN, Plan

log = structlog.get_logger()

WRITE_EVERY_S = 5.0
"""How often a mere refresh is written. Workers need one every 15 minutes."""


class PlanFollower:
    """The plan of one machine. `plan` is the newest that was received or found in the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.plan = plans.read(path) or NO_PLAN
        self._heard_mono = self._written_mono = float("-inf")
        self._unwritten = False

    def hear(self, plan: Plan | None, mono: float) -> bool:
        """Take a received plan, None for none. True when the plan was new."""
        if plan is None or _order(plan) <= _order(self.plan):
            return False
        changed = plan.version != self.plan.version
        self.plan, self._heard_mono = plan, mono
        if changed or self._unwritten or mono - self._written_mono >= WRITE_EVERY_S:
            self._write(mono)
        return True

    def silent_s(self, mono: float) -> float:
        """Seconds since the last new plan; infinite before the first."""
        return mono - self._heard_mono

    def _write(self, mono: float) -> None:
        """Write the plan. A full disk is logged, and the next plan is tried again."""
        try:
            plans.write(self._path, self.plan)
        except OSError as error:
            self._unwritten = True
            log.error("plan.not_written", file=str(self._path), problem=str(error))
        else:
            self._unwritten = False
            self._written_mono = mono


def _order(plan: Plan) -> tuple[int, float]:
    return plan.version, plan.refreshed_at
