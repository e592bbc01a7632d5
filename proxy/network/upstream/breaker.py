"""The circuit breaker of one candidate in one worker. The baseline has none and is never blocked.

| state     | on                                            | becomes                         |
|-----------|-----------------------------------------------|---------------------------------|
| closed    | 5 failures in a row, or half of the last 20   | open                            |
| open      | a request after `SOON_S`, later `LATER_S`     | half-open: that request probes  |
| half-open | the probe succeeds / fails                    | closed / open                   |
| half-open | no result of the probe for `LATER_S`          | half-open: the next one probes  |
| any       | the first request of a canary's next run      | closed, nothing is remembered   |

A refusal (400, 401, 403, 404, 422) is a failure once the baseline has taken the same request (`compared`).

Guardrails see only what reaches the candidate: a breaker that lets hardly anything through keeps a dead one
from being rolled back. So it probes soon, but only `SOON` times in `SOON_AGAIN_S`, to spare a provider in
trouble; and not before the provider's own `retry-after`, for at most `LONGEST_S`.
"""

from collections import deque

from records.outcome import THROTTLED, ErrorType

IN_A_ROW = 5
WINDOW = 20
SOON_S = 1.0
LATER_S = 10.0
SOON = 20
SOON_AGAIN_S = 600.0
LONGEST_S = 60.0

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
        self._not_before = 0.0
        self._probes, self._counted_from = 0, -SOON_AGAIN_S

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
        if self._probed_at is not None:
            due = self._probed_at + LATER_S
        else:
            due = self._opened_at + (SOON_S if self._probes < SOON else LATER_S)
        if now < max(due, self._not_before):
            return False
        self._probed_at = now
        self._probes += 1
        return True

    def ended(self, failure: ErrorType | None, now: float, retry_after_s: float = 0.0) -> None:
        """Record how an attempt ended. Only the provider's failures open the breaker. `retry_after_s`: how
        long the provider asked to be left alone.

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
        if self._opened_at is not None and retry_after_s:
            self._not_before = max(self._not_before, now + min(retry_after_s, LONGEST_S))

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
            self._not_before = 0.0
            self._recent.clear()
        self._recent.append(True)
        self._row = 0

    def failed(self, now: float) -> None:
        self._recent.append(False)
        self._row += 1
        half_failed = len(self._recent) == WINDOW and self._recent.count(False) * 2 >= WINDOW
        if self._opened_at is not None or self._row >= IN_A_ROW or half_failed:
            if self._opened_at is None and now - self._counted_from >= SOON_AGAIN_S:
                self._probes, self._counted_from = 0, now
            self._opened_at, self._probed_at = now, None

    def abandoned(self) -> None:
        """Record a request that ended without a result, for example because its caller left."""
        self._probed_at = None
