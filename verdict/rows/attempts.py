"""Makes the parts of a report one by one: one that cannot be computed never takes the others along."""

import traceback
from collections.abc import Callable
from typing import TypeVar

import structlog

from records.errors import StoreDown
from verdict.rows.reasons import Detail, LeftOut, Reason
from verdict.statistics.types import NotComputed

log = structlog.get_logger()

_Part = TypeVar("_Part")
_Else = TypeVar("_Else")


def attempt(what: str, make: Callable[[], _Part], otherwise: Callable[[str], _Else]) -> _Part | _Else:
    """The part, or `otherwise` of the reason in words; `what` names the part in the log.

    A store that does not answer is no fault of the part: StoreDown goes on. Values of which nothing can be
    computed are logged in a line, anything else with its trace.
    """
    try:
        return make()
    except StoreDown:
        raise
    except NotComputed as problem:
        log.warning("report.not_computed", part=what, problem=str(problem))
        return otherwise(str(problem))
    except Exception as problem:
        log.error("report.not_computed", part=what, problem=str(problem), trace=traceback.format_exc())
        why = f"{type(problem).__name__}: {problem}"
        return otherwise(f"an error of canary's own ({why}), which is in the log with its trace")


def left_out(
    detail: Detail, make: Callable[[], _Part], otherwise: _Else, notes: list[Reason], *, metric: str = ""
) -> _Part | _Else:
    """As `attempt`, for a detail (of one metric): `otherwise` in its place, and the reason in `notes`."""

    def without(why: str) -> _Else:
        notes.append(LeftOut(detail=detail, metric=metric, why=why))
        return otherwise

    return attempt(f"{detail} {metric}".strip(), make, without)
