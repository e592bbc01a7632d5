"""The findings of `canary doctor`: the thing checked, its state, and how to fix it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """`says` and `do` are sentences for a person; `do` is empty if there is nothing to do."""

    check: str
    state: State
    says: str
    do: str = ""


Check = Callable[[], Sequence[Diagnosis]]


def fine(check: str, says: str) -> Diagnosis:
    """A finding without a problem."""
    return Diagnosis(check=check, state="ok", says=says)


def warning(check: str, says: str, do: str) -> Diagnosis:
    """A finding that works now, but may stop working or surprise the operator."""
    return Diagnosis(check=check, state="warning", says=says, do=do)


def broken(check: str, says: str, do: str) -> Diagnosis:
    """A finding that does not work."""
    return Diagnosis(check=check, state="broken", says=says, do=do)


def size(count: float) -> str:
    """A number of bytes as text."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
