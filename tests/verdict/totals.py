"""A store's unit totals, sessions, feedback and exchanges as rows, written one by one."""

from io import BytesIO
from typing import Any

import pyarrow.parquet as pq
import sqlalchemy as sa

from records.facts.exchange_id import mint
from records.outcome import Outcome
from records.store.ingest import BatchIngest
from records.store.segments.arrow import table_of
from records.store.segments.columns import pack, unpack
from records.store.tables import feedback, fresh_outcomes, prior_weeks, segments, sessions, unit_days

DAY_S = 86400.0


class UnitTotals:
    """Rows with defaults, so that a test names only what it is about."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self._serial = 0
        self._ingest = BatchIngest(connection.dialect)
        self._exchanges: dict[str, dict[str, Any]] = {}

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
            "input_tokens": 0, "cached_tokens": 0, "sessionless": 0, "sessionless_cost_n": 0,
            "sessionless_cost_sum": 0, "sessionless_tokens_n": 0, "sessionless_tokens_sum": 0,
            "sessionless_tool_calls": 0, "sessionless_faulty": 0, "sessionless_abandoned": 0,
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
            "asked": "", "cost_n": 0, "cost_sum": 0, "tokens_n": 0, "tokens_sum": 0, "input_tokens": 0,
            "cached_tokens": 0, "tool_calls": 0, "faulty": 0, "abandoned": False, **changed,
        }  # fmt: skip
        self.connection.execute(sa.insert(sessions), [row])

    def name(self, at: float, **signed: Any) -> str:
        """A new exchange id."""
        self._serial += 1
        signed = {"canary": "c", "run": 1, "phase": 0, "arm": "candidate", **signed}
        return mint(b"k" * 32, **signed, unit_hash="", at=at, serial=self._serial.to_bytes(8))

    def exchange(self, **changed: Any) -> str:
        """One stored exchange, which adds to the totals by day; returns its id."""
        about = {"at": 100.0, "canary": "c", "run": 1, "phase": 0, "arm": "candidate", **changed}
        signed = {name: about[name] for name in ("canary", "run", "phase", "arm")}
        at, name = about["at"], self.name(about["at"], **signed)
        rest: dict[str, Any] = {
            "exchange_id": name, "mono": 0.0, "share": 0.1, "reason": "cohort", "unit": "u",
            "provider": "p", "api": "openai", "operation": "chat", "model_requested": "m", "model": "m",
            "outcome": "ok",
        }  # fmt: skip
        outcome = Outcome(**{**rest, **about})
        times = {"first_at": at, "last_at": at, "ended_at": outcome.ended_at}
        row = {"rows": 1, **times, "outcomes": pack([outcome])}
        self.connection.execute(sa.insert(fresh_outcomes), [row])
        for table in ("failure_days", "model_days"):
            writer, rows_of = self._ingest._totals[table]
            writer.upsert(self.connection, rows_of([outcome]))
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(sa.text("DISCARD TEMP"))  # what a commit does after each batch
        self._exchanges[name] = {**signed, "unit": outcome.unit, "day": int(at // DAY_S)}
        return name

    def roll(self) -> None:
        """Make one segment of all exchanges that are in none, in the database."""
        found = self.connection.execute(sa.select(fresh_outcomes)).all()
        file = BytesIO()
        pq.write_table(table_of([each for row in found for each in unpack(row.outcomes)]), file)
        row = {
            "path": "p", "state": "whole", "rows": len(found), "bytes": len(file.getvalue()),
            "first_at": min(row.first_at for row in found), "last_at": max(row.last_at for row in found),
            "ended_at": max(row.ended_at for row in found), "content": file.getvalue(),
        }  # fmt: skip
        self.connection.execute(sa.insert(segments), [row])
        self.connection.execute(sa.delete(fresh_outcomes))

    def damage(self) -> None:
        """Make all segments unreadable."""
        self.connection.execute(sa.update(segments).values(content=b"damaged"))

    def says(self, value: float, **changed: Any) -> None:
        """One row of `feedback`; that of an exchange brings what its id says."""
        self._serial += 1
        changed = {**self._exchanges.get(changed.get("exchange_id", ""), {}), **changed}
        row: dict[str, Any] = {
            "key": str(self._serial), "metric": "csat", "value": value, "at": 200.0, "exchange_id": "",
            "session": "", "unit": "", "canary": "", "run": 0, "phase": 0, "arm": None, "category": "",
            "comment": "", "day": None, **changed,
        }  # fmt: skip
        self.connection.execute(sa.insert(feedback), [row])
