"""What `canary doctor` finds: one thing looked at, how it is, and what to do about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """`says` and `do` are sentences for a person; `do` is empty where there is nothing to do."""

    check: str
    state: State
    says: str
    do: str = ""


Check = Callable[[], Sequence[Diagnosis]]


def fine(check: str, says: str) -> Diagnosis:
    """Nothing to do."""
    return Diagnosis(check=check, state="ok", says=says)


def warning(check: str, says: str, do: str) -> Diagnosis:
    """It works, and may not for long or not as one thinks."""
    return Diagnosis(check=check, state="warning", says=says, do=do)


def broken(check: str, says: str, do: str) -> Diagnosis:
    """It does not work."""
    return Diagnosis(check=check, state="broken", says=says, do=do)


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
