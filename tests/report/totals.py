"""A store's unit totals, sessions, feedback and exchanges as rows, written one by one."""

from typing import Any

import sqlalchemy as sa

from records.exchange_id import mint
from records.tables import feedback, outcomes, prior_weeks, sessions, unit_days

DAY_S = 86400.0


class UnitTotals:
    """Rows with defaults, so that a test names only what it is about."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self._serial = 0

    def cell(self, **changed: Any) -> None:
        """One row of `unit_days`: of the candidate, its day and last moment those of `first_at`."""
        first_at = changed.get("first_at", 100.0)
        row: dict[str, Any] = {
            "canary": "c", "run": 1, "phase": 0, "arm": "candidate", "mirror": False, "unit": "u",
            "day": int(first_at // DAY_S), "category": "", "tags": "{}", "share": 0.1, "first_at": first_at,
            "last_at": first_at, "exchanges": 1, "counted": 1, "failed": 0, "latency_n": 0, "latency_sum": 0,
            "ttft_n": 0, "ttft_sum": 0, "cost_n": 0, "cost_sum": 0, "tokens_n": 0, "tokens_sum": 0,
            "latency": b"", "ttft": b"", "finished": 0, "refused": 0, "cut_off": 0, "empty": 0,
            "answer_faults": 0, "output_judged": 0, "invalid_output": 0, "ended": 0, "abandoned": 0,
            **changed,
        }  # fmt: skip
        self.connection.execute(sa.insert(unit_days), [row])

    def week(self, **changed: Any) -> None:
        """One row of `prior_weeks`: of provider p and model m, its week that of `last_at`."""
        last_at = changed.get("last_at", 100.0)
        row: dict[str, Any] = {
            "week": int(last_at // (7 * DAY_S)), "provider": "p", "model": "m", "unit": "u",
            "last_at": last_at, "counted": 0, "failed": 0, "latency_n": 0, "latency_sum": 0.0, "ttft_n": 0,
            "ttft_sum": 0.0, "cost_n": 0, "cost_sum": 0.0, "tokens_n": 0, "tokens_sum": 0.0, **changed,
        }  # fmt: skip
        self.connection.execute(sa.insert(prior_weeks), [row])

    def session(self, **changed: Any) -> None:
        """One row of `sessions`."""
        row: dict[str, Any] = {
            "canary": "c", "run": 1, "session": "s", "unit": "u", "arm": "candidate", "phase": 0,
            "category": "", "tags": "{}", "first_at": 100.0, "last_at": 100.0, "exchanges": 1, "repeats": 0,
            "asked": "", **changed,
        }  # fmt: skip
        self.connection.execute(sa.insert(sessions), [row])

    def exchange(self, **changed: Any) -> str:
        """One row of `outcomes`; returns its id."""
        at = changed.get("at", 100.0)
        self._serial += 1
        name = mint(
            b"k" * 32, canary="c", run=1, phase=0, arm="candidate", unit_hash="", at=at,
            serial=self._serial.to_bytes(8),
        )  # fmt: skip
        row: dict[str, Any] = {
            "day": int(at // DAY_S), "exchange_id": name, "at": at, "canary": "c", "run": 1, "phase": 0,
            "share": 0.1, "arm": "candidate", "reason": "cohort", "unit": "u", "session": "", "category": "",
            "tags": {}, "request_id": "", "provider": "p", "api": "openai", "operation": "chat",
            "model_requested": "m", "model": "m", "stream": False, "mirror": False, "outcome": "ok",
            "usage_estimated": False, "attempts": [], **changed,
        }  # fmt: skip
        self.connection.execute(sa.insert(outcomes), [row])
        return name

    def says(self, value: float, **changed: Any) -> None:
        """One row of `feedback`; that of an exchange brings its canary, run and day."""
        self._serial += 1
        if changed.get("exchange_id"):
            changed = {"canary": "c", "run": 1, "day": 0, **changed}
        row: dict[str, Any] = {
            "key": str(self._serial), "metric": "csat", "value": value, "at": 200.0, "exchange_id": "",
            "session": "", "unit": "", "canary": "", "run": 0, "phase": 0, "category": "", "comment": "",
            "day": None, **changed,
        }  # fmt: skip
        self.connection.execute(sa.insert(feedback), [row])
