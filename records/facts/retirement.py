"""When a model retires, as its provider's list or the config says it."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDay:
    """The day (UTC) on which a model retires: it answers until then. `successor` is the model that is to
    follow it, "" where nobody names one."""

    on: date
    successor: str = ""
