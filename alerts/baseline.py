"""The baseline's recent outcomes, against which candidates are judged, so that an outage convicts none."""

from dataclasses import dataclass, field

LAST = 50
FEWEST = 20
REACH_S = 600.0
VALUES = 2_000
FEWEST_VALUES = 200


@dataclass(slots=True)
class RecentShare:
    """The bad share of the baseline's last 50 outcomes of the past 10 minutes. `last` holds (end, bad)."""

    last: list[tuple[float, bool]] = field(default_factory=list)
    bad: int = 0

    def add(self, at: float, bad: bool) -> None:
        """Add a baseline outcome that ended at `at`."""
        self.last.append((at, bad))
        self.bad += bad
        if len(self.last) > LAST:
            self._drop()

    def share(self, now: float) -> float | None:
        """In [0, 1]; None with fewer than 20 outcomes."""
        while self.last and self.last[0][0] < now - REACH_S:
            self._drop()
        return self.bad / len(self.last) if len(self.last) >= FEWEST else None

    def _drop(self) -> None:
        _, bad = self.last.pop(0)
        self.bad -= bad


@dataclass(slots=True)
class RecentMean:
    """The mean of the baseline's last 2,000 values, in a ring buffer."""

    values: list[float] = field(default_factory=list)
    place: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        """Add a baseline value."""
        if len(self.values) < VALUES:
            self.values.append(value)
            self.total += value
            return
        self.total += value - self.values[self.place]
        self.values[self.place] = value
        self.place = (self.place + 1) % VALUES
        if self.place == 0:
            self.total = sum(self.values)

    @property
    def mean(self) -> float | None:
        """None with fewer than 200 values."""
        return self.total / len(self.values) if len(self.values) >= FEWEST_VALUES else None
