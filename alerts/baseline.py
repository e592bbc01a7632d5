"""The baseline's recent outcomes, against which candidates are judged, so that an outage convicts none."""

from dataclasses import dataclass, field

LAST = 50
FEWEST = 20
REACH_S = 600.0
NEWEST = 10
SUDDEN = ((5, 2), (NEWEST, 3))
"""Of so many newest outcomes so many bad ones are a failure that has just begun."""
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
        self._forget(now)
        return self.bad / len(self.last) if len(self.last) >= FEWEST else None

    def cautious_share(self, now: float, *, fewest: int) -> float | None:
        """The highest share that is likely: 1 while it has just begun to fail, and more than the plain share
        of fewer than 20 outcomes. None with less than `fewest`."""
        self._forget(now)
        count = len(self.last)
        if count < fewest:
            return None
        bad = [bad for _, bad in self.last[-NEWEST:]]
        if any(sum(bad[-newest:]) >= most for newest, most in SUDDEN):
            return 1.0
        plain = self.bad / count if count >= FEWEST else (self.bad + 1) / (count + 2)
        return max(plain, sum(bad) / NEWEST) if sum(bad) > 1 else plain

    def later_than(self, at: float, count: int) -> bool:
        """True when `count` outcomes ended after `at`."""
        return len(self.last) >= count and self.last[-count][0] > at

    def _forget(self, now: float) -> None:
        while self.last and self.last[0][0] < now - REACH_S:
            self._drop()

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
