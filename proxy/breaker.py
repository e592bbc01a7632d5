"""One candidate's breaker in one worker. The baseline has none: it is never blocked.

| state     | on                                            | becomes                         |
|-----------|-----------------------------------------------|---------------------------------|
| closed    | 5 failures in a row, or half of the last 20   | open                            |
| open      | `RETRY_AFTER_S` has passed, a request asks    | half-open: that request probes  |
| half-open | the probe succeeds / fails                    | closed / open                   |
| half-open | `RETRY_AFTER_S` has passed without a word     | half-open: the next one probes  |
"""

from collections import deque

IN_A_ROW = 5
WINDOW = 20
RETRY_AFTER_S = 10.0


class Breaker:
    """Times are CLOCK_MONOTONIC seconds, passed in."""

    __slots__ = ("_opened_at", "_probed_at", "_recent", "_row")

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._row = 0
        self._opened_at: float | None = None
        self._probed_at: float | None = None

    @property
    def open(self) -> bool:
        """True while requests are kept from the candidate."""
        return self._opened_at is not None

    def allows(self, now: float) -> bool:
        """May this request go to the candidate? When open, one request at a time probes."""
        if self._opened_at is None:
            return True
        since = self._opened_at if self._probed_at is None else self._probed_at
        if now - since < RETRY_AFTER_S:
            return False
        self._probed_at = now
        return True

    def succeeded(self) -> None:
        """The candidate answered."""
        if self._opened_at is not None:
            self._opened_at = self._probed_at = None
            self._recent.clear()
        self._recent.append(True)
        self._row = 0

    def failed(self, now: float) -> None:
        """The candidate failed at `now`."""
        self._recent.append(False)
        self._row += 1
        half_failed = len(self._recent) == WINDOW and self._recent.count(False) * 2 >= WINDOW
        if self._opened_at is not None or self._row >= IN_A_ROW or half_failed:
            self._opened_at, self._probed_at = now, None

    def abandoned(self) -> None:
        """The request that asked ended without telling (its caller left): a probe may be tried again."""
        self._probed_at = None
