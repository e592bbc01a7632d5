"""One canary's traffic over its whole run, in slices that widen as the run goes on. Not evidence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alerts.windows import Slice
from routing.canary import ArmName

MOST = 30
"""The most slices from the first value to the last."""


DatedSlice = tuple[float, Slice]
"""(UTC seconds of its middle, slice)."""


def _no_slices() -> dict[ArmName, dict[int, Slice]]:
    return {"baseline": {}, "candidate": {}}


@dataclass(slots=True)
class RunCourse:
    """Both arms' answers and errors by the time at which they ended. Slice n begins n × `slice_s` seconds
    after the epoch, UTC, so values from before a restart or from another machine fit in. `first_at` and
    `last_at` are the times of the first and the last value, UTC seconds, None while unknown."""

    slice_s: float = 20.0
    arms: dict[ArmName, dict[int, Slice]] = field(default_factory=_no_slices)
    first_at: float | None = None
    last_at: float | None = None

    def reach(self, first_at: float, last_at: float) -> None:
        """Note the times of a first and a last value, UTC seconds."""
        self.first_at = first_at if self.first_at is None else min(self.first_at, first_at)
        self.last_at = last_at if self.last_at is None else max(self.last_at, last_at)

    def add(self, arm: ArmName, parts: Iterable[DatedSlice]) -> None:
        """Add slices, each narrow beside `slice_s`, in any order."""
        slices = self.arms[arm]
        for at, part in parts:
            slices.setdefault(int(at / self.slice_s), Slice()).merge(part)
        self._widen()

    def with_more(self, more: Mapping[ArmName, Iterable[DatedSlice]]) -> "RunCourse":
        """A copy with more slices."""
        whole = RunCourse(slice_s=self.slice_s, first_at=self.first_at, last_at=self.last_at)
        for arm, slices in self.arms.items():
            whole.add(arm, (((number + 0.5) * self.slice_s, part) for number, part in slices.items()))
        for arm, parts in more.items():
            whole.add(arm, parts)
        return whole

    def document(self) -> dict[str, Any] | None:
        """As `Pulse.recent`, from the slice of the first value, which begins at `start` (UTC seconds), to the
        slice of the last value; None without values. `first_at` and `last_at` lie in these two slices."""
        ends = self._ends()
        if ends is None:
            return None
        start, last = ends[0] * self.slice_s, ends[1] * self.slice_s
        numbers = range(ends[0], ends[1] + 1)
        return {
            "slice_s": self.slice_s,
            "newest_s": self.slice_s,
            "start": start,
            "first_at": _within(self.first_at, start, start + self.slice_s) or start,
            "last_at": _within(self.last_at, last, last + self.slice_s) or last + self.slice_s,
            "arms": {
                name: course_of([slices.get(number, Slice()) for number in numbers])
                for name, slices in self.arms.items()
            },
        }

    def _ends(self) -> tuple[int, int] | None:
        numbers = [number for slices in self.arms.values() for number in slices]
        return (min(numbers), max(numbers)) if numbers else None

    def _widen(self) -> None:
        """Join slices in pairs until there are few enough."""
        while (ends := self._ends()) is not None and ends[1] - ends[0] >= MOST:
            self.slice_s *= 2
            self.arms = {name: _in_pairs(slices) for name, slices in self.arms.items()}


def _within(at: float | None, begin: float, end: float) -> float | None:
    """The time if it lies in the slice. Those of a run that began before they were noted may not."""
    return at if at is not None and begin <= at <= end else None


def _in_pairs(slices: Mapping[int, Slice]) -> dict[int, Slice]:
    joined: dict[int, Slice] = {}
    for number, part in slices.items():
        joined.setdefault(number // 2, Slice()).merge(part)
    return joined


def course_of(slices: Sequence[Slice]) -> dict[str, list[Any]]:
    """One arm's slices, oldest first: how many answers and errors ended in each, how many of them failed, and
    the p95 latency in seconds (None: no answer)."""
    return {
        "requests": [part.count for part in slices],
        "errors": [part.over for part in slices],
        "p95_s": [part.quantile(0.95) for part in slices],
    }
