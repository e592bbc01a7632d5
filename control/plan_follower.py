"""Keeps one machine's plan file as new as what is heard of the plan, from whomever.

An older plan is not news, wherever it comes from; nor is the same one again. Only an admin's sign of life
keeps a plan fresh, so that a machine which hears of none falls to share 0 (`records/plans.py`).
"""

from pathlib import Path

import structlog

from records import plans
from routing.plan import NO_PLAN, Plan

log = structlog.get_logger()

WRITE_EVERY_S = 5.0
"""A mere refresh is written this often: the workers need it once in 15 minutes."""


class PlanFollower:
    """The plan of one machine. `plan` is the newest that was heard, or found in the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.plan = plans.read(path) or NO_PLAN
        self._heard_mono = self._written_mono = float("-inf")
        self._unwritten = False

    def hear(self, plan: Plan | None, mono: float) -> bool:
        """Take in a plan, or that there is none; True when it was news."""
        if plan is None or _order(plan) <= _order(self.plan):
            return False
        changed = plan.version != self.plan.version
        self.plan, self._heard_mono = plan, mono
        if changed or self._unwritten or mono - self._written_mono >= WRITE_EVERY_S:
            self._write(mono)
        return True

    def silent_s(self, mono: float) -> float:
        """How long there was no news; infinite before the first."""
        return mono - self._heard_mono

    def _write(self, mono: float) -> None:
        """A disk that is full may have room for the next news."""
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
