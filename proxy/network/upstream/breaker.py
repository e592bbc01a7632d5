"""The circuit breaker of one candidate in one worker. The baseline has none and is never blocked.

| state     | on                                            | becomes                         |
|-----------|-----------------------------------------------|---------------------------------|
| closed    | 5 failures in a row, or half of the last 20   | open                            |
| open      | a request after `RETRY_AFTER_S`               | half-open: that request probes  |
| half-open | the probe succeeds / fails                    | closed / open                   |
| half-open | no result of the probe for `RETRY_AFTER_S`    | half-open: the next one probes  |
| any       | the first request of a canary's next run      | closed, nothing is remembered   |

A refusal (400, 401, 403, 404, 422) is a failure once the baseline has taken the same request (`compared`).
"""

from collections import deque

from records.outcome import THROTTLED, ErrorType

IN_A_ROW = 5
WINDOW = 20
RETRY_AFTER_S = 10.0


_TELLS_NOTHING: frozenset[ErrorType] = frozenset(
    {"provider_stale", "proxy_no_descriptors", "proxy_no_credential", "breaker_open", THROTTLED}
)


class CandidateBreaker:
    """The breaker. Callers pass times in CLOCK_MONOTONIC seconds."""

    def __init__(self) -> None:
        self._begin(0)

    def _begin(self, run: int) -> None:
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._row, self._run = 0, run
        self._opened_at: float | None = None
        self._probed_at: float | None = None

    @property
    def open(self) -> bool:
        """True while requests bypass the candidate."""
        return self._opened_at is not None

    def allows(self, now: float, run: int = 0) -> bool:
        """Return whether this request of a run may go to the candidate. While open, one at a time probes."""
        if run > self._run:
            self._begin(run)
        if self._opened_at is None:
            return True
        since = self._opened_at if self._probed_at is None else self._probed_at
        if now - since < RETRY_AFTER_S:
            return False
        self._probed_at = now
        return True

    def ended(self, failure: ErrorType | None, now: float) -> None:
        """Record how an attempt ended. Only the provider's failures open the breaker.

        A refusal tells nothing until the baseline has answered the same request: `compared` follows. A stale
        connection, a lack of descriptors here, and a rollback or an open breaker that ended the wait are not
        the provider's fault. A rate or quota that is used up breaks nothing.
        """
        if failure == "candidate_rejects":
            return
        if failure is None:
            self.succeeded()
        elif failure in _TELLS_NOTHING:
            self.abandoned()
        else:
            self.failed(now)

    def compared(self, baseline: ErrorType | None, now: float) -> None:
        """Record how the baseline answered a request that the candidate refused. A request that both refuse
        is the caller's mistake, and the candidate is well."""
        if baseline is None:
            self.failed(now)
        elif baseline.startswith("caller_"):
            self.succeeded()
        else:
            self.abandoned()

    def succeeded(self) -> None:
        if self._opened_at is not None:
            self._opened_at = self._probed_at = None
            self._recent.clear()
        self._recent.append(True)
        self._row = 0

    def failed(self, now: float) -> None:
        self._recent.append(False)
        self._row += 1
        half_failed = len(self._recent) == WINDOW and self._recent.count(False) * 2 >= WINDOW
        if self._opened_at is not None or self._row >= IN_A_ROW or half_failed:
            self._opened_at, self._probed_at = now, None

    def abandoned(self) -> None:
        """Record a request that ended without a result, for example because its caller left."""
        self._probed_at = None
