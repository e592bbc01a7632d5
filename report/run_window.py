"""The exchanges that one report is about, as conditions on Arrow tables of outcomes.

A condition is an expression of `pyarrow.compute`, about the columns that are named beside it.
"""

from dataclasses import dataclass
from typing import Any

from records.outcome import BLAMED, UNREACHED

_DAY_S = 86400
_FAILED = ["fallback", "error"]
_EXPOSED = ["ok", "fallback", "error", "caller_error", "aborted"]

COHORT = ("reason", "mirror", "share")
MEASURED = ("outcome", "error_type")
EXPOSED = ("reason", "mirror", "outcome", "error_type")
WINDOW = ("canary", "run", "at", *COHORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWindow:
    """One run of a canary, from its first exchange to its last, UTC seconds, while both arms had a share."""

    canary: str
    run: int
    since: float
    until: float

    @property
    def days(self) -> tuple[int, int]:
        """The first and the last UTC day number."""
        return int(self.since // _DAY_S), int(self.until // _DAY_S)

    def condition(self) -> Any:
        """Of this run, assigned by the hash, without mirror copies; of any outcome. Columns: WINDOW."""
        from pyarrow.compute import field

        from records.store.segments.arrow import moment

        own = (field("canary") == self.canary) & (field("run") == self.run)
        begun = (field("at") >= moment(self.since)) & (field("at") <= moment(self.until))
        return own & begun & concurrent_cohort()


def concurrent_cohort() -> Any:
    """Assigned by the hash while both arms had a share, no mirror copy. Columns: COHORT."""
    from pyarrow.compute import field

    return _cohort() & (field("share") > 0) & (field("share") < 1)


def exposed() -> Any:
    """Assigned by the hash, no mirror copy, and not shed; the arm was asked or is to blame for not being
    asked. Columns: EXPOSED."""
    from pyarrow.compute import field

    unreached = field("outcome").isin(_FAILED) & field("error_type").isin(sorted(map(str, UNREACHED)))
    return _cohort() & field("outcome").isin(_EXPOSED) & ~unreached


def measured() -> Any:
    """The arm answered or failed, as in `Outcome.measured`. Columns: MEASURED."""
    from pyarrow.compute import field

    failed = field("outcome").isin(_FAILED) & field("error_type").isin(list(BLAMED))
    return (field("outcome") == "ok") | failed


def _cohort() -> Any:
    from pyarrow.compute import field

    return (field("reason") == "cohort") & ~field("mirror")
